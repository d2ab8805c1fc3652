"""Filters on attributes of a long window: answers are those of all spans, though only matching traces are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.systems import planted
from tracelens.lens import Lens, Question, Room, pruned
from tracelens.lens.pruned import Pruned, Pruning
from tracelens.settle import settle
from tracelens.store import Store, compact

ARRIVED = 1_700_000_000 * 10**9
FILTERS = [
    ("attr.tenant=whale",),
    ("attr.tenant~^wh", "duration>5ms"),
    ("res.cloud.availability_zone~.",),
    ("attr.tenant=whale", "attr.tenant!=shrimp"),
    ("attr.tenant=whale attr.nothing=x",),
    ("name~call",),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pruned") / "store"
    made = Store.open(path, create=True)
    for number, kind in enumerate(("value", "zone")):
        spans = planted(kind, 3, requests=250).spans.with_columns(
            trace_id=pl.col("trace_id").bin.slice(0, 8) + pl.lit(bytes([number])) + pl.col("trace_id").bin.slice(9, 7)
        )
        made.append(spans, {"test": number}, arrived_unix_nano=ARRIVED)
    compact(made, everything=True)
    assert settle(made)
    return path


@pytest.fixture(autouse=True)
def _long() -> Iterator[None]:
    before, pruned.LEAST_SPANS = pruned.LEAST_SPANS, 0
    yield
    pruned.LEAST_SPANS = before


@pytest.mark.parametrize("memory", [None, 1_000], ids=["in memory", "by disk"])
@pytest.mark.parametrize("where", FILTERS, ids=" ".join)
def test_answers_are_those_of_all_spans(store: Path, where: tuple[str, ...], memory: int | None) -> None:
    room = Room() if memory is None else Room(memory=memory)
    question = Question(where=where)
    few = Lens.open(str(store), room=room)
    found = few.routes(question), few.profile(question, None), few.traces(question, 10), few.summary(question)
    pruned.LEAST_SPANS = 10**9
    every = Lens.open(str(store))
    truth = every.routes(question), every.profile(question, None), every.traces(question, 10), every.summary(question)
    assert [answer.rows.to_dicts() for answer in found] == [answer.rows.to_dicts() for answer in truth]
    assert found[0].source.spans <= truth[0].source.spans
    assert found[0].method.percentile == "exact"


def test_only_matching_traces_are_read(store: Path) -> None:
    lens = Lens.open(str(store))
    question = Question(where=("attr.tenant=whale",))
    matching = lens.traces(question, 1_000).rows["trace_id"]
    read = lens.routes(question).source
    assert 0 < read.traces == matching.n_unique() < Store.open(store).scan().collect()["trace_id"].n_unique()


def test_a_trace_is_found_by_its_id(store: Path) -> None:
    one = Store.open(store).scan().collect()["trace_id"][0]
    found = Lens.open(str(store)).routes(Question(where=(f"trace={one.hex()}",))).source
    assert found.traces == 1


def test_what_is_negated_prunes_nothing(store: Path) -> None:
    source = Lens.open(str(store)).source
    for where in ("attr.tenant!=whale", "name!~x", "service=shop", "duration>1ms", "trace!=ab"):
        assert Pruning().of(source, Question(where=(where,))) is source


def test_the_last_few_filters_are_remembered(store: Path) -> None:
    source, pruning = Lens.open(str(store)).source, Pruning()
    first = pruning.of(source, Question(where=("attr.k=0",)))
    assert isinstance(first, Pruned)
    assert pruning.of(source, Question(where=("attr.k=0",))) is first
    for number in range(1, 4):
        pruning.of(source, Question(where=(f"attr.k={number}",)))
    assert pruning.of(source, Question(where=("attr.k=0",))) is not first


def test_answers_that_belong_together_are_each_of_its_own_filter(store: Path) -> None:
    """Those of a Lens that stands still, too: what is remembered of one filter is not another's."""
    lens = Lens.open(str(store)).still()
    found = [lens.routes(Question(where=(f"attr.tenant{value}",))).rows["n"].sum() for value in ("=whale", "~.", "=x")]
    assert found[1] > found[0] > found[2] == 0
    assert lens.routes(Question()).rows["n"].sum() > found[1] - 1
