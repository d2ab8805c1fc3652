"""Compaction and retention: each span once, whatever happens meanwhile; what is let go of are whole hours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.builders import synthetic
from tests.store.test_store import at_once, ordered
from tracelens.errors import StoreError, UsageError
from tracelens.store import Retention, Store, beyond, compact, files, fold, hours, retain, sweep
from tracelens.verify import verify

HOUR = 3_600 * 10**9
MONDAY = 1_767_571_200 * 10**9  # 2026-01-05T00:00:00Z
DAYS_LATER = MONDAY / 1e9 + 90 * 86_400


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Six hours with three files each; the last arrived just now."""
    made = Store.open(tmp_path / "store", create=True)
    for hour in range(6):
        for number in range(3):
            made.append(
                synthetic(200, seed=3 * hour + number), {f"{hour}": number}, arrived_unix_nano=MONDAY + hour * HOUR
            )
    return made


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some hundred spans."""
    monkeypatch.setattr(sys.modules["tracelens.store.compact"], "TARGET_ROWS", 250)


@pytest.mark.usefixtures("_small")
def test_compaction_keeps_every_span_sorted_by_trace(store: Store) -> None:
    before = store.scan().collect()
    reader = store.scan()  # a query that began before
    done = compact(store)
    assert (done.hours, done.files_before, done.spans) == (6, 18, 3_600)
    assert done.files_after == store.file_count() == 18  # three of 200 spans each: 600 in files of 250 at most
    assert done.bytes_written == sum(file.size for file in store.files())
    assert_frame_equal(ordered(store.scan().collect()), ordered(before))
    assert_frame_equal(ordered(reader.collect()), ordered(before))
    for file in store.files():
        ids = store.scan_files([file]).collect()["trace_id"]
        assert ids.is_sorted()
        assert file.traces == (ids[0].hex(), ids[-1].hex())
    for hour in hours(store):
        ranges = sorted(file.traces for file in hour.files if file.traces)
        assert all(one[1] < other[0] for one, other in pairwise(ranges))
    assert compact(store).hours == 0
    assert not any(check.wrong for check in verify(str(store.path)))


@pytest.mark.usefixtures("_small")
def test_a_trace_is_read_from_the_files_that_may_hold_it(store: Store) -> None:
    every = store.scan().collect()
    wanted = every["trace_id"][100]
    expected = every.filter(pl.col("trace_id") == wanted)
    assert_frame_equal(ordered(store.trace(wanted)), ordered(expected))
    compact(store)
    assert_frame_equal(ordered(store.trace(wanted)), ordered(expected))
    digits = wanted.hex()
    for file in store.files():
        assert file.traces is not None
        if not file.traces[0] <= digits <= file.traces[1]:
            (store.path / file.path).unlink()
    assert_frame_equal(ordered(store.trace(wanted)), ordered(expected))
    assert store.trace(bytes(16)).is_empty()


def test_what_was_replaced_long_after_it_came_is_left_to_its_readers(store: Store) -> None:
    for file in store.files():
        os.utime(store.path / file.path, (0, 0))
    compact(store)
    retain(store, Retention(size_bytes=1))
    assert sweep(store) == 0
    assert len(list(store.path.glob("hour=*/*.parquet"))) == 18 + 6


def test_what_comes_late_into_a_compacted_hour_is_compacted_with_it(store: Store) -> None:
    compact(store)
    store.append(synthetic(50, seed=99), {"late": 0}, arrived_unix_nano=MONDAY + HOUR)
    assert compact(store).spans == 650
    assert store.file_count() == 6


def test_the_hour_that_is_not_over_waits(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", create=True)
    for number in range(2):
        store.append(synthetic(20, seed=number), {"a": number})
    assert compact(store).hours == 0
    assert compact(store, everything=True).hours == 1


def test_compactions_folds_appends_and_readers_at_once(store: Store) -> None:
    """Row counts are exact, and a reader misses nothing and sees nothing twice."""
    ended = threading.Event()

    def appender() -> None:
        own = Store.open(store.path)
        for number in range(12):
            own.append(synthetic(20, seed=500 + number), {"more": number}, arrived_unix_nano=MONDAY + HOUR)

    def compactor() -> None:
        own = Store.open(store.path)
        while not ended.is_set():
            compact(own)
            fold(own, many=2)

    def reader() -> None:
        own = Store.open(store.path)
        while not ended.is_set():
            counted = own.span_count()
            ids = own.scan(columns=["trace_id", "span_id"]).collect()
            assert len(ids) >= counted
            assert ids.n_unique() == len(ids)

    def appending() -> None:
        try:
            at_once(appender)
        finally:
            ended.set()

    at_once(appending, compactor, compactor, reader)
    assert store.span_count() == store.scan().collect().height == 3_600 + 240


def test_a_compaction_that_is_stopped_leaves_nothing(store: Store) -> None:
    before = {file.path for file in store.files()}
    asked = iter([False, True])
    assert compact(store, stop=lambda: next(asked)).hours == 1
    left = {str(path.relative_to(store.path)) for path in store.path.glob("hour=*/*.parquet")}
    assert left - before == {file.path for file in store.files() if file.traces}


def test_a_file_that_is_not_what_the_log_says_stops_it(store: Store) -> None:
    victim = hours(store)[0].files[0]
    pl.read_parquet(store.path / victim.path, hive_partitioning=False).head(10).write_parquet(store.path / victim.path)
    with pytest.raises(StoreError, match="The files stay as they are"):
        compact(store)
    assert store.file_count() == 18
    assert not list(store.path.glob("hour=*/traces-*"))


def test_a_file_that_was_swept_before_its_commit_is_not_committed(store: Store) -> None:
    """Of a compaction that took longer than the grace."""
    hour = hours(store)[0]
    merged = store.scan_files(hour.files).collect().sort("trace_id")
    added = files.write(store.path, merged, hour.name, data_change=False, by_trace=True)
    assert sweep(store, grace_seconds=-1) == 1
    assert not store.replace(hour.files, [added], "maintenance")
    assert store.scan().collect().height == 3_600


KILLED = """
import os, signal, sys, threading
from tracelens.store import Store, compact, retain, Retention
module = sys.modules["tracelens.store.compact"]
module.TARGET_ROWS = 100
threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGKILL)).start()
print("begin", flush=True)
compact(Store.open(sys.argv[1]))
"""


def test_killed_in_the_middle_each_span_is_there_once(store: Store) -> None:
    expected = ordered(store.scan().collect())
    for number in range(6):
        process = subprocess.run(
            [sys.executable, "-c", KILLED, str(store.path), str(0.01 + 0.02 * number)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == -signal.SIGKILL, process.stderr
        assert_frame_equal(ordered(Store.open(store.path).scan().collect()), expected)
    compact(store)
    sweep(store, grace_seconds=-1)
    assert {str(path.relative_to(store.path)) for path in store.path.glob("hour=*/*.parquet")} == {
        file.path for file in store.files()
    }
    assert_frame_equal(ordered(store.scan().collect()), expected)


def test_retention_lets_go_of_whole_hours_by_age(store: Store) -> None:
    now = MONDAY / 1e9 + 6 * 3_600
    assert [hour.name for hour in retain(store, Retention(age_seconds=4 * 3_600), now_seconds=now)] == [
        "2026-01-05T00",
        "2026-01-05T01",
    ]
    assert store.span_count() == store.scan().collect().height == 4 * 600
    assert retain(store, Retention(age_seconds=4 * 3_600), now_seconds=now) == []
    assert sweep(store) == 0  # queries may still read them
    assert sweep(store, grace_seconds=-1) == 6
    assert not (store.path / "hour=2026-01-05T00").exists()


def test_a_clock_that_is_ahead_lets_go_of_nothing_more(store: Store) -> None:
    assert len(beyond(store, Retention(age_seconds=4 * 3_600), now_seconds=DAYS_LATER)) == 2
    assert beyond(store, Retention(age_seconds=4 * 3_600), now_seconds=0) == []


def test_retention_by_size_keeps_the_newest(store: Store) -> None:
    sizes = [hour.size for hour in hours(store)]
    assert len(retain(store, Retention(size_bytes=sum(sizes[2:])))) == 2
    assert len(retain(store, Retention(size_bytes=1))) == 3
    assert [hour.name for hour in hours(store)] == ["2026-01-05T05"]
    assert retain(Store.open(store.path.with_name("empty"), create=True), Retention(size_bytes=1)) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"retain_age": 14}, "retain_age, retain_size, retain_rollups"),
        ({"keep": "14d"}, "retain_age, retain_size, retain_rollups"),
        ({"retain_age": "14 days"}, "no duration"),
        ({"retain_size": "much"}, "no size"),
        ({"retain_age": "10m"}, "by the hour"),
        ({"retain_size": "0B"}, "above 0"),
        ({"retain_age": "14d", "retain_rollups": "10d"}, "in vain"),
    ],
)
def test_settings_that_cannot_be_are_told(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Retention.of({"store": settings})


def test_settings() -> None:
    assert Retention.of({"store": {"retain_age": "14d", "retain_size": "2GiB"}}) == Retention(14 * 86_400, 2 << 30)
    assert Retention.of({}).everything
