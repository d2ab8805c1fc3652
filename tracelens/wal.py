"""The write-ahead log's format: segments of records, written, read, recovered.

Owns bytes and files; who waits for a sync and what becomes of a record is the
collector's. WAL.md beside this file draws every byte.

A record counts once it is whole and its checksum holds. What follows the last
such record was never acknowledged. A broken record with a whole one after it
is damage: it is skipped, told, and never costs its neighbours.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import crc32c

from tracelens.errors import InputError

MAGIC = b"TLWAL\x00"
FORMAT_VERSION = 1
# magic, format version, worker, number, when it was opened (Unix nanoseconds)
HEADER = struct.Struct("<6sHIQq")
HEADER_CHECK = struct.Struct("<I")  # crc32c of the header before it
HEADER_SIZE = HEADER.size + HEADER_CHECK.size
MARK = b"TLr\x01"  # begins a record, so that reading can go on after a broken one
# mark, crc32c of all that follows, length of the body, received (Unix nanoseconds), format, length of the tenant
RECORD = struct.Struct("<4sIIqBB")
CHECKED_FROM = 8  # offset of what the checksum covers
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
    body: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes between two whole records that are none."""

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
    torn_bytes: int  # after the last whole record: never acknowledged


def encode(record: Record) -> list[bytes]:
    """Return a record's bytes, the body last and not copied."""
    tenant = record.tenant.encode()
    head = RECORD.pack(MARK, 0, len(record.body), record.received_unix_nano, record.format, len(tenant))
    check = crc32c.crc32c(tenant, crc32c.crc32c(head[CHECKED_FROM:]))
    check = crc32c.crc32c(record.body, check)
    return [MARK + struct.pack("<I", check) + head[CHECKED_FROM:] + tenant, record.body]


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
        """Make the segment's file and have it, and its name, on disk."""
        self.path = folder / name(worker, number, OPEN)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        header = HEADER.pack(MAGIC, FORMAT_VERSION, worker, number, opened_unix_nano)
        _write_all(self._file, [header, HEADER_CHECK.pack(crc32c.crc32c(header))])
        os.fsync(self._file)
        sync_folder(folder)
        self.size = self.durable = HEADER_SIZE

    def append(self, parts: Sequence[bytes]) -> None:
        """Write parts and have them on disk. Raises OSError; the segment must then be abandoned."""
        self.size += _write_all(self._file, parts)
        os.fdatasync(self._file)
        self.durable = self.size

    def seal(self) -> Path:
        """Close the segment and give it its final name; return that."""
        sealed = self.path.with_suffix(SEALED)
        os.close(self._file)
        self.path.rename(sealed)
        sync_folder(self.path.parent)
        return sealed

    def abandon(self) -> None:
        """Close after a failure, keeping what was on disk before it.

        After a failed sync nobody knows what the disk has: what was written
        since the last good one is cut off, and is not tried again.
        """
        try:
            os.ftruncate(self._file, self.durable)
        finally:
            self.seal()


def _write_all(file: int, parts: Sequence[bytes]) -> int:
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
    """Read a segment, open or sealed.

    Raises InputError when its header is not one of ours: nothing in it can be trusted.
    """
    data = path.read_bytes()
    worker, number = _header(path, data)
    records: list[Record] = []
    damages: list[Damage] = []
    at = HEADER_SIZE
    whole_until = at
    while at < len(data):
        found = _record(data, at)
        if found is not None:
            if at > whole_until:
                damages.append(Damage(whole_until, data[whole_until:at]))
            record, at = found
            records.append(record)
            whole_until = at
            continue
        following = data.find(MARK, at + 1)
        at = following if following >= 0 else len(data)
    return Segment(path, worker, number, tuple(records), tuple(damages), len(data) - whole_until)


def _header(path: Path, data: bytes) -> tuple[int, int]:
    if len(data) < HEADER_SIZE:
        raise InputError(f"{path}: {len(data)} bytes, and a segment's header has {HEADER_SIZE}. It was cut short.")
    magic, version, worker, number, _ = HEADER.unpack_from(data)
    (check,) = HEADER_CHECK.unpack_from(data, HEADER.size)
    if magic != MAGIC or check != crc32c.crc32c(data[: HEADER.size]):
        raise InputError(f"{path}: byte 0: no segment of ours, or its header is damaged. Move it away to go on.")
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: format version {version}, this program reads {FORMAT_VERSION}. Use the newer program."
        )
    return worker, number


def _record(data: bytes, at: int) -> tuple[Record, int] | None:
    """Return the record at an offset and where it ends; None when there is no whole one."""
    if at + RECORD.size > len(data):
        return None
    mark, check, length, received, kind, tenant_length = RECORD.unpack_from(data, at)
    body_at = at + RECORD.size + tenant_length
    end = body_at + length
    if mark != MARK or length > MAX_BODY or end > len(data):
        return None
    if crc32c.crc32c(memoryview(data)[at + CHECKED_FROM : end]) != check:
        return None
    tenant = data[at + RECORD.size : body_at].decode(errors="replace")
    return Record(received, kind, tenant, data[body_at:end]), end


def segments(folder: Path, state: str) -> Iterator[tuple[int, int, Path]]:
    """Return (worker, number, path) of the segments in a state, in the order of worker and number."""
    found = [(*parsed, path) for path in folder.glob(f"*{state}") if (parsed := parse_name(path))]
    return iter(sorted(found))


def recover(folder: Path, worker: int) -> int:
    """Seal what a worker that died left open; return the highest number it used, -1 when none is left."""
    highest = max((number for owner, number, _ in segments(folder, SEALED) if owner == worker), default=-1)
    for owner, number, path in segments(folder, OPEN):
        if owner != worker:
            continue
        highest = max(highest, number)
        if path.stat().st_size <= HEADER_SIZE:  # nothing was ever acknowledged from it
            path.unlink()
        else:
            path.rename(path.with_suffix(SEALED))
    sync_folder(folder)
    return highest
