"""Pieces of kernels: words of memory by their address, and how they are hashed.

Owns what only machine code says. An address is good as long as somebody keeps
the buffer it lies in; `columns.py` does.

Source: the folded multiplication is wyhash's (Wang Yi), with a factor that is
secret, so that no sender can craft collisions.
"""

from __future__ import annotations

from typing import Any

from tracelens._kernels import intrinsic


@intrinsic
def word_at(_typing: Any, _address: Any) -> Any:
    """Return the 8 bytes at an address, the first one lowest."""
    from numba import types

    def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], context.get_value_type(types.uint64).as_pointer())
        return builder.load(place, align=1)

    return types.uint64(types.uint64), emit


@intrinsic
def byte_at(_typing: Any, _address: Any) -> Any:
    """Return the byte at an address."""
    from numba import types

    def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], context.get_value_type(types.uint8).as_pointer())
        return builder.load(place, align=1)

    return types.uint8(types.uint64), emit


@intrinsic
def fetch(_typing: Any, _address: Any) -> Any:
    """Have the memory at an address brought near, for it will be read soon; nothing happens where there is none."""
    from llvmlite import ir
    from numba import types

    def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        number = ir.IntType(32)
        place = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch.p0", (), kind)
        builder.call(function, [place, number(0), number(3), number(1)])  # to be read, often, as data
        return context.get_dummy_value()

    return types.void(types.uint64), emit


@intrinsic
def folded(_typing: Any, _a: Any, _b: Any) -> Any:
    """Return the two words of a product, one upon the other."""
    from numba import types

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = type(arguments[0].type)(128)
        one, other = (builder.zext(value, wide) for value in arguments)
        product = builder.mul(one, other)
        high = builder.trunc(builder.lshr(product, wide(64)), arguments[0].type)
        return builder.xor(high, builder.trunc(product, arguments[0].type))

    return types.uint64(types.uint64, types.uint64), emit


@intrinsic
def turned(_typing: Any, _word: Any) -> Any:
    """Return a word with its bytes the other way round: as numbers, ids then sort as bytes do."""
    from numba import types

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bswap(arguments[0])

    return types.uint64(types.uint64), emit
