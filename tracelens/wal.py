"""The write-ahead log's format: segments of records, written, read, recovered.

Owns bytes and files; who waits for a sync and what becomes of a record is the
collector's. WAL.md beside this file draws every byte.

A record counts once it is whole and its checksum holds. What follows the last
such record in a segment that a dead worker left open was never acknowledged,
and recovery cuts it off. Any other bytes that are no record are damage: they
are skipped, told, and never cost their neighbours.
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import crc32c

from tracelens.errors import InputError

MAGIC = b"TLWAL\x00"
FORMAT_VERSION = 1
# magic, format version, worker, number, when it was opened (Unix nanoseconds), mark
HEADER = struct.Struct("<6sHIQq8s")
HEADER_CHECK = struct.Struct("<I")  # crc32c of the header before it
HEADER_SIZE = HEADER.size + HEADER_CHECK.size
# A record begins with its segment's mark, so that reading can go on after a broken one. It is random: a body
# that spells a record would otherwise become one where the record around it is broken.
MARK_SIZE = 8
# crc32c of all that follows, length of the body, received (Unix nanoseconds), format, length of the tenant
RECORD = struct.Struct("<IIqBB")
RECORD_SIZE = MARK_SIZE + RECORD.size
PADDING = 64  # bytes behind a segment in memory: readers of its bodies look a word ahead
CHECK_SIZE = 4  # the checksum covers what follows it
MAX_BODY = 64 << 20  # the receivers' own limit: a longer length is damage

OPEN, SEALED = ".open", ".wal"

OTLP_PROTOBUF = 1  # ExportTraceServiceRequest
FORMATS = {OTLP_PROTOBUF: "otlp-proto"}


@dataclass(frozen=True, slots=True)
class Record:
    """One request, as it came."""

    received_unix_nano: int
    format: int
    tenant: str
    body: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no record."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """What a segment's file holds."""

    path: Path
    worker: int
    number: int
    records: tuple[Record, ...]
    damages: tuple[Damage, ...]
    data: memoryview  # the file, read-only, with PADDING zero bytes behind it
    starts: tuple[int, ...]  # of the records' bodies in it


def encode(record: Record) -> tuple[bytes, bytes | memoryview]:
    """Return a record's bytes without the mark: what stands before the body, and the body, not copied."""
    tenant = record.tenant.encode()
    head = RECORD.pack(0, len(record.body), record.received_unix_nano, record.format, len(tenant))[CHECK_SIZE:] + tenant
    check = crc32c.crc32c(record.body, crc32c.crc32c(head))
    return struct.pack("<I", check) + head, record.body


def name(worker: int, number: int, state: str) -> str:
    """Return a segment's file name: 000-000000000042.wal."""
    return f"{worker:03}-{number:012}{state}"


def parse_name(path: Path) -> tuple[int, int] | None:
    """Return (worker, number) of a segment's file name; None for any other."""
    worker, _, number = path.stem.partition("-")
    if path.suffix in (OPEN, SEALED) and worker.isdigit() and number.isdigit():
        return int(worker), int(number)
    return None


class Appender:
    """An open segment. Not for several threads at once."""

    def __init__(self, folder: Path, worker: int, number: int, opened_unix_nano: int) -> None:
        """Make the segment's file and have it, and its name, on disk; leaves nothing when that fails."""
        self.path = folder / name(worker, number, OPEN)
        self._mark = secrets.token_bytes(MARK_SIZE)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            header = HEADER.pack(MAGIC, FORMAT_VERSION, worker, number, opened_unix_nano, self._mark)
            _write_all(self._file, [header, HEADER_CHECK.pack(crc32c.crc32c(header))])
            os.fsync(self._file)
            sync_folder(folder)
        except OSError:
            os.close(self._file)
            self.path.unlink(missing_ok=True)
            raise
        self.size = self.durable = HEADER_SIZE

    def append(self, encoded: Iterable[tuple[bytes, bytes | memoryview]]) -> None:
        """Write encoded records and have them on disk. Raises OSError; the segment must then be abandoned."""
        self.size += _write_all(self._file, [part for head, body in encoded for part in (self._mark, head, body)])
        os.fdatasync(self._file)
        self.durable = self.size

    def close(self) -> None:
        """Take nothing more; the segment is then to be sealed."""
        os.close(self._file)

    def abandon(self) -> None:
        """Close after a failure, keeping what was on disk before it.

        After a failed sync nobody knows what the disk has: what was written
        since the last good one is cut off, and is not tried again.
        """
        try:
            os.ftruncate(self._file, self.durable)
        finally:
            self.close()


def seal(path: Path) -> Path:
    """Give a segment that is open no more its final name; return that."""
    sealed = path.with_suffix(SEALED)
    path.rename(sealed)
    sync_folder(path.parent)
    return sealed


def _write_all(file: int, parts: Sequence[bytes | memoryview]) -> int:
    """Write all of several parts, in as few calls as the system takes; return how many bytes."""
    views = [memoryview(part) for part in parts if len(part)]
    total = 0
    while views:
        written = os.writev(file, views[:1000])  # IOV_MAX is 1024 on Linux
        total += written
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]
    return total


def sync_folder(folder: Path) -> None:
    """Have a folder's entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> Segment:
    """Read a sealed segment.

    Raises InputError when its header is not one of ours: nothing in it can be trusted.
    """
    padded = _padded(path)
    size = len(padded) - PADDING
    view = memoryview(padded).toreadonly()
    worker, number, mark = _header(path, padded, size)
    records: list[Record] = []
    starts: list[int] = []
    damages: list[Damage] = []
    whole_until = HEADER_SIZE
    for start, end in _whole(padded, mark, size):
        if start > whole_until:
            damages.append(Damage(whole_until, bytes(padded[whole_until:start])))
        record, body_at = _record(view, start, end)
        records.append(record)
        starts.append(body_at)
        whole_until = end
    if size > whole_until:
        damages.append(Damage(whole_until, bytes(padded[whole_until:size])))
    return Segment(path, worker, number, tuple(records), tuple(damages), view, tuple(starts))


def _padded(path: Path) -> bytearray:
    """Return a file's bytes and PADDING more; read once, for a copy of a large file costs as much again."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        data = bytearray(size + PADDING)
        with memoryview(data) as whole:
            at = 0
            while at < size and (got := file.readinto(whole[at:size])):
                at += got
        if at < size:
            raise InputError(f"{path}: {at} bytes could be read of {size}. Is the disk whole?")
    return data


def _header(path: Path, data: bytearray | mmap.mmap, size: int) -> tuple[int, int, bytes]:
    """Return (worker, number, mark)."""
    if size < HEADER_SIZE:
        raise InputError(f"{path}: {size} bytes, and a segment's header has {HEADER_SIZE}. It was cut short.")
    magic, version, worker, number, _, mark = HEADER.unpack_from(data)
    (check,) = HEADER_CHECK.unpack_from(data, HEADER.size)
    if magic != MAGIC or check != crc32c.crc32c(data[: HEADER.size]):
        raise InputError(f"{path}: byte 0: no segment of ours, or its header is damaged. Move it away to go on.")
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: format version {version}, this program reads {FORMAT_VERSION}. Use the newer program."
        )
    return worker, number, mark


def _whole(data: bytearray | mmap.mmap, mark: bytes, size: int) -> Iterator[tuple[int, int]]:
    """Return where each whole record begins and ends."""
    at = HEADER_SIZE
    while (at := data.find(mark, at)) >= 0:
        end = _end(data, at, size)
        if end is None:
            at += 1
        else:
            yield at, end
            at = end


def _end(data: bytearray | mmap.mmap, at: int, size: int) -> int | None:
    """Return where the record at an offset ends; None when there is no whole one."""
    if at + RECORD_SIZE > size:
        return None
    check, length, _, _, tenant_length = RECORD.unpack_from(data, at + MARK_SIZE)
    end = int(at + RECORD_SIZE + tenant_length + length)
    if length > MAX_BODY or end > size:
        return None
    with memoryview(data) as whole, whole[at + MARK_SIZE + CHECK_SIZE : end] as checked:
        return end if crc32c.crc32c(checked) == check else None


def _record(data: memoryview, start: int, end: int) -> tuple[Record, int]:
    """Return a record, and where its body begins."""
    _, _, received, kind, tenant_length = RECORD.unpack_from(data, start + MARK_SIZE)
    body_at = start + RECORD_SIZE + tenant_length
    tenant = bytes(data[start + RECORD_SIZE : body_at]).decode(errors="replace")
    return Record(received, kind, tenant, data[body_at:end]), body_at


def segments(folder: Path, state: str) -> Iterator[tuple[int, int, Path]]:
    """Return (worker, number, path) of the segments in a state, in the order of worker and number."""
    found = [(*parsed, path) for path in folder.glob(f"*{state}") if (parsed := parse_name(path))]
    return iter(sorted(found))


def highest(folder: Path, worker: int) -> int:
    """Return the highest number of a worker's segments; -1 when there is none."""
    found = (number for state in (OPEN, SEALED) for owner, number, _ in segments(folder, state) if owner == worker)
    return max(found, default=-1)


def recover(folder: Path, worker: int | None = None) -> None:
    """Seal what a worker that died left open, without what it had not finished; None is all workers."""
    for owner, _, path in segments(folder, OPEN):
        if worker is not None and owner != worker:
            continue
        # A header that cannot be read is for the reader to tell: the file stays as it is.
        with suppress(InputError):
            _cut(path)
        if path.stat().st_size <= HEADER_SIZE:  # nothing was ever acknowledged from it
            path.unlink()
        else:
            seal(path)
    sync_folder(folder)


def _cut(path: Path) -> None:
    """Cut off what follows the last whole record: a worker died writing it, and acknowledged none of it."""
    if path.stat().st_size <= HEADER_SIZE:
        return
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _, _, mark = _header(path, data, len(data))
            end = max((end for _, end in _whole(data, mark, len(data))), default=HEADER_SIZE)
        file.truncate(end)
        os.fsync(file.fileno())
