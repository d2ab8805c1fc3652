"""Weighing: how much memory answers about a file will take, told before it is read.

Owns the guess. Compressed files may hold a thousand times their size, so the
beginning of one is unpacked; a Parquet file says how many spans it holds.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from tracelens import parquet
from tracelens.errors import InputError
from tracelens.packed import DAMAGED, GZIP, LOOK, ZSTD, plain

TIMES = 3  # the bytes of a file, uncompressed, in memory while spans are linked, named and walked
SPAN_BYTES = 1_500  # measured 600 (synthetic) to 1,400 (sidecars)
SAMPLE, SAMPLE_HOLDS = 1 << 18, 1 << 26  # bytes of a compressed file that tell how much it holds, and of that


def weight(file: Path) -> int:
    """Return about how many bytes of memory answers about a file take. Raises InputError when it cannot be read."""
    try:
        told = file.stat()
        return _weight(file, told.st_size, told.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}.") from error


@lru_cache(maxsize=10_000)
def _weight(file: Path, size: int, _changed: int) -> int:
    with file.open("rb") as opened:
        head = opened.read(4)
        if head == parquet.MAGIC:
            return SPAN_BYTES * parquet.rows(file)
        if head.startswith((GZIP, ZSTD)):
            opened.seek(0)
            size = size * _unpacked(opened) // max(opened.tell(), 1)
    return TIMES * size


def _unpacked(opened: BinaryIO) -> int:
    """Return how many bytes the beginning of a compressed file holds, as far as that is read then."""
    stream, found = plain(opened), 0
    try:
        while opened.tell() < SAMPLE and found < SAMPLE_HOLDS and (part := stream.read(LOOK)):
            found += len(part)
    except DAMAGED:
        pass  # reading will tell
    return found
