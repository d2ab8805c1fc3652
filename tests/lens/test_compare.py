"""Two sides of the recorded shop: windows, filters, sources; and what is written of them."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import orjson
import polars as pl
import pytest

from tracelens.lens import Comparison, Lens, Question
from tracelens.lens.regressions import ANY_RISE, regressions
from tracelens.report import compare as report
from tracelens.report.junit import junit

DUMPS = Path(__file__).parents[2] / "samples" / "dumps"
CHECKOUT = ("gateway", "POST /checkout")


@pytest.fixture(scope="module")
def lens() -> Lens:
    return Lens.open(str(DUMPS / "shop.otlp.jsonl.gz"))


@pytest.fixture(scope="module")
def halves(lens: Lens) -> Comparison:
    """The first half of the dump against the second, one route of it looked at."""
    middle = halfway(lens)
    return lens.compare(Question(end_nano=middle), lens, Question(start_nano=middle), route=CHECKOUT)


def halfway(lens: Lens) -> int:
    data = lens.now_range()
    assert data is not None
    return sum(data) // 2


def test_two_forms_of_one_recording_do_not_differ(lens: Lens) -> None:
    other = Lens.open(str(DUMPS / "shop.jaeger.json.gz"))
    found = lens.compare(Question(), other, Question()).rows
    assert (found["a"] == found["b"]).all()
    assert (found["kind"] == "route").all()
    assert found["p_value"].drop_nulls().to_list() == pytest.approx(
        [1.0] * (len(found) - found["p_value"].null_count())
    )
    assert found["p_value"].null_count() < len(found)
    assert not found["significant"].any()


def test_each_side_has_its_window(lens: Lens, halves: Comparison) -> None:
    middle = halfway(lens)
    for question, name in ((Question(end_nano=middle), "a"), (Question(start_nano=middle), "b")):
        plain = lens.routes(question).rows.filter(service=CHECKOUT[0], route=CHECKOUT[1]).row(0, named=True)
        told = dict(halves.rows.filter(kind="route").select("measure", name).rows())
        assert [told[measure] for measure in ("mean", "p50", "p90", "p99")] == [
            plain[f"{measure}_nano"] for measure in ("mean", "p50", "p90", "p99")
        ]


def test_each_side_has_its_filter(lens: Lens) -> None:
    found = lens.compare(Question(where=("service=cart",)), lens, Question(where=("service=db",))).rows
    assert dict(found.select("service", "note").unique().filter(pl.col("note").is_in(["new", "vanished"])).rows()) == {
        "cart": "vanished",
        "db": "new",
    }


def test_nodes_of_a_route_sum_to_its_mean(lens: Lens, halves: Comparison) -> None:
    nodes, mean = halves.rows.filter(kind="node"), halves.rows.filter(kind="route", measure="mean")
    assert len(nodes) > 10
    for name in ("a", "b", "difference_nano"):
        assert int(nodes[name].sum()) == int(mean[name][0])
    profile = lens.profile(Question(end_nano=halfway(lens)), CHECKOUT).rows.select("node", "mean_nano")
    beside = nodes.filter(pl.col("note").ne_missing("new")).join(profile, on="node", validate="1:1")
    assert len(beside) == len(profile)
    assert ((beside["a"] - beside["mean_nano"]).abs() < 1).all()


def test_one_route_is_judged_among_all(lens: Lens, halves: Comparison) -> None:
    middle = halfway(lens)
    every = lens.compare(Question(end_nano=middle), lens, Question(start_nano=middle)).rows
    of_route = every.filter(pl.col("kind") == "route", service=CHECKOUT[0], route=CHECKOUT[1])
    assert of_route.equals(halves.rows.filter(kind="route"))


def test_json_names_what_is_compared(halves: Comparison) -> None:
    document = orjson.loads(report.json(halves))
    assert set(document) == {"source", "source_b", "method", "rows"}
    assert "Woodruff" in document["method"]["tests"]
    first, node = document["rows"][0], document["rows"][6]
    assert first["key"] == "gateway.shop POST /checkout calls"
    assert node["key"].startswith("gateway.shop POST /checkout > gateway POST /checkout")
    assert {"a", "b", "difference_nano", "low_nano", "high_nano", "significant"} <= set(first)
    assert isinstance(node["difference_nano"], int)


def written(found: Comparison) -> str:
    out = StringIO()
    report.text(found, out, empty="nothing")
    return out.getvalue()


def changed(found: Comparison, *, name: str | None = None) -> Comparison:
    """The same as if p99 had risen surely, and mean with it."""
    of = pl.col("measure").is_in(["p99", "mean"]) & (pl.col("kind") == "route")
    told = {"a": 267e6, "b": 298e6, "difference_nano": 31_000_000, "low_nano": 18_000_000, "high_nano": 44_000_000}
    rows = found.rows.with_columns(
        pl.when(of).then(pl.lit(value)).otherwise(key).alias(key) for key, value in told.items()
    )
    rows = rows.with_columns(
        significant=of, note=pl.when(~of).then("note"), p_value=pl.when(of).then(0.001).otherwise("p_value")
    )
    return replace(found, rows=rows if name is None else rows.with_columns(route=pl.lit(name), service=pl.lit(name)))


def test_text_says_what_rose_and_where(halves: Comparison) -> None:
    node = halves.rows.filter(pl.col("difference_nano") > 0, kind="node").row(0, named=True)
    rows = halves.rows.with_columns(
        difference_nano=pl.when(node=node["node"]).then(27_000_000).otherwise("difference_nano")
    )
    text = written(changed(replace(halves, rows=rows)))
    assert "p99 rose 31.0 ms (11.6 %) to 298 ms, 95 % interval 18.0 ms to 44.0 ms" in text
    assert f"; 27.0 ms of it in {node['path'][-1]}" in text
    assert "298 ms +12 %*" in text
    assert "slower" in text
    assert text.count("percentiles exact") == 2


def test_text_says_why_there_is_no_verdict(halves: Comparison) -> None:
    text = written(halves)
    assert "too few calls" in text
    assert "not tested: fewer than 30 calls a side" in text


def test_text_of_nothing(halves: Comparison) -> None:
    assert written(replace(halves, rows=halves.rows.clear())).startswith("nothing\n")


def test_names_cannot_steer_the_terminal(halves: Comparison) -> None:
    assert "\x1b" not in written(changed(halves, name="\x1b[31mred"))


def test_junit_has_a_case_a_route_and_a_failure_a_regression(lens: Lens, halves: Comparison) -> None:
    middle = halfway(lens)
    every = lens.compare(Question(end_nano=middle), lens, Question(start_nano=middle))
    one = changed(halves)
    quiet = every.rows.filter((pl.col("service") != CHECKOUT[0]) | (pl.col("route") != CHECKOUT[1]))
    found = replace(one, rows=pl.concat([one.rows, quiet]))
    suites = ElementTree.fromstring(junit(found, regressions(found.rows, [ANY_RISE]), "a b"))
    (suite,) = suites
    cases = suite.findall("testcase")
    assert (suites.tag, suite.tag, suite.get("name")) == ("testsuites", "testsuite", "a b")
    assert len(cases) == len(every.rows.filter(measure="calls")) == int(suite.get("tests", 0))
    assert [case.get("name") for case in cases if case.find("failure") is not None] == ["POST /checkout"]
    assert cases[0].get("classname") == "gateway.shop"
    failure = cases[0].find("failure")
    assert failure is not None
    assert failure.get("message", "").startswith("p99 rose 31.0 ms (11.6 %) to 298 ms")
    assert [line.split()[0] for line in str(failure.text).splitlines()] == ["p99", "mean"]
    skipped = suite.findall("testcase/skipped")
    assert (suites.get("failures"), suites.get("skipped"), suites.get("errors")) == ("1", str(len(skipped)), "0")
    assert {one.get("message") for one in skipped} <= {"too few calls", "new", "vanished"}
    assert skipped


def test_junit_of_hostile_names_is_xml(halves: Comparison) -> None:
    name = "<a href=\"&'\x00\x1b\ufffe>]]>é"
    found = changed(halves, name=name)
    (case,) = ElementTree.fromstring(junit(found, regressions(found.rows, [ANY_RISE]), name)).iter("testcase")
    clean = "<a href=\"&'\ufffd\ufffd\ufffd>]]>é"
    assert (case.get("name"), case.get("classname")) == (clean, f"{clean}.shop")
    assert case.find("failure") is not None
