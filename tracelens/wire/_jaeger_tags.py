"""Jaeger's tags and logs in kernels: attributes and events of OTLP protobuf.

Owns how they are read where everything is as Jaeger writes it. What is
otherwise (a date as a time, say) is BAD here, for `translate.jaeger`, which says
what it means. Both write the same bytes, field for field as `_encode` does.

`to` is where the next piece is written, `side` where a text that is no piece
of its own may stand. Neither passes its limit.
"""

from __future__ import annotations

import numpy as np

from tracelens._kernels import piece
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
    REAL,
    TEXT,
    TRUE,
    TRUE_WORD,
    blank,
    following,
    literal,
    member,
    plain,
    real,
    scalar,
    skip,
)
from tracelens.wire._memory import ZERO, Word, byte, copy, move, set_byte, set_word, word
from tracelens.wire._put import ROOM, length_of, low_word, put_bytes, put_head, put_text, put_varint
from tracelens.wire._views import MASKS

# Fields of a span that a tag may stand for; FAILED is `error`, which may be an attribute, too.
SPAN_KIND, CODE, MESSAGE, STATE, SCOPE, OLD_SCOPE, VERSION, OLD_VERSION, FAILED, NO_FIELD = range(10)
UNTYPED, STRING, BOOL, INT64, FLOAT64, BINARY = range(6)  # what a tag says its value is
MOST_MICROSECONDS = np.uint64(9_000_000_000_000_000)  # two of them fit a word as nanoseconds
MICROSECOND = np.uint64(1_000)
LENGTHS = 1 << 28  # a text of so many bytes is read by Python
LOWER = np.uint64(0x2020202020202020)

W_KEY, W_TYPE, W_VALUE, W_EVENT, W_ERROR = (literal(text) for text in ("key", "type", "value", "event", "error"))
W_TIMESTAMP, W_STAMP_END, W_FIELDS = (literal(text) for text in ("timestam", "p", "fields"))
W_STRING, W_BOOL, W_INT, W_FLOAT, W_BINARY = (
    literal(text) for text in ("string", "bool", "int64", "float64", "binary")
)
W_OTEL_STATUS, W_OTEL_SCOPE, W_OTEL_LIBRARY, W_KIND, W_STATE = (
    literal(text) for text in ("otel.sta", "otel.sco", "otel.lib", "span.kin", "w3c.trac")
)
W_CODE_END, W_DESCRIPTION, W_SCRIPTION, W_STATE_END = (
    literal(text) for text in ("tus_code", "tus_desc", "ription", "estate")
)
W_PE_NAME, W_PE_VERSION, W_ON, W_RARY_NAME, W_RARY_VER, W_SION = (
    literal(text) for text in ("pe.name", "pe.versi", "on", "rary.nam", "rary.ver", "sion")
)
W_D, W_E = literal("d"), literal("e")

# -- tags


@piece
def field_of(at: int, length: int) -> int:
    """Return the field of a span that a tag's key names."""
    first = word(at)
    if length == 9:
        if first == W_KIND and low_word(at + 8, 1) == W_D:
            return SPAN_KIND
    elif length == 14:
        if first == W_STATE and low_word(at + 8, 6) == W_STATE_END:
            return STATE
    elif length == 15:
        if first == W_OTEL_SCOPE and low_word(at + 8, 7) == W_PE_NAME:
            return SCOPE
    elif length == 16:
        if first == W_OTEL_STATUS and word(at + 8) == W_CODE_END:
            return CODE
    elif length == 17:
        if first == W_OTEL_LIBRARY and word(at + 8) == W_RARY_NAME and low_word(at + 16, 1) == W_E:
            return OLD_SCOPE
    elif length == 18:
        if first == W_OTEL_SCOPE and word(at + 8) == W_PE_VERSION and low_word(at + 16, 2) == W_ON:
            return VERSION
    elif length == 20:
        if first == W_OTEL_LIBRARY and word(at + 8) == W_RARY_VER and low_word(at + 16, 4) == W_SION:
            return OLD_VERSION
    elif length == 23:
        if first == W_OTEL_STATUS and word(at + 8) == W_DESCRIPTION and low_word(at + 16, 7) == W_SCRIPTION:
            return MESSAGE
    elif length == 5 and first & MASKS[5] == W_ERROR:
        return FAILED
    return NO_FIELD


@piece
def said_type(at: int, length: int) -> int:
    """Return what a tag's `type` says."""
    if length > 7:
        return UNTYPED
    said = low_word(at, length)
    if said == W_STRING:
        return STRING
    said |= LOWER & MASKS[length]
    if said == W_STRING:
        return STRING
    if said == W_INT:
        return INT64
    if said == W_BOOL:
        return BOOL
    if said == W_FLOAT:
        return FLOAT64
    if said == W_BINARY:
        return BINARY
    return UNTYPED


@piece
def tag(at: int) -> tuple[int, int, int, int, int, int, int, int, Word]:
    """Return what a tag says: (position behind, key, its length, type, and its value as `scalar` has it).

    The value is (what it is, where it begins, where its text ends, bytes of it, 64 bits).
    """
    key = key_length = value_at = stop = length = 0
    said = UNTYPED
    kind = NULL
    bits = ZERO
    seen = 0
    if byte(at) != OPEN:
        return BAD, 0, 0, 0, 0, 0, 0, 0, ZERO
    at = blank(at + 1)
    more = True
    while more:
        at, name, size = member(at)
        if at < 0:
            break
        what = low_word(name, size) if size <= 5 else ZERO
        if what == W_KEY and size == 3:
            seen += 1 if seen & 1 == 0 else 8
            key = at + 1
            behind = plain(key)
            if byte(at) != QUOTE or byte(behind) != QUOTE:
                at = BAD
                break
            key_length = behind - key
            at = behind + 1
        elif what == W_TYPE and size == 4:
            seen += 2 if seen & 2 == 0 else 8
            if byte(at) == QUOTE:
                behind = plain(at + 1)
                if byte(behind) != QUOTE:
                    at = BAD
                    break
                said = said_type(at + 1, behind - at - 1)
                at = behind + 1
            else:
                at, none, _, _, _ = scalar(at)
                if at < 0 or none != NULL:
                    at = BAD
                    break
        elif what == W_VALUE and size == 5:
            seen += 4 if seen & 4 == 0 else 8
            value_at = at + 1
            at, kind, stop, length, bits = scalar(at)
            if at < 0:
                break
        else:
            at = skip(at)
            if at < 0:
                break
        at, more = following(at, CLOSE)
        if at < 0:
            break
    if at < 0 or seen & 1 == 0 or seen >= 8 or key_length > LENGTHS or length > LENGTHS:
        return BAD, 0, 0, 0, 0, 0, 0, 0, ZERO
    return at, key, key_length, said, kind, value_at, stop, length, bits


@piece
def attribute(
    to: int,
    limit: int,
    owner: int,
    key: int,
    key_length: int,
    said: int,
    kind: int,
    at: int,
    stop: int,
    length: int,
    bits: Word,
) -> int:
    """Write a tag as the attribute field with tag `owner`; return the position behind it."""
    if to + key_length + length + ROOM > limit:
        return BAD
    head = 1 + length_of(key_length) + key_length if key_length else 0
    inner = 0  # bytes of the AnyValue
    number = ZERO
    sort = 0  # the tag of what is in it
    if kind == NULL:
        pass
    elif kind in (TEXT, ESCAPED):
        if said in (UNTYPED, STRING):
            sort = 0x0A
            inner = 1 + length_of(length) + length
        elif said == BOOL and kind == TEXT:
            sort = 0x10
            inner = 2
            number = np.uint64(length == 4 and low_word(at, 4) == TRUE_WORD)
        elif said == INT64 and kind == TEXT and 0 < length < 19:
            for i in range(at, stop):
                digit = byte(i) - 48
                if digit < 0 or digit > 9:
                    return BAD
                number = number * np.uint64(10) + np.uint64(digit)
            sort = 0x18
        else:
            return BAD
    elif kind in (TRUE, FALSE):
        if said not in (UNTYPED, BOOL):
            return BAD
        sort = 0x10
        inner = 2
        number = np.uint64(kind == TRUE)
    elif kind == INTEGER and (said in (UNTYPED, INT64)):
        sort = 0x18
        number = bits
    elif (kind == REAL and said == UNTYPED) or (said == FLOAT64 and (kind in (REAL, INTEGER))):
        sort = 0x21
        inner = 9
        number = bits
        if kind == INTEGER:
            negative = bits >> np.uint64(63) != ZERO
            known, number = real(ZERO - bits if negative else bits, 0)
            if not known:
                return BAD
            number |= np.uint64(negative) << np.uint64(63)
    else:
        return BAD
    if sort == 0x18:
        inner = 2
        left = number >> np.uint64(7)
        while left:
            inner += 1
            left >>= np.uint64(7)
    to = put_head(to, owner, head + 1 + length_of(inner) + inner)
    if key_length:
        to = put_bytes(put_head(to, 0x0A, key_length), key, key_length)
    to = put_head(to, 0x12, inner)
    if sort == 0x0A:
        return put_text(put_head(to, sort, length), kind, at, stop, length)
    if sort:
        set_byte(to, sort)
        to += 1
    if sort == 0x21:
        set_word(to, number)
        return to + 8
    if sort:
        return put_varint(to, number)
    return to


@piece
def attributes(at: int, to: int, limit: int, owner: int) -> tuple[int, int]:
    """Write a list of tags as attributes; return (position behind it, where the next is written)."""
    if byte(at) != OPEN_LIST:
        at, none, _, _, _ = scalar(at)
        return (at if none == NULL else BAD), to
    at = blank(at + 1)
    more = byte(at) != CLOSE_LIST
    if not more:
        at += 1
    while more:
        at, key, size, said, kind, value, stop, length, bits = tag(at)
        if at < 0:
            break
        to = attribute(to, limit, owner, key, size, said, kind, value, stop, length, bits)
        if to < 0:
            return BAD, to
        at, more = following(at, CLOSE_LIST)
        if at < 0:
            break
    return at, to


# -- logs


@piece
def microseconds(at: int) -> tuple[int, Word]:
    """Return (position behind, nanoseconds) of a number of microseconds; nothing is 0."""
    at, kind, _, _, value = scalar(at)
    if kind == NULL:
        return at, ZERO
    if kind != INTEGER or value > MOST_MICROSECONDS:
        return BAD, ZERO
    return at, value * MICROSECOND


@piece
def event(at: int, to: int, limit: int, side: int, side_limit: int) -> tuple[int, int]:
    """Write a log as a span's event; return (position behind it, where the next piece is written)."""
    start = to
    name_size = -1
    time = ZERO
    seen = 0
    if byte(at) != OPEN:
        return BAD, to
    at = blank(at + 1)
    more = byte(at) != CLOSE
    if not more:
        at += 1
    while more:
        at, name, size = member(at)
        if at < 0:
            return BAD, to
        what = low_word(name, size)
        if size == 9 and what == W_TIMESTAMP and low_word(name + 8, 1) == W_STAMP_END:
            seen += 1 if seen & 1 == 0 else 4
            at, time = microseconds(at)
        elif size == 6 and what == W_FIELDS:
            seen += 2 if seen & 2 == 0 else 4
            if byte(at) != OPEN_LIST:
                at, none, _, _, _ = scalar(at)
                if none != NULL:
                    return BAD, to
            else:
                at = blank(at + 1)
                others = byte(at) != CLOSE_LIST
                if not others:
                    at += 1
                while others:
                    at, key, length_of_key, said, kind, value, stop, length, bits = tag(at)
                    if at < 0:
                        return BAD, to
                    if length_of_key == 5 and low_word(key, 5) == W_EVENT:
                        if kind not in (TEXT, ESCAPED):
                            return BAD, to
                        if name_size < 0:
                            if side + length + ROOM > side_limit:
                                return BAD, to
                            put_text(side, kind, value, stop, length)
                            name_size = length
                    else:
                        to = attribute(to, limit, 0x1A, key, length_of_key, said, kind, value, stop, length, bits)
                        if to < 0:
                            return BAD, to
                    at, others = following(at, CLOSE_LIST)
                    if at < 0:
                        return BAD, to
        else:
            at = skip(at)
        if at < 0:
            return BAD, to
        at, more = following(at, CLOSE)
        if at < 0:
            return BAD, to
    if seen >= 4:
        return BAD, to
    # What stands before the attributes is known only now.
    written = to - start
    head = (9 if time != ZERO else 0) + (1 + length_of(name_size) + name_size if name_size > 0 else 0)
    before = 1 + length_of(head + written) + head
    if to + before + ROOM > limit:
        return BAD, to
    move(start + before, start, written)
    to = put_head(start, 0x5A, head + written)
    if time != ZERO:
        set_byte(to, 0x09)
        set_word(to + 1, time)
        to += 9
    if name_size > 0:
        to = put_head(to, 0x12, name_size)
        copy(to, side, name_size)
    return at, start + before + written


@piece
def events(at: int, to: int, limit: int, side: int, side_limit: int) -> tuple[int, int]:
    """Write a list of logs; return (position behind it, where the next piece is written)."""
    if byte(at) != OPEN_LIST:
        at, none, _, _, _ = scalar(at)
        return (at if none == NULL else BAD), to
    at = blank(at + 1)
    more = byte(at) != CLOSE_LIST
    if not more:
        at += 1
    while more:
        at, to = event(at, to, limit, side, side_limit)
        if at < 0:
            break
        at, more = following(at, CLOSE_LIST)
        if at < 0:
            break
    return at, to
