"""OTLP rows: what every span, resource and scope of a request says.

Owns the kernel that reads checked bytes into rows and a list of attributes.
No value is copied and no object is made: text is an Arrow view, 16 bytes that
hold up to 12 bytes of it or point at it where it stands in the request.
Checking the bytes is left to `_scan`, making columns of the list to
`_columns`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import kernel
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
)
from tracelens.wire._views import MASKS, Views, is_text, load, none, number, past, put, same, signed

OF_SPAN, OF_RESOURCE, OF_SCOPE = range(3)  # whose attribute: an index into spans.OWNERS
STRING, INT, DOUBLE, BOOL, JSON = range(5)  # of what type: an index into spans.TYPES
BAD_TEXT = 5  # a string that is not UTF-8, until it is repaired
GONE = -1  # another value of the same key came after it

DUPLICATE_KEY, BAD_UTF8 = 1 << 6, 1 << 2  # bits of Rows.marks, as in spans.MARK
# Bits of Rows.slow: what of a span is left to Python.
BAD_NAME, BAD_STATE, BAD_MESSAGE, HAS_EVENTS, HAS_LINKS = 1, 2, 4, 8, 16
BAD_VERSION = 2  # bit of Rows.scope_slow, beside BAD_NAME

RAW, TEXT = range(2)  # data buffers of a view: the request, and text made by repairs
GUESSES = 64  # attributes per owner whose key is guessed from the owner before


class Rows(NamedTuple):
    """What is read of each span, resource and scope.

    One row more than there are spans: a span is refused only when all of it is read.
    """

    ids: NDArray[np.uint8]  # 16 bytes a span, beside each other
    trace_id: Views  # points into ids
    span_id: Views
    parent: Views
    trace_state: Views
    name: Views
    message: Views
    kind: NDArray[np.int32]
    status: NDArray[np.int32]
    start: NDArray[np.uint64]
    end: NDArray[np.uint64]
    flags: NDArray[np.int64]
    dropped: NDArray[np.int64]  # by what (attributes, events, links) and span
    at: NDArray[np.int32]  # where the span stands
    length: NDArray[np.int32]
    slow: NDArray[np.uint8]
    resource: NDArray[np.int32]  # row of the span's resource
    scope: NDArray[np.int32]
    scope_name: Views
    scope_version: Views
    scope_slow: NDArray[np.uint8]
    marks: NDArray[np.int32]  # by owner and row


class Attributes(NamedTuple):
    """All attributes, in the order of the wire. A key is an index into Keys."""

    key: NDArray[np.int32]
    row: NDArray[np.int32]  # of its owner
    kind: NDArray[np.int8]
    at: NDArray[np.int64]  # of the value; of the whole KeyValue when JSON; -1 - n: byte n of the made text
    length: NDArray[np.int32]


class Keys(NamedTuple):
    """Distinct (owner, key) pairs, and the hash table that finds them."""

    slots: NDArray[np.int32]  # key + 1; 0 is free. A power of two, at least twice the keys
    owner: NDArray[np.int8]
    at: NDArray[np.int32]
    length: NDArray[np.int32]
    bad: NDArray[np.bool_]  # not UTF-8
    last: NDArray[np.int64]  # the attribute that had it last
    holder: NDArray[np.int64]  # and whose that was


def rows(spans: int) -> Rows:
    """Return room for that many spans. What no span touches stays unclaimed memory."""
    n = spans + 1
    return Rows(
        ids=np.zeros(16 * n, np.uint8),
        trace_id=np.zeros(2 * n, np.uint64),
        span_id=np.zeros(2 * n, np.uint64),
        parent=np.zeros(2 * n, np.uint64),
        trace_state=np.zeros(2 * n, np.uint64),
        name=np.zeros(2 * n, np.uint64),
        message=np.zeros(2 * n, np.uint64),
        kind=np.zeros(n, np.int32),
        status=np.zeros(n, np.int32),
        start=np.zeros(n, np.uint64),
        end=np.zeros(n, np.uint64),
        flags=np.zeros(n, np.int64),
        dropped=np.zeros((3, n), np.int64),
        at=np.zeros(n, np.int32),
        length=np.zeros(n, np.int32),
        slow=np.zeros(n, np.uint8),
        resource=np.zeros(n, np.int32),
        scope=np.zeros(n, np.int32),
        scope_name=np.zeros(2 * n, np.uint64),
        scope_version=np.zeros(2 * n, np.uint64),
        scope_slow=np.zeros(n, np.uint8),
        marks=np.zeros((3, n), np.int32),
    )


def attributes(count: int) -> Attributes:
    """Return room for that many attributes."""
    n = count + 1
    return Attributes(
        key=np.empty(n, np.int32),
        row=np.empty(n, np.int32),
        kind=np.empty(n, np.int8),
        at=np.empty(n, np.int64),
        length=np.empty(n, np.int32),
    )


def keys(count: int) -> Keys:
    """Return room for that many distinct keys. What no key touches stays unclaimed memory."""
    n = count + 1
    return Keys(
        slots=np.zeros(1 << (2 * n).bit_length(), np.int32),
        owner=np.zeros(n, np.int8),
        at=np.zeros(n, np.int32),
        length=np.zeros(n, np.int32),
        bad=np.zeros(n, np.bool_),
        last=np.zeros(n, np.int64),
        holder=np.zeros(n, np.int64),
    )


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


@kernel
def read(
    buffer: Bytes,
    offsets: NDArray[np.int64],
    out: Rows,
    held: Attributes,
    table: Keys,
    seed: int,
    per_body: NDArray[np.int64],
) -> tuple[int, int, int, int, int]:
    """Read the requests at [offsets[i], offsets[i + 1]) into rows.

    Returns how many (spans, resources, scopes, attributes, keys) there are;
    per_body: spans of each request. A span without both ids leaves nothing, and
    neither does a resource or scope without a span.
    """
    # All owners of attributes are messages that end; what of one comes in
    # several pieces (protobuf merges them) has one row and one holder number.
    row = np.zeros(3, np.int64)  # by owner: the row that is being read
    holder = np.zeros(3, np.int64)  # by owner: a number no other one has
    ordinal = np.zeros(3, np.int64)  # by owner: attributes read
    guess = np.full((3, GUESSES), -1, np.int64)
    attribute_mark = np.zeros(3, np.int64)  # attributes when the span, resource or scope began
    span_mark = np.zeros(3, np.int64)  # spans when the resource or scope began
    ends = np.zeros(8, np.int64)
    kinds = np.zeros(8, np.int64)
    holders = count = known = 0
    trace_at = -1
    span_ok = False
    for body in range(len(offsets) - 1):
        at = offsets[body]
        end = offsets[body + 1]
        kind = REQUEST
        depth = 0
        ends[0] = end
        kinds[0] = kind
        before = row[OF_SPAN]
        while True:
            while at == end and depth > 0:
                if kind == SPAN:
                    i = row[OF_SPAN]
                    if trace_at >= 0 and span_ok:
                        for j in range(16):
                            out.ids[16 * i + j] = buffer[trace_at + j]
                        out.trace_id[2 * i] = np.uint64(16) | (load(buffer, trace_at) << np.uint64(32))
                        out.trace_id[2 * i + 1] = np.uint64(16 * i) << np.uint64(32)
                        out.resource[i] = row[OF_RESOURCE]
                        out.scope[i] = row[OF_SCOPE]
                        row[OF_SPAN] += 1
                    else:
                        count = attribute_mark[OF_SPAN]
                elif kind == SCOPE_SPANS:
                    if row[OF_SPAN] > span_mark[OF_SCOPE]:
                        row[OF_SCOPE] += 1
                    else:
                        count = attribute_mark[OF_SCOPE]
                elif kind == RESOURCE_SPANS:
                    if row[OF_SPAN] > span_mark[OF_RESOURCE]:
                        row[OF_RESOURCE] += 1
                    else:
                        count = attribute_mark[OF_RESOURCE]
                depth -= 1
                end = ends[depth]
                kind = kinds[depth]
            if at == end:
                break
            tag, at = number(buffer, at)
            wire = signed(tag & np.uint64(7))
            field = signed(tag >> np.uint64(3))
            if wire != 2:
                if kind != SPAN:
                    at = past(buffer, at, wire)
                    continue
                i = row[OF_SPAN]
                if tag == np.uint64(57):
                    out.start[i] = load(buffer, at)
                    at += 8
                elif tag == np.uint64(65):
                    out.end[i] = load(buffer, at)
                    at += 8
                elif tag == np.uint64(48):
                    value, at = number(buffer, at)
                    out.kind[i] = np.int32(value & np.uint64(0xFFFFFFFF))
                elif tag == np.uint64(133):
                    out.flags[i] = signed(load(buffer, at) & MASKS[4])
                    at += 4
                elif wire == 0 and field in (10, 12, 14):
                    value, at = number(buffer, at)
                    out.dropped[(field - 10) // 2, i] = signed(value & np.uint64(0xFFFFFFFF))
                else:
                    at = past(buffer, at, wire)
                continue
            size, at = number(buffer, at)
            length = signed(size)
            child = signed(CHILDREN[kind, field]) if field < 16 else signed(-1)
            if child == KEY_VALUE:
                owner = OF_SPAN if kind == SPAN else OF_RESOURCE if kind == RESOURCE else OF_SCOPE
                key_at = at
                key_length = signed(0)
                sort = JSON  # a value with nothing set is one
                value_at = at
                value_length = length
                stop = at + length
                while at < stop:
                    tag, at = number(buffer, at)
                    if tag == np.uint64(10):
                        size, at = number(buffer, at)
                        key_at = at
                        key_length = signed(size)
                        at += key_length
                    elif tag == np.uint64(18):
                        size, at = number(buffer, at)
                        inner = at + signed(size)
                        while at < inner:
                            tag, at = number(buffer, at)
                            if tag == np.uint64(10):
                                sort = STRING
                                size, at = number(buffer, at)
                                value_at = at
                                value_length = signed(size)
                                at += value_length
                                continue
                            if tag == np.uint64(24):
                                sort = INT
                                value_at = at
                            elif tag == np.uint64(16):
                                sort = BOOL
                                value_at = at
                            elif tag == np.uint64(33):
                                sort = DOUBLE
                                value_at = at
                            elif (
                                tag == np.uint64(42)
                                or tag == np.uint64(50)
                                or tag == np.uint64(58)
                                or tag == np.uint64(64)
                            ):
                                sort = JSON
                            at = past(buffer, at, signed(tag & np.uint64(7)))
                    else:
                        at = past(buffer, at, signed(tag & np.uint64(7)))
                if sort == JSON:
                    value_at = stop - length
                    value_length = length
                elif sort == STRING and not is_text(buffer, value_at, value_length):
                    sort = BAD_TEXT
                nth = min(ordinal[owner], GUESSES - 1)
                ordinal[owner] += 1
                key = guess[owner, nth]
                if key < 0 or table.length[key] != key_length or not same(buffer, table.at[key], key_at, key_length):
                    key = find(buffer, key_at, key_length, owner, table, known, seed)
                    guess[owner, nth] = key
                    if key == known:
                        known += 1
                if table.bad[key]:
                    out.marks[owner, row[owner]] |= BAD_UTF8
                if table.holder[key] == holder[owner]:
                    held.kind[table.last[key]] = GONE
                    out.marks[owner, row[owner]] |= DUPLICATE_KEY
                table.holder[key] = holder[owner]
                table.last[key] = count
                held.key[count] = key
                held.row[count] = row[owner]
                held.kind[count] = sort
                held.at[count] = value_at
                held.length[count] = value_length
                count += 1
                continue
            if kind == SPAN:
                i = row[OF_SPAN]
                if field == 1:
                    trace_at = -1
                    if length == 16 and (load(buffer, at) | load(buffer, at + 8)) != np.uint64(0):
                        trace_at = at
                elif field == 2:
                    span_ok = length == 8 and load(buffer, at) != np.uint64(0)
                    if span_ok:
                        put(out.span_id, i, buffer, at, length, RAW)
                elif field == 4:
                    none(out.parent, i)
                    for j in range(at, at + length):
                        if buffer[j] != 0:
                            put(out.parent, i, buffer, at, length, RAW)
                            break
                elif field == 5:
                    put(out.name, i, buffer, at, length, RAW)
                    out.slow[i] &= ~np.uint8(BAD_NAME)
                    if not is_text(buffer, at, length):
                        out.slow[i] |= BAD_NAME
                elif field == 3:
                    put(out.trace_state, i, buffer, at, length, RAW)
                    out.slow[i] &= ~np.uint8(BAD_STATE)
                    if not is_text(buffer, at, length):
                        out.slow[i] |= BAD_STATE
                elif field == 15:
                    stop = at + length
                    p = at
                    while p < stop:
                        tag, p = number(buffer, p)
                        if tag == np.uint64(24):
                            value, p = number(buffer, p)
                            out.status[i] = np.int32(value & np.uint64(0xFFFFFFFF))
                        elif tag == np.uint64(18):
                            size, p = number(buffer, p)
                            put(out.message, i, buffer, p, signed(size), RAW)
                            out.slow[i] &= ~np.uint8(BAD_MESSAGE)
                            if not is_text(buffer, p, signed(size)):
                                out.slow[i] |= BAD_MESSAGE
                            p += signed(size)
                        else:
                            p = past(buffer, p, signed(tag & np.uint64(7)))
                elif field == 11:
                    out.slow[i] |= HAS_EVENTS
                elif field == 13:
                    out.slow[i] |= HAS_LINKS
                at += length
                continue
            if kind == SCOPE:
                s = row[OF_SCOPE]
                if field == 1:
                    put(out.scope_name, s, buffer, at, length, RAW)
                    out.scope_slow[s] &= ~np.uint8(BAD_NAME)
                    if not is_text(buffer, at, length):
                        out.scope_slow[s] |= BAD_NAME
                elif field == 2:
                    put(out.scope_version, s, buffer, at, length, RAW)
                    out.scope_slow[s] &= ~np.uint8(BAD_VERSION)
                    if not is_text(buffer, at, length):
                        out.scope_slow[s] |= BAD_VERSION
                at += length
                continue
            if child < 0 or kind == RESOURCE:  # of a resource only the attributes are read
                at += length
                continue
            depth += 1
            end = at + length
            kind = child
            ends[depth] = end
            kinds[depth] = kind
            if kind == SPAN:
                i = row[OF_SPAN]
                owner = OF_SPAN
                trace_at = -1
                span_ok = False
                none(out.parent, i)
                none(out.trace_state, i)
                none(out.name, i)
                none(out.message, i)
                out.kind[i] = 0
                out.status[i] = 0
                out.start[i] = np.uint64(0)
                out.end[i] = np.uint64(0)
                out.flags[i] = 0
                out.dropped[:, i] = 0
                out.at[i] = at
                out.length[i] = length
                out.slow[i] = 0
            elif kind == SCOPE_SPANS:
                owner = OF_SCOPE
                none(out.scope_name, row[owner])
                none(out.scope_version, row[owner])
                out.scope_slow[row[owner]] = 0
                span_mark[owner] = row[OF_SPAN]
            elif kind == RESOURCE_SPANS:
                owner = OF_RESOURCE
                span_mark[owner] = row[OF_SPAN]
            else:
                continue  # a piece of a resource or a scope
            holders += 1
            holder[owner] = holders
            ordinal[owner] = 0
            attribute_mark[owner] = count
            out.marks[owner, row[owner]] = 0
        per_body[body] = row[OF_SPAN] - before
    return row[OF_SPAN], row[OF_RESOURCE], row[OF_SCOPE], count, known
