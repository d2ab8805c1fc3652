"""Pieces of kernels: bytes by their address.

Owns single machine instructions. A function that takes an array counts
references to it at each call, which costs a JSON scanner four times its own
work; these take an address and count nothing. So each caller must know that
the array lives, and how far it reaches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from tracelens._kernels import intrinsic, piece

Word = Any  # np.uint64: mixed with a signed number it would become a float
signed: Any = np.int64  # numba's int(uint64) stays unsigned

ZERO = np.uint64(0)
WIDE = 16  # bytes that `specials` looks at
BYTE, LONG, LONGER = ir.IntType(8), ir.IntType(64), ir.IntType(128)
VECTOR, VECTOR_OF_64 = ir.VectorType(BYTE, WIDE), ir.VectorType(BYTE, 64)
FIRST_TEXT = 0x20  # what is lower is no text in JSON


def _place(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _each(value: int, kind: Any = VECTOR) -> Any:
    return ir.Constant(kind, [ir.Constant(BYTE, value)] * kind.count)


@piece
def address(array: NDArray[Any]) -> int:
    """Return where an array begins."""
    place: int = signed(array.ctypes.data)
    return place


@intrinsic
def byte(_typing: Any, _at: Any) -> Any:
    """Return the byte at an address."""
    from numba import types

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.load(_place(builder, arguments[0], BYTE)), LONG)

    return types.int64(types.int64), emit


@intrinsic
def word(_typing: Any, _at: Any) -> Any:
    """Return 8 bytes, the first one lowest."""
    from numba import types

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(_place(builder, arguments[0], LONG), align=1)

    return types.uint64(types.int64), emit


@intrinsic
def set_byte(_typing: Any, _at: Any, _value: Any) -> Any:
    """Write a byte."""
    from numba import types

    def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        builder.store(builder.trunc(arguments[1], BYTE), _place(builder, arguments[0], BYTE))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def set_word(_typing: Any, _at: Any, _value: Any) -> Any:
    """Write 8 bytes, the lowest one first."""
    from numba import types

    def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], _place(builder, arguments[0], LONG), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.uint64), emit


def _moved(name: str) -> Callable[..., Any]:
    """Return what emits a call of one of numba's own two ways to move bytes."""

    def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        from numba.core import cgutils

        to, at, length = arguments
        getattr(cgutils, name)(builder, _place(builder, to, BYTE), _place(builder, at, BYTE), length, 1)
        return context.get_dummy_value()

    return emit


@intrinsic
def copy(_typing: Any, _to: Any, _at: Any, _length: Any) -> Any:
    """Copy bytes to where they do not stand."""
    from numba import types

    return types.void(types.int64, types.int64, types.int64), _moved("raw_memcpy")


@intrinsic
def move(_typing: Any, _to: Any, _at: Any, _length: Any) -> Any:
    """Copy bytes to where they may stand in part."""
    from numba import types

    return types.void(types.int64, types.int64, types.int64), _moved("raw_memmove")


@intrinsic
def specials(_typing: Any, _at: Any) -> Any:
    """Return which of WIDE bytes may end a piece of JSON text, a bit each: quotes, backslashes, and what is no text."""
    from numba import types

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        found = builder.load(_place(builder, arguments[0], VECTOR), align=1)
        quotes = builder.icmp_unsigned("==", found, _each(ord('"')))
        escapes = builder.icmp_unsigned("==", found, _each(ord("\\")))
        others = builder.icmp_unsigned("<", found, _each(FIRST_TEXT))
        bits = builder.bitcast(builder.or_(builder.or_(quotes, escapes), others), ir.IntType(WIDE))
        return builder.zext(bits, LONG)

    return types.uint64(types.int64), emit


def _equal(*values: int) -> Callable[..., Any]:
    """Return what emits a word with a bit for each of 64 bytes, set for those that have one of some values."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        found = builder.load(_place(builder, arguments[0], VECTOR_OF_64), align=1)
        bits = ir.Constant(LONG, 0)
        for value in values:
            equal = builder.icmp_unsigned("==", found, _each(value, VECTOR_OF_64))
            bits = builder.or_(bits, builder.bitcast(equal, LONG))
        return bits

    return emit


@intrinsic
def quotes(_typing: Any, _at: Any) -> Any:
    """Return which of 64 bytes are quotes."""
    from numba import types

    return types.uint64(types.int64), _equal(ord('"'))


@intrinsic
def backslashes(_typing: Any, _at: Any) -> Any:
    """Return which of 64 bytes are backslashes."""
    from numba import types

    return types.uint64(types.int64), _equal(ord("\\"))


@intrinsic
def openings(_typing: Any, _at: Any) -> Any:
    """Return which of 64 bytes open an object or a list."""
    from numba import types

    return types.uint64(types.int64), _equal(ord("{"), ord("["))


@intrinsic
def closings(_typing: Any, _at: Any) -> Any:
    """Return which of 64 bytes close an object or a list."""
    from numba import types

    return types.uint64(types.int64), _equal(ord("}"), ord("]"))


@intrinsic
def beyond_ascii(_typing: Any, _at: Any) -> Any:
    """Return which of 64 bytes are of no ASCII character."""
    from numba import types

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        found = builder.load(_place(builder, arguments[0], VECTOR_OF_64), align=1)
        return builder.bitcast(builder.icmp_signed("<", found, _each(0, VECTOR_OF_64)), LONG)

    return types.uint64(types.int64), emit


@intrinsic
def bits_set(_typing: Any, _bits: Any) -> Any:
    """Return how many bits are set."""
    from numba import types

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), emit


@intrinsic
def lowest(_typing: Any, _bits: Any) -> Any:
    """Return the number of the lowest bit that is set; one must be."""
    from numba import types

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), emit


@intrinsic
def highest(_typing: Any, _bits: Any) -> Any:
    """Return how many bits above the highest one that is set are not; one must be."""
    from numba import types

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), emit


@intrinsic
def upper_half(_typing: Any, _one: Any, _other: Any) -> Any:
    """Return the upper 64 bits of a product of two words."""
    from numba import types

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        one, other = (builder.zext(argument, LONGER) for argument in arguments)
        return builder.trunc(builder.lshr(builder.mul(one, other), ir.Constant(LONGER, 64)), LONG)

    return types.uint64(types.uint64, types.uint64), emit
