"""The language of --fail-on-regression: what it says, and what it refuses."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelens.analysis.compare import COMPARE
from tracelens.errors import UsageError
from tracelens.lens.regressions import ANY_RISE, Case, Rise, parse, regressions

MS = 1_000_000


def route(name: str = "GET /", **measures: tuple[float | None, float | None, bool]) -> pl.DataFrame:
    """COMPARE rows of one route: (a, b, significant) by measure; what is not told stays as it was."""
    rows = []
    for measure in ("calls", "error_rate", "mean", "p50", "p90", "p99"):
        a, b, significant = measures.get(measure, (100 * MS, 100 * MS, False))
        change = None if a is None or b is None else b - a
        which = "difference" if measure in ("calls", "error_rate") else "difference_nano"
        row: dict[str, Any] = {"kind": "route", "service": "web", "route": name, "measure": measure, "a": a, "b": b}
        rows.append({**dict.fromkeys(COMPARE), **row, which: change, "significant": significant})
    return pl.DataFrame(rows, schema=COMPARE)


SLOWER = route(p99=(100 * MS, 120 * MS, True), p50=(10 * MS, 10.5 * MS, False), error_rate=(0.02, 0.04, True))


@pytest.mark.parametrize(
    ("text", "is_so"),
    [
        ("p99>10%", True),
        ("p99>20%", False),
        ("p99 > 19.9 %", True),
        ("p99>19ms", True),
        ("p99>20ms", False),
        ("p99<21ms", True),
        ("p99<5%", False),
        ("p50>400us", True),
        ("p50>400us & significant", False),
        ("p99>10% & significant", True),
        ("p99>10% & p50>1% & significant", False),
        ("p99>10% & significant | p50>99%", True),
        ("significant & (p50>1% | p99>1%)", True),
        ("(p50>99% | p99>10%) & (p90>99% | significant)", True),
        ("p50>99% | p90>99% & p99>1%", False),
        ("(p50>99% | p90>99%) & p99>1%", False),
        ("p99>1% | p90>99% & p50>99%", True),
        ("errors>1%", True),
        ("errors>2%", False),
        ("errors>1.9% & significant", True),
        ("mean<1ns", True),
        ("mean>0%", False),
        ("significant", True),
        ("((significant))", True),
    ],
)
def test_what_is_true_of_a_route(text: str, is_so: bool) -> None:
    found = regressions(SLOWER, [parse(text)])
    assert [one.key for one in found] == ([("web", None, "GET /")] if is_so else [])


def test_the_rows_that_make_it_so_are_told() -> None:
    both, alone = (regressions(SLOWER, [parse(text)])[0] for text in ("p99>1% & errors>1%", "p50>99% | p99>1%"))
    assert [row["measure"] for row in both.rows] == ["p99", "error_rate"]
    assert [row["measure"] for row in alone.rows] == ["p99"]
    assert alone.rule == "p50>99% | p99>1%"
    anything = regressions(SLOWER, [ANY_RISE])[0]
    assert [row["measure"] for row in anything.rows] == ["p99", "error_rate"]


def test_one_of_several_is_enough_and_routes_keep_their_order() -> None:
    rows = pl.concat(
        [SLOWER, route("same"), route("z", p90=(1.0 * MS, 9.0 * MS, True)), route("a", mean=(MS, 5 * MS, True))]
    )
    found = regressions(rows, [parse("p90>20%"), parse("significant")])
    assert [(one.key[2], one.rule) for one in found] == [
        ("GET /", "significant"),
        ("z", "p90>20%"),
        ("a", "significant"),
    ]


def test_what_fell_is_no_regression() -> None:
    faster = route(p99=(120 * MS, 100 * MS, True))
    assert regressions(faster, [ANY_RISE, parse("p99>0%"), parse("p99>0ns & significant")]) == []


def test_new_and_vanished_routes_are_none() -> None:
    names = ("calls", "error_rate", "mean", "p50", "p90", "p99")
    new, gone = (route(**dict.fromkeys(names, told)) for told in ((None, 1.0 * MS, False), (1.0 * MS, None, False)))
    for text in ("p99>1%", "p99<1%", "significant", "errors<1%"):
        assert regressions(pl.concat([new, gone.with_columns(route=pl.lit("x"))]), [parse(text)]) == []


def test_from_nothing_any_rise_is_more_than_a_percentage() -> None:
    assert regressions(route(p99=(0, 1, False)), [parse("p99>500%")])
    assert not regressions(route(p99=(0, 0, False)), [parse("p99>500%")])


def test_and_binds_closer_than_or() -> None:
    first, second = parse("p50>1% | p90>2% & significant").cases
    assert first == Case((Rise("p50", ">", 0.01, "share"),))
    assert second == Case((Rise("p90", ">", 0.02, "share"),), significant=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ends too early"),
        ("p99", "ends too early"),
        ("p99>", "ends too early"),
        ("p99>10% &", "ends too early"),
        ("p95>10%", "'p95' is no measure"),
        ("p99>10", "takes a percentage or a duration"),
        ("p99>10x", "takes a percentage or a duration"),
        ("p99>significant", "takes a percentage or a duration"),
        ("errors>10ms", "takes points"),
        ("p99=10%", "'=10%' cannot be read"),
        ("p99>=10%", "'=10%' cannot be read"),
        ("p99&10%", "takes > or <, not '&'"),
        ("p99>10% p50>1%", "'p50' is not expected"),
        ("(p99>10%", "not closed"),
        ("p99>10%)", "')' is not expected"),
        ("__import__('os')", "cannot be read"),
        ("p99>-1%", "cannot be read"),
        ("(" * 60 + "significant" + ")" * 60, "parentheses within"),
        ("&".join(["(p50>1%|p90>1%)"] * 9), "combinations"),
        ("p99>1%|" * 200 + "significant", "at most 1000"),
    ],
)
def test_what_is_no_expression(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(text)
    assert said in str(raised.value)


@given(st.text(alphabet="p509mean rrosigfct&|()<>%.1ms", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        rule = parse(text)
    except UsageError:
        return
    assert rule.cases
