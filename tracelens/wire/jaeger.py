"""Jaeger JSON: the UI's download, an answer of the API, or one trace, become spans.

Owns the way: kernels write what is as Jaeger writes it, `translate.jaeger` the
rest, which also says what it means, and both the same bytes. They are read by
`otlp`, so that the same span is the same row whichever way it came.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tracelens.errors import DecodeError
from tracelens.wire import _jaeger, otlp
from tracelens.wire._encode import Encoder
from tracelens.wire._jaeger_tables import FOLLOWER, room_for
from tracelens.wire.decoded import Decoded
from tracelens.wire.otlp_json import each
from tracelens.wire.translate.jaeger import request

PORTION = 1 << 18  # bytes of documents that kernels are given at once: they stay near
FIRST = 1 << 13  # of the first ones, as often doubled: where every document is bad, this much is done for each
BEYOND = 64  # zero bytes behind them: the scanner looks at 16 at once
SLACK = 256  # bytes that are written beyond the end of what is
HEAD = 1 << 16  # bytes in which the traces of a document begin, or it is not cut


Body = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Written:
    """Documents, or some traces of one, as ExportTraceServiceRequest."""

    requests: list[bytes]
    followers: bytes  # trace id and span id, FOLLOWER bytes, of spans that follow from their parents
    by_hand: int  # traces, and documents as a whole, that kernels left to Python
    size: int  # bytes of JSON

    def __len__(self) -> int:
        return self.size


def decode(bodies: Sequence[Body | Written], keep: otlp.Keep | None = None) -> Decoded:
    """Return the spans of some documents, or of such as are written already. keep: as `otlp.decode`.

    Raises DecodeError for the first that is no Jaeger JSON.
    """
    written = write(bodies)
    decoded = otlp.decode(written.requests, keep=keep)
    return Decoded(_following(decoded.spans, written.followers), decoded.rejected)


def _following(spans: pl.DataFrame, followers: bytes) -> pl.DataFrame:
    """Mark the spans that follow from their parents."""
    if not followers or spans.is_empty():
        return spans
    ids = np.frombuffer(followers, np.uint8).reshape(-1, FOLLOWER)
    found = pl.DataFrame({"trace_id": _binary(ids[:, :16]), "span_id": _binary(ids[:, 16:])}).to_struct("followers")
    return spans.with_columns(follows_from=pl.struct("trace_id", "span_id").is_in(found.implode()))


def _binary(rows: NDArray[np.uint8]) -> pl.Series:
    """Return a column of which each row has the bytes of one."""
    kind = pa.binary(rows.shape[1])
    return pl.Series(pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(rows.tobytes())]))


def parts(document: Body, size: int, side_by_side: Callable[..., Iterable[Written]]) -> list[Written] | None:
    """Return a document's traces, written in parts of `size` bytes and more; None when it must be read as a whole.

    side_by_side: as `map`, and may run some at once. All of the document is sound, or there are no parts.
    """
    text = memoryview(document).toreadonly()
    start = np.frombuffer(bytes(text[:HEAD]) + bytes(BEYOND), np.uint8)
    first, form = _jaeger.head(start.ctypes.data)
    if form != _jaeger.IN_DATA:
        return None
    source = np.frombuffer(text, np.uint8)
    end = 0

    def cuts(at: int) -> Iterator[list[memoryview]]:
        nonlocal end
        pieces: list[memoryview] = []
        begin = at
        while at >= 0:
            end, behind = _jaeger.cut(source, at, len(source), PORTION)
            pieces.append(text[at : max(end, at)])
            if behind < 0 or end - begin >= size:
                yield pieces
                pieces, begin = [], behind
            at = behind

    try:
        found = list(side_by_side(_part, cuts(first - start.ctypes.data)))
        str(text[: first - start.ctypes.data], "utf-8")
        str(text[max(end, 0) :], "utf-8")
    except (DecodeError, UnicodeDecodeError):
        return None
    rest = np.frombuffer(bytes(text[end + 1 :]) + bytes(BEYOND), np.uint8)
    if end < 0 or not _jaeger.is_end(rest.ctypes.data, rest.ctypes.data + len(rest) - BEYOND, form):
        return None
    followers = b"".join(part.followers for part in found)  # a span may have its like in another part
    return [replace(part, followers=followers) for part in found]


def _part(pieces: Sequence[memoryview]) -> Written:
    return write(pieces, in_part=True)


def write(bodies: Iterable[Body | Written], *, in_part: bool = False) -> Written:
    """Return documents as requests, one of each; such as are written already are joined.

    in_part: they are no documents, but what stands between the brackets of one.
    Raises DecodeError for the first that is no Jaeger JSON.
    """
    writer = _Writer(in_part=in_part)
    for body in bodies:
        if isinstance(body, Written):
            writer.join(body)
        else:
            writer.take(body)
    writer.write()
    return Written(writer.requests, bytes(writer.followers), writer.by_hand, writer.size)


class _Writer:
    """Writes documents, some at a time, and what kernels leave of them."""

    def __init__(self, *, in_part: bool) -> None:
        self.requests: list[bytes] = []
        self.followers = bytearray()
        self.by_hand = self.size = 0
        self._in_part = in_part
        self._number = 0  # of bodies that are written
        self._bodies: list[Body] = []  # that are not
        self._pending = 0  # bytes of them
        self._encoder = Encoder()
        self._enough = self._roomy = min(FIRST, PORTION)
        self._room = room_for(self._roomy)
        self._left = np.empty((_jaeger.MOST_LEFT, 3), np.int64)
        self._state = np.zeros(_jaeger.COUNTED, np.int64)
        self._secret = np.uint64(int.from_bytes(os.urandom(8), "little") | 1)

    def take(self, body: Body) -> None:
        """Take a body in; write those before it when they are enough together."""
        if self._pending + len(body) > self._enough:
            self.write()
        self._bodies.append(body)
        self._pending += len(body)

    def join(self, written: Written) -> None:
        """Take in what is written."""
        self.write()
        self.requests += written.requests
        self.followers += written.followers
        self.by_hand += written.by_hand
        self.size += written.size
        self._number += 1

    def write(self) -> None:
        """Write the bodies that were taken in."""
        text = b"\0".join([*self._bodies, bytes(BEYOND)])
        lengths = np.array(list(map(len, self._bodies)), np.int64)
        stops = np.cumsum(lengths + 1) - 1
        ends, state = np.zeros(len(lengths), np.int64), self._state
        out = np.empty(self._pending + SLACK, np.uint8)
        names = np.empty(self._pending // 4 + SLACK, np.uint8)
        if self._pending > self._roomy:
            self._roomy = max(self._pending, self._enough)
            self._room = room_for(self._roomy)
        source = (np.frombuffer(text, np.uint8), stops - lengths, stops, self._in_part, self._room)
        state[[_jaeger.DOCUMENT, _jaeger.USED, _jaeger.FOLLOWED]] = 0
        done = at = 0
        while done < len(lengths):
            _jaeger.write(*source, out, ends, names, self._left, state, self._secret)
            whole = int(state[_jaeger.DOCUMENT]) - (state[_jaeger.OUTCOME] == _jaeger.IN_PART)
            for end in ends[done:whole].tolist():
                self.requests.append(out[at:end].tobytes())
                at = end
            done = whole
            if state[_jaeger.OUTCOME] != _jaeger.DONE:
                in_part = state[_jaeger.OUTCOME] == _jaeger.IN_PART
                end = int(ends[done]) if in_part else at
                self.requests.append(self._completed(done, text, out[at:end]) if in_part else self._as_a_whole(done))
                state[_jaeger.DOCUMENT] = done = done + 1
                at = end
        self.followers += names[: state[_jaeger.FOLLOWED]].tobytes()
        self.size += self._pending
        self._number += len(lengths)
        self._bodies, self._pending = [], 0
        self._enough = min(2 * self._enough, PORTION)

    def _completed(self, number: int, text: bytes, written: NDArray[np.uint8]) -> bytes:
        """Return a body of which kernels left some traces."""
        left = self._left[: self._state[_jaeger.LEFT]].tolist()
        # As deep as it stood; and by itself it must be JSON that needs no repair, as the others are.
        traces = [b'{"data":[' + text[start:stop] + b"]}" for start, stop, _ in left]
        if not all(map(_is_json, traces)):
            return self._as_a_whole(number)
        begin = int(self._state[_jaeger.USED]) - len(written)
        found, at = [], 0
        for trace, (_, _, place) in zip(traces, left, strict=True):
            found += [written[at : place - begin].tobytes(), each(trace, self._number + number, self._request)]
            at = place - begin
        self.by_hand += len(left)
        return b"".join([*found, written[at:].tobytes()])

    def _as_a_whole(self, number: int) -> bytes:
        """Return a body that is written without kernels."""
        if self._in_part:
            raise DecodeError("not to be read in parts")
        self.by_hand += 1
        return each(bytes(self._bodies[number]), self._number + number, self._request)

    def _request(self, document: Any) -> bytes:
        return request(document, self._encoder, self.followers)


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def warm() -> None:
    """Compile every kernel, or load it from its cache, by reading one small document, whole and in parts."""
    document = b'{"data":[{"spans":[{"traceID":"1","spanID":"1"}]}]}'
    parts(document, 1, map)
    decode([document])
