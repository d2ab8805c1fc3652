"""Jaeger JSON: the UI's download, an answer of the API, or one trace, become spans.

Owns the way: kernels write what is as Jaeger writes it, `translate.jaeger` the
rest, which also says what it means, and both the same bytes. They are read by
`otlp`, so that the same span is the same row whichever way it came.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tracelens.errors import DecodeError
from tracelens.spans import concat
from tracelens.wire import _jaeger, otlp
from tracelens.wire._chunk import Stretches
from tracelens.wire._encode import Encoder
from tracelens.wire._jaeger_tables import FOLLOWER, room_for
from tracelens.wire.decoded import Decoded
from tracelens.wire.otlp_json import each
from tracelens.wire.translate.jaeger import request

PORTION = 1 << 18  # bytes of documents that kernels are given at once: they stay near, and a bad one wastes no more
BEYOND = 64  # zero bytes behind them: the scanner looks at 16 at once
SLACK = 256  # bytes that are written beyond the end of what is
HEAD = 1 << 16  # bytes in which the traces of a document begin, or it is not cut


@dataclass(frozen=True, slots=True)
class Written:
    """Documents, or some traces of one, as ExportTraceServiceRequest."""

    requests: Stretches | list[bytes]  # one of each
    followers: bytes  # trace id and span id, FOLLOWER bytes, of spans that follow from their parents
    by_hand: int  # traces, and documents as a whole, that kernels left to Python
    size: int  # bytes of JSON

    def __len__(self) -> int:
        return self.size


def decode(bodies: Sequence[bytes | bytearray | Written]) -> Decoded:
    """Return the spans of some documents, or of such as are written already.

    Raises DecodeError for the first that is no Jaeger JSON.
    """
    written: list[Written] = []
    first = 0
    for is_written, some in groupby(bodies, lambda body: isinstance(body, Written)):
        group: list[Any] = list(some)
        try:
            written += group if is_written else [write(group)]
        except DecodeError as error:
            raise DecodeError(error.reason, record=first + error.record, byte=error.byte) from None
        first += len(group)
    found = [otlp.decode(each_of.requests) for each_of in written]
    rejected = sum((Counter(part.rejected) for part in found), Counter[str]())
    followers = b"".join({each_of.followers for each_of in written})
    return Decoded(_following(concat([part.spans for part in found]), followers), dict(rejected))


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


def parts(
    document: bytes | bytearray, size: int, side_by_side: Callable[..., Iterable[Written]]
) -> list[Written] | None:
    """Return a document's traces, written in parts of `size` bytes and more; None when it must be read as a whole.

    side_by_side: as `map`, and may run some at once. All of the document is sound, or there are no parts.
    """
    start = np.frombuffer(document[:HEAD] + bytes(BEYOND), np.uint8)
    first, form = _jaeger.head(start.ctypes.data)
    if form != _jaeger.IN_DATA:
        return None
    text = memoryview(document).toreadonly()
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
        document[: first - start.ctypes.data].decode()
        document[max(end, 0) :].decode()
    except (DecodeError, UnicodeDecodeError):
        return None
    rest = np.frombuffer(document[end + 1 :] + bytes(BEYOND), np.uint8)
    if end < 0 or not _jaeger.is_end(rest.ctypes.data, rest.ctypes.data + len(rest) - BEYOND, form):
        return None
    followers = b"".join(part.followers for part in found)  # a span may have its like in another part
    return [replace(part, followers=followers) for part in found]


def _part(pieces: Sequence[memoryview]) -> Written:
    return write(pieces, in_part=True)


def write(bodies: Sequence[bytes | memoryview], *, in_part: bool = False) -> Written:
    """Return documents as requests.

    in_part: they are no documents, but what stands between the brackets of one.
    Raises DecodeError for the first that is no Jaeger JSON.
    """
    writer = _Writer(bodies, in_part=in_part)
    for first, last in _portions(list(map(len, bodies))):
        writer.write(first, last)
    return writer.written()


def _portions(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield ranges of bodies of at most PORTION bytes; a longer one is alone."""
    first = size = 0
    for i, length in enumerate(lengths):
        if i > first and size + length > PORTION:
            yield first, i
            first, size = i, 0
        size += length
    if first < len(lengths):
        yield first, len(lengths)


class _Writer:
    """Writes documents one behind another, and what kernels leave of them beside."""

    def __init__(self, bodies: Sequence[bytes | memoryview], *, in_part: bool) -> None:
        self._bodies, self._in_part = bodies, in_part
        self._lengths = np.array(list(map(len, bodies)), np.int64)
        self._size = int(self._lengths.sum())
        self._room = room_for(int(self._lengths.max(initial=0)))
        self._out = np.empty(self._size + SLACK, np.uint8)
        self._names = np.empty(self._size // 4 + SLACK, np.uint8)
        self._ends = np.zeros(len(bodies), np.int64)
        self._left = np.empty((_jaeger.MOST_LEFT, 3), np.int64)
        self._state = np.zeros(_jaeger.COUNTED, np.int64)
        self._secret = np.uint64(int.from_bytes(os.urandom(8), "little") | 1)
        self._encoder = Encoder()
        self._followers = bytearray()
        self._by_hand = 0
        self._mended: dict[int, bytes] = {}  # requests that kernels did not write, or not all of

    def write(self, first: int, last: int) -> None:
        """Write the bodies from `first` to before `last`."""
        text = b"\0".join([*self._bodies[first:last], bytes(BEYOND)])
        lengths = self._lengths[first:last]
        stops = np.cumsum(lengths + 1) - 1
        starts, ends, state = stops - lengths, self._ends[first:last], self._state
        source = np.frombuffer(text, np.uint8)
        room = (self._room, self._out, ends, self._names, self._left, state, self._secret)
        state[_jaeger.DOCUMENT] = 0
        while True:
            _jaeger.write(source, starts, stops, self._in_part, *room)
            number = first + int(state[_jaeger.DOCUMENT])
            if state[_jaeger.OUTCOME] == _jaeger.DONE:
                return
            if state[_jaeger.OUTCOME] == _jaeger.IN_PART:
                self._complete(number - 1, text)
            else:
                self._as_a_whole(number)
                ends[number - first] = state[_jaeger.USED]
                state[_jaeger.DOCUMENT] += 1

    def _complete(self, number: int, text: bytes) -> None:
        """Write the traces that kernels left of a body."""
        left = self._left[: self._state[_jaeger.LEFT]].tolist()
        # As deep as it stood; and by itself it must be JSON that needs no repair, as the others are.
        traces = [b'{"data":[' + text[start:stop] + b"]}" for start, stop, _ in left]
        if not all(map(_is_json, traces)):
            self._as_a_whole(number)
            return
        at = int(self._ends[number - 1]) if number else 0
        found = []
        for trace, (_, _, place) in zip(traces, left, strict=True):
            found += [self._out[at:place].tobytes(), each(trace, number, self._request)]
            at = place
        self._by_hand += len(left)
        self._mended[number] = b"".join([*found, self._out[at : self._ends[number]].tobytes()])

    def _as_a_whole(self, number: int) -> None:
        """Write a body without kernels."""
        if self._in_part:
            raise DecodeError("not to be read in parts")
        self._mended[number] = each(bytes(self._bodies[number]), number, self._request)
        self._by_hand += 1

    def _request(self, document: Any) -> bytes:
        return request(document, self._encoder, self._followers)

    def written(self) -> Written:
        """Return all of it."""
        starts = np.concatenate([np.zeros(1, np.int64), self._ends])[:-1]
        requests: Stretches | list[bytes] = Stretches(self._out.data.toreadonly(), starts, self._ends)
        if self._mended:
            ranges = zip(starts.tolist(), self._ends.tolist(), strict=True)
            requests = [self._out[start:end].tobytes() for start, end in ranges]
            for number, mended in self._mended.items():
                requests[number] = mended
        followers = self._names[: self._state[_jaeger.FOLLOWED]].tobytes() + self._followers
        return Written(requests, bytes(followers), self._by_hand, self._size)


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
