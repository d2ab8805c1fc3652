"""Protobuf fields of messages that nobody generated classes for.

Owns the walk over one message: every length is checked against the message's
end, groups are refused, nothing recurses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracelens.errors import DecodeError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LONGEST_VARINT, LONGEST_TAG = 10, 5  # bytes
MASK = (1 << 64) - 1


def fields(body: bytes) -> Iterator[tuple[int, Any, int]]:
    """Yield (tag, value, offset behind it) of a message's fields: a number, or bytes. Raises DecodeError."""
    at, end = 0, len(body)
    while at < end:
        first = at
        tag = body[at]
        at += 1
        if tag > 0x7F:
            tag, at = _varint(body, first, LONGEST_TAG)
        if tag < 1 << 3:
            raise DecodeError("field number 0 does not exist", byte=first)
        wire = tag & 7
        if wire == BYTES:
            if at < end and body[at] < 0x80:
                length = body[at]
                at += 1
            else:
                length, at = _varint(body, at, LONGEST_TAG)
            if length > end - at:
                raise DecodeError(f"a field of {length} bytes where {end - at} are left", byte=first)
            at += length
            yield tag, body[at - length : at], at
        elif wire == VARINT:
            value, at = _varint(body, at, LONGEST_VARINT)
            yield tag, value, at
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
            if size > end - at:
                raise DecodeError(f"a field of {size} bytes where {end - at} are left", byte=first)
            at += size
            yield tag, int.from_bytes(body[at - size : at], "little"), at
        else:
            raise DecodeError(f"wire type {wire}, which proto3 does not have", byte=first)


def _varint(body: bytes, at: int, longest: int) -> tuple[int, int]:
    """Return (value, offset behind it). Raises DecodeError."""
    value = shift = 0
    for i in range(at, min(at + longest, len(body))):
        byte = body[i]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & MASK, i + 1
        shift += 7
    reason = "a varint is cut off" if len(body) - at < longest else f"a varint is longer than {longest} bytes"
    raise DecodeError(reason, byte=at)
