"""Days of rollups in one file a table: nothing that is asked of them changes by it, whatever happens meanwhile."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import polars as pl
import pytest

from tests.builders import synthetic
from tests.store.test_store import at_once
from tests.test_settle import FIRST, MINUTE, SECOND, Arrivals, at, hour_of, settled, wrong
from tracelens.analysis.rollups import HOUR_NANO
from tracelens.lens import Lens, Question, long
from tracelens.settle import Rollups, days, let_go, merge, settle, sweep, waiting
from tracelens.settle.tables import added_up
from tracelens.store import Retention, Store, retain
from tracelens.verify import verify

ARRIVED = (3, 4, 23, 24, 30, 47, 71)  # hours of three days; the third is the newest that is settled
EVERY = Question(start_nano=FIRST, end_nano=FIRST + 80 * HOUR_NANO)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days, settled; traces go on from the first into the second."""
    store = Store.open(tmp_path_factory.mktemp("days") / "store", create=True)
    coming = Arrivals(store)
    for number in ARRIVED:
        coming.come(hour_of(number, spans=100), FIRST + number * HOUR_NANO + 58 * MINUTE)
        if number == 23:
            over = at(synthetic(100, seed=3), FIRST + 24 * HOUR_NANO - MINUTE)
            first = pl.col("span_id").rank("ordinal").over("trace_id") <= 4
            coming.come(over.filter(first), FIRST + 24 * HOUR_NANO - SECOND)
            coming.come(over.filter(~first), FIRST + 24 * HOUR_NANO + SECOND)
    assert [one.carried for one in settled(store)] == [0, 0, 10, 0, 0, 0, 0]
    return Path(str(store.path))


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    return Store.open(shutil.copytree(made, tmp_path / "store"))


@pytest.fixture(autouse=True)
def _long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every window counts as long."""
    monkeypatch.setattr(long, "EXACT_SPANS", 0)


def sums(store: Store) -> dict[str, pl.DataFrame]:
    """Return the rows of all tables, in order, one of each kind."""
    rollups = Rollups(store)
    kept = {table.name: table.scan().collect() for table in (rollups.traces, rollups.carried)}
    return kept | {table.name: added_up(table, table.scan()) for table in rollups.summed}


def files(store: Store) -> dict[str, list[int]]:
    """Return how many files each table has of each day."""
    found = {}
    for table in Rollups(store).every:
        of = [part.arrived[:10] for part in table.parts()]
        found[table.name] = [of.count(day) for day in sorted(set(of))]
    return found


def answers(lens: Lens) -> list[object]:
    """Return all that is answered from rollups."""
    route = "service-1", "op-1"
    box = lens.slow_tail(EVERY, route)
    heat = lens.heatmap(EVERY, route, 40, 20)
    told = [
        lens.routes(EVERY),
        lens.summary(EVERY),
        lens.series(EVERY, None, 12),
        lens.series(EVERY, route, 960),
        lens.edges(EVERY),
        lens.profile(EVERY, None),
        lens.profile(EVERY, route),
        lens.traces(EVERY, 1_000),
        lens.exemplars(EVERY, route, box, 20),
        lens.routes(Question(start_nano=FIRST + 4 * HOUR_NANO + MINUTE, end_nano=FIRST + 24 * HOUR_NANO + MINUTE)),
    ]
    assert {answer.method.percentile for answer in told} == {"log-bucket"}
    shown: list[object] = [part for answer in told for part in (answer.rows.to_dicts(), answer.source, answer.method)]
    return [*shown, lens.coverage(EVERY), box, heat.counts.tolist(), heat.source]


def test_nothing_that_is_asked_changes(store: Store) -> None:
    """Nor what is committed: asked again, nothing is done."""
    before, rows = answers(Lens.open(str(store.path))), sums(store)
    done = merge(Rollups(store))
    assert [(one.day, one.files_before, one.files_after) for one in done] == [
        ("2026-01-05", 21, 7),
        ("2026-01-06", 21, 7),
    ]
    assert answers(Lens.open(str(store.path))) == before
    after = sums(store)
    assert all(rows[name].equals(after[name]) for name in rows)
    assert files(store) == {
        **{table.name: [1, 1, 1] for table in Rollups(store).summed},
        "traces": [3, 3, 1],
        "carried": [1],
    }
    assert {part.arrived for part in Rollups(store).profiles.parts()} == {
        "2026-01-05T23",
        "2026-01-06T23",
        "2026-01-07T23",
    }
    assert merge(Rollups(store)) == []
    (told,) = [check for check in verify(str(store.path)) if "rollups" in check.what]
    assert (told.wrong, told.found) == (False, "7 hours of arrival are settled, 0 are waiting")


def test_the_newest_whole_day_and_what_follows_it_are_left_alone(store: Store) -> None:
    coming = Arrivals(store)
    coming.number = 100
    for number in (72, 73):
        coming.come(hour_of(number, spans=20), FIRST + number * HOUR_NANO + 50 * MINUTE)
    settled(store)
    merge(Rollups(store))
    assert files(store)["route_hours"] == [1, 1, 1, 2]
    assert [part.is_of_a_day for part in Rollups(store).facts["minutes"].parts()] == [True, True, False, False, False]
    for number in (94, 95):
        coming.come(hour_of(number, spans=20), FIRST + number * HOUR_NANO + 50 * MINUTE)
    settled(store)
    assert merge(Rollups(store)) == []  # of the third day there is one file
    assert files(store)["route_hours"] == [1, 1, 1, 4]
    assert wrong(store) == []


def test_one_day_at_a_time_and_stopped_between_tables(store: Store) -> None:
    rows = sums(store)
    asked = iter([False, False, True])
    assert merge(Rollups(store), stop=lambda: next(asked)) == []
    assert sorted(files(store)[table.name][0] for table in Rollups(store).summed) == [1, 1, 3, 3, 3, 3, 3]
    assert wrong(store) == []
    assert [one.files_before for one in merge(Rollups(store), days=1)] == [15]
    assert [one.day for one in merge(Rollups(store), days=1)] == ["2026-01-06"]
    assert merge(Rollups(store), days=1) == []
    after = sums(store)
    assert all(rows[name].equals(after[name]) for name in rows)


def test_a_day_of_too_many_rows_stays_as_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = sum(part.rows for part in Rollups(store).edges["minutes"].parts())
    monkeypatch.setattr(days, "MOST_ROWS", rows // 4)
    merge(Rollups(store))
    found = files(store)
    assert found["route_hours"][0] == 1
    assert found["edge_minutes"][0] == 3
    assert wrong(store) == []


def test_several_at_once_and_readers_beside_them(store: Store) -> None:
    """Of who merge, settle and let go, and of who looks at it all the while, none errs."""
    truth = Lens.open(str(store.path)).routes(EVERY).rows
    before = {name: rows for name, rows in sums(store).items() if name != "traces"}
    done = threading.Event()
    looks = 0

    def read() -> None:
        nonlocal looks
        lens = Lens.open(str(store.path))
        while not done.is_set():
            assert lens.still().routes(EVERY).rows.equals(truth)
            assert Lens.open(str(store.path)).routes(EVERY).rows.equals(truth)
            looks += 1

    def care() -> None:
        at_once(*(lambda: merge(Rollups(Store.open(store.path))) for _ in range(3)))
        for _ in range(3):
            let_go(Rollups(store), ["2026-01-05T03"])
            sweep(Rollups(store))
        done.set()

    at_once(read, care)
    after = sums(store)
    assert all(before[name].equals(after[name]) for name in before)
    assert looks > 0
    assert files(store)["route_hours"] == [1, 1, 1]


def test_an_hour_that_is_settled_while_days_are_merged_is_in_all_tables(store: Store) -> None:
    """Who loses a race looks again: the next hour would say that it is there."""
    coming = Arrivals(store)
    coming.number = 100
    for number in range(72, 76):
        coming.come(hour_of(number, spans=20), FIRST + number * HOUR_NANO + 50 * MINUTE)
    at_once(lambda: settled(Store.open(store.path)), lambda: merge(Rollups(Store.open(store.path))))
    assert waiting(Rollups(store)) == []
    assert {name: sum(counts) for name, counts in files(store).items()} == {
        **{table.name: 7 for table in Rollups(store).summed},
        "traces": 11,
        "carried": 1,
    }
    assert wrong(store) == []


KILLED = """
import os, signal, sys
from deltalake import DeltaTable
from tracelens.settle import Rollups, merge
from tracelens.store import Store
left, commit = int(sys.argv[2]), DeltaTable.create_write_transaction
def struck(*args, **options):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    commit(*args, **options)
DeltaTable.create_write_transaction = struck
merge(Rollups(Store.open(sys.argv[1])))
"""


def test_killed_between_a_file_and_its_commit_nothing_is_lost_or_twice(store: Store) -> None:
    rows = sums(store)
    for after in (0, 1, 4):
        command = [sys.executable, "-c", KILLED, str(store.path), str(after)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert process.returncode == -signal.SIGKILL, process.stderr
        found = sums(store)
        assert all(rows[name].equals(found[name]) for name in rows)
    merge(Rollups(store))
    sweep(Rollups(store), grace_seconds=-1)
    there = {path.name for path in store.path.glob("_rollups/*/*/*.parquet")}
    assert there == {Path(part.path).name for table in Rollups(store).every for part in table.parts()}
    found = sums(store)
    assert all(rows[name].equals(found[name]) for name in rows)
    assert wrong(store) == []


def test_what_was_let_go_of_is_not_brought_back(store: Store) -> None:
    """By one who has read it before, and commits after."""
    table = Rollups(store).routes["hours"]
    parts = table.parts()[:3]
    rows = added_up(table, table.read(parts))
    assert Rollups(store).routes["hours"].let_go([parts[0].arrived]) == 1
    assert not table.replace(parts, rows)
    assert [part.arrived for part in table.parts()[:2]] == [part.arrived for part in parts[1:]]


def test_retention_lets_go_of_a_day_with_its_last_hour(store: Store) -> None:
    merge(Rollups(store))
    truth = Lens.open(str(store.path)).routes(EVERY).rows
    gone = retain(store, Retention(age_seconds=67.5 * 3_600))
    assert [hour.name for hour in gone] == ["2026-01-05T03"]
    let_go(Rollups(store), [hour.name for hour in gone], 68 * 3_600)
    # Traces go with their spans, sums of the first hours wait for the last of their day.
    assert files(store)["traces"] == [2, 3, 1]
    assert files(store)["route_hours"] == [1, 1, 1]
    assert Lens.open(str(store.path)).routes(EVERY).rows.equals(truth)
    told = [check for check in verify(str(store.path)) if "rollups of" in check.what]
    assert [(check.what, check.found, check.wrong) for check in told] == [
        ("rollups of 2026-01-05", "not compared: the spans of 1 of its hours are gone", False)
    ]
    let_go(Rollups(store), [], 48 * 3_600)
    assert files(store) == {
        **{table.name: [1, 1] for table in Rollups(store).summed},
        "traces": [3, 1],
        "carried": [],
    }
    assert [part.arrived for part in Rollups(store).routes["hours"].parts()] == ["2026-01-06T23", "2026-01-07T23"]


def test_what_comes_late_for_a_merged_day_is_late(store: Store) -> None:
    merge(Rollups(store))
    coming = Arrivals(store)
    coming.number = 100
    again = hour_of(4, spans=100).with_columns(span_id=pl.col("span_id").bin.slice(0, 4) + pl.lit(b"late"))
    coming.come(again, FIRST + 72 * HOUR_NANO + MINUTE)
    coming.come(hour_of(72, spans=20), FIRST + 72 * HOUR_NANO + 50 * MINUTE)
    assert [(one.traces, one.late) for one in settled(store)] == [(2, 100)]
    assert Lens.open(str(store.path)).routes(EVERY).source.late_spans == 100
    assert wrong(store) == []


def test_damage_in_a_day_is_told(store: Store) -> None:
    merge(Rollups(store))
    table = Rollups(store).routes["minutes"]
    path = table.place.at(table.parts()[0].path)
    pl.read_parquet(path).with_columns(pl.col("n") + 1).write_parquet(path)
    (found,) = wrong(store)
    assert found == "rollups of 2026-01-05: the spans give other minutes of routes than the rollup has"


def test_answers_that_agree_with_each_other_do_so_while_days_are_settled_and_merged(made: Path, tmp_path: Path) -> None:
    """The day that was the last to be settled is one file before the page is whole."""
    shutil.copytree(made, tmp_path / "store", ignore=shutil.ignore_patterns("_rollups"))
    store = Store.open(tmp_path / "store")
    settle(store, hours=2)
    lens = Lens.open(str(store.path)).still()
    first = lens.routes(EVERY)
    settled(store)
    assert len(merge(Rollups(store))) == 2
    later = lens.series(EVERY, None, 12).rows, lens.edges(EVERY), lens.profile(EVERY, None).rows
    assert later[0].filter(pl.col("service").is_not_null())["n"].sum() == first.rows["n"].sum()
    assert later[1].source.traces == first.source.traces == later[2]["entries"].max()
    assert lens.traces(EVERY, 1_000).rows["trace_id"].n_unique() == first.source.traces
