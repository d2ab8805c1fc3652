"""Protobuf in kernels: how a field is written, at an address.

Owns fields of every kind. What goes into which is told by who calls; whether
there is room, too: up to ROOM bytes beyond the end may be written.
"""

from __future__ import annotations

import numpy as np

from tracelens._kernels import piece
from tracelens.wire._json import ESCAPED, unescape
from tracelens.wire._memory import Word, copy, set_byte, set_word, word
from tracelens.wire._views import MASKS

ROOM = 64  # bytes that tags, lengths and numbers of one piece need at most, and what is written beyond its end


@piece
def length_of(number: int) -> int:
    """Return the bytes of a length as a varint."""
    return 1 if number < 1 << 7 else 2 if number < 1 << 14 else 3 if number < 1 << 21 else 4 if number < 1 << 28 else 5


@piece
def put_varint(to: int, number: Word) -> int:
    """Write a varint; return the position behind it."""
    while number > np.uint64(0x7F):
        set_byte(to, np.int64(number & np.uint64(0x7F)) | 0x80)
        number >>= np.uint64(7)
        to += 1
    set_byte(to, np.int64(number))
    return to + 1


@piece
def put_head(to: int, tag: int, length: int) -> int:
    """Write what stands before `length` bytes of a field."""
    set_byte(to, tag)
    to += 1
    if length < 0x80:
        set_byte(to, length)
        return to + 1
    return put_varint(to, np.uint64(length))


@piece
def put_bytes(to: int, at: int, length: int) -> int:
    """Write bytes; up to 8 beyond their end are written, too."""
    if length > 64:
        copy(to, at, length)
    else:
        i = 0
        while i < length:
            set_word(to + i, word(at + i))
            i += 8
    return to + length


@piece
def put_text(to: int, kind: int, at: int, stop: int, length: int) -> int:
    """Write the text of a JSON value, `length` bytes without its escapes."""
    if kind == ESCAPED:
        unescape(at, stop, to)
        return to + length
    return put_bytes(to, at, length)


@piece
def low_word(at: int, length: int) -> Word:
    """Return up to 8 bytes of a text."""
    return word(at) & MASKS[min(length, 8)]


@piece
def put_fixed(to: int, tag_of: int, value: int) -> int:
    """Write 8 bytes as a field, for 0 nothing."""
    if value:
        set_byte(to, tag_of)
        set_word(to + 1, np.uint64(value))
        to += 9
    return to


@piece
def put_id(to: int, tag_of: int, value: int) -> int:
    """Write an id of 8 bytes as a field."""
    set_byte(to, tag_of)
    set_byte(to + 1, 8)
    set_word(to + 2, np.uint64(value))
    return to + 10


@piece
def put_trace_id(to: int, value: int, end: int) -> int:
    """Write an id of 16 bytes as field 1."""
    set_byte(to, 0x0A)
    set_byte(to + 1, 16)
    set_word(to + 2, np.uint64(value))
    set_word(to + 10, np.uint64(end))
    return to + 18
