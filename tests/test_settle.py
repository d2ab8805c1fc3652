"""Rollups: each settled trace is in them once, whatever comes when, and answers from them are those of the spans."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.builders import synthetic
from tests.store.test_store import at_once
from tracelens.analysis.rollups import HOUR_NANO, LATE
from tracelens.lens import Lens, Question, Room, long
from tracelens.settle import Rollups, Settled, differences, let_go, made, settle, waiting
from tracelens.store import Retention, Store, compact, retain
from tracelens.taught import Taught
from tracelens.verify import verify
from tracelens.weighing import SPAN_BYTES

FIRST = 1_767_571_200 * 10**9  # 2026-01-05T00:00:00Z
SECOND, MINUTE, DAY = 10**9, 60 * 10**9, 24 * HOUR_NANO


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


@pytest.fixture
def _long() -> Iterator[None]:
    """Every window counts as long."""
    before, long.EXACT_SPANS = long.EXACT_SPANS, 0
    yield
    long.EXACT_SPANS = before


class Arrivals:
    """Puts spans into a store as if they had just come."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.number = 0

    def come(self, spans: pl.DataFrame, at_nano: int) -> None:
        """Append spans that were received at a moment."""
        told = spans.with_columns(received_unix_nano=pl.lit(at_nano, pl.Int64))
        self.store.append(told, {"test": self.number}, arrived_unix_nano=at_nano)
        self.number += 1


def at(spans: pl.DataFrame, start_nano: int) -> pl.DataFrame:
    """Return spans moved so that the first begins then."""
    by = start_nano - spans["start_time_unix_nano"].min()  # type: ignore[operator]  # Int64
    return spans.with_columns(pl.col("start_time_unix_nano", "end_time_unix_nano") + by)


def hour_of(number: int, spans: int = 2_000) -> pl.DataFrame:
    """Return spans of one system that begin within an hour."""
    made = synthetic(spans, seed=number, shapes=1)
    return at(made, FIRST + number * HOUR_NANO)


def day(store: Store, hours: int = 6) -> Arrivals:
    """Fill some hours, each in three appends, as traces end."""
    coming = Arrivals(store)
    for number in range(hours):
        spans = hour_of(number)
        trace_end = pl.col("end_time_unix_nano").max().over("trace_id")
        third = ((trace_end - FIRST) % HOUR_NANO) * 3 // HOUR_NANO
        for part in range(3):
            some = spans.filter(third == part)
            if len(some):
                coming.come(some, FIRST + number * HOUR_NANO + (part + 1) * 19 * MINUTE)
    return coming


def settled(store: Store, **options: object) -> list[Settled]:
    return settle(store, now=(FIRST + 90 * DAY) / 1e9, **options)  # type: ignore[arg-type]


def rows(store: Store) -> dict[str, pl.DataFrame]:
    """Return the rows of all tables, in an order."""
    return {
        table.name: table.scan().collect().sort(pl.all().exclude("weight", "weighted_nano"))
        for table in Rollups(store).every
    }


def wrong(store: Store) -> list[str]:
    return [f"{check.what}: {check.found}" for check in verify(str(store.path)) if check.wrong]


def same(a: pl.DataFrame, b: pl.DataFrame, keys: tuple[str, ...]) -> None:
    """Counts are equal, times at most 1 % apart."""
    a, b = a.sort(keys), b.sort(keys)
    for name in b.columns:
        if name.startswith("p"):
            assert ((a[name] - b[name]).abs() <= 0.01 * b[name] + 1).fill_null(value=True).all(), name
            assert a[name].null_count() == b[name].null_count()
        elif name not in ("impact_nano", "exemplar_trace_id"):
            assert a[name].equals(b[name]), name


@pytest.mark.usefixtures("_long")
@pytest.mark.parametrize("still", [0, 2, 5])
def test_answers_are_those_of_the_spans(store: Store, still: int) -> None:
    """Of hours that are settled and `still` that are not, with windows whose bounds are anywhere."""
    day(store)
    settle(store, now=(FIRST + (6 - still) * HOUR_NANO + 10 * MINUTE) / 1e9)
    assert len(waiting(Rollups(store), now=(FIRST + DAY) / 1e9)) == still
    for question in (
        Question(),
        Question(start_nano=FIRST + 17 * MINUTE, end_nano=FIRST + 5 * HOUR_NANO + 31 * MINUTE),
        Question(start_nano=FIRST + 70 * MINUTE, end_nano=FIRST + 80 * MINUTE),
        Question(where=("service=service-1 status!=error",)),
    ):
        found, truth = Lens.open(str(store.path)), Lens.open(str(store.path))
        quick = found.routes(question), found.summary(question), found.series(question, None, 12), found.edges(question)
        assert {answer.method.percentile for answer in quick if not question.where} <= {"log-bucket"}
        long.EXACT_SPANS = 10**9
        slow = truth.routes(question), truth.summary(question), truth.series(question, None, 12), truth.edges(question)
        covered = truth.coverage(question)
        long.EXACT_SPANS = 0
        assert {answer.method.percentile for answer in slow} == {"exact"}
        same(quick[0].rows, slow[0].rows, ("service", "route"))
        same(quick[1].rows, slow[1].rows, ("n",))
        assert quick[2].rows["n"].sum() == slow[2].rows["n"].sum()
        same(quick[3].rows, slow[3].rows, ("caller", "callee"))
        assert found.coverage(question) == covered
        assert quick[0].source.late_spans == 0
    assert wrong(store) == []


@pytest.mark.usefixtures("_long")
def test_windows_are_those_of_whole_minutes(store: Store) -> None:
    day(store)
    settled(store)
    lens = Lens.open(str(store.path))
    within = Question(start_nano=FIRST + 17 * MINUTE + 5 * SECOND, end_nano=FIRST + 80 * MINUTE - 7 * SECOND)
    whole = Question(start_nano=FIRST + 17 * MINUTE, end_nano=FIRST + 80 * MINUTE)
    assert lens.routes(within).rows.equals(lens.routes(whole).rows)
    assert lens.routes(within).source.start_unix_nano == whole.start_nano


@pytest.mark.usefixtures("_long")
def test_what_is_not_settled_and_does_not_fit_goes_by_disk(store: Store) -> None:
    """As all of the window does: a store whose hours are just being settled has many that are not."""
    day(store)
    settle(store, now=(FIRST + HOUR_NANO + 10 * MINUTE) / 1e9)
    room = Room(memory=5 * 2_000 * SPAN_BYTES)
    assert Lens.open(str(store.path), room=room).routes(Question()).method.percentile == "log-bucket"
    small = Lens.open(str(store.path), room=Room(memory=4 * 2_000 * SPAN_BYTES)).routes(Question())
    assert small.method.percentile == "exact"
    assert small.rows["n"].sum() == 1_200  # traces of ten spans, each one call


@pytest.mark.usefixtures("_long")
def test_the_head_of_an_answer_is_that_of_the_spans(store: Store) -> None:
    day(store)
    settled(store)
    quick = Lens.open(str(store.path)).routes(Question()).source
    long.EXACT_SPANS = 10**9
    slow = Lens.open(str(store.path)).routes(Question()).source
    assert quick == slow


@pytest.mark.usefixtures("_long")
def test_a_window_counts_what_is_in_it(store: Store) -> None:
    """Hours that are not settled are read, and what of them is outside is not counted."""
    day(store)
    settle(store, now=(FIRST + 4 * HOUR_NANO) / 1e9 + 400)
    parts = [
        Question(start_nano=FIRST + hour * HOUR_NANO, end_nano=FIRST + (hour + 1) * HOUR_NANO) for hour in range(7)
    ]
    lens = Lens.open(str(store.path))
    told = [lens.routes(part).source for part in parts]
    every = lens.routes(Question(start_nano=FIRST, end_nano=FIRST + 7 * HOUR_NANO)).source
    for name in ("spans", "traces", "complete_traces"):
        assert sum(getattr(one, name) for one in told) == getattr(every, name)
    assert all(one.spans < every.spans / 4 for one in told)


def test_a_filter_that_rollups_cannot_answer_looks_at_the_spans(store: Store) -> None:
    day(store, hours=2)
    settled(store)
    before, long.EXACT_SPANS = long.EXACT_SPANS, 0
    try:
        for filtered in ("duration>1ms", "name=op-1", "caller=service-1", "res.k=v"):
            assert Lens.open(str(store.path)).routes(Question(where=(filtered,))).method.percentile == "exact"
    finally:
        long.EXACT_SPANS = before


@pytest.mark.usefixtures("_long")
def test_rows_that_were_named_by_another_configuration_are_not_used(store: Store) -> None:
    day(store, hours=2)
    settled(store)
    taught = Taught(rate=0.5)
    assert Lens.open(str(store.path), taught=taught).routes(Question()).method.percentile == "exact"
    shutil.rmtree(store.path / "_rollups")
    settled(store, taught=taught)
    found = Lens.open(str(store.path), taught=taught).routes(Question())
    assert found.method.percentile == "log-bucket"
    assert (found.rows["calls"] == 2 * found.rows["n"]).all()
    assert wrong(store) == []


def test_a_trace_that_goes_on_in_the_next_hour_belongs_to_that_one(store: Store) -> None:
    coming = Arrivals(store)
    whole = at(synthetic(200, seed=3), FIRST + 59 * MINUTE)
    calm = at(synthetic(100, seed=4), FIRST)
    first = pl.col("span_id").rank("ordinal").over("trace_id") <= 4
    coming.come(calm, FIRST + 10 * MINUTE)
    coming.come(whole.filter(first), FIRST + 59 * MINUTE + 59 * SECOND)
    coming.come(whole.filter(~first), FIRST + HOUR_NANO + SECOND)
    done = settled(store)
    assert [(one.traces, one.late, one.carried) for one in done] == [(10, 0, 20), (20, 0, 0)]
    assert dict(Rollups(store).traces.scan().collect().select("arrived").to_series().value_counts().iter_rows()) == {
        10: 30
    }
    assert wrong(store) == []


@pytest.mark.usefixtures("_long")
@pytest.mark.parametrize("after", [MINUTE, HOUR_NANO, DAY], ids=["a minute", "an hour", "a day"])
def test_late_spans_are_stored_and_counted_and_the_answer_says_so(store: Store, after: int) -> None:
    coming = Arrivals(store)
    spans = at(synthetic(400, seed=5), FIRST)
    root = pl.col("parent_span_id").is_null()
    coming.come(spans.filter(root), FIRST + 59 * MINUTE)
    coming.come(at(synthetic(200, seed=6), FIRST + 30 * MINUTE), FIRST + 59 * MINUTE + 59 * SECOND)
    settle(store, now=(FIRST + 2 * HOUR_NANO) / 1e9)
    coming.come(spans.filter(~root), FIRST + 59 * MINUTE + 61 * SECOND + after)
    lens = Lens.open(str(store.path))
    waits = lens.routes(Question())
    settled(store)
    told = lens.routes(Question())
    assert store.span_count() == 600
    late = Rollups(store).facts["hours"].scan().filter(what=LATE).collect()["n"].sum()
    assert (late, told.source.late_spans) == (360, 360)
    assert told.source.spans == 240
    assert told.rows.equals(waits.rows)
    # They are late for windows in which their trace began, not for those in which they came.
    elsewhere = Question(start_nano=FIRST + 30 * HOUR_NANO, end_nano=FIRST + 31 * HOUR_NANO)
    assert lens.routes(elsewhere).source.late_spans == 0
    assert wrong(store) == []


@pytest.mark.usefixtures("_long")
def test_spans_that_come_into_an_hour_that_is_settled_are_told(store: Store) -> None:
    coming = day(store, hours=2)
    settled(store)
    coming.come(at(synthetic(50, seed=99), FIRST + 20 * MINUTE), FIRST + 50 * MINUTE)
    assert Lens.open(str(store.path)).routes(Question()).source.late_spans == 50
    (told,) = [check.found for check in verify(str(store.path)) if "rollups of" in check.what]
    assert "50 spans came after" in told


@pytest.mark.parametrize("lost", ["route_minutes", "edge_hours", "fact_minutes", "route_*"])
def test_a_crash_between_two_commits_is_made_up_for(store: Store, lost: str) -> None:
    """What was committed first decides which traces they are, though more has come since."""
    coming = day(store, hours=3)
    settled(store)
    before = rows(store)
    for folder in (store.path / "_rollups").glob(lost):
        shutil.rmtree(folder)
    # Would be carried over now, and late, if it was decided anew.
    coming.come(hour_of(2).sample(100, seed=1), FIRST + 3 * HOUR_NANO + SECOND)
    settle(store, now=(FIRST + 3 * HOUR_NANO + 10 * MINUTE) / 1e9)
    after = rows(store)
    assert all(before[name].equals(after[name]) for name in before)


def test_two_at_once_settle_each_hour_once(store: Store) -> None:
    day(store, hours=4)
    one, other = (lambda: settled(Store.open(store.path)) for _ in range(2))
    works: tuple[Callable[[], object], ...] = (one, other)
    at_once(*works)
    at_once(*works)
    assert waiting(Rollups(store)) == []
    assert rows(store)["traces"].height == store.scan().collect()["trace_id"].n_unique()
    assert wrong(store) == []


def test_an_hour_that_memory_does_not_hold_gives_the_same_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    day(store, hours=3)
    settled(store)
    before = rows(store)
    shutil.rmtree(store.path / "_rollups")
    compact(store, everything=True)
    monkeypatch.setattr(made, "MOST_ROWS", 300)
    settled(store)
    after = rows(store)
    assert all(before[name].equals(after[name]) for name in before)


def test_stopped_in_the_middle_is_as_if_it_had_not_begun(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    day(store, hours=2)
    asked = itertools.chain([False], itertools.repeat(True))  # before its first part, and from then on
    monkeypatch.setattr(made, "MOST_ROWS", 300)
    assert settled(store, stop=lambda: next(asked)) == []
    assert len(waiting(Rollups(store))) == 2
    assert len(settled(store)) == 2
    assert wrong(store) == []


@pytest.mark.usefixtures("_long")
def test_what_is_let_go_of_stays_counted(store: Store) -> None:
    day(store)
    settled(store)
    truth = Lens.open(str(store.path)).routes(Question())
    gone = [one.name for one in retain(store, Retention(size_bytes=1))]
    assert len(gone) == 5
    assert let_go(Rollups(store), gone) == 5
    window = Question(start_nano=FIRST, end_nano=FIRST + 6 * HOUR_NANO)
    found = Lens.open(str(store.path)).routes(window)
    assert found.rows.equals(truth.rows)
    assert wrong(store) == []
    # Rows go, too, when they are old: by the hour.
    assert let_go(Rollups(store), [], 2 * 3_600) == 4 * 7
    assert Rollups(store).routes["hours"].scan().collect()["start_unix_nano"].min() >= FIRST + 4 * HOUR_NANO


def test_damage_is_told(store: Store) -> None:
    day(store, hours=2)
    settled(store)
    table = Rollups(store).routes["minutes"]
    part = table.parts()[0]
    path = table.place.at(part.path)
    pl.read_parquet(path).with_columns(pl.col("n") + 1).write_parquet(path)
    (found,) = wrong(store)
    assert "other minutes of routes" in found
    assert [is_wrong for *_, is_wrong in differences(Rollups(store))] == [True, False]


@pytest.mark.usefixtures("_long")
@pytest.mark.parametrize("still", [0, 3])
def test_profiles_are_those_of_the_spans_to_the_nanosecond(store: Store, still: int) -> None:
    day(store)
    settle(store, now=(FIRST + (6 - still) * HOUR_NANO + 10 * MINUTE) / 1e9)
    lens = Lens.open(str(store.path))
    question = Question(start_nano=FIRST + HOUR_NANO, end_nano=FIRST + 5 * HOUR_NANO)
    busiest = lens.routes(question).rows.sort("n")[-1]
    for route in (None, (busiest["service"].item(), busiest["route"].item())):
        found = lens.profile(question, route)
        halves = lens.profile(question, route, [(0, 50), (50, 100)])
        long.EXACT_SPANS = 10**9
        truth = Lens.open(str(store.path)).profile(question, route)
        long.EXACT_SPANS = 0
        assert (found.method.percentile, truth.method.percentile) == ("log-bucket", "exact")
        order = ("node",)
        assert found.rows.sort(order).equals(truth.rows.sort(order))
        assert halves.rows["exclusive_nano"].sum() == truth.rows["exclusive_nano"].sum()


@pytest.mark.usefixtures("_long")
@pytest.mark.parametrize("still", [0, 3])
def test_a_route_looked_at_closely_is_that_of_the_spans(store: Store, still: int) -> None:
    day(store)
    settle(store, now=(FIRST + (6 - still) * HOUR_NANO + 10 * MINUTE) / 1e9)
    lens = Lens.open(str(store.path))
    question = Question(start_nano=FIRST, end_nano=FIRST + 6 * HOUR_NANO)
    row = lens.routes(question).rows.sort("n")[-1]
    route = row["service"].item(), row["route"].item()
    found = lens.heatmap(question, route, 36, 20), lens.slow_tail(question, route), lens.traces(question, 15)
    slowest = lens.exemplars(question, route, found[1], 5)
    newest = lens.traces(question)
    long.EXACT_SPANS = 10**9
    plain = Lens.open(str(store.path))
    truth = plain.heatmap(question, route, 36, 20), plain.slow_tail(question, route), plain.traces(question, 15)
    long.EXACT_SPANS = 0
    assert (found[0].calls, found[0].counts.sum(axis=0).tolist()) == (
        truth[0].calls,
        truth[0].counts.sum(axis=0).tolist(),
    )
    assert found[1].high_nano == truth[1].high_nano
    assert abs(found[1].low_nano - truth[1].low_nano) <= 0.01 * truth[1].low_nano + 1
    assert found[2].rows.equals(truth[2].rows)
    assert newest.rows["start_unix_nano"].is_sorted(descending=True)
    # Of each minute and bucket the slowest is shown: the first of all is the slowest of all.
    exact = plain.exemplars(question, route, truth[1], 5).rows
    assert slowest.rows[0].select("trace_id", "duration_nano").equals(exact[0].select("trace_id", "duration_nano"))


@pytest.mark.usefixtures("_long")
def test_an_hour_that_is_settled_between_two_answers_is_in_both_once(store: Store) -> None:
    day(store)
    settle(store, now=(FIRST + 3 * HOUR_NANO + 10 * MINUTE) / 1e9)
    lens, question = Lens.open(str(store.path)).still(), Question()
    first = lens.routes(question)
    settled(store)
    later = lens.series(question, None, 6), lens.heatmap(question, ("service-1", "op-1"), 4, 4), lens.edges(question)
    truth = Lens.open(str(store.path)).edges(question)
    assert later[0].rows.filter(pl.col("service").is_not_null())["n"].sum() == first.rows["n"].sum()
    assert later[2].rows["n"].sum() == truth.rows["n"].sum()
    assert lens.traces(question, 1_000).rows.equals(Lens.open(str(store.path)).traces(question, 1_000).rows)
    assert lens.profile(question, None).rows["entries"].max() == truth.source.traces
