from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import MILLISECOND, frame, trace, traces
from tests.invariants.test_critical_path import SETTINGS, TOLERANCES, Rows, span_rows, stretched
from tests.plain_retime import retimed
from tracelens.analysis import whatif
from tracelens.analysis.critical_path import sections
from tracelens.analysis.fixes import fixes
from tracelens.analysis.whatif import Change, compared, project
from tracelens.calls import calls
from tracelens.errors import UsageError
from tracelens.forest import Forest, link
from tracelens.histogram import rank
from tracelens.spans import SPANS


def takes(spans: pl.DataFrame, *changes: Change, **options: Any) -> float:
    """How many columns of the drawing the first trace takes after the changes."""
    forest = link(spans)
    return float(project(forest, calls(forest), forest.entry[:1], changes, **options)[0] / MILLISECOND)


SERIAL = trace("""
    web    |----------------|
     cart   |----|
     user         |--|
     mail             |--|
""")


def test_own_time_is_the_gaps_and_the_rest_follows():
    """web works for 1 before cart, for 1 before user, for 1 before mail, and for 1 at the end."""
    assert takes(SERIAL) == 17
    assert takes(SERIAL, Change(service="web", scale=0)) == 11
    assert takes(SERIAL, Change(service="web", scale=2)) == 23
    assert takes(SERIAL, Change(service="cart", scale=0)) == 12
    assert takes(SERIAL, Change(service="mail", shift_nano=5 * MILLISECOND)) == 22


def test_changes_add_up():
    assert takes(SERIAL, Change(service="web", scale=0), Change(service="cart", scale=0)) == 6
    assert takes(SERIAL, Change(service="web", scale=0.5), Change(service="web", scale=0.5)) == 12.5


def test_a_negative_shift_takes_own_time_only_and_no_more_than_there_is():
    """Of web's own 6, gap by gap; what is left of 100 wins nothing more."""
    assert takes(SERIAL, Change(service="web", shift_nano=-2 * MILLISECOND)) == 15
    assert takes(SERIAL, Change(service="web", shift_nano=-100 * MILLISECOND)) == 11


def test_parallel_children_wait_for_their_parent_only():
    """All three begin when web has worked for as long as it did before each of them; cart takes longest, then mail."""
    spans = trace("""
        web    |----------------|
         cart   |------|
         user           |--|
         mail               |--|
    """)
    assert takes(spans, Change(service="web", beside=True)) == 1 + 7 + 1
    assert takes(spans, Change(service="cart", beside=True)) == 17


def test_a_join_waits_for_the_slowest_of_those_that_had_finished():
    """c began after a and b; with b gone it waits for a."""
    spans = trace("""
        web  |-------------|
         a   |---|
         b   |------|
         c           |---|
    """)
    assert takes(spans, Change(service="b", scale=0)) == 14 - 3
    assert takes(spans, Change(service="a", scale=0)) == 14


def test_what_was_off_the_path_comes_onto_it_when_it_gets_slower():
    spans = trace("""
        web  |---------|
         a   |--------|
         b   |---|
    """)
    assert takes(spans, Change(service="b", scale=2)) == 10
    assert takes(spans, Change(service="b", scale=4)) == 17


def test_a_limit_ends_a_span():
    assert takes(SERIAL, Change(service="cart", most_nano=2 * MILLISECOND)) == 14
    assert takes(SERIAL, Change(service="cart", most_nano=20 * MILLISECOND)) == 17


def test_a_service_can_be_named_by_layer_and_operation():
    spans = trace("""
        web        |-------------|  kind=server op=/x
         get        |----------|    kind=client service=web
          cart       |-------|      kind=server op=/y
    """)
    assert takes(spans, Change(layer="app", operation="/x", scale=0)) == 11
    assert takes(spans, Change(service="cart", layer="client", scale=0)) == 14
    assert takes(spans, Change(layer="network", scale=0)) == 14 - 3
    assert takes(spans, Change(operation="/y", scale=0)) == 6


def test_sidecars_are_both_proxies():
    """E less its attempt is 2, the callee's proxy less its app 4; what lies between the proxies is the network's."""
    spans = trace("""
        web      |----------------------|  kind=server
         E       |-------------------|     kind=server service=web
          try     |-----------------|      kind=client service=web op=router_cart_egress
           I       |-------------|         kind=server service=cart
            cart     |---------|           kind=server
    """).with_columns(
        pl.when(pl.col("name").is_in(["E", "router_cart_egress", "I"])).then(pl.lit("proxy")).alias("attr:component"),
        pl.when(pl.col("name") == "E").then(pl.lit("outbound|80||cart")).alias("attr:upstream_cluster"),
        pl.when(pl.col("name") == "I").then(pl.lit("inbound|80||")).alias("attr:upstream_cluster.name"),
        pl.when(pl.col("name").is_in(["E", "I"])).then("sidecar~" + pl.col("service_name")).alias("attr:node_id"),
        pl.when(pl.col("name") == "router_cart_egress").then(pl.lit("10.0.0.1:80")).alias("attr:upstream_address"),
    )
    assert takes(spans, Change(layer="ingress_proxy", scale=0)) == 23 - 4
    assert takes(spans, Change(layer="egress_proxy", scale=0)) == 23 - 2
    assert takes(spans, Change(layer="sidecar", scale=0)) == 23 - 6
    assert takes(spans, Change(layer="network", scale=0)) == 23 - 4


def test_hits_leave_whole_calls_out_from_the_client_on():
    """Nobody sends what a cache answers: the client span is gone too. All of them, none, and a share of many."""
    spans = trace("""
        web        |-------------|  kind=server
         get        |----------|    kind=client service=web
          db         |-------|      kind=server
    """)
    assert takes(spans, Change(service="db", hits=1)) == 3
    assert takes(spans, Change(service="db", hits=0)) == 14
    assert takes(spans, Change(service="web", hits=1)) == 14  # nobody called it
    many = traces(*["""
        web        |-------------|  kind=server
         db         |----------|    kind=server
    """] * 400)  # fmt: skip
    forest = link(many)
    lengths = project(forest, calls(forest), forest.entry, [Change(service="db", hits=0.25)], seed=7)
    hit = int((lengths < 14 * MILLISECOND).sum())
    assert 70 <= hit <= 130
    again = project(forest, calls(forest), forest.entry[::-1], [Change(service="db", hits=0.25)], seed=7)
    assert np.array_equal(again[::-1], lengths)
    other = project(forest, calls(forest), forest.entry, [Change(service="db", hits=0.25)], seed=8)
    assert not np.array_equal(other, lengths)


def test_what_is_not_waited_for_does_not_matter():
    spans = trace("""
        web    |---------|
         log     |-------|   follows_from
         late    |------------|
    """)
    assert takes(spans, Change(service="log", scale=9)) == 10
    assert takes(spans, Change(service="late", scale=2)) == 18
    assert takes(spans, Change(service="late", scale=2), asynchronous=True) == 10


@pytest.mark.parametrize(
    "wrong", [{"layer": "disk"}, {"scale": -1}, {"scale": float("nan")}, {"most_nano": -1}, {"hits": 1.5}]
)
def test_a_change_that_means_nothing_is_refused(wrong: dict[str, Any]):
    with pytest.raises(UsageError):
        Change(**wrong)


@pytest.mark.parametrize("deep", [True, False], ids=["a chain of 100,000", "a million calls"])
def test_depth_and_width_cost_memory_only(deep: bool):
    """Halving the own time of all wins half where spans are a chain; of a million calls in a row likewise."""
    n = 100_000 if deep else 1_000_000
    number = np.arange(n, dtype=np.int64)
    raw = np.arange(1, n + 1, dtype=">u8").view("V8")
    above = np.concatenate([raw[:1], raw[:-1]]) if deep else np.repeat(raw[:1], n)
    spans = (
        frame([{"name": "x", "service_name": "s"}])
        .drop("span_id", "parent_span_id")
        .join(pl.DataFrame({"number": number}), how="cross")
    )
    start = pl.col("number") * 2 if deep else pl.when(pl.col("number") == 0).then(0).otherwise(pl.col("number") * 4)
    end = 10 * n - pl.col("number") * 2 if deep else pl.when(pl.col("number") == 0).then(4 * n + 8).otherwise(start + 2)
    spans = spans.with_columns(
        span_id=pl.Series([each.tobytes() for each in raw]),
        parent_span_id=pl.Series([None, *(each.tobytes() for each in above[1:])], dtype=pl.Binary),
        start_time_unix_nano=start.cast(pl.Int64),
        end_time_unix_nano=end.cast(pl.Int64),
    ).select(SPANS.names())
    forest = link(spans)
    folded = calls(forest)
    measured = int(forest.end[forest.entry[0]] - forest.start[forest.entry[0]])
    assert int(project(forest, folded, forest.entry, [Change(scale=1.0)], tolerance=0)[0]) == measured
    half = int(project(forest, folded, forest.entry, [Change(scale=0.5)], tolerance=0)[0])
    assert half == measured // 2
    (best,) = fixes(forest, sections(forest, tolerance=0), folded, scale=0.5, tolerance=0).rows(named=True)
    assert best["p99_nano"] == measured - half


def all_entries(forest: Forest) -> np.ndarray[Any, Any]:
    return np.arange(len(forest.parent))


@SETTINGS
@given(span_rows(), TOLERANCES, st.booleans(), st.booleans())
def test_a_scale_of_one_gives_every_trace_back(rows: Rows, tolerance: Any, asynchronous: bool, skew: bool):
    """Exactly, from any span, whatever the tolerance."""
    forest = link(frame(rows), skew=skew)
    entries = all_entries(forest)
    lengths = project(
        forest, calls(forest), entries, [Change(scale=1.0)], tolerance=tolerance, asynchronous=asynchronous
    )
    assert np.array_equal(lengths, (forest.end - forest.start)[entries])


@SETTINGS
@given(span_rows(), st.integers(0, 40), st.floats(0, 3))
def test_the_kernel_does_what_the_rule_says(rows: Rows, tolerance: int, scale: float):
    forest = link(frame(rows))
    folded = calls(forest)
    entries = all_entries(forest)
    lengths = project(forest, folded, entries, [Change(service="x", scale=scale)], tolerance=tolerance)
    factor = [scale if service == "x" else 1.0 for service in folded.service]
    assert lengths.tolist() == [retimed(forest, entry, factor, slack=tolerance) for entry in entries.tolist()]


@SETTINGS
@given(span_rows(), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_one_pass_over_all_fixes_is_each_of_them_by_itself(rows: Rows, scale: float):
    """Also of what is not on the path: that wins nothing."""
    forest = link(frame(stretched(row, by=1000) for row in rows))
    folded = calls(forest)
    entries = all_entries(forest)
    measured = (forest.end - forest.start)[entries]
    n = len(entries)
    found = fixes(forest, sections(forest, entries, tolerance=0), folded, scale=scale, tolerance=0)
    told = {row[:3]: row[4:8] for row in found.rows()}
    labels = pl.DataFrame([folded.service, folded.operation.rename("operation"), folded.layer])
    for label in labels.unique().rows():
        change = Change(service=label[0], operation=label[1], layer=label[2], scale=scale)
        lengths = project(forest, folded, entries, [change], tolerance=0)
        won = [int((measured - lengths).sum()) // n]
        for percent in whatif.PERCENTS:
            at = rank(n, percent)
            won.append(int(np.sort(measured)[at] - np.sort(lengths)[at]))
        assert told.get(label, (0, 0, 0, 0)) == tuple(won)


def test_routes_are_told_beside_each_other():
    """Percentiles by rank, of what was measured and of what would be."""
    spans = traces(*(f"web |{'-' * n}|  kind=server op=/x" for n in range(1, 101)))
    forest = link(spans)
    folded = calls(forest)
    measured = (forest.end - forest.start)[forest.entry]
    projected = project(forest, folded, forest.entry, [Change(service="web", scale=0.5)])
    times = folded.table.select("service", "route", measured=pl.Series(measured), projected=pl.Series(projected))
    row = compared(times.lazy()).collect().row(0, named=True)
    assert (row["service"], row["route"], row["calls"], row["changed"]) == ("web", "/x", 100, 100)
    got = {name: row[f"{name}_nano"] / MILLISECOND for name in ("p50", "p90", "p99", "mean")}
    assert got == {"p50": 51, "p90": 91, "p99": 100, "mean": 51.5}
    half = {name: row[f"projected_{name}_nano"] / MILLISECOND for name in ("p50", "p90", "p99", "mean")}
    assert half == {"p50": 25.5, "p90": 45.5, "p99": 50, "mean": 25.75}
    assert row["p99_low_nano"] <= row["p99_nano"] <= row["p99_high_nano"]
