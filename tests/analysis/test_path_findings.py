"""Findings of spans, drawn, and how much of each is on the critical path of its traces."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.finding import Found, findings_of, found, kinds
from tests.analysis.test_hops import mesh
from tests.builders import MILLISECOND, frame, trace, trace_id, traces
from tests.invariants.test_critical_path import SETTINGS, Rows, span_rows
from tests.systems import planted
from tracelens.analysis import _within, findings, whatif
from tracelens.analysis.critical_path import sections
from tracelens.analysis.hops import requests
from tracelens.analysis.on_path import on_path, self_times
from tracelens.analysis.path_patterns import ENOUGH
from tracelens.calls import calls
from tracelens.forest import Forest, link

DARK = """
    web/app     |----------|
     web/client  |-----|   {}
"""


def test_calls_to_where_nobody_writes_spans() -> None:
    """All of the call is dark; a database never writes spans."""
    named = DARK.format("attr:server.address=bank.example")
    told = found(*[named] * ENOUGH)["uninstrumented_gap", "bank"]
    evidence = "20 of 20 calls of web go to where nobody writes spans: what they wait for is dark"
    assert told == Found(ENOUGH, 6 * ENOUGH, 6 * ENOUGH, evidence)
    assert ("uninstrumented_gap", "bank") not in found(*[named] * (ENOUGH - 1))
    database = DARK.format("attr:server.address=bank.example attr:db.system=x")
    assert ("uninstrumented_gap", "bank") not in found(*[database] * ENOUGH)


def test_a_callee_that_writes_spans_elsewhere_is_no_gap() -> None:
    """Its spans are missing here; that is another finding."""
    named = DARK.format("attr:server.address=bank.example")
    seen = named + "      bank/app    |-|\n"
    assert ("uninstrumented_gap", "bank") not in found(*[named] * ENOUGH, seen)


OWN = """
    web/app     |---------|
     cat/app     {}
"""


def test_own_time_around_calls_that_is_a_fifth_of_the_path() -> None:
    """2 of 10 before and after the call, then 1.5 of 10."""
    told = found(*[OWN.format("|-------|")] * ENOUGH)["uninstrumented_gap", "web"]
    evidence = (
        "20 % of the critical path of its traces is its own time around the calls that it makes, "
        "of which no span tells; n 20"
    )
    assert told == Found(ENOUGH, 2 * ENOUGH, 2 * ENOUGH, evidence)
    assert "uninstrumented_gap" not in kinds(*[OWN.format("|-------|")] * (ENOUGH - 1))
    assert "uninstrumented_gap" not in kinds(*[OWN.format("|--------|")] * ENOUGH)


def test_own_time_of_who_calls_nobody_is_its_work() -> None:
    assert "uninstrumented_gap" not in kinds(*["web/app |----|"] * ENOUGH)


def test_own_time_is_no_gap_while_a_call_is_under_way() -> None:
    """The walk books the first 4 to web, for cat overlaps pay; but web waits for cat meanwhile."""
    both = """
        web/app     |---------|
         cat/app    |-----|
         pay/app       |------|
    """
    spans = link(mesh(trace(both)))
    assert on_path(spans).own.tolist() == [3 * MILLISECOND, 0, 7 * MILLISECOND]
    assert "uninstrumented_gap" not in kinds(*[both] * ENOUGH)


def test_children_that_outlive_their_parent() -> None:
    """4 of 8 lie after it, and are on no path."""
    told = found("web/app |------|\n web/work  |-------|")["outside_parent", "web"]
    evidence = (
        "1 of 1 spans right below it begin before it or end after it: 50.0 % of their time is outside, on no path"
    )
    assert told == Found(1, 4, 0, evidence)
    assert "outside_parent" not in kinds("web/app |------|\n web/work  |---|")
    assert "outside_parent" not in kinds("web/app |------|\n web/work  |-------|  follows_from")


def test_children_before_their_parent_and_without_it() -> None:
    told = found("web/app     |------|\n web/work |--|\n web/work           |--|")["outside_parent", "web"]
    assert (told.cost, told.path) == (2 + 3, 0)


def test_what_is_outside_is_told_from_a_hundredth_on() -> None:
    """2 of 200, and of 202."""
    inside, outside = "web/app |---|\n web/work |-|", "web/app |---|\n web/work      |-|"
    assert "outside_parent" in kinds(*[inside] * 99, outside)
    assert "outside_parent" not in kinds(*[inside] * 100, outside)


def test_a_hit_within_a_hit_has_no_path_of_its_own() -> None:
    """A call that makes five calls of which one makes five of the same kind again: the outer ones hold the inner."""
    inner = "\n".join(f"   cat/app {' ' * (4 + 2 * k)}|-|" for k in range(5))
    outer = "\n".join(f"  cat/app {' ' * (20 + 3 * k)}|-|" for k in range(4))
    drawing = f"web/app  |{'-' * 40}|\n  cat/app   |{'-' * 14}|\n{inner}\n{outer}"
    rows = findings_of(trace(drawing)).filter(kind="n_plus_one", service="cat")
    by_caller = dict(zip(rows["evidence"].str.extract("calls of ([a-z]*)"), rows["path_nano"], strict=True))
    assert {name: path / MILLISECOND for name, path in by_caller.items()} == {"web": 8, "cat": 8}


PLAIN = f"web/out  |{'-' * 39}|\n web/try  |-|\n  cat/in   |"
SLOW = f"web/out  |{'-' * 49}|\n web/try |--|\n web/try{' ' * 14}|-|\n  cat/in{' ' * 14}|"
SLOW_TOO = PLAIN.replace("-" * 39, "-" * 49)


def later_by_number(spans: pl.DataFrame) -> pl.DataFrame:
    """Return drawn spans whose roots end later by as many nanoseconds as their trace's number: none are equal."""
    number = pl.col("trace_id").bin.slice(8, 8).bin.reinterpret(dtype=pl.Int64, endianness="big")
    end = pl.col("end_time_unix_nano")
    return spans.with_columns(pl.when(pl.col("parent_span_id").is_null()).then(end + number).otherwise(end))


@pytest.mark.parametrize(
    ("n", "hit", "percent", "slow"),
    [
        (3_000, 40, 1, 31),  # from rank floor(2999 · 0.99) = 2969 on
        (2_900, 20, 1, 30),
        (2_800, 40, 10, 281),  # 29 are too few, so from rank floor(2799 · 0.9) = 2519 on
        (290, 40, 10, 30),
        (280, 40, None, None),  # 29 of a tenth
    ],
)
def test_p99_nano_is_the_mean_over_the_slow_band(n: int, hit: int, percent: int | None, slow: int | None) -> None:
    """The slowest take 13 for their retry each: an attempt of 3, and a pause of 10."""
    spans = later_by_number(traces(*[PLAIN] * (n - hit), *[SLOW] * hit))
    (row,) = findings_of(spans).filter(kind="retries").to_dicts()
    assert (row["slow_percent"], row["slow_traces"]) == (percent, slow)
    assert row["path_nano"] == hit * 13 * MILLISECOND
    assert row["p99_nano"] == (None if slow is None else min(hit, slow) * 13 * MILLISECOND // slow)
    assert (row["entry_service"], row["entry_route"]) == ("web", "get")


def test_slow_ones_without_the_pattern_count() -> None:
    """Of the 31 slowest one has it; equal ones at the edge would all be slow."""
    spans = later_by_number(traces(*[PLAIN] * 269, SLOW, *[SLOW_TOO] * 30))
    (row,) = findings_of(spans).filter(kind="retries").to_dicts()
    assert (row["slow_percent"], row["slow_traces"], row["p99_nano"]) == (10, 31, 13 * MILLISECOND // 31)


def test_p99_nano_is_about_the_route_with_most_of_the_path_time() -> None:
    """As many traces begin at mail, but web has the retries on its path."""
    at_web = [PLAIN] * 260 + [SLOW] * 40
    at_mail = [line.replace("web/", "mail/") for line in [PLAIN] * 299 + [SLOW]]
    rows = findings_of(later_by_number(traces(*at_web, *at_mail))).filter(kind="retries", service="cat")
    (row,) = rows.to_dicts()
    assert (row["traces"], row["entry_service"], row["slow_traces"]) == (41, "web", 31)
    assert row["p99_nano"] == 13 * MILLISECOND


def test_an_aborted_trace_has_no_length_that_counts() -> None:
    spans = later_by_number(traces(*[PLAIN] * 272, *[SLOW] * 9, SLOW.replace("-|\n", "-| attr:response_flags=DC\n", 1)))
    (row,) = findings_of(spans).filter(kind="retries").to_dicts()
    assert (row["traces"], row["slow_traces"], row["p99_nano"]) == (9, None, None)  # 281 traces: 29 of a tenth


def fan_out(gap: int) -> str:
    """Return a call that makes three, one after the other, each from a span of its own, with a gap between."""
    steps = "".join(
        f"  web/work{' ' * (gap + k * (gap + 6))}|----|\n   {name}/app{' ' * (gap + 1 + k * (gap + 6))}|--|\n"
        for k, name in enumerate(("cat", "pay", "eat"))
    )
    return f"web/app   |{'-' * (30 + 3 * gap)}|\n{steps}"


def test_serial_fan_out_is_projected_as_what_if_does() -> None:
    """Beside each other below the span around all three, which is web's own."""
    drawn = mesh(later_by_number(traces(*[fan_out(1 + n % 7) for n in range(300)])))
    forest = link(drawn)
    folded = calls(forest)
    (row,) = findings.findings(forest, folded, requests(forest, folded)).filter(kind="serial_fan_out").to_dicts()
    change = whatif.Change(service="web", operation="get", beside=True)
    after = whatif.project(forest, folded, forest.entry, [change])
    measured = (forest.end - forest.start)[forest.entry]
    times = pl.LazyFrame({"service": "web", "route": "get", "measured": measured, "projected": after})
    answer = whatif.compared(times).collect().row(0, named=True)
    assert (row["service"], row["slow_percent"], row["slow_traces"]) == ("web", 10, 31)
    assert row["p99_nano"] == answer["p90_nano"] - answer["projected_p90_nano"] > 0
    assert row["evidence"] == (
        "300 of 300 calls that make others make up to 3 different ones, one after the other; beside each other they "
        "would take that much less at best: what-if --parallel 'service=web,operation=get'"
    )


def test_serial_fan_out_of_few_is_not_projected() -> None:
    (row,) = findings_of(traces(*[fan_out(1)] * 29)).filter(kind="serial_fan_out").to_dicts()
    assert (row["p99_nano"], row["slow_percent"], row["entry_route"]) == (None, None, "get")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["repeated", "retry"])
def test_planted_causes_are_found(kind: str, seed: int) -> None:
    """Most of what they cost is on the path, and in the slow calls."""
    system = planted(kind, seed)
    forest = link(system.spans)
    folded = calls(forest)
    rows = findings.findings(forest, folded, requests(forest, folded))
    operation = system.operation.removeprefix("call ")
    wanted = ("retries", "lock_step_retries") if kind == "retry" else ("n_plus_one",)
    for name in wanted:
        (row,) = rows.filter(kind=name, route=operation).to_dicts()
        assert row["traces"] > 50
        assert (row["slow_percent"], row["entry_route"]) == (1, "POST /order")
        if name != "lock_step_retries":  # they come at once
            assert row["p99_nano"] > 0
    assert rows.filter(pl.col("route") == operation)["kind"][0] == wanted[0]


def measured(spans: pl.DataFrame) -> tuple[Forest, pl.DataFrame]:
    forest = link(spans)
    folded = calls(forest)
    return forest, findings.findings(forest, folded, requests(forest, folded))


@SETTINGS
@given(span_rows(most=25))
def test_no_finding_has_more_on_the_path_than_it_costs(rows: Rows) -> None:
    spans = frame(row | {"name": f"GET /{row['name']}", "status_code": 2 * (row["kind"] == 3)} for row in rows)
    _, told = measured(spans)
    known = told.filter(pl.col("cost_nano").is_not_null())
    assert (known["path_nano"] >= 0).all()
    assert (known["path_nano"] <= known["cost_nano"]).all()
    assert told.filter(pl.col("cost_nano").is_null())["path_nano"].is_null().all()


@SETTINGS
@given(span_rows(), st.data())
def test_time_on_the_path_by_row(rows: Rows, data: st.DataObject) -> None:
    """Own, below and within, against every section; own time, against every moment."""
    forest = link(frame(rows))
    path, found_ = on_path(forest), sections(forest)
    n = len(forest.parent)
    every = list(zip(found_.span.tolist(), found_.start.tolist(), found_.end.tolist(), strict=True))
    below = [sum(b - a for s, a, b in every if i <= s < forest.until[i]) for i in range(n)]
    assert path.below(np.arange(n)).tolist() == below
    low, high = sorted(data.draw(st.tuples(st.integers(-5, 60), st.integers(-5, 60))))
    within = [sum(max(0, min(b, high) - max(a, low)) for s, a, b in every if s == i) for i in range(n)]
    assert path.within(np.arange(n), np.full(n, low), np.full(n, high)).tolist() == within
    own = self_times(forest)
    for i in range(n):
        waits = [c for c in range(n) if forest.parent[c] == i and forest.blocking[c]]
        moments = range(forest.lo[i], forest.hi[i])
        assert own[i] == sum(not any(forest.lo[c] <= m < forest.hi[c] for c in waits) for m in moments)


def test_no_spans_have_no_findings() -> None:
    rows = findings_of(frame([]))
    assert rows.is_empty()
    assert rows.schema == findings.FINDINGS


def test_the_kernels_are_compiled_once() -> None:
    findings.warm()
    assert trace_id(1) in set(findings_of(traces(fan_out(1)))["exemplar_trace_id"])
    kernels: Any = (_within.add_within, _within.self_times)
    assert [len(kernel.signatures) for kernel in kernels] == [1, 1]
