"""OTLP protobuf: bytes of ExportTraceServiceRequest become spans.

Owns the way from bytes to a frame. Checking them is left to `_read` and `_scan`, reading
them to `_read` and `_columns`, names of columns to `_naming`, arrays, events
and links to `_made`, what fits no column to `_overflow`, and the repair of
single spans to `tracelens.repair`.

The text of a frame is not copied out of the requests: its columns are Arrow
views into them. So any slice of a frame keeps the bytes of a whole chunk
alive; write it somewhere to let them go.

Differs from protobuf's runtime in one thing: text that is not UTF-8 is
repaired and marked, where the runtime refuses the request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from tracelens import repair
from tracelens.errors import DecodeError
from tracelens.spans import SPANS, concat
from tracelens.wire import _columns
from tracelens.wire._chunk import Chunk, Stretches, marks, read
from tracelens.wire._made import LONGEST, Made, Placed, count_keys, made_of_scopes, made_of_spans
from tracelens.wire._naming import SERVICE, Column, choose, name_of
from tracelens.wire._overflow import Overflow
from tracelens.wire._rows import BOOL, DOUBLE, INT, OF_RESOURCE, OF_SCOPE, OF_SPAN
from tracelens.wire._scan import Bytes
from tracelens.wire._views import Views
from tracelens.wire.decoded import Decoded

Keep = Callable[[str], bool]  # of a column's name

ARROW = {INT: pa.int64(), DOUBLE: pa.float64(), BOOL: pa.bool_()}  # of kinds that are no text
CHUNK = 32 << 20  # bytes decoded together: what is used again is still near; and Arrow's views reach 2 GiB
# Text that spans share by their resource is stored once in a frame, but once a span in a file. A mesh's requests
# need less than their own size, a large resource and tiny spans 16 times it; what needs more is kept at one span.
SHARED_TIMES = 32
SHARED_LEAST = 64 << 20  # bytes that are always allowed


def decode(
    bodies: Sequence[bytes | memoryview] | Stretches,
    received_unix_nano: Sequence[int] | None = None,
    keep: Keep | None = None,
) -> Decoded:
    """Return the spans of some requests, in their order.

    bodies: ExportTraceServiceRequest, or TracesData, which reads the same; or where
    such stand in one buffer, which is then not copied, nor are views of one array.
    received_unix_nano: when each was received; null without.
    keep: which attribute columns are wanted; others are left out then, and overflow.
    Spans without a valid trace id or span id are refused, and counted by reason.
    Raises DecodeError for the first body that is no such message.
    """
    names: dict[str, str] = {}
    rejected: Counter[str] = Counter()
    frames = []
    for first, last in chunks(bodies.lengths() if isinstance(bodies, Stretches) else list(map(len, bodies))):
        part = bodies.part(first, last) if isinstance(bodies, Stretches) else Stretches.joined(bodies[first:last])
        chunk, refused = read(part, first)
        rejected.update(refused)
        if chunk.counts[OF_SPAN]:
            frame = frame_of(chunk, names, keep)
            if received_unix_nano is not None:
                times = np.repeat(np.array(received_unix_nano[first:last], np.int64), chunk.per_body)
                frame = frame.with_columns(pl.Series("received_unix_nano", times))
            frames.append(frame)
    return Decoded(concat(frames), {reason: count for reason, count in rejected.items() if count})


def chunks(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield ranges of bodies of at most CHUNK bytes; a longer body is alone."""
    first = size = 0
    for i, length in enumerate(lengths):
        if length > LONGEST:
            raise DecodeError(f"{length} bytes are no protobuf message: those end below 2 GiB.", record=i)
        if i > first and size + length > CHUNK:
            yield first, i
            first, size = i, 0
        size += length
    if first < len(lengths):
        yield first, len(lengths)


def frame_of(chunk: Chunk, names: dict[str, str], keep: Keep | None = None) -> pl.DataFrame:
    """Return the spans of a chunk; names: see `_naming.choose`; keep: as `decode`."""
    made = Made()
    totals = count_keys(chunk, made)
    placed = made_of_spans(chunk, made)
    scopes = made_of_scopes(chunk, made)
    texts = made.buffer()
    columns = choose(chunk.raw, chunk.keys, totals, names)
    if keep is not None:
        columns = [column for column in columns if column.name == SERVICE or keep(column.name)]
    attributes, over = attribute_columns(chunk, texts, columns, _columns.LEFT_OUT if keep else -1)
    buffers = [pa.py_buffer(chunk.buffer), pa.py_buffer(texts)]
    found = {**span_columns(chunk, placed, texts, buffers), **scope_columns(chunk, scopes, texts, buffers)}
    found |= attributes
    found["service_name"] = found.get(SERVICE, no_text(chunk.counts[OF_SPAN]))
    found["overflow"] = overflow(chunk, over, texts)
    found["repairs"] = pl.Series(marks(chunk))
    order = [*SPANS, *(column.name for column in columns)]
    return repair.mend(pl.DataFrame({name: found[name] for name in order}))


def shared_by(chunk: Chunk, owner: int) -> NDArray[np.int32] | None:
    """Return which row of an owner each span has; None when they are its own."""
    rows = {OF_RESOURCE: chunk.rows.resource, OF_SCOPE: chunk.rows.scope}.get(owner)
    return None if rows is None else rows[: chunk.counts[OF_SPAN]]


def every(views: Views, rows: NDArray[np.int32]) -> Views:
    """Return the views of some rows."""
    found: Views = np.take(views[: len(views) & ~1].view(np.complex128), rows).view(np.uint64)  # of 16 bytes each
    return found


def every_value(values: NDArray[np.uint64], rows: NDArray[np.int32], kind: int) -> NDArray[Any]:
    """Return the values of some rows; kind: of a column."""
    if kind == BOOL:
        return every_bit(values.view(np.uint8), rows)
    return np.take(values, rows) if kind in ARROW else every(values, rows)


def every_bit(bits: NDArray[np.uint8], rows: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return the bits of some rows."""
    return np.packbits(np.take(np.unpackbits(bits, bitorder="little"), rows), bitorder="little")


def no_text(rows: int) -> pl.Series:
    """Return a text column of nulls."""
    return pl.Series([None], dtype=pl.String).new_from_index(0, rows)


def text_series(views: Views, rows: int, buffers: Sequence[Any], valid: Any = None, kind: Any = None) -> pl.Series:
    """Return a column over views; buffers: what the views point into; kind: string unless told."""
    data = [valid, pa.py_buffer(views[: 2 * rows]), *buffers]
    return pl.Series(pa.Array.from_buffers(kind or pa.string_view(), rows, data))


def some(views: Views, rows: int) -> Any:
    """Return the validity of views where no bytes mean null."""
    return pa.py_buffer(np.packbits((views[: 2 * rows : 2] & 0xFFFFFFFF) != 0, bitorder="little"))


def span_columns(chunk: Chunk, placed: dict[str, Placed], texts: Bytes, buffers: list[Any]) -> dict[str, pl.Series]:
    """Return the columns of SPANS that spans have by themselves; wider than SPANS says, see `repair.mend`."""
    rows = chunk.rows
    n = chunk.counts[OF_SPAN]
    binary = pa.binary_view()
    columns = {
        "trace_id": text_series(rows.trace_id, n, [pa.py_buffer(rows.ids)], kind=binary),
        "span_id": text_series(rows.span_id, n, [], kind=binary),
        "parent_span_id": text_series(rows.parent, n, buffers[:1], some(rows.parent, n), binary),
        "follows_from": pl.Series([False]).new_from_index(0, n),
        "flags": pl.Series(rows.flags[:n]),
        "kind": pl.Series(rows.kind[:n]),
        "start_time_unix_nano": pl.Series(rows.start[:n]),
        "end_time_unix_nano": pl.Series(rows.end[:n]),
        "status_code": pl.Series(rows.status[:n]),
        "received_unix_nano": pl.Series([None], dtype=pl.Int64).new_from_index(0, n),
    }
    for name, dropped in zip(("attributes", "events", "links"), rows.dropped, strict=True):
        columns[f"dropped_{name}_count"] = pl.Series(dropped[:n])
    views = {"name": rows.name, "trace_state": rows.trace_state, "status_message": rows.message}
    views |= {name: np.zeros(2 * n, np.uint64) for name in ("events", "links") if placed[name].rows}
    for name, words in views.items():
        placed[name].write(words, texts)
        columns[name] = text_series(words, n, buffers, None if name == "name" else some(words, n))
    for name in ("events", "links"):
        columns.setdefault(name, no_text(n))
    return columns


def scope_columns(chunk: Chunk, placed: dict[str, Placed], texts: Bytes, buffers: list[Any]) -> dict[str, pl.Series]:
    """Return name and version of each span's scope; null when empty."""
    n = chunk.counts[OF_SPAN]
    columns = {}
    for name, views in (("scope_name", chunk.rows.scope_name), ("scope_version", chunk.rows.scope_version)):
        placed[name].write(views, texts)
        of_spans = every(views, chunk.rows.scope[:n])
        columns[name] = text_series(of_spans, n, buffers, some(of_spans, n))
    return columns


def attribute_columns(
    chunk: Chunk, texts: Bytes, columns: Sequence[Column], other: int
) -> tuple[dict[str, pl.Series], NDArray[np.int64]]:
    """Return the columns of attributes, and which attributes are in none.

    other: what becomes of all others: -1 tells of them, LEFT_OUT does not.
    """
    place = np.full(chunk.distinct * _columns.KINDS, other, np.int64)
    first_word = np.zeros(len(columns) + 1, np.int64)
    first_bit = np.zeros(len(columns) + 1, np.int64)
    for i, column in enumerate(columns):
        place[column.code] = i
        rows = chunk.counts[column.owner]
        blocks = -(-rows // 64)  # so that each column begins at a whole word
        first_word[i + 1] = first_word[i] + 128 * blocks
        first_bit[i + 1] = first_bit[i] + 64 * blocks
    words = np.zeros(first_word[-1], np.uint64)
    valid = np.zeros(first_bit[-1] // 8, np.uint8)
    over = np.empty(chunk.attributes, np.int64)
    left = _columns.spread(
        chunk.buffer,
        texts,
        chunk.held,
        chunk.attributes,
        chunk.keys,
        place,
        first_word,
        words,
        first_bit,
        valid,
        over,
        chunk.weight,
        SHARED_LEAST + SHARED_TIMES * len(chunk.raw),
    )
    found: dict[str, pl.Series] = {}
    buffers = [pa.py_buffer(chunk.buffer), pa.py_buffer(texts)]
    n = chunk.counts[OF_SPAN]
    for i, column in enumerate(columns):
        bits = valid[first_bit[i] // 8 : first_bit[i + 1] // 8]
        values: NDArray[Any] = words[first_word[i] : first_word[i + 1]]
        of = shared_by(chunk, column.owner)
        if of is not None:
            bits = every_bit(bits, of)
            values = every_value(values, of, column.kind)
        if column.kind in ARROW:
            data = [pa.py_buffer(bits), pa.py_buffer(values)]
            found[column.name] = pl.Series(pa.Array.from_buffers(ARROW[column.kind], n, data))
        else:
            found[column.name] = text_series(values, n, buffers, pa.py_buffer(bits))
    return found, over[:left]


def overflow(chunk: Chunk, over: NDArray[np.int64], texts: Bytes) -> pl.Series:
    """Return the column of attributes that are in no column."""
    n = chunk.counts[OF_SPAN]
    if not len(over):
        return no_text(n)
    made, placed = Made(), Placed()
    source = texts.tobytes()

    def value(at: int, length: int) -> bytes:
        return bytes(chunk.raw[at : at + length]) if at >= 0 else source[-1 - at : -1 - at + length]

    rest = Overflow(
        chunk.held,
        over,
        chunk.keys.owner[chunk.held.key[over]],
        chunk.rows.resource[:n],
        chunk.rows.scope[:n],
        chunk.rows.marks,
        lambda key, kind: name_of(chunk.raw, chunk.keys, key, kind),
        value,
        (SHARED_LEAST + SHARED_TIMES * len(chunk.raw)) // 4,
    )
    for spans, text in rest.texts():
        at = made.add(text)
        for span in spans.tolist():
            placed.add(span, at, len(text))
    views = np.zeros(2 * n, np.uint64)
    buffer = made.buffer()
    placed.write(views, buffer)
    return text_series(views, n, [pa.py_buffer(b""), pa.py_buffer(buffer)], some(views, n))


def warm() -> None:
    """Compile every kernel, or load it from its cache, by decoding one small request."""
    request = TracesData()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"compile a kernel", span_id=b"a kernel")
    span.attributes.add(key="key").value.string_value = "value"
    span.events.add(name="made text")
    decode([request.SerializeToString()])
