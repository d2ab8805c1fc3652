"""`store verify` finds what is wrong with a store or a log, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import trace
from tests.ledger import request
from tests.running import tracelens
from tracelens import wal
from tracelens.errors import StoreError
from tracelens.store import Store
from tracelens.verify import verify
from tracelens.wal import Record


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a sealed and an open segment, and a store of two files."""
    (tmp_path / "wal").mkdir()
    for number in range(2):
        appender = wal.Appender(tmp_path / "wal", 0, number, 0)
        appender.append([wal.encode(Record(n, wal.OTLP_PROTOBUF, "", request(2)[0])) for n in range(3)])
        appender.close()
    wal.seal(tmp_path / "wal" / wal.name(0, 0, wal.OPEN))
    store = Store.open(tmp_path / "store", create=True)
    for number in range(2):
        store.append(trace("web |--|", number=number + 1), {"test": number})
    return tmp_path


def wrong(data: Path) -> list[str]:
    return [f"{check.what}: {check.found}" for check in verify(str(data)) if check.wrong]


def test_nothing_is_wrong_with_what_is_whole(data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    done = tracelens("store", "verify", str(data))
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "ok     log, sealed",
        "ok     log, open",
        "ok     store",
        "ok     rollups",
    ]
    assert "1 segments, 3 requests" in lines[0]
    assert "2 files, 2 spans" in lines[2]
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_a_store_alone_is_verified_too(data: Path) -> None:
    assert [check.what for check in verify(str(data / "store"))] == ["store", "rollups"]


def test_damage_in_a_segment_is_told_with_its_place(data: Path) -> None:
    path = data / "wal" / wal.name(0, 0, wal.SEALED)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)
    (found,) = wrong(data)
    assert found.startswith(path.name)
    assert "byte" in found
    done = tracelens("store", "verify", str(data))
    assert done.returncode == 1
    assert b"1 of these are wrong" in done.stderr


def test_a_segment_that_is_none_or_another_is_told(data: Path) -> None:
    (data / "wal" / wal.name(0, 5, wal.SEALED)).write_bytes(b"rubbish" * 10)
    path = data / "wal" / wal.name(0, 0, wal.SEALED)
    path.rename(path.with_name(wal.name(3, 9, wal.SEALED)))
    found = wrong(data)
    assert len(found) == 2
    assert any("header" in one for one in found)
    assert any("renamed" in one for one in found)


def test_a_torn_end_of_an_open_segment_is_nothing(data: Path) -> None:
    """Its worker may be in the middle of writing it."""
    path = data / "wal" / wal.name(0, 1, wal.OPEN)
    path.write_bytes(path.read_bytes()[:-5])
    assert wrong(data) == []


def test_what_is_wrong_with_the_stores_files(data: Path) -> None:
    store = Store.open(data / "store")
    first, second = (data / "store" / file.path for file in store.files())
    kept = first.read_bytes()
    first.write_bytes(kept[:-20])
    assert "bytes, and the table's log says" in wrong(data)[0]
    first.write_bytes(kept[:-20] + bytes(20))
    assert "cannot be read" in wrong(data)[0]
    first.write_bytes(kept)
    second.unlink()
    (found,) = wrong(data)
    assert "is not there" in found


def test_what_is_neither_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="neither"):
        list(verify(str(tmp_path)))
