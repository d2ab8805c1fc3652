"""Pieces of kernels: protobuf fields, Arrow views, UTF-8.

Owns how one field is read and one view is written, by its address. Each trusts
that somebody found the bytes sound, and that PADDING bytes follow them, so that
8 bytes are read at a time.

Sources: Arrow "Variable-size Binary View Layout"; the Unicode Standard,
table 3-7, for UTF-8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import inline, piece
from tracelens.wire._memory import ZERO, Word, byte, set_word, signed, word

Views = NDArray[np.uint64]  # two words a row

PADDING = 16
MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # [n] keeps n bytes of a word
NOT_ASCII = np.uint64(0x8080808080808080)
HALF = np.uint64(32)


@inline
def number(at: int) -> tuple[Word, int]:
    """Return (value, next position) of a varint."""
    found = byte(at)
    if found < 128:
        return np.uint64(found), at + 1
    value = ZERO
    shift = ZERO
    while True:
        found = byte(at)
        at += 1
        value |= np.uint64(found & 0x7F) << shift
        if found < 128:
            return value, at
        shift += np.uint64(7)


@piece
def past_group(at: int) -> int:
    """Return the position after the group whose start tag ends at `at`."""
    depth = 1
    while depth:
        tag, at = number(at)
        wire = signed(tag & np.uint64(7))
        if wire == 3:
            depth += 1
        elif wire == 4:
            depth -= 1
        elif wire == 0:
            _, at = number(at)
        elif wire == 2:
            size, at = number(at)
            at += signed(size)
        else:
            at += 8 if wire == 1 else 4
    return at


@inline
def past(at: int, wire: int) -> int:
    """Return the position after the field whose tag ends at `at`."""
    if wire == 0:
        while byte(at) >= 128:
            at += 1
        return at + 1
    if wire == 2:
        size, at = number(at)
        at += signed(size)
        return at
    if wire == 3:
        return past_group(at)
    return at + (8 if wire == 1 else 4)


@inline
def put(view: int, at: int, length: int, source: int, place: int) -> None:
    """Write the view of the bytes at [at, at + length), which stand at `place` of data buffer `source`."""
    if length <= 12:
        first = word(at) & MASKS[min(length, 8)]
        rest = word(at + 8) & MASKS[max(length - 8, 0)]
        set_word(view, np.uint64(length) | (first << HALF))
        set_word(view + 8, (first >> HALF) | (rest << HALF))
    else:
        set_word(view, np.uint64(length) | (word(at) << HALF))
        set_word(view + 8, np.uint64(source) | (np.uint64(place) << HALF))


@inline
def none(view: int) -> None:
    """Write the view of no bytes."""
    set_word(view, ZERO)
    set_word(view + 8, ZERO)


@piece
def well_formed(at: int, end: int) -> bool:
    """Whether bytes are UTF-8: no overlong form, no surrogate, nothing above U+10FFFF."""
    while at < end:
        lead = byte(at)
        at += 1
        if lead < 0x80:
            continue
        if lead < 0xC2 or lead > 0xF4:
            return False
        more = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
        if at + more > end:
            return False
        low = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
        high = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
        if byte(at) < low or byte(at) > high:
            return False
        for i in range(at + 1, at + more):
            if byte(i) & 0xC0 != 0x80:
                return False
        at += more
    return True


@inline
def is_text(at: int, length: int) -> bool:
    """Whether bytes are UTF-8; ASCII, the usual case, is told by words, of which the last ones may overlap."""
    if length < 8:
        seen = word(at) & MASKS[length]
    else:
        stop = at + length - 8
        seen = word(at) | word(stop)
        if length > 16:
            i = at + 8
            while i < stop:
                seen |= word(i)
                i += 8
    return bool(seen & NOT_ASCII == ZERO) or well_formed(at, at + length)


@inline
def same(one: int, other: int, length: int) -> bool:
    """Whether `length` bytes at two places are equal."""
    if length <= 8:
        return bool((word(one) ^ word(other)) & MASKS[length] == ZERO)
    last = length - 8  # above 0: LLVM compiles the loop wrong where it may be skipped and is in a loop
    i = 0
    while i < last:
        if word(one + i) != word(other + i):
            return False
        i += 8
    return bool(word(one + last) == word(other + last))
