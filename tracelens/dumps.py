"""Dumps: files of spans made elsewhere, as a stream of SPANS frames.

Owns finding the files, telling format and compression by their content, and
cutting them into records; reading a record is the decoder's of its format.

    otlp-json    ExportTraceServiceRequest or TracesData as JSON: one a line, one document, or an array of them
    otlp-proto   the same as protobuf: one message, messages after their length (varint), or after 4 bytes of it
    jaeger-json  the Jaeger UI's download, an answer of its API, or one trace
    zipkin-json  a list of spans of v2 or v1, or of such lists: a trace, an answer of its API, or one list a line
    parquet      a table of spans (`parquet.py`)
"""

from __future__ import annotations

import glob
import gzip
import io
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
import polars as pl

from tracelens import parquet
from tracelens.errors import DecodeError, InputError, UsageError
from tracelens.framed import MAX_RECORD, messages, varint
from tracelens.packed import DAMAGED, LOOK, plain
from tracelens.spans import concat
from tracelens.wire import jaeger, otlp, otlp_json, zipkin
from tracelens.wire._scan import validate
from tracelens.wire.decoded import Decoded
from tracelens.wire.otlp import Keep

FORMATS = ("otlp-json", "otlp-proto", "jaeger-json", "zipkin-json", "parquet")
DECODERS: dict[str, Callable[[Sequence[Any], Keep | None], Decoded]] = {
    "otlp-json": lambda bodies, keep: otlp_json.decode(bodies, keep=keep),
    "otlp-proto": lambda bodies, keep: otlp.decode(bodies, keep=keep),
    "jaeger-json": jaeger.decode,
    "zipkin-json": lambda bodies, _: zipkin.decode(bodies),
}
BATCH_BYTES = 32 << 20  # decoded together: some 50,000 spans
BLOCK = 1 << 18  # bytes read at once where lines are long
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
AT_ONCE = min(os.cpu_count() or 1, 4)  # batches decoded side by side: memory grows with them
STDIN = "-"
REMEDY = (
    "TraceLens reads OTLP JSON, OTLP protobuf, Jaeger JSON and Zipkin JSON, plain, gzip or zstd, and Parquet; "
    "--input-format says which."
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Spans of some records of one file."""

    spans: pl.DataFrame
    rejected: dict[str, int]  # spans without a usable id, by reason
    file: str
    format: str
    losses: list[str] = field(default_factory=list)  # records that could not be read, each with its place and why


@dataclass(frozen=True, slots=True)
class _Record:
    number: int  # from 1
    offset: int  # of its first byte in the uncompressed file
    body: bytes | bytearray | memoryview | jaeger.Written  # memory: where it stands in a block of many


_Outcome = tuple[pl.DataFrame, dict[str, int], list[str]]  # spans, rejected, losses


def files(source: str | Path) -> list[Path]:
    """Return the files of a dump in order: a file, those in a folder but hidden ones, or those a pattern finds.

    Raises InputError when there is none.
    """
    path = Path(source)
    if path.is_file() or path.is_fifo():
        return [path]
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file())
        found = sorted(
            file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
        if not found:
            raise InputError(f"{source}: an empty folder. Name a dump, a store, or a data directory of `tracelens up`.")
        return found
    found = sorted(Path(name) for name in glob.glob(str(source), recursive=True) if Path(name).is_file())  # noqa: PTH207  # absolute patterns too
    if not found:
        raise InputError(
            f"{source}: no such file or folder. Name a dump, a store, or a data directory of `tracelens up`."
        )
    return found


def read(
    source: str | Path, *, input_format: str | None = None, strict: bool = False, keep: Keep | None = None
) -> Iterator[Batch]:
    """Yield the spans of a dump, some records at a time.

    source: as `files` takes it, or "-" for standard input. A record that cannot
    be read is told in `losses` of a batch, and the others are read; with
    `strict` it ends the reading. keep: which attribute columns are wanted; others may be left out then, as may what
    overflows.
    Raises InputError naming file, record and byte, when nothing in the dump can be read.
    """
    if input_format is not None and input_format not in FORMATS:
        raise UsageError(f"{input_format!r} is no format. There are {', '.join(FORMATS)}.")
    names: Sequence[str | Path] = [STDIN] if source == STDIN else files(source)
    read_some = False
    errors: list[InputError] = []
    for name in names:
        try:
            for batch in _read_file(name, input_format, strict=strict, keep=keep):
                read_some |= not batch.losses or not batch.spans.is_empty()
                yield batch
        except InputError as error:
            if strict or len(names) == 1:
                raise
            errors.append(error)
    if errors and not read_some:
        raise errors[0]
    for lost in errors:
        yield Batch(otlp.decode([]).spans, {}, str(source), "", [str(lost)])


def sniff(head: bytes) -> str | None:
    """Return the format that the first bytes of an uncompressed file show; None when none does."""
    if head.startswith(parquet.MAGIC):
        return "parquet"
    text = head.removeprefix(BYTE_ORDER_MARK).lstrip()
    if text[:1] in (b"{", b"["):
        keys = (
            ("jaeger-json", (b'"traceID"', b'"processes"', b'"data"')),
            ("otlp-json", (b'"resourceSpans"', b'"resource_spans"', b'"scopeSpans"')),
            ("zipkin-json", (b'"traceId"', b'"localEndpoint"', b'"binaryAnnotations"') if text[:1] == b"[" else ()),
        )
        places = [(at, name) for name, marks in keys for mark in marks if (at := text.find(mark)) >= 0]
        return min(places)[1] if places else None
    if head and (head[0] == 0x0A or _delimited(head) is not None):
        return "otlp-proto"
    return None


def _delimited(head: bytes) -> str | None:
    """Return how messages follow each other: "varint", "fixed" (4 bytes, big endian), or None for one message."""
    # The field a message begins with has tag 0x0A; what stands before it is its length.
    length, at = varint(head, 0)
    if at and _begins_message(head, at, length):
        return "varint"
    if _begins_message(head, 4, int.from_bytes(head[:4], "big")):
        return "fixed"
    return None


def _begins_message(head: bytes, at: int, length: int) -> bool:
    """Whether a message of `length` bytes may begin at an offset: its first field is inside it."""
    if not 1 < length <= MAX_RECORD or head[at : at + 1] != b"\x0a":
        return False
    inner, behind = varint(head, at + 1)
    return behind > 0 and behind - at + inner <= length


@contextmanager
def _opened(name: str | Path) -> Iterator[BinaryIO]:
    """Open a file, or standard input, and undo its compression as it is read."""
    if name == STDIN:
        yield plain(sys.stdin.buffer)
        return
    try:
        with Path(name).open("rb") as file:
            yield plain(file)
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise
        raise InputError(f"{name}: {error.strerror or error}.") from error


def _read_file(name: str | Path, input_format: str | None, *, strict: bool, keep: Keep | None) -> Iterator[Batch]:
    """Yield the batches of one file. Raises InputError when it cannot be read at all."""
    with _opened(name) as stream:
        try:
            head = cast("io.BufferedReader", stream).peek(LOOK)
            if not head:
                raise InputError(f"{name}: empty. {REMEDY}")
            kind = input_format or sniff(head)
            if kind == "parquet":
                yield from _tables(name, keep)
                return
            if kind is None:
                raise InputError(f"{name}: byte 0: begins with {head[:16]!r}, which is no format of spans. {REMEDY}")
            yield from _batches(str(name), kind, _records(stream, head, kind), strict=strict, keep=keep)
        except DAMAGED as error:
            raise InputError(f"{name}: {_cut(error)}") from error


def _tables(name: str | Path, keep: Keep | None) -> Iterator[Batch]:
    """Yield the batches of a Parquet file."""
    if name == STDIN:
        raise InputError("-: a Parquet file is read from its end, which standard input has not yet. Name the file.")
    for spans in parquet.batches(name, keep):
        usable = (pl.col("trace_id").bin.size() == 16) & (pl.col("span_id").bin.size() == 8)
        kept = spans.filter(usable.fill_null(value=False))
        rejected = {"id": len(spans) - len(kept)} if len(kept) < len(spans) else {}
        yield Batch(kept, rejected, str(name), "parquet")


def _batches(name: str, kind: str, records: Iterator[_Record], *, strict: bool, keep: Keep | None) -> Iterator[Batch]:
    """Yield decoded batches; a record that cannot be decoded is a loss, unless none can."""
    decoded_any = False
    losses: list[str] = []  # not yet told: until something is decoded, all of it may be unreadable

    def decode(chunk: list[_Record]) -> _Outcome:
        return _decode(name, kind, chunk, strict=strict, keep=keep)

    for chunk, (spans, rejected, lost) in _ahead(_chunks(records, losses, name, strict=strict), decode):
        losses.extend(lost)
        decoded_any |= len(lost) < len(chunk)
        if decoded_any:
            yield Batch(spans, rejected, name, kind, losses[:])
            losses.clear()
    if losses and not decoded_any:
        raise InputError(losses[0] + (f" (and {len(losses) - 1} more)" if len(losses) > 1 else ""))
    if losses:
        yield Batch(otlp.decode([]).spans, {}, name, kind, losses)


def _ahead(
    chunks: Iterator[list[_Record]], decode: Callable[[list[_Record]], _Outcome]
) -> Iterator[tuple[list[_Record], _Outcome]]:
    """Yield chunks decoded, in order, some of them at once: kernels run without the interpreter's lock."""
    waiting: deque[tuple[list[_Record], Future[_Outcome]]] = deque()
    with ThreadPoolExecutor(AT_ONCE, "decode") as pool:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(decode, chunk)))
            if len(waiting) > AT_ONCE:
                first, decoded = waiting.popleft()
                yield first, decoded.result()
        for first, decoded in waiting:
            yield first, decoded.result()


def _chunks(records: Iterator[_Record], losses: list[str], name: str, *, strict: bool) -> Iterator[list[_Record]]:
    """Yield records to decode together; what came whole before damage, and then the damage as a loss."""
    pending: list[_Record] = []
    size = 0
    try:
        for record in records:
            if pending and _block(record) is not _block(pending[-1]):  # those of one block are decoded where they are
                yield pending
                pending, size = [], 0
            pending.append(record)
            size += len(record.body)
            if size >= BATCH_BYTES:
                yield pending
                pending, size = [], 0
    except (*DAMAGED, DecodeError) as error:
        if strict:
            raise InputError(f"{name}: {_cut(error)}") from error
        losses.append(f"{name}: {_cut(error)}")
    if pending:
        yield pending


def _block(record: _Record) -> object:
    """Return the block that a record stands in; None when its bytes are its own."""
    return record.body.obj if isinstance(record.body, memoryview) else None


def _cut(error: Exception) -> str:
    """Return what is wrong with a file that ended, or turned to rubbish, under way."""
    if isinstance(error, DecodeError):
        return str(error)
    return f"the compressed data is cut off or damaged: {error}. Was it copied whole?"


def _decode(
    name: str, kind: str, records: Sequence[_Record], *, strict: bool, keep: Keep | None
) -> tuple[pl.DataFrame, dict[str, int], list[str]]:
    """Return the spans of some records; those that cannot be decoded are told and left out."""
    bodies = [record.body for record in records]
    frames: list[pl.DataFrame] = []
    rejected: Counter[str] = Counter()
    losses: list[str] = []
    first = 0
    while first < len(bodies):
        try:
            found, bad = DECODERS[kind](bodies[first:], keep), len(bodies)
        except DecodeError as error:
            bad = first + error.record
            losses.append(_told(name, records[bad], error))
            if strict:
                raise InputError(losses[-1]) from error
            found = DECODERS[kind](bodies[first:bad], keep)  # sound: the first error stands behind them
        frames.append(found.spans)
        rejected.update(found.rejected)
        first = bad + 1
    return concat(frames), dict(rejected), losses


def _told(name: str, record: _Record, error: DecodeError) -> str:
    """Return what is wrong with a record, and where it stands."""
    reason = error.reason.removeprefix(f"request {error.record}, byte {error.byte}: ")
    return f"{name}: record {record.number}, byte {record.offset + max(error.byte, 0)}: {reason}"


def _records(stream: BinaryIO, head: bytes, kind: str) -> Iterator[_Record]:
    """Yield the records of a file."""
    if kind == "otlp-proto":
        how = _delimited(head)
        # One message may look delimited by chance: its own bytes decide, where they are at hand.
        if how is None or (len(head) < LOOK and validate(head).error_byte < 0 and head[0] == 0x0A):
            yield _Record(1, 0, _all(stream))
        else:
            yield from (_Record(*record) for record in messages(stream, how, BATCH_BYTES))
    elif kind == "zipkin-json":
        yield from _lists(stream)
    elif kind == "jaeger-json":
        yield from _in_parts(_lines(_long_lines(stream)) if _is_lines(head) else _documents(_all(stream)))
    elif _is_lines(head):
        yield from _lines(stream)
    else:
        yield from _documents(_all(stream))


def _all(stream: BinaryIO) -> bytes:
    data = stream.read(MAX_RECORD + 1)
    if len(data) > MAX_RECORD:
        raise DecodeError(
            f"one record of more than {MAX_RECORD >> 30} GiB. Write one request a line, or with its length."
        )
    return data


def _is_lines(head: bytes) -> bool:
    """Whether JSON stands one document a line: one is whole, or the next begins with a line."""
    first, newline, rest = head.removeprefix(BYTE_ORDER_MARK).lstrip().partition(b"\n")
    if first[:1] != b"{":
        return False
    if not newline:
        return len(head) >= LOOK
    return _is_json(first) or rest.lstrip()[:1] == b"{"  # the first line is broken, which is a loss of its own


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError:
        return False
    return True


def _lines(stream: Iterable[bytes | bytearray]) -> Iterator[_Record]:
    """Yield documents that stand one a line."""
    offset = 0
    for number, line in enumerate(stream, 1):
        if not line.isspace():
            yield _Record(number, offset, line)
        offset += len(line)


def _long_lines(stream: BinaryIO) -> Iterator[bytearray]:
    """Yield lines, long ones at half the cost of the stream's own way: an answer of Jaeger's API is one."""
    line = bytearray()
    while block := cast("io.BufferedReader", stream).read1(BLOCK):  # read would lose what came before damage
        first = 0
        while end := block.find(b"\n", first) + 1:
            line += memoryview(block)[first:end]
            yield line
            line, first = bytearray(), end
        line += memoryview(block)[first:]
    if line:
        yield line


def _lists(stream: BinaryIO) -> Iterator[_Record]:
    """Yield lists that stand one a line, or the one list that is the file."""
    first, second = stream.readline(), stream.readline()
    if second and (_is_json(first) or (_is_json(second) and first.strip() != b"[")):
        yield from _lines(chain((first, second), stream))
    else:
        yield _Record(1, 0, first + second + _all(stream))


def _documents(data: bytes) -> Iterator[_Record]:
    """Yield a document, or the documents of an array."""
    if data.lstrip()[:1] == b"[":
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise DecodeError(f"record 1, byte {error.pos}: {error.msg}", byte=error.pos) from None
        for number, document in enumerate(found, 1):
            yield _Record(number, 0, orjson.dumps(document))
    else:
        yield _Record(1, 0, data)


def _in_parts(records: Iterator[_Record]) -> Iterator[_Record]:
    """Yield Jaeger's documents, those longer than a batch in parts that are written as OTLP already.

    Such a document is read whole or not at all, so all of it is written before the first part is decoded.
    """
    for record in records:
        parts = None
        if not isinstance(record.body, jaeger.Written) and len(record.body) > BATCH_BYTES:
            with ThreadPoolExecutor(AT_ONCE, "write") as pool:
                parts = jaeger.parts(record.body, BATCH_BYTES, pool.map)
        if not parts:
            yield record
            continue
        number, offset = record.number, record.offset
        parts.reverse()
        while parts:  # each goes when it is decoded
            yield _Record(number, offset, parts.pop())
