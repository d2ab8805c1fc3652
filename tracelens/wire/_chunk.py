"""Chunks: some requests, checked and read, that become one frame.

Owns what is kept between reading bytes and writing columns.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracelens.errors import DecodeError
from tracelens.spans import REJECTIONS
from tracelens.wire import _read, _rows, _scan
from tracelens.wire._rows import OF_RESOURCE, OF_SCOPE, OF_SPAN, Attributes, Keys, Rows
from tracelens.wire._scan import Bytes
from tracelens.wire._views import PADDING

LEAST_ATTRIBUTE = 16  # bytes: few are shorter, and there is room for as many without counting them
KEYS = 1 << 12  # so is for so many keys
LOOKED_AT = 4  # requests of a chunk, to guess how many spans it holds
MARGIN, FEW = 1.25, 64  # what the others may have beyond these; room that no span touches is unclaimed memory


@dataclass(frozen=True, slots=True)
class Stretches:
    """Requests where they stand in one buffer, read-only, with PADDING bytes or more behind the last."""

    raw: memoryview
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def joined(cls, bodies: Sequence[bytes | memoryview]) -> Stretches:
        """Return bodies put behind one another, or where they are when they stand in one buffer already."""
        return cls._in_place(bodies) or cls._copied(bodies)

    @classmethod
    def _copied(cls, bodies: Sequence[bytes | memoryview]) -> Stretches:
        offsets = np.zeros(len(bodies) + 1, np.int64)
        np.cumsum([len(body) for body in bodies], out=offsets[1:])
        return cls(memoryview(b"".join([*bodies, bytes(PADDING)])), offsets[:-1].copy(), offsets[1:].copy())

    @classmethod
    def _in_place(cls, bodies: Sequence[Any]) -> Stretches | None:
        """Return bodies where they are; None unless all are read-only views of one array that goes on behind them."""
        whole: Any = getattr(bodies[0], "obj", None) if bodies else None
        if not isinstance(whole, np.ndarray) or whole.ndim != 1 or whole.dtype != np.uint8:
            return None
        if not all(getattr(body, "obj", None) is whole and body.readonly for body in bodies):
            return None
        places = [np.frombuffer(body, np.uint8).ctypes.data if len(body) else whole.ctypes.data for body in bodies]
        starts = np.array(places, np.int64) - whole.ctypes.data
        ends = starts + np.array([len(body) for body in bodies], np.int64)
        if ends.max() + PADDING > whole.nbytes:
            return None
        return cls(whole.data.toreadonly(), starts, ends)

    def part(self, first: int, last: int) -> Stretches:
        """Return the requests from `first` to before `last`."""
        return Stretches(self.raw, self.starts[first:last].copy(), self.ends[first:last].copy())

    def lengths(self) -> list[int]:
        """Return how many bytes each has."""
        found: list[int] = (self.ends - self.starts).tolist()
        return found


class Chunk(NamedTuple):
    """Some requests, read but not yet columns."""

    raw: memoryview
    buffer: Bytes  # the same
    rows: Rows
    held: Attributes
    keys: Keys
    counts: tuple[int, int, int]  # spans, resources, scopes: by owner
    attributes: int
    distinct: int  # keys
    per_body: NDArray[np.int64]  # spans of each request
    weight: NDArray[np.int64]  # by owner and row: spans that share it


def read(bodies: Stretches, first: int) -> tuple[Chunk, dict[str, int]]:
    """Check and read some requests; first: the number of the first one, for errors."""
    found = None
    spans = _guess(bodies)
    if spans >= 0:
        found = _read_into(bodies, spans, _size(bodies) // LEAST_ATTRIBUTE, KEYS)
    if found is None:  # there are more than there was room for, or it is damaged: here all of it is counted
        found = _read_into(bodies, *_counts(bodies, first))
    if found is None:
        raise RuntimeError(f"requests from {first} on: what checks them and what reads them do not agree.")
    return found


def _guess(bodies: Stretches) -> int:
    """Return for how many spans to make room, from a look at some requests; -1 where that fails.

    A look at all of them waits for memory once a span, a tenth of what decoding takes.
    """
    step = -(-len(bodies.starts) // LOOKED_AT)
    some = Stretches(bodies.raw, bodies.starts[::step].copy(), bodies.ends[::step].copy())
    spans = _scan.glance(np.frombuffer(bodies.raw, np.uint8), some.starts, some.ends)
    return spans if spans < 0 or step == 1 else int(MARGIN * spans * _size(bodies) / max(_size(some), 1)) + FEW


def _size(bodies: Stretches) -> int:
    """Return how many bytes they are."""
    return int((bodies.ends - bodies.starts).sum())


def _counts(bodies: Stretches, first: int) -> tuple[int, int, int]:
    """Return at most how many spans, attributes and keys there are. Raises DecodeError when a request is unsound."""
    buffer = np.frombuffer(bodies.raw, np.uint8)
    spans, _, _, attributes, body, byte, reason = _scan.scan_all(buffer, bodies.starts, bodies.ends)
    if body >= 0:
        said = f"request {first + body}, byte {byte}: {_scan.REASONS[reason]}. Is this OTLP protobuf, and all of it?"
        raise DecodeError(said, record=first + body, byte=byte)
    return spans, attributes, attributes


def _read_into(bodies: Stretches, spans: int, attributes: int, keys: int) -> tuple[Chunk, dict[str, int]] | None:
    """Read into room for so many; None when it is too little, or when a request is unsound."""
    buffer = np.frombuffer(bodies.raw, np.uint8)
    starts, ends = bodies.starts, bodies.ends
    rows, held, table = _rows.rows(spans), _rows.attributes(attributes), _rows.keys(keys)
    per_body = np.zeros(len(starts), np.int64)
    seed = int.from_bytes(os.urandom(4), "little") % (2**31 - 3) + 2
    outcome, *found, distinct, bad_trace, bad_span = _read.read(buffer, starts, ends, rows, held, table, seed, per_body)
    if outcome != _read.READ:
        return None
    spans, resources, scopes, attributes = found
    counts = (spans, resources, scopes)
    weight = np.zeros((3, spans + 1), np.int64)
    for owner, of in ((OF_RESOURCE, rows.resource), (OF_SCOPE, rows.scope)):
        weight[owner, : counts[owner]] = np.bincount(of[:spans], minlength=counts[owner])
    chunk = Chunk(bodies.raw, buffer, rows, held, table, counts, attributes, distinct, per_body, weight)
    return chunk, dict(zip(REJECTIONS, (bad_trace, bad_span), strict=True))


def marks(chunk: Chunk) -> NDArray[np.int32]:
    """Return the marks of each span: its own and those of its resource and scope."""
    rows = chunk.rows
    n = chunk.counts[OF_SPAN]
    of_span, of_resource, of_scope = rows.marks
    found: NDArray[np.int32] = of_span[:n] | of_resource[rows.resource[:n]] | of_scope[rows.scope[:n]]
    return found
