"""A collector cares for its store: hours that are over are compacted, and old ones let go."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import polars as pl
import pytest

from collector.maintenance import Maintenance
from collector.settings import retention, rules
from tests.builders import synthetic
from tests.running import eventually
from tracelens.errors import UsageError
from tracelens.settle import Rollups, newest, settle, waiting
from tracelens.store import Retention, Store, hours

HOUR = 3_600 * 10**9
MONDAY = 1_767_571_200 * 10**9  # 2026-01-05T00:00:00Z
KEEP = Retention(age_seconds=3 * 3_600)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Five hours with two files each; the newest is going on."""
    made = Store.open(tmp_path / "store", create=True)
    for ago in (5, 4, 3, 2, 0):
        for number in range(2):
            frame = synthetic(50, seed=2 * ago + number)
            made.append(frame, {f"{ago}": number}, arrived_unix_nano=time.time_ns() - ago * HOUR)
    return made


def test_the_configuration_file_tells_how_long(tmp_path: Path) -> None:
    """Beside what it says of other things."""
    file = tmp_path / "tracelens.toml"
    file.write_text('[store]\nretain_age = "14d"\nretain_size = "2GB"\n[redact]\nkeys = ["iban"]\n')
    assert retention(file) == Retention(14 * 86_400, 2 * 10**9)
    assert rules(file) != rules(None)
    assert retention(None).everything
    file.write_text('[store]\nretain_age = "14 days"\n')
    with pytest.raises(UsageError, match="no duration"):
        retention(file)


def test_old_hours_go_and_the_oldest_left_is_compacted(store: Store) -> None:
    Maintenance(store.path, KEEP).look(threading.Event())
    assert [len(hour.files) for hour in hours(store)] == [1, 2, 2]


def test_after_the_clock_was_set_nothing_is_let_go(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caring = Maintenance(store.path, KEEP)
    caring._began -= 7_200
    for _ in range(2):
        caring.look(threading.Event())
    assert len(hours(store)) == 5
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "the clock was set by 7200 s: nothing is let go by this collector until it starts anew"
    ]


def test_it_looks_by_itself_and_ends_when_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.maintenance.EVERY_SECONDS", 0.01)
    stop = threading.Event()
    thread = Maintenance(store.path, Retention()).start(stop)
    eventually(lambda: [len(hour.files) for hour in hours(store)], lambda found: found == [1, 1, 1, 1, 2])
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_days_that_are_long_settled_are_put_in_one_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = Store.open(tmp_path / "store", create=True)
    for hour in (0, 1, 24, 25, 71):
        made.append(synthetic(50, seed=hour), {"test": hour}, arrived_unix_nano=MONDAY + hour * HOUR)
    settle(made)
    caplog.set_level("INFO")
    caring = Maintenance(made.path, Retention())
    for _ in range(3):
        caring.look(threading.Event())
    assert [record.message for record in caplog.records if "rows of" in record.message] == [
        "rows of 2026-01-05: 14 files into 7",
        "rows of 2026-01-06: 14 files into 7",
    ]


def test_what_nobody_needs_of_rollups_goes_though_everything_is_kept(store: Store) -> None:
    """Files whose commit never came: of one that was killed."""
    caring = Maintenance(store.path, Retention())
    caring.look(threading.Event())
    needed = set(store.path.glob("_rollups/*/*/*.parquet"))
    left = store.path / "_rollups" / "route_hours" / next(iter(needed)).parent.name / "part-left.parquet"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    caring.look(threading.Event())
    assert left.exists()  # it looks now and then only
    caring._sweep_from = 0
    caring.look(threading.Event())
    assert needed
    assert not left.exists()
    assert needed < set(store.path.glob("_rollups/*/*/*.parquet"))


def test_much_of_the_hour_that_is_going_on_is_summed_up(store: Store) -> None:
    """Once the hours before it are settled."""
    now = time.time_ns()
    for number, (spans, came) in enumerate(((50_000, now - 120 * 10**9), (50, now))):
        told = synthetic(spans, seed=77 + number).with_columns(received_unix_nano=pl.lit(came, pl.Int64))
        store.append(told, {"much": number}, arrived_unix_nano=now)
    caring, rollups = Maintenance(store.path, Retention()), Rollups(store)
    for _ in waiting(rollups):
        assert rollups.drafts.parts() == []
        caring.look(threading.Event())
    found = newest(rollups, rollups.settled())
    assert found is not None
    assert sum(found.held.values()) >= 50_000
