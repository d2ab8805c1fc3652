"""The collector's own pieces: admission, group commit, writer, data directory."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from collector import group_commit, telemetry
from collector import writer as writer_module
from collector.config import Address, Config, parse_doors
from collector.data_dir import DataDir
from collector.group_commit import GroupCommit, NotDurable
from collector.port import hold, holder, listen
from collector.writer import Writer
from tests.builders import trace
from tests.ledger import request
from tests.running import eventually
from tracelens import wal
from tracelens.errors import Locked, PortTaken, StartError, StoreError, UsageError
from tracelens.redact import Rules
from tracelens.store import Store
from tracelens.wal import Record


def record(spans: int = 2) -> Record:
    return Record(1, wal.OTLP_PROTOBUF, "", request(spans)[0])


def test_requests_that_wait_together_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = []
    real = wal.os.fdatasync
    monkeypatch.setattr(wal.os, "fdatasync", lambda file: (syncs.append(file), real(file))[1])

    async def scenario() -> None:
        log = GroupCommit(tmp_path, 0, 5)
        await asyncio.gather(*(log.append(record()) for _ in range(100)))
        await log.close()

    asyncio.run(scenario())
    ((_, number, path),) = wal.segments(tmp_path, wal.SEALED)
    assert number == 5
    assert len(wal.read(path).records) == 100
    assert len(syncs) < 10


def test_segments_are_sealed_under_a_load_that_never_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer sees sealed segments only: a busy worker must not keep its spans from the store."""
    monkeypatch.setattr(group_commit, "SEAL_BYTES", 1_000)

    async def scenario() -> None:
        log = GroupCommit(tmp_path, 0, 0)

        async def sender() -> None:
            for _ in range(30):
                await log.append(record())

        await asyncio.gather(*(sender() for _ in range(4)))
        assert len(list(wal.segments(tmp_path, wal.SEALED))) > 5
        await log.close()

    asyncio.run(scenario())


def test_a_log_that_cannot_be_sealed_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "wal"
    folder.mkdir()

    async def scenario() -> None:
        log = GroupCommit(folder, 0, 0)
        await log.append(record())
        folder.rename(tmp_path / "away")
        with pytest.raises(NotDurable):
            await asyncio.wait_for(refused(log), 10)
        folder.mkdir()
        await log.append(record())
        await log.close()

    async def refused(log: GroupCommit) -> None:
        while True:  # until the open segment is old and cannot be sealed
            await log.append(record())
            await asyncio.sleep(0.05)

    asyncio.run(scenario())
    assert len(list(wal.segments(folder, wal.SEALED))) == 1


def test_a_failed_sync_refuses_its_requests_and_keeps_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed sync is never tried again: nobody knows what the disk has."""

    async def scenario() -> None:
        log = GroupCommit(tmp_path, 0, 0)
        await log.append(record())
        with monkeypatch.context() as broken:
            broken.setattr(wal.os, "fdatasync", _fails)
            with pytest.raises(NotDurable):
                await log.append(record())
        assert len(list(wal.segments(tmp_path, wal.SEALED))) == 1, "what was acknowledged before is for the writer"
        await log.append(record())
        await log.close()
        with pytest.raises(NotDurable):
            await log.append(record())

    asyncio.run(scenario())
    found = [len(wal.read(path).records) for _, _, path in wal.segments(tmp_path, wal.SEALED)]
    assert found == [1, 1]


def test_the_store_takes_no_number_beyond_a_segment_that_cannot_be_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next start, which drops what lies below the store's number, would drop it with all it acknowledged."""
    folder, store = DataDir(tmp_path / "data"), tmp_path / "store"
    monkeypatch.setattr(group_commit, "SEAL_BYTES", 1)
    real = wal.seal

    def fails(path: Path) -> Path:
        if path.stem.endswith("000"):
            raise OSError(5, "Input/output error")
        return real(path)

    async def scenario() -> None:
        log = GroupCommit(folder.wal, 0, 0)
        with monkeypatch.context() as broken:
            broken.setattr(wal, "seal", fails)
            await log.append(record())
            await log.append(record())
            while not list(wal.segments(folder.wal, wal.SEALED)):
                await asyncio.sleep(0.01)
            run_writer(folder, store)
            assert Store.open(store).span_count() == 0
        await log.append(record())
        await log.close()

    asyncio.run(scenario())
    assert not list(wal.segments(folder.wal, wal.OPEN))
    run_writer(folder, store)
    assert Store.open(store).span_count() == 6


def test_a_disk_that_was_full_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment's file that could not be finished must not stand in the way of the next."""

    async def scenario() -> None:
        log = GroupCommit(tmp_path, 0, 0)
        with monkeypatch.context() as broken:
            broken.setattr(wal.os, "fsync", _fails)
            with pytest.raises(NotDurable):
                await log.append(record())
        await log.append(record())
        await log.close()

    asyncio.run(scenario())
    assert len(list(wal.segments(tmp_path, wal.SEALED))) == 1


def test_a_batch_is_no_larger_than_a_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "SEAL_BYTES", 1_000)

    async def scenario() -> None:
        log = GroupCommit(tmp_path, 0, 0)
        await asyncio.gather(*(log.append(Record(1, wal.OTLP_PROTOBUF, "", bytes(400))) for _ in range(30)))
        await log.close()

    asyncio.run(scenario())
    found = [len(wal.read(path).records) for _, _, path in wal.segments(tmp_path, wal.SEALED)]
    assert found == [3] * 10


def _fails(_file: int) -> None:
    raise OSError(5, "Input/output error")


def sealed(folder: DataDir, number: int, *records: Record, worker: int = 0) -> None:
    appender = wal.Appender(folder.wal, worker, number, 0)
    appender.append([wal.encode(one) for one in records])
    appender.close()
    wal.seal(appender.path)


def run_writer(folder: DataDir, store: Path, workers: int = 1) -> None:
    """Run the writer until no segment is left."""
    stop = threading.Event()
    stop.set()
    writer = Writer(folder, store, Rules.default(), telemetry.start(folder.metrics), workers)
    writer.start()
    writer.run(stop)


def test_the_writer_stores_each_segment_once_whatever_step_was_cut(tmp_path: Path) -> None:
    folder, store = DataDir(tmp_path / "data"), tmp_path / "store"
    sealed(folder, 0, record(), record())
    sealed(folder, 0, record(), worker=1)
    (first, second) = (path.read_bytes() for _, _, path in wal.segments(folder.wal, wal.SEALED))
    run_writer(folder, store)
    assert Store.open(store).span_count() == 6
    assert folder.next_number(0) == 1
    # Killed after the commit and before the removal: the segments are there again.
    (folder.wal / wal.name(0, 0, wal.SEALED)).write_bytes(first)
    (folder.wal / wal.name(1, 0, wal.SEALED)).write_bytes(second)
    (folder.wal / "committed.json").unlink()
    run_writer(folder, store)
    assert Store.open(store).span_count() == 6
    assert not list(wal.segments(folder.wal, wal.SEALED))
    assert (folder.next_number(0), folder.next_number(1)) == (1, 1)


def test_a_worker_that_comes_back_goes_on_where_the_store_is(tmp_path: Path) -> None:
    """It left nothing on disk, and what was written down of it is lost: the store knows."""
    folder, store = DataDir(tmp_path / "data"), tmp_path / "store"
    sealed(folder, 0, record(), worker=1)
    run_writer(folder, store, workers=2)
    (folder.wal / "committed.json").unlink()
    run_writer(folder, store, workers=1)
    run_writer(folder, store, workers=2)
    assert folder.next_number(1) == 1
    sealed(folder, 1, record(), worker=1)
    run_writer(folder, store, workers=2)
    assert Store.open(store).span_count() == 4


def test_what_cannot_be_decoded_is_set_aside_and_costs_no_neighbour(tmp_path: Path) -> None:
    folder, store = DataDir(tmp_path / "data"), tmp_path / "store"
    sealed(folder, 0, record(), Record(9, wal.OTLP_PROTOBUF, "", b"\xff\xff"), record())
    sealed(folder, 1, record(), record(), record())
    (folder.wal / wal.name(0, 2, wal.SEALED)).write_bytes(b"rubbish")
    run_writer(folder, store)
    assert Store.open(store).span_count() == 4 + 6
    assert sorted(path.name for path in folder.set_aside.iterdir()) == [
        "000-000000000000-9.otlp-proto",
        "000-000000000002.segment",
    ]
    assert {path.stat().st_mode & 0o777 for path in folder.set_aside.iterdir()} == {0o600}


def test_a_store_that_is_away_is_not_made_anew(tmp_path: Path) -> None:
    """On the bare mount point of a disk that is not mounted, it would take what belongs to the other."""
    folder, store = DataDir(tmp_path / "data"), tmp_path / "store"
    sealed(folder, 0, record())
    run_writer(folder, store)
    store.rename(tmp_path / "away")
    store.mkdir()
    sealed(folder, 1, record())
    with pytest.raises(StoreError, match="mounted"):
        run_writer(folder, store)
    store.rmdir()
    (tmp_path / "away").rename(store)
    run_writer(folder, store)
    assert Store.open(store).span_count() == 4


def test_damage_in_the_middle_is_set_aside(tmp_path: Path) -> None:
    folder, store = DataDir(tmp_path / "data"), tmp_path / "store"
    sealed(folder, 0, record(), record(), record())
    path = folder.wal / wal.name(0, 0, wal.SEALED)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    run_writer(folder, store)
    assert Store.open(store).span_count() == 4
    assert len(list(folder.set_aside.iterdir())) == 1


def test_a_store_that_cannot_be_folded_still_takes_spans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One file of many is damaged: a writer that died of it would die again and again."""
    monkeypatch.setattr(writer_module, "FEW", 2)
    monkeypatch.setattr(writer_module, "QUIET_SECONDS", 0.0)
    folder, store = DataDir(tmp_path / "data"), tmp_path / "store"
    stop = threading.Event()
    writer = Writer(folder, store, Rules.default(), telemetry.start(folder.metrics))
    writer.start()
    running = threading.Thread(target=writer.run, args=(stop,), daemon=True)
    for number in range(2):
        Store.open(store).append(empty_but(number), {"other": number})
    damaged = Store.open(store)
    (store / damaged.files()[0].path).write_bytes(b"rubbish")
    running.start()
    sealed(folder, 0, record())
    eventually(damaged.span_count, lambda count: count == 4)
    eventually(lambda: "cannot be folded" in caplog.text, bool)
    sealed(folder, 1, record())
    eventually(damaged.span_count, lambda count: count == 6)
    stop.set()
    running.join()


def empty_but(number: int) -> pl.DataFrame:
    return trace("web |--|", number=number + 1)


def test_workers_import_no_frames_and_no_store() -> None:
    """Memory: a worker a core, and polars alone takes thirty megabytes."""
    names = "polars", "pyarrow", "deltalake", "streamlit"
    code = f"import sys, collector.worker, tracelens.wire._scan; print([n for n in {names} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_that_cannot_be_made_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StartError, match="--data-dir"):
        DataDir(tmp_path / "file" / "data")


def test_a_folder_is_one_collectors(tmp_path: Path) -> None:
    folder = DataDir(tmp_path)
    with folder.lock("lock"), pytest.raises(Locked, match=r"process \d+.*--data-dir"):
        DataDir(tmp_path).lock("lock")


@pytest.mark.parametrize("take", [hold, listen])
def test_a_port_is_held_against_strangers(take: Callable[..., tuple[socket.socket, Address]]) -> None:
    held, address = take(Address("127.0.0.1", 0), "--otlp-grpc")
    with held:
        held.listen()
        assert "process" in str(holder(address.port))
        for other in (hold, listen):
            with pytest.raises(PortTaken, match="--otlp-http"):
                other(address, "--otlp-http")


def test_a_name_is_held_as_the_one_address_that_workers_take() -> None:
    held, address = hold(Address("localhost", 0), "--otlp-grpc")
    held.close()
    assert address.host == "127.0.0.1"
    with pytest.raises(StartError, match="name"):
        hold(Address("shop..example", 0), "--otlp-grpc")


def test_addresses() -> None:
    assert Address.parse("127.0.0.1:4317").is_loopback
    assert Address.parse("[::1]:0") == Address("::1", 0)
    assert str(Address.parse("[::1]:7")) == "[::1]:7"
    assert parse_doors({"zipkin": "off", "api": "[::1]:7"}) == {"api": Address("::1", 7)}
    assert not Address.parse("0.0.0.0:4317").is_loopback
    assert not Address.parse("collector.shop:4317").is_loopback
    for text in ("", "4317", "host:", "host:99999", ":x"):
        with pytest.raises(UsageError, match="HOST:PORT"):
            Address.parse(text)


def test_an_open_address_needs_a_word(tmp_path: Path) -> None:
    everyone = {"otlp_http": Address.parse("0.0.0.0:0")}
    with pytest.raises(StartError, match=r"--otlp-http.*--insecure"):
        Config(data_dir=tmp_path, store=tmp_path, doors=everyone)
    Config(data_dir=tmp_path, store=tmp_path, doors=everyone, insecure=True)


def test_a_collector_needs_a_door_for_spans(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="every door"):
        Config(data_dir=tmp_path, store=tmp_path, doors={"api": Address("127.0.0.1", 0)})
