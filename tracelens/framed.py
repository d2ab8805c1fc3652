"""Messages after their length, one behind another, as collectors write them to files.

Owns cutting a stream into them. They stay where they were read, with PADDING
bytes behind the last of a block, so that kernels can read them there; what is
in them is `dumps.py`'s.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np

from tracelens.errors import DecodeError
from tracelens.wire._views import PADDING

MAX_RECORD = 2 << 30  # of one message: protobuf's own limit


def messages(stream: BinaryIO, how: str, room: int) -> Iterator[tuple[int, int, memoryview]]:
    """Yield (number from 1, offset in the file, bytes) of each message, where it was read: in blocks that hold many.

    how: "varint" or "fixed", 4 bytes; room: bytes of a block, but for a message that is longer.
    """
    block = np.empty(room + PADDING, np.uint8).data
    filled = at = number = 0
    offset = 0  # in the file, of what stands at `at`
    ended = False
    while True:
        length, width = _length(block[at : min(filled, at + 5)], how, ended=ended)
        if width and length > MAX_RECORD:
            raise DecodeError(f"record {number + 1}, byte {offset}: a length of {length:,} bytes. Is the file cut?")
        whole = width > 0 and at + width + length <= filled
        if not whole and ended and at == filled:
            return
        if not whole and not ended:
            needed = (width or 5) + length
            if at + needed > len(block) - PADDING:
                larger = np.empty(max(room, needed) + PADDING, np.uint8).data
                larger[: filled - at] = block[at:filled]
                block, filled, at = larger, filled - at, 0
            more = cast("io.BufferedReader", stream).readinto1(block[filled : len(block) - PADDING])
            filled += more
            ended = not more
            continue
        number += 1
        offset += width
        at += width
        if not whole or (how == "fixed" and width < 4):
            raise DecodeError(
                f"record {number}, byte {offset}: {filled - at:,} of {length:,} bytes. The file is cut off."
            )
        yield number, offset, block[at : at + length].toreadonly()
        offset += length
        at += length


def _length(head: memoryview, how: str, *, ended: bool) -> tuple[int, int]:
    """Return (length, bytes it takes) of the message that follows; nothing where there are too few bytes.

    ended: no more will come, so that these are all.
    """
    if how == "fixed":
        width = min(len(head), 4)
        return (int.from_bytes(head[:width], "big"), width) if width == 4 or ended else (0, 0)
    length, width = varint(head, 0)
    return (length, width) if width or (len(head) < 5 and not ended) else (0, len(head))


def varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return (value, offset behind it); offset 0 when there is no whole varint."""
    value = shift = 0
    while at < len(data) and shift < 35:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    return 0, 0
