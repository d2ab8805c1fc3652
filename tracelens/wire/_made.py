"""Made text: what stands in no request, on its way into columns.

Owns the second data buffer of a decoded frame: repaired text, and JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tracelens.errors import DecodeError
from tracelens.wire import _columns
from tracelens.wire._scan import Bytes
from tracelens.wire._views import PADDING, Views

LONGEST = 2**31 - 1 - PADDING  # bytes: offsets of Arrow views are signed 32-bit


@dataclass(slots=True)
class Made:
    """Texts that stand in no request."""

    parts: bytearray = field(default_factory=bytearray)

    def add(self, text: bytes) -> int:
        """Keep a text; return where it stands."""
        at = len(self.parts)
        if at + len(text) > LONGEST:
            raise DecodeError("arrays, maps and events are more than 2 GiB as JSON. Split the request.")
        self.parts += text
        return at

    def buffer(self) -> Bytes:
        """Return all texts, padded, as kernels read them."""
        return np.frombuffer(bytes(self.parts) + bytes(PADDING), np.uint8)


@dataclass(slots=True)
class Placed:
    """Made texts, by the rows of one column that they belong to."""

    rows: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    length: list[int] = field(default_factory=list)

    def add(self, row: int, at: int, length: int) -> None:
        """Let a row have the made text at `at`."""
        self.rows.append(row)
        self.at.append(at)
        self.length.append(length)

    def write(self, views: Views, made: Bytes) -> None:
        """Write the views of all of them."""
        if self.rows:
            rows, at, length = (np.array(part, np.int64) for part in (self.rows, self.at, self.length))
            _columns.place(views, rows, made, at, length)
