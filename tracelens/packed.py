"""Compression undone: gzip and Zstandard, told by their first bytes, in parts, and cut off.

Owns streams; what is in them is `dumps.py`'s.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

import zstandard

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
LOOK = 1 << 16  # bytes that tell a format
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)


def plain(raw: BinaryIO) -> BinaryIO:
    """Return a stream of a file's bytes, its compression undone; `peek` shows LOOK of them, where there are so many."""
    buffered = io.BufferedReader(_Filled(cast("Any", raw).readinto), LOOK)
    head = buffered.peek(4)[:4]
    if head.startswith(GZIP):
        unpack = cast("Any", gzip.GzipFile(fileobj=buffered)).read1  # read would lose what came before damage
    elif head == ZSTD:
        unpack = _Zstd(buffered).read
    else:
        return buffered
    return io.BufferedReader(_Filled(_into(unpack)), LOOK)


def _into(read: Callable[[int], bytes]) -> Callable[[memoryview], int]:
    """Return a function that reads into memory, from one that returns bytes."""

    def readinto(view: memoryview) -> int:
        part = read(len(view))
        view[: len(part)] = part
        return len(part)

    return readinto


class _Filled(io.RawIOBase):
    """A stream that gives all that was asked for, unless it ends: pipes and compressed parts give less.

    What came before damage is given, and the damage is raised by the next read.
    """

    def __init__(self, read: Callable[[memoryview], int]) -> None:
        self._read = read
        self._damage: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._damage is not None:
            raise self._damage
        filled = 0
        view = memoryview(buffer)
        try:
            while filled < len(view) and (some := self._read(view[filled:])):
                filled += some
        except DAMAGED as error:
            if not filled:
                raise
            self._damage = error
        return filled


class _Zstd:
    """Zstandard frames one after another; zstandard's own reader takes a frame cut off for a whole one."""

    PACKED = 1 << 10  # bytes unpacked at once: at most 256 blocks, and a block holds at most 128 KiB

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._frame, self._begun = raw, zstandard.ZstdDecompressor().decompressobj(), False
        self._left = memoryview(b"")  # unpacked and not yet asked for

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end. Raises EOFError when the last frame is cut off."""
        while not self._left:
            packed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame, self._begun = zstandard.ZstdDecompressor().decompressobj(), False
            packed = packed or self._raw.read(self.PACKED)
            if not packed:
                if self._begun:
                    raise EOFError("the last frame has no end")
                return b""
            self._begun = True
            self._left = memoryview(self._frame.decompress(packed))
        part, self._left = self._left[:size], self._left[size:]
        return bytes(part)
