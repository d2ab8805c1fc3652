"""Jaeger's spans in kernels: a span of a JSON document becomes the pieces of a span of OTLP protobuf.

Owns how a span and its references are read where everything is as Jaeger
writes it, which is BAD otherwise, and what is known of a span until all of its
trace is read. Tags and logs are `_jaeger_tags`'s; pieces are put together in
`_jaeger`.
"""

from __future__ import annotations

import numpy as np

from tracelens._kernels import piece
from tracelens.wire._jaeger_tables import (
    ATTRIBUTES,
    ATTRIBUTES_SIZE,
    CHILD_OF,
    END,
    EVENTS,
    EVENTS_SIZE,
    FIELD,
    FLAGS,
    FOLLOWS_FROM,
    GROUP,
    GROUP_SIZE,
    HAS_PARENT,
    KIND,
    LINK_SIZE,
    NAME,
    NAME_SIZE,
    OF_SPAN,
    OF_TRACE,
    OF_TRACE_END,
    OTHER_SORT,
    PARENT,
    PROCESS_SIZE,
    REFERENCE,
    REFERENCES,
    SIZE,
    SORT,
    SPAN,
    START,
    STATUS,
    TRACE,
    TRACE_END,
    Table,
)
from tracelens.wire._jaeger_tags import (
    CODE,
    FAILED,
    LOWER,
    MESSAGE,
    NO_FIELD,
    OLD_SCOPE,
    OLD_VERSION,
    SCOPE,
    SPAN_KIND,
    STATE,
    VERSION,
    attribute,
    events,
    field_of,
    microseconds,
    tag,
)
from tracelens.wire._json import (
    BAD,
    CLOSE,
    CLOSE_LIST,
    ESCAPED,
    FALSE,
    INTEGER,
    NULL,
    OPEN,
    OPEN_LIST,
    QUOTE,
    TEXT,
    TRUE,
    blank,
    following,
    literal,
    member,
    plain,
    scalar,
    skip,
)
from tracelens.wire._memory import ZERO, Word, byte, set_word, word
from tracelens.wire._put import ROOM, length_of, low_word, put_bytes, put_head, put_text
from tracelens.wire._views import MASKS

W_TRACE, W_SPAN, W_OPERATION, W_REFERENCES, W_START, W_DURATION, W_PROCESS, W_PARENT = (
    literal(text)
    for text in ("traceID", "spanID", "operatio", "referenc", "startTim", "duration", "processI", "parentSp")
)
W_NAME_END, W_REFERENCES_END, W_E, W_D, W_PARENT_END = (literal(text) for text in ("nName", "es", "e", "D", "anID"))
W_TAGS, W_LOGS, W_FLAGS, W_INLINE, W_SORT = (literal(t) for t in ("tags", "logs", "flags", "process", "refType"))
W_CHILD, W_FOLLOWS, W_FROM = literal("CHILD_OF"), literal("FOLLOWS_"), literal("FROM")
W_OK, W_ERROR, W_SERVER, W_CLIENT, W_INTERNAL, W_PRODUCER, W_CONSUMER = (
    literal(text) for text in ("ok", "error", "server", "client", "internal", "producer", "consumer")
)
ONES, NIBBLES = np.uint64(0x0101010101010101), np.uint64(0x0F0F0F0F0F0F0F0F)
HIGH = np.uint64(0x8080808080808080)


@piece
def four_bytes(at: int) -> tuple[bool, Word]:
    """Return (whether they are digits, the bytes) of 8 hexadecimal digits of either case."""
    found = word(at)
    letters = found | LOWER
    # Sums whose high bit tells that a character is not below another; none carries, for all are ASCII.
    is_digit = (found + np.uint64(0x50) * ONES) & ~(found + np.uint64(0x46) * ONES)
    is_letter = (letters + np.uint64(0x1F) * ONES) & ~(letters + np.uint64(0x19) * ONES)
    good = (is_digit | is_letter) & ~found & HIGH == HIGH
    nibbles = (found & NIBBLES) + (found >> np.uint64(6) & ONES) * np.uint64(9)
    pairs = (nibbles << np.uint64(4) | nibbles >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
    pairs = (pairs | pairs >> np.uint64(8)) & np.uint64(0x0000FFFF0000FFFF)
    return good, (pairs | pairs >> np.uint64(16)) & np.uint64(0xFFFFFFFF)


@piece
def eight_bytes(at: int) -> tuple[bool, Word]:
    """Return the same of 16 digits."""
    one, first = four_bytes(at)
    other, second = four_bytes(at + 8)
    return one and other, first | second << np.uint64(32)


@piece
def identifier(at: int, digits: int, side: int) -> tuple[int, Word, Word]:
    """Return (position behind, its bytes as words) of an id of up to 16 or 32 digits; short ones are padded."""
    if byte(at) != QUOTE:
        return BAD, ZERO, ZERO
    stop = plain(at + 1)
    length = stop - at - 1
    if byte(stop) != QUOTE or length == 0 or length > digits:
        return BAD, ZERO, ZERO
    first = at + 1
    if length < digits:
        for i in range(0, digits, 8):
            set_word(side + i, np.uint64(48) * ONES)
        put_bytes(side + digits - length, first, length)
        first = side
    good, one = eight_bytes(first)
    other = ZERO
    if digits == 32:
        well, other = eight_bytes(first + 16)
        good = good and well
    return (stop + 1 if good else BAD), one, other


@piece
def references(at: int, side: int, known: Table, count: int) -> tuple[int, int]:
    """Read a list of references into rows of `known`; return (position behind it, rows)."""
    if byte(at) != OPEN_LIST:
        at, none, _, _, _ = scalar(at)
        return (at if none == NULL else BAD), count
    at = blank(at + 1)
    others = byte(at) != CLOSE_LIST
    if not others:
        at += 1
    while others:
        if byte(at) != OPEN or count == len(known):
            return BAD, count
        at = blank(at + 1)
        seen = 0
        sort = OTHER_SORT
        more = True
        while more:
            at, name, size = member(at)
            if at < 0:
                return BAD, count
            what = low_word(name, size)
            if size == 7 and what == W_TRACE:
                seen += 1 if seen & 1 == 0 else 8
                at, one, other = identifier(at, 32, side)
                known[count, OF_TRACE] = np.int64(one)
                known[count, OF_TRACE_END] = np.int64(other)
            elif size == 6 and what == W_SPAN:
                seen += 2 if seen & 2 == 0 else 8
                at, one, other = identifier(at, 16, side)
                known[count, OF_SPAN] = np.int64(one)
            elif size == 7 and what == W_SORT:
                seen += 4 if seen & 4 == 0 else 8
                text = at + 1
                at, kind, _, length, _ = scalar(at)
                if kind != TEXT:
                    return BAD, count
                if length == 8 and word(text) == W_CHILD:
                    sort = CHILD_OF
                elif length == 12 and word(text) == W_FOLLOWS and low_word(text + 8, 4) == W_FROM:
                    sort = FOLLOWS_FROM
            else:
                at = skip(at)
            if at < 0:
                return BAD, count
            at, more = following(at, CLOSE)
            if at < 0:
                return BAD, count
        if seen & 3 != 3 or seen >= 8:
            return BAD, count
        known[count, SORT] = sort
        count += 1
        at, others = following(at, CLOSE_LIST)
        if at < 0:
            return BAD, count
    return at, count


@piece
def folded(at: int, length: int) -> Word:
    """Return up to 8 bytes of a text in lower case."""
    return word(at) & MASKS[min(length, 8)] | LOWER & MASKS[min(length, 8)]


@piece
def kind_of(at: int, length: int) -> int:
    """Return OTLP's number of what `span.kind` says."""
    said = folded(at, length)
    if length == 6:
        return 2 if said == W_SERVER else 3 if said == W_CLIENT else 0
    if length == 8:
        return 1 if said == W_INTERNAL else 4 if said == W_PRODUCER else 5 if said == W_CONSUMER else 0
    return 0


@piece
def tags(at: int, to: int, limit: int, side: int, side_limit: int, rows: Table, row: int) -> tuple[int, int, int, bool]:
    """Read a span's tags; return (position behind them, to, side, whether one says that it failed)."""
    failed = False
    if byte(at) != OPEN_LIST:
        at, none, _, _, _ = scalar(at)
        return (at if none == NULL else BAD), to, side, failed
    at = blank(at + 1)
    more = byte(at) != CLOSE_LIST
    if not more:
        at += 1
    while more:
        at, key, size, said, kind, value, stop, length, bits = tag(at)
        if at < 0:
            return BAD, to, side, failed
        field = field_of(key, size) if 5 <= size <= 23 else NO_FIELD
        if field < FAILED:
            if (kind not in (TEXT, ESCAPED)) or side + length + ROOM > side_limit:
                return BAD, to, side, failed
            rows[row, FIELD + 2 * field] = side
            rows[row, FIELD + 2 * field + 1] = length
            side = put_text(side, kind, value, stop, length)
        elif field == FAILED and (kind in (TRUE, FALSE)):
            failed = failed or kind == TRUE
        else:
            to = attribute(to, limit, 0x4A, key, size, said, kind, value, stop, length, bits)
            if to < 0:
                return BAD, to, side, failed
        at, more = following(at, CLOSE_LIST)
        if at < 0:
            return BAD, to, side, failed
    return at, to, side, failed


@piece
def span(
    at: int, to: int, limit: int, side: int, side_limit: int, rows: Table, row: int, known: Table, count: int
) -> tuple[int, int, int, int]:
    """Read a span into a row; return (position behind it, to, side, references known).

    Its `parent` is decided where it has at most one reference; HAS_PARENT is
    below zero where others of its trace must be known first.
    """
    bad = BAD, to, side, count
    if byte(at) != OPEN:
        return bad
    for i in range(FIELD):
        rows[row, i] = 0
    for i in range(FAILED):
        rows[row, FIELD + 2 * i + 1] = -1
    at = blank(at + 1)
    rows[row, REFERENCE] = count
    process = process_size = 0
    start = duration = ZERO
    old_parent = ZERO
    failed = has_old_parent = False
    seen = 0
    more = True
    while more:
        at, name, size = member(at)
        if at < 0:
            return bad
        what = low_word(name, size)
        bit = 0
        if size == 4 and what == W_TAGS:
            bit = 1
            rows[row, ATTRIBUTES] = to
            at, to, side, failed = tags(at, to, limit, side, side_limit, rows, row)
            rows[row, ATTRIBUTES_SIZE] = to - rows[row, ATTRIBUTES]
        elif size == 7 and what == W_TRACE:
            bit = 2
            at, one, other = identifier(at, 32, side)
            rows[row, TRACE] = np.int64(one)
            rows[row, TRACE_END] = np.int64(other)
        elif size == 6 and what == W_SPAN:
            bit = 4
            at, one, other = identifier(at, 16, side)
            rows[row, SPAN] = np.int64(one)
        elif size == 13 and what == W_OPERATION and low_word(name + 8, 5) == W_NAME_END:
            bit = 8
            text = at + 1
            at, kind, stop, length, _ = scalar(at)
            if kind in (TEXT, ESCAPED):
                if side + length + ROOM > side_limit:
                    return bad
                rows[row, NAME] = side
                if length:
                    side = put_text(put_head(side, 0x2A, length), kind, text, stop, length)
                rows[row, NAME_SIZE] = side - rows[row, NAME]
            elif kind != NULL:
                return bad
        elif size == 10 and what == W_REFERENCES and low_word(name + 8, 2) == W_REFERENCES_END:
            bit = 16
            at, count = references(at, side, known, count)
        elif size == 9 and what == W_START and low_word(name + 8, 1) == W_E:
            bit = 32
            at, start = microseconds(at)
        elif size == 8 and what == W_DURATION:
            bit = 64
            at, duration = microseconds(at)
        elif size == 9 and what == W_PROCESS and low_word(name + 8, 1) == W_D:
            bit = 128
            process = at + 1
            at, kind, _, process_size, _ = scalar(at)
            if kind != TEXT:
                return bad
        elif size == 4 and what == W_LOGS:
            bit = 256
            rows[row, EVENTS] = to
            at, to = events(at, to, limit, side, side_limit)
            rows[row, EVENTS_SIZE] = to - rows[row, EVENTS]
        elif size == 5 and what == W_FLAGS:
            bit = 512
            at, kind, _, _, value = scalar(at)
            if kind == INTEGER:
                rows[row, FLAGS] = np.int64(value & np.uint64(0xFFFFFFFF))
            elif kind != NULL:
                return bad
        elif size == 12 and what == W_PARENT and low_word(name + 8, 4) == W_PARENT_END:
            bit = 1024
            if byte(at) == QUOTE and byte(at + 1) != QUOTE:
                has_old_parent = True
                at, old_parent, _ = identifier(at, 16, side)
            else:
                at, kind, _, _, _ = scalar(at)
                if kind not in (NULL, TEXT):
                    return bad
        elif size == 7 and what == W_INLINE:
            if byte(at) == OPEN:  # its process stands in the span itself
                return bad
            at = skip(at)
        else:
            at = skip(at)
        if at < 0 or seen & bit:
            return bad
        seen |= bit
        at, more = following(at, CLOSE)
        if at < 0:
            return bad
    if seen & 6 != 6:
        return bad
    rows[row, START] = np.int64(start)
    rows[row, END] = np.int64(start + duration)
    # its parent and its links
    links = rows[row, REFERENCES] = count - rows[row, REFERENCE]
    if links == 0:
        rows[row, HAS_PARENT] = has_old_parent
        rows[row, PARENT] = np.int64(old_parent)
    for i in range(rows[row, REFERENCE], count):
        if known[i, OF_TRACE] == rows[row, TRACE] and known[i, OF_TRACE_END] == rows[row, TRACE_END]:
            rows[row, PARENT] = i
            rows[row, HAS_PARENT] = -1
            links -= 1
            break
    # what its fields say
    if rows[row, FIELD + 2 * SPAN_KIND + 1] > 0:
        rows[row, KIND] = kind_of(rows[row, FIELD + 2 * SPAN_KIND], rows[row, FIELD + 2 * SPAN_KIND + 1])
    size = rows[row, FIELD + 2 * CODE + 1]
    said = folded(rows[row, FIELD + 2 * CODE], size) if size > 0 else ZERO
    ok = size == 2 and said == W_OK
    rows[row, STATUS] = 1 if ok else 2 if failed or (size == 5 and said == W_ERROR) else 0
    # what it is grouped by: its process, and its scope as it is written
    version = OLD_VERSION if rows[row, FIELD + 2 * VERSION + 1] < 0 else VERSION
    scope = OLD_SCOPE if rows[row, FIELD + 2 * SCOPE + 1] < 0 else SCOPE
    scope_size = rows[row, FIELD + 2 * scope + 1]
    version_size = rows[row, FIELD + 2 * version + 1]
    if side + process_size + scope_size + version_size + ROOM > side_limit:
        return bad
    rows[row, GROUP] = side
    rows[row, PROCESS_SIZE] = process_size
    side = put_bytes(side, process, process_size)
    if scope_size > 0:
        side = put_bytes(put_head(side, 0x0A, scope_size), rows[row, FIELD + 2 * scope], scope_size)
    if version_size > 0:
        side = put_bytes(put_head(side, 0x12, version_size), rows[row, FIELD + 2 * version], version_size)
    rows[row, GROUP_SIZE] = side - rows[row, GROUP]
    # what it takes as a message
    state = max(rows[row, FIELD + 2 * STATE + 1], 0)
    status = status_size(rows, row)
    rows[row, SIZE] = (
        28
        + (1 + length_of(state) + state if state else 0)
        + (10 if rows[row, HAS_PARENT] else 0)
        + rows[row, NAME_SIZE]
        + (2 if rows[row, KIND] else 0)
        + (9 if rows[row, START] else 0)
        + (9 if rows[row, END] else 0)
        + rows[row, ATTRIBUTES_SIZE]
        + rows[row, EVENTS_SIZE]
        + LINK_SIZE * links
        + 1
        + length_of(status)
        + status
        + (6 if rows[row, FLAGS] else 0)
    )
    return at, to, side, count


@piece
def status_size(rows: Table, row: int) -> int:
    """Return the bytes of a span's Status."""
    message = rows[row, FIELD + 2 * MESSAGE + 1]
    return (1 + length_of(message) + message if message > 0 else 0) + (2 if rows[row, STATUS] else 0)
