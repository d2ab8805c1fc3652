"""Filters on attributes of a long window: answers are those of all spans, though only matching traces are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.systems import planted
from tracelens.analysis import rollups
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


REQUEST = "attr:guid:x-request-id"


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mesh that keeps a quarter of its requests, and tells it by their ids: settled in two hours."""
    path = tmp_path_factory.mktemp("pruned") / "sampled"
    made = Store.open(path, create=True)
    spans = planted("value", 3, requests=500).spans
    number = pl.col("trace_id").bin.slice(14, 2).bin.reinterpret(dtype=pl.UInt16, endianness="big").cast(pl.Int64)
    digits = (number * 997 % 2_500).map_elements(lambda drawn: f"{drawn:08x}", pl.String)
    ids = pl.concat_str(digits, pl.lit("-1234-9234-8888-0123456789ab"))
    spans = spans.with_columns(pl.when(pl.col("parent_span_id").is_null()).then(ids).alias(REQUEST))
    for hour, part in enumerate((spans.filter(number % 2 == 0), spans.filter(number % 2 == 1))):
        made.append(part, {"test": hour}, arrived_unix_nano=ARRIVED + hour * 3_600 * 10**9)
    compact(made, everything=True)
    assert len(settle(made)) == 2
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


@pytest.mark.parametrize("memory", [None, 1_000], ids=["in memory", "by disk"])
def test_what_a_mesh_keeps_is_told_by_all_traces(sampled: Path, memory: int | None) -> None:
    """Those that match are a few, and their request ids would tell of another rate."""
    question = Question(where=("attr.tenant=whale",))
    few = Lens.open(str(sampled), room=Room() if memory is None else Room(memory=memory))
    found = few.routes(question), few.profile(question, None), few.summary(question)
    pruned.LEAST_SPANS = 10**9
    every = Lens.open(str(sampled))
    truth = every.routes(question), every.profile(question, None), every.summary(question)
    assert [answer.rows.to_dicts() for answer in found] == [answer.rows.to_dicts() for answer in truth]
    assert found[0].source.traces < truth[0].source.traces
    assert found[0].source.sampling_rate == truth[0].source.sampling_rate == 0.25
    assert found[2].rows["calls"].item() == 4 * found[2].rows["n"].item()


def test_a_mesh_of_which_rollups_do_not_say_what_it_keeps_is_read_whole(
    sampled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of before."""
    source, question = Lens.open(str(sampled)).source, Question(where=("attr.tenant=whale",))
    assert isinstance(Pruning().of(source, question), Pruned)
    monkeypatch.setattr(rollups, "DRAWN", "something else:")
    assert Pruning().of(source, question) is source


def test_a_window_that_is_not_settled_is_told_what_a_mesh_keeps_by_the_last_hour_that_is(sampled: Path) -> None:
    source = Lens.open(str(sampled)).source
    later = ARRIVED + 10 * 3_600 * 10**9
    of_all, of_last = (pruned.Pruned(source.path, conditions=()).draws(start, None) for start in (None, later))  # type: ignore[attr-defined]  # of a store
    assert of_all is not None
    assert of_last is not None
    assert (of_all["traces"].sum(), of_last["traces"].sum()) == (500, 250)


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
