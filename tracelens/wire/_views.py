"""Pieces of kernels: protobuf fields, Arrow views, UTF-8.

Owns how one field is read and one view is written. Each trusts that somebody
found the bytes sound, and that PADDING bytes follow them, so that 8 bytes are
read at a time.

Sources: Arrow "Variable-size Binary View Layout"; the Unicode Standard,
table 3-7, for UTF-8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import inline, intrinsic, kernel
from tracelens.wire._scan import Bytes, peek

Word = Any  # np.uint64: mixed with a signed number it would become a float
Views = NDArray[np.uint64]  # two words a row
signed: Any = np.int64  # numba's int(uint64) stays unsigned

PADDING = 16
MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # [n] keeps n bytes of a word
NOT_ASCII = np.uint64(0x8080808080808080)


@inline
def number(buffer: Bytes, at: int) -> tuple[Word, int]:
    """Return (value, next position) of a varint."""
    byte = peek(buffer, at)
    if byte < 128:
        return np.uint64(byte), at + 1
    value = np.uint64(0)
    shift = np.uint64(0)
    while True:
        byte = peek(buffer, at)
        at += 1
        value |= np.uint64(byte & 0x7F) << shift
        if byte < 128:
            return value, at
        shift += np.uint64(7)


@intrinsic
def load(_typing: Any, buffer: Any, _at: Any) -> Any:
    """Return 8 bytes, the first one lowest.

    One instruction; as eight reads and shifts it takes three times as long to
    compile. All machines we run on are little-endian, as Arrow's buffers are.
    """
    from numba import types

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(place, context.get_value_type(types.uint64).as_pointer()), align=1)

    return types.uint64(buffer, types.int64), emit


@kernel
def past_group(buffer: Bytes, at: int) -> int:
    """Return the position after the group whose start tag ends at `at`."""
    depth = 1
    while depth:
        tag, at = number(buffer, at)
        wire = signed(tag & np.uint64(7))
        if wire == 3:
            depth += 1
        elif wire == 4:
            depth -= 1
        elif wire == 0:
            _, at = number(buffer, at)
        elif wire == 2:
            size, at = number(buffer, at)
            at += signed(size)
        else:
            at += 8 if wire == 1 else 4
    return at


@inline
def past(buffer: Bytes, at: int, wire: int) -> int:
    """Return the position after the field whose tag ends at `at`."""
    if wire == 0:
        while peek(buffer, at) >= 128:
            at += 1
        return at + 1
    if wire == 2:
        size, at = number(buffer, at)
        at += signed(size)
        return at
    if wire == 3:
        return past_group(buffer, at)
    return at + (8 if wire == 1 else 4)


@inline
def put(views: Views, row: int, buffer: Bytes, at: int, length: int, source: int) -> None:
    """Write the view of the bytes at [at, at + length) of data buffer `source`."""
    if length <= 12:
        first = load(buffer, at) & MASKS[min(length, 8)]
        rest = load(buffer, at + 8) & MASKS[max(length - 8, 0)]
        views[2 * row] = np.uint64(length) | (first << np.uint64(32))
        views[2 * row + 1] = (first >> np.uint64(32)) | (rest << np.uint64(32))
    else:
        views[2 * row] = np.uint64(length) | (load(buffer, at) << np.uint64(32))
        views[2 * row + 1] = np.uint64(source) | (np.uint64(at) << np.uint64(32))


@inline
def none(views: Views, row: int) -> None:
    """Write the view of no bytes."""
    views[2 * row] = np.uint64(0)
    views[2 * row + 1] = np.uint64(0)


@kernel
def well_formed(buffer: Bytes, at: int, end: int) -> bool:
    """Whether bytes are UTF-8: no overlong form, no surrogate, nothing above U+10FFFF."""
    while at < end:
        lead = buffer[at]
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
        if buffer[at] < low or buffer[at] > high:
            return False
        for i in range(at + 1, at + more):
            if buffer[i] & 0xC0 != 0x80:
                return False
        at += more
    return True


@inline
def is_text(buffer: Bytes, at: int, length: int) -> bool:
    """Whether bytes are UTF-8; ASCII, the usual case, is told 8 bytes at a time."""
    seen = np.uint64(0)
    stop = at + length
    i = at
    while i + 8 <= stop:
        seen |= load(buffer, i)
        i += 8
    seen |= load(buffer, i) & MASKS[stop - i]
    if seen & NOT_ASCII == np.uint64(0):
        return True
    return well_formed(buffer, at, stop)


@inline
def same(buffer: Bytes, one: int, other: int, length: int) -> bool:
    """Whether `length` bytes at two places are equal."""
    i = 0
    while i + 8 <= length:
        if load(buffer, one + i) != load(buffer, other + i):
            return False
        i += 8
    differ: Word = (load(buffer, one + i) ^ load(buffer, other + i)) & MASKS[length - i]
    return bool(differ == np.uint64(0))
