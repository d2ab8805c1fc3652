"""A collector whose store is on object storage: where it is, and commits whose answers are lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import telemetry
from collector.data_dir import DataDir
from collector.maintenance import Maintenance
from collector.writer import Writer
from tests import s3
from tests.builders import trace
from tests.collector.test_parts import record, sealed
from tests.running import eventually
from tracelens import settle, wal
from tracelens.errors import StoreError
from tracelens.redact import Rules
from tracelens.store import Retention, Store
from tracelens.store import hours as of_store

COMMIT = "PUT .*/_delta_log/"


@pytest.fixture(scope="module")
def server() -> Iterator[s3.Server]:
    with s3.serving() as running, s3.environment(running):
        yield running


def made(folder: DataDir, store: str) -> Writer:
    return Writer(folder, store, Rules.default(), telemetry.start(folder.metrics))


def waiting(folder: DataDir) -> list[int]:
    return [number for _, number, _ in wal.segments(folder.wal, wal.SEALED)]


def test_a_commit_whose_answer_is_lost_is_handed_over_and_not_made_again(server: s3.Server, tmp_path: Path) -> None:
    """No answer to a commit ever comes, and what is sealed meanwhile would make the next batch larger."""
    folder, store = DataDir(tmp_path / "data"), f"{server.bucket('lost')}/store"
    writer, stop = made(folder, store), threading.Event()
    writer.start()
    server.fault("lost", request=COMMIT)
    running = threading.Thread(target=writer.run, args=(stop,))
    running.start()
    try:
        for number in range(3):
            sealed(folder, number, record(), record())
            eventually(lambda: server.seen["lost"], lambda n, least=number: n > least)
        eventually(lambda: waiting(folder), lambda left: left == [])
        assert Store.open(store).span_count() == 12
    finally:
        server.well()
        stop.set()
        running.join()


def test_a_commit_that_is_taken_late_is_not_made_again_in_a_larger_one(server: s3.Server, tmp_path: Path) -> None:
    """It was on its way when the writer asked: the writer ends, and the next one knows."""
    folder, store = DataDir(tmp_path / "data"), f"{server.bucket('late')}/store"
    writer = made(folder, store)
    writer.start()
    sealed(folder, 0, record())
    segment = (folder.wal / wal.name(0, 0, wal.SEALED)).read_bytes()
    stop = threading.Event()
    stop.set()
    made_by_another = made(folder, store)
    made_by_another.start()
    made_by_another.run(stop)
    (folder.wal / wal.name(0, 0, wal.SEALED)).write_bytes(segment)
    sealed(folder, 1, record())
    with pytest.raises(StoreError, match="already"):
        writer.run(stop)
    again = made(folder, store)
    again.start()
    assert waiting(folder) == [1]
    again.run(stop)
    assert Store.open(store).span_count() == 4


def test_a_start_asks_of_few_workers(server: s3.Server, tmp_path: Path) -> None:
    """Each takes requests, one after the other, and sixty-four may be asked for."""
    folder, store = DataDir(tmp_path / "data"), f"{server.bucket('few')}/store"
    made(folder, store).start()

    def requests(workers: int) -> int:
        writer = Writer(folder, store, Rules.default(), telemetry.start(folder.metrics), workers)
        before = server.seen["GET"]
        writer.start()
        return server.seen["GET"] - before

    assert 0 < requests(1) <= 10 < requests(64)


def test_a_store_that_was_at_a_url_is_not_made_anew(server: s3.Server, tmp_path: Path) -> None:
    folder = DataDir(tmp_path / "data")
    folder.remember("s3://emptied/store/")
    assert folder.knows("s3://emptied/store")
    assert not folder.knows("s3://emptied/other")
    server.bucket("emptied")
    with pytest.raises(StoreError, match="emptied/store: the store that was here is not"):
        made(folder, "s3://emptied/store")


def test_a_store_at_a_url_is_cared_for(server: s3.Server) -> None:
    """And settled first: what is let go of stays counted."""
    store = f"{server.bucket('cared')}/store"
    made = Store.open(store, create=True)
    hours = [time.time_ns() - ago * 3_600 * 10**9 for ago in (30, 5, 0)]
    for number, arrived in enumerate((*hours, *hours)):
        made.append(trace("web |--|", number=number + 1), {"a": number}, arrived_unix_nano=arrived)
    caring = Maintenance(store, Retention(age_seconds=86_400))
    for _ in range(2):
        caring.look(threading.Event())
    assert [len(hour.files) for hour in of_store(made)] == [1, 2]
    rollups = settle.Rollups(made)
    assert settle.waiting(rollups) == []
    assert rollups.routes["hours"].scan().collect()["n"].sum() == 4
    assert rollups.traces.scan().collect().height == 2
