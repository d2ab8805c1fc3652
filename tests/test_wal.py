"""The log: whatever is cut or flipped, every whole record survives."""

from __future__ import annotations

import tempfile
from pathlib import Path

import crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelens import wal
from tracelens.errors import InputError
from tracelens.wal import HEADER_SIZE, Appender, Record

RECORDS = [Record(n, wal.OTLP_PROTOBUF, "tenant" if n % 2 else "", bytes([n]) * (3 + n)) for n in range(5)]


def segment(folder: Path, records: list[Record], number: int = 7) -> Path:
    """Return a sealed segment of `records`."""
    appender = Appender(folder, 3, number, 0)
    for record in records:
        appender.append(wal.encode(record))
    return appender.seal()


def sizes(records: list[Record]) -> list[int]:
    return [sum(map(len, wal.encode(record))) for record in records]


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    found = wal.read(segment(tmp_path, RECORDS))
    assert (found.worker, found.number) == (3, 7)
    assert list(found.records) == RECORDS
    assert (found.damages, found.torn_bytes) == ((), 0)
    assert found.path.name == "003-000000000007.wal"
    assert found.path.stat().st_mode & 0o777 == 0o600


def test_cut_anywhere_in_the_last_two_records_only_those_are_lost(tmp_path: Path) -> None:
    data = segment(tmp_path, RECORDS).read_bytes()
    ends = [HEADER_SIZE]
    for size in sizes(RECORDS):
        ends.append(ends[-1] + size)
    cut = tmp_path / "003-000000000008.open"
    for length in range(ends[-3], len(data)):
        cut.write_bytes(data[:length])
        found = wal.read(cut)
        whole = sum(end <= length for end in ends[1:])
        assert list(found.records) == RECORDS[:whole]
        assert found.torn_bytes == length - ends[whole]
        assert found.damages == ()


def test_a_flipped_bit_costs_one_record_at_most(tmp_path: Path) -> None:
    path = segment(tmp_path, RECORDS)
    data = path.read_bytes()
    for bit in range(HEADER_SIZE * 8, len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        found = wal.read(path)
        assert len(found.records) == len(RECORDS) - 1
        assert set(found.records) < set(RECORDS)
        lost = sum(len(damage.data) for damage in found.damages) + found.torn_bytes
        assert lost in sizes(RECORDS)


def test_a_damaged_header_is_refused_by_name(tmp_path: Path) -> None:
    path = segment(tmp_path, RECORDS)
    data = path.read_bytes()
    for at in range(HEADER_SIZE):
        broken = bytearray(data)
        broken[at] ^= 0xFF
        path.write_bytes(broken)
        with pytest.raises(InputError, match="000000000007"):
            wal.read(path)
    path.write_bytes(data[:10])
    with pytest.raises(InputError, match="cut short"):
        wal.read(path)


@given(st.lists(st.binary(max_size=200), max_size=8), st.binary(max_size=64))
def test_bodies_that_look_like_records_and_rubbish_behind(bodies: list[bytes], rubbish: bytes) -> None:
    """A body may hold the mark, or a whole record: neither ends it."""
    inner = b"".join(wal.encode(RECORDS[1]))
    records = [Record(0, wal.OTLP_PROTOBUF, "", body + wal.MARK + inner) for body in bodies]
    header = wal.HEADER.pack(wal.MAGIC, wal.FORMAT_VERSION, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "000-000000000000.wal"
        parts = [part for record in records for part in wal.encode(record)]
        path.write_bytes(header + wal.HEADER_CHECK.pack(crc32c.crc32c(header)) + b"".join(parts) + rubbish)
        assert list(wal.read(path).records) == records


def test_recovery_seals_what_was_open_and_goes_on_counting(tmp_path: Path) -> None:
    segment(tmp_path, RECORDS, 7)
    appender = Appender(tmp_path, 3, 8, 0)
    appender.append(wal.encode(RECORDS[0]))
    Appender(tmp_path, 3, 9, 0)  # nothing in it yet
    Appender(tmp_path, 4, 50, 0)  # another worker's
    assert wal.recover(tmp_path, 3) == 9
    assert [path.name for _, _, path in wal.segments(tmp_path, wal.SEALED)] == [
        "003-000000000007.wal",
        "003-000000000008.wal",
    ]
    assert [path.name for _, _, path in wal.segments(tmp_path, wal.OPEN)] == ["004-000000000050.open"]
    assert wal.recover(tmp_path, 5) == -1


def test_abandoning_keeps_what_was_on_disk(tmp_path: Path) -> None:
    appender = Appender(tmp_path, 0, 0, 0)
    appender.append(wal.encode(RECORDS[0]))
    with appender.path.open("ab") as file:
        file.write(b"written, and the sync failed")
    appender.abandon()
    found = wal.read(appender.path.with_suffix(wal.SEALED))
    assert list(found.records) == RECORDS[:1]
    assert found.torn_bytes == 0
