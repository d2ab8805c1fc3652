"""The log: whatever is cut or flipped, every whole record survives."""

from __future__ import annotations

import tempfile
from pathlib import Path

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
        appender.append([wal.encode(record)])
    appender.close()
    return wal.seal(appender.path)


def sizes(records: list[Record]) -> list[int]:
    return [wal.MARK_SIZE + sum(map(len, wal.encode(record))) for record in records]


def spelled(path: Path, records: list[Record]) -> bytes:
    """Return the bytes of records as another segment has them."""
    return path.read_bytes()[HEADER_SIZE:][: sum(sizes(records))]


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    found = wal.read(segment(tmp_path, RECORDS))
    assert (found.worker, found.number) == (3, 7)
    assert list(found.records) == RECORDS
    assert found.damages == ()
    assert found.path.name == "003-000000000007.wal"
    assert found.path.stat().st_mode & 0o777 == 0o600


def test_cut_anywhere_in_the_last_two_records_only_those_are_lost(tmp_path: Path) -> None:
    """A worker killed while it wrote: recovery keeps every whole record, and nothing of the torn one."""
    data = segment(tmp_path, RECORDS).read_bytes()
    ends = [HEADER_SIZE]
    for size in sizes(RECORDS):
        ends.append(ends[-1] + size)
    cut = tmp_path / "003-000000000008.open"
    for length in range(ends[-3], len(data)):
        cut.write_bytes(data[:length])
        wal.recover(tmp_path)
        found = wal.read(cut.with_suffix(wal.SEALED))
        whole = sum(end <= length for end in ends[1:])
        assert list(found.records) == RECORDS[:whole]
        assert found.damages == ()


def test_a_flipped_bit_costs_one_record_and_is_told(tmp_path: Path) -> None:
    """Of the last record too: a sealed segment has no torn tail."""
    path = segment(tmp_path, RECORDS)
    data = path.read_bytes()
    for bit in range(HEADER_SIZE * 8, len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        found = wal.read(path)
        assert len(found.records) == len(RECORDS) - 1
        assert all(record in RECORDS for record in found.records)
        assert sum(len(damage.data) for damage in found.damages) in sizes(RECORDS)


def test_a_damaged_record_that_holds_another_gives_no_record(tmp_path: Path) -> None:
    """Else a sender could have its own record, with any tenant in it, taken for one we wrote."""
    inner = spelled(segment(tmp_path, RECORDS[1:2], 1), RECORDS[1:2])
    path = segment(tmp_path, [Record(0, wal.OTLP_PROTOBUF, "", inner * 3), RECORDS[0]], 2)
    broken = bytearray(path.read_bytes())
    broken[HEADER_SIZE + wal.RECORD_SIZE] ^= 1
    path.write_bytes(broken)
    found = wal.read(path)
    assert list(found.records) == RECORDS[:1]
    assert len(found.damages) == 1


def test_every_segment_has_a_mark_of_its_own(tmp_path: Path) -> None:
    marks = {wal.HEADER.unpack_from(segment(tmp_path, RECORDS[:1], number).read_bytes())[-1] for number in range(20)}
    assert len(marks) == 20


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


@given(st.lists(st.binary(max_size=200), max_size=8), st.binary(min_size=1, max_size=64))
def test_bodies_that_look_like_records_and_rubbish_behind(bodies: list[bytes], rubbish: bytes) -> None:
    """A body may hold a record's bytes: they do not end it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inner = spelled(segment(folder, RECORDS[1:2], 1), RECORDS[1:2])
        records = [Record(0, wal.OTLP_PROTOBUF, "", body + inner) for body in bodies]
        path = segment(folder, records, 2)
        with path.open("ab") as file:
            file.write(rubbish)
        found = wal.read(path)
    assert list(found.records) == records
    assert [damage.data for damage in found.damages] == [rubbish]


def names(folder: Path, state: str) -> list[str]:
    return [path.name for _, _, path in wal.segments(folder, state)]


def test_recovery_seals_what_was_open_and_drops_what_is_empty(tmp_path: Path) -> None:
    segment(tmp_path, RECORDS, 7)
    Appender(tmp_path, 3, 8, 0).append([wal.encode(RECORDS[0])])
    Appender(tmp_path, 3, 9, 0)  # nothing in it yet
    Appender(tmp_path, 4, 50, 0).append([wal.encode(RECORDS[0])])  # another worker's
    assert wal.highest(tmp_path, 3) == 9
    wal.recover(tmp_path, 3)
    assert names(tmp_path, wal.SEALED) == ["003-000000000007.wal", "003-000000000008.wal"]
    assert names(tmp_path, wal.OPEN) == ["004-000000000050.open"]
    assert [wal.highest(tmp_path, worker) for worker in (3, 4, 5)] == [8, 50, -1]
    wal.recover(tmp_path)
    assert names(tmp_path, wal.OPEN) == []


def test_recovery_leaves_a_damaged_header_to_the_reader(tmp_path: Path) -> None:
    appender = Appender(tmp_path, 3, 8, 0)
    appender.append([wal.encode(RECORDS[0])])
    data = bytearray(appender.path.read_bytes())
    data[0] ^= 1
    appender.path.write_bytes(data)
    wal.recover(tmp_path)
    sealed = appender.path.with_suffix(wal.SEALED)
    assert sealed.read_bytes() == data
    with pytest.raises(InputError, match="damaged"):
        wal.read(sealed)


def test_abandoning_keeps_what_was_on_disk(tmp_path: Path) -> None:
    appender = Appender(tmp_path, 0, 0, 0)
    appender.append([wal.encode(RECORDS[0])])
    with appender.path.open("ab") as file:
        file.write(b"written, and the sync failed")
    appender.abandon()
    found = wal.read(wal.seal(appender.path))
    assert list(found.records) == RECORDS[:1]
    assert found.damages == ()


def test_a_segment_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(wal.os, "fsync", fails)
        with pytest.raises(OSError, match="No space"):
            Appender(tmp_path, 0, 0, 0)
    assert list(tmp_path.iterdir()) == []
