"""OTLP reading: bytes become rows and a list of attributes.

Owns the kernel that walks requests. No value is copied and no object is made:
text is an Arrow view, 16 bytes that hold up to 12 bytes of it or point at it
where it stands in the request. What it walks through it checks; a message that
is not as everybody writes it is checked by `_scan` first, which also says what
is wrong with it.

As protobuf says: of a scalar that comes twice the last one stands, and a
message that comes in several pieces is one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import inline, kernel
from tracelens.wire._keys import NEAR, find, look
from tracelens.wire._memory import ZERO, address, byte, set_byte, set_word, signed, word
from tracelens.wire._rows import (
    BAD_MESSAGE,
    BAD_NAME,
    BAD_STATE,
    BAD_TEXT,
    BAD_UTF8,
    BAD_VERSION,
    BOOL,
    DOUBLE,
    DUPLICATE_KEY,
    GONE,
    HAS_EVENTS,
    HAS_LINKS,
    INT,
    JSON,
    OF_RESOURCE,
    OF_SCOPE,
    OF_SPAN,
    RAW,
    STRING,
    Attributes,
    Keys,
    Rows,
)
from tracelens.wire._scan import (
    CHILDREN,
    KEY_VALUE,
    MAX_LENGTH,
    REQUEST,
    RESOURCE,
    RESOURCE_SPANS,
    SCOPE,
    SCOPE_SPANS,
    SPAN,
    UNKNOWN,
    Bytes,
    plain,
    sound,
    varint,
)
from tracelens.wire._views import MASKS, is_text, none, number, past, past_group, put, same

READ, CRAMPED, UNSOUND = range(3)  # how reading ends; CRAMPED: there are more spans, attributes or keys than room
GUESSES = 64  # attributes per owner whose key is guessed to be that of the owner before
LOW = MASKS[4]


@inline
def text(view: int, slow: int, bit: int, at: int, length: int, place: int) -> None:
    """Let a row have the text that stands at `place`; `bit` of the byte at `slow` says that it is not UTF-8."""
    put(view, at, length, RAW, place)
    marked = byte(slow) & ~bit
    if not is_text(at, length):
        marked |= bit
    set_byte(slow, marked)


@kernel
def read(
    buffer: Bytes,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    out: Rows,
    held: Attributes,
    table: Keys,
    seed: int,
    per_body: NDArray[np.int64],
) -> tuple[int, int, int, int, int, int, int, int]:
    """Read the requests at [starts[i], stops[i]) into rows.

    Returns READ, how many (spans, resources, scopes, attributes, keys) there are, and
    how many spans were refused for (their trace id, their span id); or CRAMPED or
    UNSOUND, and no number means anything. per_body: spans of each request. A span
    without both ids leaves nothing, and neither does a resource or scope without a span.
    """
    # One function: cut in five, it takes four times as long, for numba counts
    # references to all arrays at each call; only what takes no tuple is cut out.
    row = np.zeros(3, np.int64)  # by owner: the row that is being read
    holder = np.zeros(3, np.int64)  # by owner: a number that no other span, resource or scope has
    ordinal = np.zeros(3, np.int64)  # by owner: attributes read
    guess = np.full((3, GUESSES), -1, np.int64)
    near = np.full(1 << NEAR, -1, np.int64)
    held_before = np.zeros(3, np.int64)  # by owner: attributes when it began
    spans_before = np.zeros(3, np.int64)  # by owner: spans when it began
    ends = np.zeros(8, np.int64)  # by depth: where the message ends
    kinds = np.zeros(8, np.int64)
    rows = len(out.kind) - 1
    base = address(buffer)
    ids, trace_id, span_id = address(out.ids), address(out.trace_id), address(out.span_id)
    parent, name, message, trace_state = (
        address(out.parent),
        address(out.name),
        address(out.message),
        address(out.trace_state),
    )
    scope_name, scope_version = address(out.scope_name), address(out.scope_version)
    slow, scope_slow = address(out.slow), address(out.scope_slow)
    holders = count = known = bad_trace = bad_span = 0
    trace_at = -1
    span_ok = False
    for body in range(len(starts)):
        at = base + starts[body]
        end = base + stops[body]
        kind = REQUEST
        depth = 0
        ends[0] = end
        kinds[0] = kind
        first = row[OF_SPAN]
        while True:
            while at == end and depth > 0:  # a message is complete; so may be those around it
                i = row[OF_SPAN]
                owner = -1
                keep = False
                if kind == SPAN:
                    owner = OF_SPAN
                    keep = trace_at >= 0 and span_ok
                    if keep:
                        set_word(ids + 16 * i, word(trace_at))
                        set_word(ids + 16 * i + 8, word(trace_at + 8))
                        put(trace_id + 16 * i, trace_at, 16, 0, 16 * i)
                        out.resource[i] = row[OF_RESOURCE]
                        out.scope[i] = row[OF_SCOPE]
                    elif trace_at < 0:
                        bad_trace += 1
                    else:
                        bad_span += 1
                elif kind == SCOPE_SPANS:
                    owner = OF_SCOPE
                    keep = i > spans_before[owner]
                elif kind == RESOURCE_SPANS:
                    owner = OF_RESOURCE
                    keep = i > spans_before[owner]
                if keep:
                    row[owner] += 1
                elif owner >= 0:
                    count = held_before[owner]
                depth -= 1
                end = ends[depth]
                kind = kinds[depth]
            if at == end:
                break
            tag, at = varint(at, end, 5)
            wire = signed(tag & np.uint64(7))
            field = signed(tag >> np.uint64(3))
            if at < 0 or tag > np.uint64(0xFFFFFFFF) or field == 0:
                return UNSOUND, 0, 0, 0, 0, 0, 0, 0
            if wire != 2:
                i = row[OF_SPAN]
                if wire == 0:
                    value, at = varint(at, end, 10)
                    if at < 0:
                        return UNSOUND, 0, 0, 0, 0, 0, 0, 0
                    if kind != SPAN:
                        continue
                    if field == 6:
                        out.kind[i] = np.int32(value & LOW)
                    elif field in (10, 12, 14):
                        out.dropped[(field - 10) >> 1, i] = signed(value & LOW)
                elif wire in (1, 5):
                    place = at
                    at += 8 if wire == 1 else 4
                    if at > end:
                        return UNSOUND, 0, 0, 0, 0, 0, 0, 0
                    if kind != SPAN:
                        continue
                    if tag == np.uint64(57):
                        out.start[i] = word(place)
                    elif tag == np.uint64(65):
                        out.end[i] = word(place)
                    elif tag == np.uint64(133):
                        out.flags[i] = signed(word(place) & LOW)
                else:  # a group; nothing else is right
                    if wire != 3 or not sound(buffer, at - base, end - base, UNKNOWN, depth + 1, field):
                        return UNSOUND, 0, 0, 0, 0, 0, 0, 0
                    at = past_group(at)
                continue
            size, at = varint(at, end, 5)
            if at < 0 or size > np.uint64(MAX_LENGTH) or signed(size) > end - at:
                return UNSOUND, 0, 0, 0, 0, 0, 0, 0
            length = signed(size)
            child = signed(CHILDREN[kind, field]) if field < 16 else signed(-1)
            if child == KEY_VALUE:  # an attribute
                owner = OF_SPAN if kind == SPAN else OF_RESOURCE if kind == RESOURCE else OF_SCOPE
                i = row[owner]
                stop = at + length
                key_length, tag_of_value, value_at = plain(at, stop)
                key_at = at + 2
                value_length = stop - value_at
                sort = STRING
                if tag_of_value == 0x18:
                    sort = INT
                elif tag_of_value == 0x10:
                    sort = BOOL
                elif tag_of_value == 0x21:
                    sort = DOUBLE
                elif tag_of_value == 0:  # none that everybody writes so
                    if not sound(buffer, at - base, stop - base, KEY_VALUE, depth + 1, -1):
                        return UNSOUND, 0, 0, 0, 0, 0, 0, 0
                    key_at = at
                    key_length = signed(0)
                    sort = JSON  # so is a value with nothing set
                    value_at = at
                    value_length = length
                    p = at
                    while p < stop:
                        tag, p = number(p)
                        if tag == np.uint64(10):
                            size, p = number(p)
                            key_at = p
                            key_length = signed(size)
                            p += key_length
                        elif tag == np.uint64(18):
                            size, p = number(p)
                            inner = p + signed(size)
                            while p < inner:
                                tag, p = number(p)
                                if tag == np.uint64(10):
                                    sort = STRING
                                    size, p = number(p)
                                    value_at = p
                                    value_length = signed(size)
                                    p += value_length
                                    continue
                                if tag == np.uint64(24):
                                    sort = INT
                                    value_at = p
                                elif tag == np.uint64(16):
                                    sort = BOOL
                                    value_at = p
                                elif tag == np.uint64(33):
                                    sort = DOUBLE
                                    value_at = p
                                elif (
                                    tag == np.uint64(42)
                                    or tag == np.uint64(50)
                                    or tag == np.uint64(58)
                                    or tag == np.uint64(64)
                                ):
                                    sort = JSON  # array, map, bytes, index of a string
                                p = past(p, signed(tag & np.uint64(7)))
                        else:
                            p = past(p, signed(tag & np.uint64(7)))
                if sort == JSON:  # protobuf's runtime will read all of it
                    value_at = at
                    value_length = length
                at += length
                if sort == STRING and not is_text(value_at, value_length):
                    sort = BAD_TEXT
                # its key: most often that of the attribute at the same place of the owner before
                nth = min(ordinal[owner], GUESSES - 1)
                ordinal[owner] += 1
                key = guess[owner, nth]
                if (
                    key < 0
                    or table.length[key] != key_length
                    or not same(base + signed(table.at[key]), key_at, key_length)
                ):
                    slot = look(key_at, key_length, owner)
                    key = near[slot]
                    if (
                        key < 0
                        or table.length[key] != key_length
                        or table.owner[key] != owner
                        or not same(base + signed(table.at[key]), key_at, key_length)
                    ):
                        if known == len(table.at):
                            return CRAMPED, 0, 0, 0, 0, 0, 0, 0
                        key = find(base, key_at, key_length, owner, table, known, seed)
                        if key == known:
                            known += 1
                        near[slot] = key
                    guess[owner, nth] = key
                if count == len(held.key):
                    return CRAMPED, 0, 0, 0, 0, 0, 0, 0
                if table.bad[key]:
                    out.marks[owner, i] |= BAD_UTF8
                if table.holder[key] == holder[owner]:
                    held.kind[table.last[key]] = GONE
                    out.marks[owner, i] |= DUPLICATE_KEY
                table.holder[key] = holder[owner]
                table.last[key] = count
                held.key[count] = key
                held.row[count] = i
                held.kind[count] = sort
                held.at[count] = value_at - base
                held.length[count] = value_length
                count += 1
            elif kind == SPAN:  # ids, text, status, events and links
                i = row[OF_SPAN]
                if child >= 0 and length > 0 and not sound(buffer, at - base, at + length - base, child, depth + 1, -1):
                    return UNSOUND, 0, 0, 0, 0, 0, 0, 0
                if field == 1:
                    some = length == 16 and (word(at) | word(at + 8)) != ZERO
                    trace_at = at if some else -1
                elif field == 2:
                    span_ok = length == 8 and word(at) != ZERO
                    put(span_id + 16 * i, at, min(length, 8), RAW, at - base)
                elif field == 4:
                    none(parent + 16 * i)
                    for j in range(at, at + length):
                        if byte(j) != 0:
                            put(parent + 16 * i, at, length, RAW, at - base)
                            break
                elif field == 5:
                    text(name + 16 * i, slow + i, BAD_NAME, at, length, at - base)
                elif field == 15:
                    stop = at + length
                    p = at
                    while p < stop:
                        tag, p = number(p)
                        if tag == np.uint64(24):
                            value, p = number(p)
                            out.status[i] = np.int32(value & LOW)
                        elif tag == np.uint64(18):
                            size, p = number(p)
                            text(message + 16 * i, slow + i, BAD_MESSAGE, p, signed(size), p - base)
                            p += signed(size)
                        else:
                            p = past(p, signed(tag & np.uint64(7)))
                elif field == 3:
                    text(trace_state + 16 * i, slow + i, BAD_STATE, at, length, at - base)
                elif field == 11:
                    out.slow[i] |= HAS_EVENTS
                elif field == 13:
                    out.slow[i] |= HAS_LINKS
                at += length
            elif kind == SCOPE and field == 1:
                i = row[OF_SCOPE]
                text(scope_name + 16 * i, scope_slow + i, BAD_NAME, at, length, at - base)
                at += length
            elif kind == SCOPE and field == 2:
                i = row[OF_SCOPE]
                text(scope_version + 16 * i, scope_slow + i, BAD_VERSION, at, length, at - base)
                at += length
            elif child < 0 or kind == RESOURCE:
                if child >= 0 and not sound(buffer, at - base, at + length - base, child, depth + 1, -1):
                    return UNSOUND, 0, 0, 0, 0, 0, 0, 0
                at += length
            else:  # a message begins
                depth += 1
                end = at + length
                kind = child
                ends[depth] = end
                kinds[depth] = kind
                owner = -1  # a piece of a resource or a scope
                if kind == SPAN:
                    owner = OF_SPAN
                    trace_at = -1
                    span_ok = False
                    i = row[owner]  # protobuf's defaults; the row may hold what a refused span left
                    if i == rows:
                        return CRAMPED, 0, 0, 0, 0, 0, 0, 0
                    none(parent + 16 * i)
                    none(trace_state + 16 * i)
                    none(name + 16 * i)
                    none(message + 16 * i)
                    out.kind[i] = 0
                    out.status[i] = 0
                    out.start[i] = ZERO
                    out.end[i] = ZERO
                    out.flags[i] = 0
                    for j in range(3):
                        out.dropped[j, i] = 0
                    out.at[i] = at - base
                    out.length[i] = length
                    out.slow[i] = 0
                elif kind == SCOPE_SPANS:
                    owner = OF_SCOPE
                    none(scope_name + 16 * row[owner])
                    none(scope_version + 16 * row[owner])
                    out.scope_slow[row[owner]] = 0
                elif kind == RESOURCE_SPANS:
                    owner = OF_RESOURCE
                if owner >= 0:
                    holders += 1
                    holder[owner] = holders
                    ordinal[owner] = 0
                    held_before[owner] = count
                    spans_before[owner] = row[OF_SPAN]
                    out.marks[owner, row[owner]] = 0
        per_body[body] = row[OF_SPAN] - first
    return READ, row[OF_SPAN], row[OF_RESOURCE], row[OF_SCOPE], count, known, bad_trace, bad_span
