"""Why slow calls are slow: recorded and generated systems, and the words for it."""

from __future__ import annotations

import io
from pathlib import Path

import orjson
import polars as pl
import pytest

from tests.builders import synthetic
from tests.lens.memory import FrameSource
from tests.systems import CAUSES, Planted, planted
from tracelens.analysis.marks import SPANS_A_CALL
from tracelens.errors import UsageError
from tracelens.lens import Change, Explanation, Lens, Question, Walk
from tracelens.lens.sources import open_source
from tracelens.report import why

DUMP = Path(__file__).parents[2] / "samples" / "dumps" / "shop.otlp.jsonl.gz"
EACH = 4  # systems of each kind


@pytest.fixture(scope="module")
def shop() -> Lens:
    return Lens.open(str(DUMP))


def explained(system: Planted) -> Explanation:
    return Lens(FrameSource(system.spans)).explain(Question(), ("shop", "POST /order"))


def test_twenty_planted_causes_are_named() -> None:
    """The slow node first in at least 19 of 20 systems, the value that slow calls share in 9 of 10 that have one."""
    nodes, values = [], []
    for kind in CAUSES:
        for seed in range(EACH):
            system = planted(kind, seed)
            found = explained(system)
            assert int(found.rows["difference_nano"].sum()) == found.totals.difference_nano
            first = found.rows.row(0, named=True)
            named = first["repeated"] or f"{first['service']} {first['operation']}"
            nodes.append(named == f"{system.service} {system.operation}")
            if system.attribute is not None:
                value = found.marks.select("attribute", "value").row(0) if len(found.marks) else None
                values.append(value == (system.attribute, system.value))
    assert len(nodes) == 20
    assert sum(nodes) >= 19
    assert sum(values) >= 0.9 * len(values) > 0


def test_a_lock_is_not_blamed_on_an_attribute() -> None:
    """Nothing that spans say tells who waits."""
    found = explained(planted("lock", 1))
    assert found.marks.is_empty()
    assert found.rows["share"][0] > 0.9


def test_repetition_is_a_mark() -> None:
    system = planted("repeated", 2)
    found = explained(system)
    first = found.rows.row(0, named=True)
    assert first["repeated"] == f"{system.service} {system.operation}"
    assert first["typical_spans"] == pytest.approx(1)
    assert first["slow_spans"] > 10
    assert f"They run {first['repeated']} " in why.headline(found)
    assert (system.service, system.operation, SPANS_A_CALL) in found.marks.select(
        "service", "operation", "attribute"
    ).rows()


def test_the_recorded_shop_is_explained(shop: Lens) -> None:
    """Its ledger takes long now and then: with 35 calls that is what shows, though not beyond doubt."""
    found = shop.explain(Question(), ("gateway", "POST /checkout"))
    first = found.rows.row(0, named=True)
    assert (first["service"], first["operation"], first["layer"]) == ("db", "POST /ledger", "app")
    assert first["share"] > 0.5
    assert first["low_nano"] < 0 < first["high_nano"]
    assert int(found.rows["difference_nano"].sum()) == found.totals.difference_nano
    assert found.marks.is_empty()  # five slow calls are too few
    assert found.looked_at == (5, 30)
    everything = shop.explain(Question(), None)
    assert everything.totals.slow_calls + everything.totals.typical_calls < 112


def test_bands_can_be_chosen(shop: Lens) -> None:
    found = shop.explain(Question(), ("gateway", "POST /checkout"), typical=(25.0, 75.0), slow=(75.0, 100.0))
    assert (found.totals.typical_calls, found.totals.slow_calls) == (17, 10)
    with pytest.raises(UsageError):
        shop.explain(Question(), None, typical=(0.0, 99.5), slow=(99.0, 100.0))


def test_the_answer_is_a_sentence_with_numbers() -> None:
    found = explained(planted("value", 1))
    out = io.StringIO()
    why.explanation(found, out)
    text = out.getvalue()
    assert text.startswith("The slowest 1 % (")
    assert "stock GET /f (app)" in text.splitlines()[0]
    assert "stock GET /f tenant=whale, of the others" in text.splitlines()[0]
    assert "calls taken as independent" in text
    document = orjson.loads(why.explanation_json(found))
    assert document["source"]["totals"]["slow"] == "99-100"
    total = document["source"]["totals"]["difference_nano"]
    assert sum(row["difference_nano"] for row in document["rows"]) == total
    assert document["marks"][0]["value"] == "whale"


def test_nothing_to_explain_is_said() -> None:
    out = io.StringIO()
    why.explanation(Lens.open(str(DUMP)).explain(Question(where=("service=nobody",)), None), out)
    assert out.getvalue().startswith("Too few calls") or out.getvalue().startswith("too few calls")


def test_what_if_tells_every_route_and_all_traces(shop: Lens) -> None:
    question = Question()
    rows = shop.what_if(question, None, [Change(service="db", scale=0.5)]).rows
    measured = shop.routes(question).rows
    assert rows.filter(pl.col("service").is_null())["calls"].to_list() == [112]
    joined = rows.join(measured, on=["service", "route"], how="inner", suffix="_told")
    assert len(joined) == len(measured) == len(rows) - 1
    for percent in (50, 90, 99):
        assert joined[f"p{percent}_nano"].equals(joined[f"p{percent}_nano_told"])
    assert (joined["projected_p99_nano"] <= joined["p99_nano"]).all()
    assert (
        joined.filter(pl.col("service") == "db")["projected_p50_nano"]
        < 0.7 * joined.filter(pl.col("service") == "db")["p50_nano"]
    ).any()
    same = shop.what_if(question, None, [Change(scale=1.0)]).rows
    assert (same["changed"] == 0).all()
    assert same["p99_nano"].equals(same["projected_p99_nano"])


CORPORA = {
    "otlp json": lambda: open_source(str(DUMP)),
    "jaeger json": lambda: open_source(str(DUMP.with_name("shop.jaeger.json.gz"))),
    "generated": lambda: FrameSource(synthetic(20_000)),
    "side by side and repeated": lambda: FrameSource(planted("repeated", 5, requests=400).spans),
}


@pytest.mark.parametrize("corpus", CORPORA)
def test_every_corpus_adds_up_and_comes_back(corpus: str) -> None:
    """Of every route: differences sum to that of the means, and a scale of 1 changes nothing, whatever the walk."""
    lens = Lens(CORPORA[corpus]())
    question = Question()
    routes = lens.routes(question).rows.select("service", "route").rows()
    assert routes
    for walk in (Walk(), Walk(tolerance=0, asynchronous=True)):
        same = lens.what_if(question, None, [Change(scale=1.0)], walk=walk).rows
        assert (same["changed"] == 0).all()
        for route in (None, *routes[:12]):
            found = lens.explain(question, route, walk=walk)
            assert int(found.rows["difference_nano"].sum()) == found.totals.difference_nano
            profile = lens.profile(question, route, (found.totals.typical, found.totals.slow), walk=walk).rows
            means = [
                int(band["exclusive_nano"].sum()) // int(band["entries"][0])
                for band in profile.partition_by("band", maintain_order=True)
            ]
            assert means == [found.totals.typical_nano, found.totals.slow_nano]


def test_the_best_single_fix_is_the_planted_one() -> None:
    system = planted("lock", 3)
    best = Lens(FrameSource(system.spans)).fixes(Question(), ("shop", "POST /order")).rows.row(0, named=True)
    assert (best["service"], best["operation"]) == (system.service, system.operation)
