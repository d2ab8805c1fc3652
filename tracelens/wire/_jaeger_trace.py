"""Jaeger's traces in kernels: spans and processes of a JSON document become ResourceSpans of OTLP protobuf.

Owns what is decided when all of a trace is known: parents among several
references, and the groups by process and scope, in the order in which they
come. Documents are `_jaeger`'s, spans `_jaeger_span`'s.
"""

from __future__ import annotations

import numpy as np

from tracelens._kernels import piece
from tracelens.wire._jaeger_span import span, status_size
from tracelens.wire._jaeger_tables import (
    ATTRIBUTES,
    ATTRIBUTES_SIZE,
    BODY,
    BODY_SIZE,
    CHILD_OF,
    END,
    EVENTS,
    EVENTS_SIZE,
    FIELD,
    FIRST,
    FLAGS,
    FOLLOWER,
    FOLLOWS_FROM,
    GROUP,
    GROUP_SIZE,
    HAS_PARENT,
    KEY,
    KEY_SIZE,
    KIND,
    LAST,
    LINK_SIZE,
    NAME,
    NAME_SIZE,
    NEXT,
    OF_SPAN,
    OF_TRACE,
    OF_TRACE_END,
    PARENT,
    PROCESS_SIZE,
    REFERENCE,
    REFERENCES,
    SIZE,
    SORT,
    SPAN,
    SPLIT,
    START,
    STATUS,
    TRACE,
    TRACE_END,
    Room,
    Table,
    equal,
    mask_for,
    slot_of,
    slot_of_span,
)
from tracelens.wire._jaeger_tags import MESSAGE, STATE, attributes
from tracelens.wire._json import (
    BAD,
    CLOSE,
    CLOSE_LIST,
    ESCAPED,
    NULL,
    OPEN,
    OPEN_LIST,
    TEXT,
    blank,
    following,
    literal,
    member,
    scalar,
    skip,
)
from tracelens.wire._memory import Word, address, byte, set_byte, set_word
from tracelens.wire._put import (
    ROOM,
    length_of,
    low_word,
    put_bytes,
    put_fixed,
    put_head,
    put_id,
    put_text,
    put_trace_id,
)

W_DATA, W_SPANS, W_PROCESSES, W_SES_END = (literal(text) for text in ("data", "spans", "processe", "s"))
W_TAGS, W_SERVICE, W_SERVICE_END = literal("tags"), literal("serviceN"), literal("ame")
W_KEY, W_KEY_END, SERVICE_KEY = literal("service."), literal("name"), 12  # bytes of service.name
MOST_BYTES = 1 << 30  # of the spans of one process


@piece
def process(at: int, to: int, limit: int) -> tuple[int, int]:
    """Write a process as a Resource's body; return (position behind it, behind the body)."""
    name = kind = stop = length = 0
    seen = 0
    if byte(at) != OPEN:
        return BAD, to
    at = blank(at + 1)
    more = byte(at) != CLOSE
    if not more:
        at += 1
    while more:
        at, key, size = member(at)
        if at < 0:
            return BAD, to
        what = low_word(key, size)
        if size == 4 and what == W_TAGS:
            seen += 1 if seen & 1 == 0 else 4
            at, to = attributes(at, to, limit, 0x0A)
        elif size == 11 and what == W_SERVICE and low_word(key + 8, 3) == W_SERVICE_END:
            seen += 2 if seen & 2 == 0 else 4
            name = at + 1
            at, kind, stop, length, _ = scalar(at)
            if kind not in (TEXT, ESCAPED, NULL):
                return BAD, to
        else:
            at = skip(at)
        if at < 0:
            return BAD, to
        at, more = following(at, CLOSE)
        if at < 0:
            return BAD, to
    if seen >= 4 or to + length + 2 * ROOM > limit:
        return BAD, to
    if length:
        inner = 1 + length_of(length) + length
        to = put_head(to, 0x0A, 2 + SERVICE_KEY + 1 + length_of(inner) + inner)
        to = put_head(to, 0x0A, SERVICE_KEY)
        set_word(to, W_KEY)
        set_word(to + 8, W_KEY_END)
        to = put_head(put_head(to + SERVICE_KEY, 0x12, inner), 0x0A, length)
        to = put_text(to, kind, name, stop, length)
    return at, to


@piece
def trace(at: int, room: Room) -> tuple[int, int, int]:
    """Read a trace into the tables; return (position behind it, its spans, its processes)."""
    to = address(room.text)
    limit = to + len(room.text) - ROOM
    side = address(room.side)
    side_limit = side + len(room.side) - ROOM
    rows, known, processes = room.rows, room.known, room.processes
    spans = references = count = 0
    seen = 0
    if byte(at) != OPEN:
        return BAD, 0, 0
    at = blank(at + 1)
    more = byte(at) != CLOSE
    if not more:
        at += 1
    while more:
        at, key, size = member(at)
        if at < 0:
            return BAD, 0, 0
        what = low_word(key, size)
        if size == 5 and what == W_SPANS:
            seen += 1 if seen & 1 == 0 else 8
            if byte(at) != OPEN_LIST:
                at, none, _, _, _ = scalar(at)
                if none != NULL:
                    return BAD, 0, 0
            else:
                at = blank(at + 1)
                others = byte(at) != CLOSE_LIST
                if not others:
                    at += 1
                while others:
                    if spans == len(rows):
                        return BAD, 0, 0
                    at, to, side, references = span(at, to, limit, side, side_limit, rows, spans, known, references)
                    if at < 0:
                        return BAD, 0, 0
                    spans += 1
                    at, others = following(at, CLOSE_LIST)
                    if at < 0:
                        return BAD, 0, 0
        elif size == 9 and what == W_PROCESSES and low_word(key + 8, 1) == W_SES_END:
            seen += 2 if seen & 2 == 0 else 8
            if byte(at) != OPEN:
                at, none, _, _, _ = scalar(at)
                if none != NULL:
                    return BAD, 0, 0
            else:
                at = blank(at + 1)
                others = byte(at) != CLOSE
                if not others:
                    at += 1
                while others:
                    at, name, size = member(at)
                    if at < 0 or count == len(processes) or side + size + ROOM > side_limit:
                        return BAD, 0, 0
                    processes[count, KEY] = side
                    processes[count, KEY_SIZE] = size
                    processes[count, SPLIT] = 0
                    processes[count, BODY] = to
                    side = put_bytes(side, name, size)
                    at, to = process(at, to, limit)
                    if at < 0:
                        return BAD, 0, 0
                    processes[count, BODY_SIZE] = to - processes[count, BODY]
                    count += 1
                    at, others = following(at, CLOSE)
                    if at < 0:
                        return BAD, 0, 0
        elif size == 4 and what == W_DATA:  # which comes before spans, where both stand in a document
            return BAD, 0, 0
        else:
            at = skip(at)
        if at < 0:
            return BAD, 0, 0
        at, more = following(at, CLOSE)
        if at < 0:
            return BAD, 0, 0
    return (at if seen < 8 else BAD), spans, count


@piece
def decide_parents(room: Room, spans: int, stamp: int, secret: Word) -> None:
    """Let spans with several references have the first that is there, a CHILD_OF before others."""
    rows, known, slots = room.rows, room.known, room.slots
    mask = -1
    for i in range(spans):
        if rows[i, HAS_PARENT] >= 0 or rows[i, REFERENCES] == 1:
            continue
        if mask < 0:
            mask = mask_for(spans)
            for j in range(spans):
                slots[slot_of_span(slots, mask, stamp, rows, rows[j, SPAN], secret)] = stamp << 32 | j
        best = 4
        for j in range(rows[i, REFERENCE], rows[i, REFERENCE] + rows[i, REFERENCES]):
            if known[j, OF_TRACE] != rows[i, TRACE] or known[j, OF_TRACE_END] != rows[i, TRACE_END]:
                continue
            there = slots[slot_of_span(slots, mask, stamp, rows, known[j, OF_SPAN], secret)] >> 32 == stamp
            rank = (0 if there else 2) + (known[j, SORT] != CHILD_OF)
            if rank < best:
                best = rank
                rows[i, PARENT] = j


@piece
def grouped(room: Room, spans: int, stamp: int, secret: Word) -> int:
    """Sort spans into groups by process and scope; return how many there are."""
    rows, groups, slots = room.rows, room.groups, room.slots
    mask = mask_for(spans)
    count = 0
    group = 0
    for i in range(spans):
        at, size, split = rows[i, GROUP], rows[i, GROUP_SIZE], rows[i, PROCESS_SIZE]
        # most often that of the span before
        if (
            count == 0
            or groups[group, KEY_SIZE] != size
            or groups[group, SPLIT] != split
            or not equal(groups[group, KEY], at, size)
        ):
            slot = slot_of(slots, mask, stamp, groups, at, size, split, secret)
            if slots[slot] >> 32 == stamp:
                group = slots[slot] & 0xFFFFFFFF
            else:
                group = count
                count += 1
                slots[slot] = stamp << 32 | group
                groups[group, KEY] = at
                groups[group, KEY_SIZE] = size
                groups[group, SPLIT] = split
                groups[group, BODY_SIZE] = 0
                groups[group, FIRST] = groups[group, LAST] = -1
        groups[group, BODY_SIZE] += 1 + length_of(rows[i, SIZE]) + rows[i, SIZE]
        if groups[group, LAST] < 0:
            groups[group, FIRST] = i
        else:
            rows[groups[group, LAST], NEXT] = i
        groups[group, LAST] = i
        rows[i, NEXT] = -1
    return count


@piece
def put_trace(to: int, limit: int, room: Room, spans: int, count: int, stamp: int, secret: Word) -> int:
    """Write the trace in the tables; return the position behind it, BAD when there is no room.

    stamp: as this one and the two after it, no other trace has it.
    """
    rows, known, processes, groups, slots = room.rows, room.known, room.processes, room.groups, room.slots
    decide_parents(room, spans, stamp, secret)
    found = grouped(room, spans, stamp + 1, secret)
    mask = mask_for(count)
    stamp += 2
    for i in range(count):  # of two with one id the last one stands
        at, size = processes[i, KEY], processes[i, KEY_SIZE]
        slots[slot_of(slots, mask, stamp, processes, at, size, 0, secret)] = stamp << 32 | i
    for group in range(found):
        at, split = groups[group, KEY], groups[group, SPLIT]
        slot = slot_of(slots, mask, stamp, processes, at, split, 0, secret)
        resource = resource_size = 0
        if slots[slot] >> 32 == stamp:
            resource = processes[slots[slot] & 0xFFFFFFFF, BODY]
            resource_size = processes[slots[slot] & 0xFFFFFFFF, BODY_SIZE]
        scope_size = groups[group, KEY_SIZE] - split
        inner = 1 + length_of(scope_size) + scope_size + groups[group, BODY_SIZE]
        body = 1 + length_of(resource_size) + resource_size + 1 + length_of(inner) + inner
        if inner > MOST_BYTES or to + body + ROOM > limit:
            return BAD
        to = put_head(to, 0x0A, body)
        to = put_bytes(put_head(to, 0x0A, resource_size), resource, resource_size)
        to = put_head(to, 0x12, inner)
        to = put_bytes(put_head(to, 0x0A, scope_size), at + split, scope_size)
        i = groups[group, FIRST]
        while i >= 0:
            to = put_span(to, rows, i, known)
            i = rows[i, NEXT]
    return to


@piece
def put_followers(to: int, limit: int, room: Room, spans: int) -> int:
    """Write trace id and span id of the spans that follow from their parents; return the position behind."""
    rows, known = room.rows, room.known
    for i in range(spans):
        if rows[i, HAS_PARENT] < 0 and known[rows[i, PARENT], SORT] == FOLLOWS_FROM:
            if to + FOLLOWER > limit:
                return BAD
            set_word(to, np.uint64(rows[i, TRACE]))
            set_word(to + 8, np.uint64(rows[i, TRACE_END]))
            set_word(to + 16, np.uint64(rows[i, SPAN]))
            to += FOLLOWER
    return to


@piece
def put_field(to: int, tag_of: int, rows: Table, row: int, field: int) -> int:
    """Write the text of a field; nothing when there is none."""
    size = rows[row, FIELD + 2 * field + 1]
    if size > 0:
        to = put_bytes(put_head(to, tag_of, size), rows[row, FIELD + 2 * field], size)
    return to


@piece
def put_span(to: int, rows: Table, row: int, known: Table) -> int:
    """Write a span, whose parent is decided, as a field of its scope."""
    to = put_head(to, 0x12, rows[row, SIZE])
    to = put_trace_id(to, rows[row, TRACE], rows[row, TRACE_END])
    to = put_id(to, 0x12, rows[row, SPAN])
    to = put_field(to, 0x1A, rows, row, STATE)
    chosen = -1
    if rows[row, HAS_PARENT] < 0:
        chosen = rows[row, PARENT]
        to = put_id(to, 0x22, known[chosen, OF_SPAN])
    elif rows[row, HAS_PARENT]:
        to = put_id(to, 0x22, rows[row, PARENT])
    to = put_bytes(to, rows[row, NAME], rows[row, NAME_SIZE])
    if rows[row, KIND]:
        set_byte(to, 0x30)
        set_byte(to + 1, rows[row, KIND])
        to += 2
    to = put_fixed(to, 0x39, rows[row, START])
    to = put_fixed(to, 0x41, rows[row, END])
    to = put_bytes(to, rows[row, ATTRIBUTES], rows[row, ATTRIBUTES_SIZE])
    to = put_bytes(to, rows[row, EVENTS], rows[row, EVENTS_SIZE])
    for i in range(rows[row, REFERENCE], rows[row, REFERENCE] + rows[row, REFERENCES]):
        if i != chosen:
            to = put_head(to, 0x6A, LINK_SIZE - 2)
            to = put_trace_id(to, known[i, OF_TRACE], known[i, OF_TRACE_END])
            to = put_id(to, 0x12, known[i, OF_SPAN])
    to = put_head(to, 0x7A, status_size(rows, row))
    to = put_field(to, 0x12, rows, row, MESSAGE)
    if rows[row, STATUS]:
        set_byte(to, 0x18)
        set_byte(to + 1, rows[row, STATUS])
        to += 2
    if rows[row, FLAGS]:
        set_byte(to, 0x85)
        set_byte(to + 1, 0x01)
        set_byte(to + 2, rows[row, FLAGS])
        set_byte(to + 3, rows[row, FLAGS] >> 8)
        set_byte(to + 4, rows[row, FLAGS] >> 16)
        set_byte(to + 5, rows[row, FLAGS] >> 24)
        to += 6
    return to
