"""OTLP reading: checked bytes become rows and a list of attributes.

Owns the kernel that walks requests. No value is copied and no object is made:
text is an Arrow view, 16 bytes that hold up to 12 bytes of it or point at it
where it stands in the request. Checking the bytes is left to `_scan`.

As protobuf says: of a scalar that comes twice the last one stands, and a
message that comes in several pieces is one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import inline, kernel
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
    REQUEST,
    RESOURCE,
    RESOURCE_SPANS,
    SCOPE,
    SCOPE_SPANS,
    SPAN,
    Bytes,
    plain,
)
from tracelens.wire._views import MASKS, Views, is_text, load, none, number, past, put, same, signed

GUESSES = 64  # attributes per owner whose key is guessed to be that of the owner before
LOW = MASKS[4]
ZERO = np.uint64(0)


@kernel
def find(buffer: Bytes, at: int, length: int, owner: int, table: Keys, known: int, seed: int) -> int:
    """Return the index of a key; `known` when it is new, and it is entered there.

    The hash is a polynomial modulo 2^31 - 1 at a secret point: nobody can
    choose keys that collide, so a hostile request costs what any other does.
    """
    prime = np.uint64(0x7FFFFFFF)
    point = np.uint64(seed)
    value = (np.uint64(length) * np.uint64(3) + np.uint64(owner)) & prime
    i = 0
    while i < length:  # 3 bytes a step stay below the prime
        chunk = load(buffer, at + i) & MASKS[min(3, length - i)]
        value = value * point + chunk
        value = (value & prime) + (value >> np.uint64(31))
        value = (value & prime) + (value >> np.uint64(31))
        i += 3
    mask = signed(len(table.slots) - 1)
    value *= np.uint64(0x9E3779B97F4A7C15)  # spreads 31 bits over larger tables
    slot = signed(value >> np.uint64(20)) & mask
    while True:
        key: int = signed(table.slots[slot]) - 1
        if key < 0:
            break
        if table.length[key] == length and table.owner[key] == owner and same(buffer, table.at[key], at, length):
            return key
        slot = (slot + 1) & mask
    table.slots[slot] = known + 1
    table.owner[known] = owner
    table.at[known] = at
    table.length[known] = length
    table.bad[known] = not is_text(buffer, at, length)
    table.holder[known] = -1
    return known


@inline
def text(views: Views, slow: NDArray[np.uint8], bit: int, row: int, buffer: Bytes, at: int, length: int) -> None:
    """Let a row have a text; `bit` of slow[row] says that it is not UTF-8."""
    put(views, row, buffer, at, length, RAW)
    slow[row] &= ~np.uint8(bit)
    if not is_text(buffer, at, length):
        slow[row] |= bit


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
) -> tuple[int, int, int, int, int]:
    """Read the requests at [starts[i], stops[i]) into rows.

    Returns how many (spans, resources, scopes, attributes, keys) there are;
    per_body: spans of each request. A span without both ids leaves nothing, and
    neither does a resource or scope without a span.
    """
    # One function: cut in five, it takes four times as long, for numba counts
    # references to all arrays at each call; only what takes no tuple is cut out.
    row = np.zeros(3, np.int64)  # by owner: the row that is being read
    holder = np.zeros(3, np.int64)  # by owner: a number that no other span, resource or scope has
    ordinal = np.zeros(3, np.int64)  # by owner: attributes read
    guess = np.full((3, GUESSES), -1, np.int64)
    held_before = np.zeros(3, np.int64)  # by owner: attributes when it began
    spans_before = np.zeros(3, np.int64)  # by owner: spans when it began
    ends = np.zeros(8, np.int64)  # by depth: where the message ends
    kinds = np.zeros(8, np.int64)
    holders = count = known = 0
    trace_at = -1
    span_ok = False
    for body in range(len(starts)):
        at = starts[body]
        end = stops[body]
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
                        for j in range(16):
                            out.ids[16 * i + j] = buffer[trace_at + j]
                        out.trace_id[2 * i] = np.uint64(16) | (load(buffer, trace_at) << np.uint64(32))
                        out.trace_id[2 * i + 1] = np.uint64(16 * i) << np.uint64(32)
                        out.resource[i] = row[OF_RESOURCE]
                        out.scope[i] = row[OF_SCOPE]
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
            tag, at = number(buffer, at)
            if tag & np.uint64(7) != np.uint64(2):
                i = row[OF_SPAN]
                if kind != SPAN:
                    at = past(buffer, at, signed(tag & np.uint64(7)))
                elif tag == np.uint64(57):
                    out.start[i] = load(buffer, at)
                    at += 8
                elif tag == np.uint64(65):
                    out.end[i] = load(buffer, at)
                    at += 8
                elif tag == np.uint64(133):
                    out.flags[i] = signed(load(buffer, at) & LOW)
                    at += 4
                elif tag == np.uint64(48):
                    value, at = number(buffer, at)
                    out.kind[i] = np.int32(value & LOW)
                elif tag == np.uint64(80) or tag == np.uint64(96) or tag == np.uint64(112):
                    value, at = number(buffer, at)
                    out.dropped[(signed(tag) - 80) >> 4, i] = signed(value & LOW)
                else:
                    at = past(buffer, at, signed(tag & np.uint64(7)))
                continue
            field = signed(tag >> np.uint64(3))
            size, at = number(buffer, at)
            length = signed(size)
            child = signed(CHILDREN[kind, field]) if field < 16 else signed(-1)
            if child == KEY_VALUE:  # an attribute
                owner = OF_SPAN if kind == SPAN else OF_RESOURCE if kind == RESOURCE else OF_SCOPE
                i = row[owner]
                stop = at + length
                key_length, tag_of_value, value_at = plain(buffer, at, stop)
                key_at = at + 2
                value_length = stop - value_at
                sort = STRING if tag_of_value == 0x0A else INT
                if tag_of_value == 0:  # none that everybody writes so
                    key_at = at
                    key_length = signed(0)
                    sort = JSON  # so is a value with nothing set
                    value_at = at
                    value_length = length
                    p = at
                    while p < stop:
                        tag, p = number(buffer, p)
                        if tag == np.uint64(10):
                            size, p = number(buffer, p)
                            key_at = p
                            key_length = signed(size)
                            p += key_length
                        elif tag == np.uint64(18):
                            size, p = number(buffer, p)
                            inner = p + signed(size)
                            while p < inner:
                                tag, p = number(buffer, p)
                                if tag == np.uint64(10):
                                    sort = STRING
                                    size, p = number(buffer, p)
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
                                p = past(buffer, p, signed(tag & np.uint64(7)))
                        else:
                            p = past(buffer, p, signed(tag & np.uint64(7)))
                if sort == JSON:  # protobuf's runtime will read all of it
                    value_at = at
                    value_length = length
                at += length
                if sort == STRING and not is_text(buffer, value_at, value_length):
                    sort = BAD_TEXT
                # its key: most often that of the attribute at the same place of the owner before
                nth = min(ordinal[owner], GUESSES - 1)
                ordinal[owner] += 1
                key = guess[owner, nth]
                if key < 0 or table.length[key] != key_length or not same(buffer, table.at[key], key_at, key_length):
                    key = find(buffer, key_at, key_length, owner, table, known, seed)
                    guess[owner, nth] = key
                    if key == known:
                        known += 1
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
                held.at[count] = value_at
                held.length[count] = value_length
                count += 1
            elif kind == SPAN:  # ids, text, status, events and links
                i = row[OF_SPAN]
                if field == 1:
                    some = length == 16 and (load(buffer, at) | load(buffer, at + 8)) != ZERO
                    trace_at = at if some else -1
                elif field == 2:
                    span_ok = length == 8 and load(buffer, at) != ZERO
                    put(out.span_id, i, buffer, at, min(length, 8), RAW)
                elif field == 4:
                    none(out.parent, i)
                    for j in range(at, at + length):
                        if buffer[j] != 0:
                            put(out.parent, i, buffer, at, length, RAW)
                            break
                elif field == 5:
                    text(out.name, out.slow, BAD_NAME, i, buffer, at, length)
                elif field == 15:
                    stop = at + length
                    p = at
                    while p < stop:
                        tag, p = number(buffer, p)
                        if tag == np.uint64(24):
                            value, p = number(buffer, p)
                            out.status[i] = np.int32(value & LOW)
                        elif tag == np.uint64(18):
                            size, p = number(buffer, p)
                            text(out.message, out.slow, BAD_MESSAGE, i, buffer, p, signed(size))
                            p += signed(size)
                        else:
                            p = past(buffer, p, signed(tag & np.uint64(7)))
                elif field == 3:
                    text(out.trace_state, out.slow, BAD_STATE, i, buffer, at, length)
                elif field == 11:
                    out.slow[i] |= HAS_EVENTS
                elif field == 13:
                    out.slow[i] |= HAS_LINKS
                at += length
            elif kind == SCOPE and field == 1:
                text(out.scope_name, out.scope_slow, BAD_NAME, row[OF_SCOPE], buffer, at, length)
                at += length
            elif kind == SCOPE and field == 2:
                text(out.scope_version, out.scope_slow, BAD_VERSION, row[OF_SCOPE], buffer, at, length)
                at += length
            elif child < 0 or kind == RESOURCE:
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
                    none(out.parent, i)
                    none(out.trace_state, i)
                    none(out.name, i)
                    none(out.message, i)
                    out.kind[i] = 0
                    out.status[i] = 0
                    out.start[i] = ZERO
                    out.end[i] = ZERO
                    out.flags[i] = 0
                    for j in range(3):
                        out.dropped[j, i] = 0
                    out.at[i] = at
                    out.length[i] = length
                    out.slow[i] = 0
                elif kind == SCOPE_SPANS:
                    owner = OF_SCOPE
                    none(out.scope_name, row[owner])
                    none(out.scope_version, row[owner])
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
    return row[OF_SPAN], row[OF_RESOURCE], row[OF_SCOPE], count, known
