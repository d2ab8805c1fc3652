"""Drafts: what is not settled yet is summed up as it comes, and answers are those without."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.builders import synthetic
from tests.store.test_store import at_once
from tests.test_settle import FIRST, MINUTE, SECOND, Arrivals, at, rows, wrong
from tracelens.analysis.rollups import HOUR_NANO
from tracelens.lens import Lens, Question, long
from tracelens.names import NOTHING
from tracelens.settle import Rollups, draft, made, newest, settle
from tracelens.store import Store
from tracelens.store.fold import fold
from tracelens.taught import Taught

WINDOWS = (
    Question(),
    Question(start_nano=FIRST + 17 * MINUTE, end_nano=FIRST + HOUR_NANO + 31 * MINUTE),
    Question(where=("service=service-1",)),
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


@pytest.fixture
def _long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every window counts as long."""
    monkeypatch.setattr(long, "EXACT_SPANS", 0)


def without_drafts(store: Store) -> Store:
    """Return a copy of a store that has none."""
    other = store.place.at("").rstrip("/") + "-plain"
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(store.place.at(""), other)
    for name in ("drafts", "drafted"):
        shutil.rmtree(Path(other, "_rollups", name), ignore_errors=True)
    return Store.open(other)


def answers(store: Store, question: Question) -> dict[str, Any]:
    """Return what a Lens says of a long window."""
    lens = Lens.open(store.place.at(""))
    routes = lens.routes(question)
    assert routes.method.percentile == "log-bucket"
    told: dict[str, Any] = {
        "head": routes.source,
        "routes": routes.rows.sort("service", "route"),
        "summary": lens.summary(question).rows,
        "series": lens.series(question, None, 12).rows,
    }
    together = Lens.open(store.place.at("")).overview(question, 12)  # asked first, so that it works all of it out
    for name, one in zip(("routes", "summary", "series"), together, strict=True):
        assert one.rows.equals(told[name] if name != "routes" else routes.rows), name
        assert one.source == routes.source
    if not question.where:
        found = lens.search(question, None, None)
        told |= {
            "edges": lens.edges(question).rows.sort("caller", "callee"),
            "coverage": lens.coverage(question),
            "traces": lens.traces(question, 200).rows,
            "profile": lens.profile(question, None).rows.sort("band", "node"),
            "slowest": found.rows,
            "number": found.traces,
        }
    return told


def the_same(store: Store) -> None:
    """Whether all answers are those without a draft."""
    plain = without_drafts(store)
    for question in WINDOWS:
        found, truth = answers(store, question), answers(plain, question)
        for name, told in truth.items():
            same = found[name].equals(told) if isinstance(told, pl.DataFrame) else found[name] == told
            assert same, (name, question, found[name], told)


def settled_hour(coming: Arrivals) -> None:
    """Fill an hour and settle it: of a store that has no rollups at all, long windows are looked at span by span."""
    coming.come(at(synthetic(400, seed=1), FIRST), FIRST + 59 * MINUTE)
    settle(coming.store, now=(FIRST + HOUR_NANO) / 1e9 + 400)


@pytest.mark.usefixtures("_long")
@pytest.mark.parametrize("seed", range(2))
def test_answers_with_a_draft_are_those_without(store: Store, seed: int) -> None:
    """Whatever is appended, folded and drafted in whatever order; traces come in two parts, a few seconds apart."""
    chance = random.Random(seed)
    coming = Arrivals(store)
    settled_hour(coming)
    now, drafted, waits = FIRST + HOUR_NANO + SECOND, 0, None
    for turn in range(9):
        spans = at(synthetic(chance.choice((60, 200)), seed=100 * seed + turn, shapes=1), now - 2 * SECOND)
        some = pl.col("span_id").rank("ordinal").over("trace_id") <= chance.randrange(1, 9)
        now += chance.randrange(1, 40) * SECOND
        coming.come(spans.filter(some) if waits is None else pl.concat([waits, spans.filter(some)]), now)
        waits = spans.filter(~some)
        now += chance.randrange(1, 15) * SECOND
        if chance.random() < 0.4:
            fold(store, many=2)
        if chance.random() < 0.6:
            drafted += draft(store, least=1) is not None
        if turn == 6:
            now = max(now, FIRST + 2 * HOUR_NANO - 5 * SECOND)  # goes on in the next hour
    coming.come(waits, now) if waits is not None else None
    the_same(store)
    assert drafted > 1
    plain = without_drafts(store)
    for one in (store, plain):
        settle(one, now=(FIRST + 2 * HOUR_NANO) / 1e9 + 400)
    the_same(store)
    assert rows(store)["route_minutes"].equals(rows(plain)["route_minutes"])
    draft(store, least=1)
    the_same(store)
    settle(store, now=(FIRST + 9 * HOUR_NANO) / 1e9)
    assert wrong(store) == []


@pytest.mark.usefixtures("_long")
def test_a_store_of_which_nothing_is_settled_has_a_draft(store: Store) -> None:
    coming = Arrivals(store)
    for part in range(3):
        coming.come(at(synthetic(200, seed=part), FIRST + part * 3 * MINUTE), FIRST + part * 3 * MINUTE + SECOND)
    lens = Lens.open(store.place.at(""))
    slow = lens.summary(Question())
    assert slow.method.percentile == "exact"
    done = draft(store, least=1)
    assert done is not None
    assert (done.spans, done.left) == (400, 200)
    quick = Lens.open(store.place.at("")).summary(Question())
    assert quick.method.percentile == "log-bucket"
    assert quick.rows["n"].equals(slow.rows["n"])
    assert quick.source.spans == slow.source.spans == 600


@pytest.mark.usefixtures("_long")
@pytest.mark.parametrize("folded", [False, True])
def test_what_comes_of_a_drafted_trace_is_late_until_its_hour_is_settled(store: Store, folded: bool) -> None:
    coming = Arrivals(store)
    settled_hour(coming)
    begin = FIRST + HOUR_NANO
    spans = at(synthetic(400, seed=5), begin)
    first = pl.col("span_id").rank("ordinal").over("trace_id") <= 4
    coming.come(spans.filter(first), begin + SECOND)
    coming.come(at(synthetic(100, seed=6), begin), begin + 3 * MINUTE)
    assert draft(store, least=1) is not None
    before = answers(store, Question())
    coming.come(spans.filter(~first), begin + 4 * MINUTE)
    for turn in range(2):
        if folded:
            fold(store, many=2)
        after = answers(store, Question())
        assert after["head"].late_spans == 240
        assert after["routes"].equals(before["routes"])
        elsewhere = Question(start_nano=FIRST, end_nano=FIRST + HOUR_NANO)
        assert answers(store, elsewhere)["head"].late_spans == 0
        coming.come(at(synthetic(100, seed=7), begin + 8 * MINUTE), begin + 8 * MINUTE)
        assert (draft(store, least=1) is not None) == (turn == 0)
        before = answers(store, Question())
    settle(store, now=(FIRST + 3 * HOUR_NANO) / 1e9)
    whole = answers(store, Question())
    assert whole["head"].late_spans == 0
    assert whole["head"].spans == store.span_count()
    assert wrong(store) == []


@pytest.mark.usefixtures("_long")
def test_spans_that_are_late_for_a_settled_hour_are_counted_once(store: Store) -> None:
    coming = Arrivals(store)
    coming.come(at(synthetic(400, seed=1), FIRST).filter(pl.col("parent_span_id").is_null()), FIRST + 59 * MINUTE)
    settle(store, now=(FIRST + HOUR_NANO) / 1e9 + 400)
    coming.come(at(synthetic(400, seed=1), FIRST).filter(pl.col("parent_span_id").is_not_null()), FIRST + 2 * HOUR_NANO)
    coming.come(at(synthetic(50, seed=2), FIRST + 2 * HOUR_NANO), FIRST + 2 * HOUR_NANO + 5 * MINUTE)
    for _ in range(3):
        assert answers(store, Question())["head"].late_spans == 360
        draft(store, least=1)
        fold(store, many=2)
    the_same(store)


@pytest.mark.usefixtures("_long")
def test_a_draft_of_an_earlier_version_is_not_looked_at_and_replaced(store: Store) -> None:
    """It had its frames as Arrow IPC, and did not say which traces go on."""
    coming = Arrivals(store)
    settled_hour(coming)
    begin = FIRST + HOUR_NANO
    coming.come(at(synthetic(200, seed=3), begin), begin + SECOND)
    coming.come(at(synthetic(100, seed=4), begin), begin + 3 * MINUTE)
    assert draft(store, least=1) is not None
    rollups = Rollups(store)
    old = rollups.drafts.parts()
    kept = rollups.drafts.read(old).filter(pl.col("name") != "going").collect()
    rollups.drafts.swap(kept.with_columns(data=pl.lit(b"ARROW1")), old[0].arrived, old)
    assert newest(rollups, rollups.settled()) is None
    the_same(store)
    assert draft(store, least=1) is not None
    assert newest(rollups, rollups.settled()) is not None
    the_same(store)


def test_a_draft_is_of_what_was_taught_and_ends_with_its_hour(store: Store) -> None:
    coming = Arrivals(store)
    settled_hour(coming)
    begin = FIRST + HOUR_NANO
    coming.come(at(synthetic(200, seed=5), begin), begin + SECOND)
    coming.come(at(synthetic(100, seed=6), begin), begin + 3 * MINUTE)
    assert draft(store, least=1) is not None
    rollups = Rollups(store)
    taught = Taught(rate=0.5)
    assert newest(rollups, rollups.settled(), NOTHING) is not None
    assert newest(rollups, rollups.settled(), taught) is None
    assert draft(store, least=1, taught=taught) is not None
    assert newest(rollups, rollups.settled(), NOTHING) is None
    settle(store, now=(FIRST + 2 * HOUR_NANO) / 1e9 + 400)
    assert newest(rollups, rollups.settled(), taught) is None
    coming.come(at(synthetic(100, seed=8), begin + HOUR_NANO), begin + HOUR_NANO + SECOND)
    coming.come(at(synthetic(100, seed=9), begin + HOUR_NANO), begin + HOUR_NANO + 2 * MINUTE)
    assert draft(store, least=1) is not None
    assert {part.arrived for part in rollups.drafted.parts()} == {"2026-01-05T01"}
    assert len(rollups.drafts.parts()) == 1


def test_a_draft_waits_for_enough_and_stops_when_it_is_told(store: Store) -> None:
    coming = Arrivals(store)
    coming.come(at(synthetic(200, seed=5), FIRST), FIRST + SECOND)
    assert draft(store, least=1) is None  # all of them may go on
    coming.come(at(synthetic(100, seed=6), FIRST), FIRST + 3 * MINUTE)
    assert draft(store) is None
    assert draft(store, least=1, stop=lambda: True) is None
    assert draft(store, least=301) is None
    assert draft(store, least=300) is not None
    assert draft(store, least=1) is None  # nothing that is over came since


@pytest.mark.usefixtures("_long")
def test_a_draft_that_memory_does_not_hold_is_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    coming = Arrivals(store)
    settled_hour(coming)
    begin = FIRST + HOUR_NANO
    coming.come(at(synthetic(2_000, seed=5), begin), begin + 3 * MINUTE)
    coming.come(at(synthetic(500, seed=6), begin), begin + 6 * MINUTE)
    monkeypatch.setattr(made, "MOST_ROWS", 300)
    done = draft(store, least=1)
    assert done is not None
    assert (done.spans, done.traces, done.left) == (2_000, 200, 500)
    the_same(store)
    coming.come(at(synthetic(500, seed=7), begin), begin + 9 * MINUTE)
    assert draft(store, least=1) is not None
    the_same(store)


def test_two_that_draft_at_once_make_one(store: Store) -> None:
    coming = Arrivals(store)
    coming.come(at(synthetic(200, seed=5), FIRST), FIRST + SECOND)
    coming.come(at(synthetic(100, seed=6), FIRST), FIRST + 3 * MINUTE)
    at_once(*[lambda: draft(Store.open(store.place.at("")), least=1)] * 2)
    rollups = Rollups(store)
    assert len(rollups.drafts.parts()) == 1
    found = newest(rollups, -1)
    assert found is not None
    assert sum(part.rows for part in found.traces) == 20
