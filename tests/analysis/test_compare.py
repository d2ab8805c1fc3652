"""Two sides compared: what is told, what is tested, and what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analysis.test_routes import calls
from tests.builders import traces
from tracelens.analysis import compare
from tracelens.analysis.compare import COMPARE, LEAST, MEASURES, Side, nodes, routes
from tracelens.analysis.critical_path import sections
from tracelens.analysis.means import shared_out
from tracelens.analysis.profile import accumulate
from tracelens.analysis.routes import routes as plain_routes
from tracelens.forest import link


def side(*frames: pl.DataFrame, seconds: float = 10.0) -> Side:
    return Side(calls=pl.concat(frames).lazy(), seconds=seconds)


def drawn(seed: int, n: int, *, factor: float = 1.0, **columns: Any) -> pl.DataFrame:
    """Calls of one route, each of a trace of its own, that no other seed has."""
    durations = np.random.default_rng(seed).lognormal(16, 0.3, n) * factor
    frame = calls(*(int(duration) for duration in durations), **columns)
    return frame.with_columns(trace_id=pl.lit(str(seed)).cast(pl.Binary) + pl.col("trace_id"))


def row(found: pl.DataFrame, measure: str, **key: str) -> dict[str, Any]:
    return found.filter(measure=measure, **key).row(0, named=True)


def test_one_row_a_route_and_measure() -> None:
    found = routes(side(drawn(1, 50), drawn(2, 50, route="GET /b")), side(drawn(3, 50), drawn(4, 50, route="GET /b")))
    assert found.schema == COMPARE
    assert found.select("route", "measure").rows() == [
        (path, name) for path in ("GET /", "GET /b") for name in MEASURES
    ]
    assert found["kind"].unique().to_list() == ["route"]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=50), st.lists(st.integers(0, 10**9), min_size=1, max_size=50)
)
def test_the_figures_are_those_of_routes(a: list[int], b: list[int]) -> None:
    found = routes(side(calls(*a)), side(calls(*b)))
    for name, durations in (("a", a), ("b", b)):
        plain = plain_routes(calls(*durations).lazy()).collect().row(0, named=True)
        told = {measure: row(found, measure)[name] for measure in MEASURES}
        assert told == {"calls": len(durations) / 10, "error_rate": 0.0} | {
            measure: plain[f"{measure}_nano"] for measure in ("mean", "p50", "p90", "p99")
        }
    assert (found["difference_nano"].drop_nulls() == (found["b"] - found["a"]).tail(4).cast(pl.Int64)).all()


@pytest.mark.parametrize("measure", LEAST)
def test_with_too_few_calls_a_change_is_told_without_a_verdict(measure: str) -> None:
    """However large it is: one call less than needed, on either side, and there is none."""
    least = LEAST[measure]
    enough = routes(side(drawn(1, least)), side(drawn(2, least, factor=9, error=True)))
    assert row(enough, measure)["significant"]
    assert row(enough, measure)["note"] is None
    for n_a, n_b in ((least - 1, least), (least, least - 1)):
        told = row(routes(side(drawn(1, n_a)), side(drawn(2, n_b, factor=9, error=True))), measure)
        assert (told["p_value"], told["significant"]) == (None, False)
        assert told["note"] == f"fewer than {least} calls a side"
        assert (told["n_a"], told["n_b"]) == (n_a, n_b)
        assert (told["difference_nano"] or told["difference"]) > 0


def test_calls_of_too_few_traces_have_no_verdict() -> None:
    few = drawn(2, 300, factor=9).with_columns(trace_id=pl.col("trace_id").bin.slice(0, 1) + pl.lit(b"x"))
    found = routes(side(drawn(1, 300)), side(few))
    assert found.filter(pl.col("measure") != "calls")["note"].to_list() == [
        "fewer than 30 traces a side",
        "fewer than 30 traces a side",
        "fewer than 30 traces a side",
        "fewer than 100 traces a side",
        "fewer than 300 traces a side",
    ]


def test_calls_of_one_trace_count_less() -> None:
    """Ten calls a trace that take nearly the same: their number makes no change significant."""
    base = np.repeat(np.random.default_rng(5).lognormal(16, 0.5, 80), 10)
    a, b = base[:400], base[400:] * 1.2
    frames = [calls(*(int(x) for x in durations), trace=[n // 10 for n in range(400)]) for durations in (a, b)]
    tied = [
        frame.with_columns(trace_id=pl.lit(name).cast(pl.Binary) + pl.col("trace").cast(pl.String).cast(pl.Binary))
        for name, frame in zip("ab", frames, strict=True)
    ]
    mean, apart = (row(routes(*map(side, two)), "mean") for two in (tied, [tied[0], frames[1]]))
    assert mean["design_effect"] == pytest.approx(10, rel=0.05)
    assert mean["p_value"] > apart["p_value"]
    assert mean["high_nano"] - mean["low_nano"] > apart["high_nano"] - apart["low_nano"]


def test_aborted_calls_stay_out_of_durations_and_count_as_calls() -> None:
    aborted = drawn(9, 40, factor=100, censored=True)
    without, found = (
        routes(side(drawn(1, 100)), side(drawn(2, 100))),
        routes(side(drawn(1, 100)), side(drawn(2, 100), aborted)),
    )
    durations = pl.col("measure").is_in(compare.DURATIONS)
    assert found.filter(durations).equals(without.filter(durations))
    assert (row(found, "calls")["b"], row(found, "error_rate")["n_b"]) == (14.0, 140)


def test_rates_are_of_requests_and_of_the_windows_seconds() -> None:
    found = routes(side(drawn(1, 100, weight=10.0)), side(drawn(2, 60), seconds=2.0))
    rate = row(found, "calls")
    assert (rate["a"], rate["b"], rate["difference"], rate["n_a"], rate["p_value"]) == (100.0, 30.0, -70.0, 100, None)
    assert (rate["note"], rate["difference_nano"]) == ("told, not tested", None)


def test_new_and_vanished_routes_are_told() -> None:
    found = routes(side(drawn(1, 300), drawn(2, 300, route="old")), side(drawn(3, 300), drawn(4, 300, route="new")))
    for name, note, there in (("old", "vanished", "a"), ("new", "new", "b")):
        part = found.filter(route=name)
        assert part["note"].unique().to_list() == [note]
        assert part["b" if there == "a" else "a"].null_count() == len(MEASURES)
        assert part[there].null_count() == 0
        assert not part["significant"].any()
        assert part.select("difference", "difference_nano", "p_value").null_count().row(0) == (6, 6, 6)


def test_a_route_of_aborted_calls_only_has_no_durations() -> None:
    found = routes(side(drawn(1, 40)), side(drawn(2, 40, censored=True)))
    assert found["b"].to_list() == [4.0, 0.0, None, None, None, None]
    assert found["note"].to_list() == ["told, not tested", None, *["no whole call on one side"] * 4]


def test_namespaces_are_routes_of_their_own() -> None:
    found = routes(side(drawn(1, 5), drawn(2, 5, namespace="x")), side(drawn(3, 5), drawn(4, 5, namespace="x")))
    assert found["namespace"].to_list() == [None] * 6 + ["x"] * 6
    assert found["note"].is_in(["new", "vanished"]).sum() == 0


def test_errors() -> None:
    found = row(
        routes(side(drawn(1, 1_000)), side(drawn(2, 1_000, error=[n < 20 for n in range(1_000)]))), "error_rate"
    )
    assert (found["a"], found["b"], found["difference"], found["significant"]) == (0.0, 0.02, 0.02, True)
    assert found["p_value"] == pytest.approx(2 * 0.5**20, rel=0.3)
    assert 0.01 < found["low"] < 0.02 < found["high"] < 0.035


def test_p_values_are_adjusted_over_the_routes_of_a_measure() -> None:
    changed = routes(side(drawn(1, 400)), side(drawn(2, 400, factor=1.05)))
    many = (
        [drawn(2 * n, 400, route=f"r{n}") for n in range(10, 29)],
        [drawn(2 * n + 1, 400, route=f"r{n}") for n in range(10, 29)],
    )
    among = routes(side(drawn(1, 400), *many[0]), side(drawn(2, 400, factor=1.05), *many[1]))
    for measure in ("mean", "p50"):
        alone, beside = row(changed, measure), row(among, measure, route="GET /")
        assert beside["p_value"] == alone["p_value"] == alone["adjusted_p"]
        assert alone["p_value"] < beside["adjusted_p"] <= 20 * alone["p_value"] * (1 + 1e-9)
    # A route with too few calls is no test.
    with_few = routes(
        side(drawn(1, 400), drawn(7, 5, route="few")), side(drawn(2, 400, factor=1.05), drawn(8, 5, route="few"))
    )
    assert row(with_few, "mean", route="GET /")["adjusted_p"] == row(changed, "mean")["p_value"]


def test_the_order_of_calls_does_not_matter() -> None:
    a, b = drawn(1, 400), drawn(2, 350, factor=1.1)
    found = routes(side(a), side(b))
    assert routes(side(a.sample(fraction=1, shuffle=True, seed=1)), side(b.reverse())).equals(found)


def test_the_sides_may_be_exchanged() -> None:
    a, b = drawn(1, 400), drawn(2, 350, factor=1.1)
    there, back = routes(side(a), side(b)), routes(side(b), side(a))
    assert back["difference_nano"].to_list() == [None if d is None else -d for d in there["difference_nano"]]
    for name in ("p_value", "adjusted_p"):
        assert back[name].drop_nulls().to_list() == pytest.approx(there[name].drop_nulls().to_list())


def test_nothing_to_compare() -> None:
    empty = routes(side(calls()), side(calls()))
    assert (empty.schema, len(empty)) == (COMPARE, 0)
    assert compare.ranked(empty, empty).is_empty()


QUICK = """
web   |--------|  service=shop
 cart  |---|
  db    |-|
"""
SLOW = """
web   |-----------|  service=shop
 cart  |------|
  db    |----|
"""
OTHER = """
web   |--------|  service=shop
 mail  |---|
"""


def profiled(*drawings: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """PROFILE_BUCKETS of one route, number 0, and CALLS of its entries."""
    forest = link(traces(*drawings))
    n = len(forest.entry)
    buckets = accumulate(
        forest,
        sections(forest, tolerance=0),
        entries=forest.entry,
        route=pl.Series(["0"] * n, dtype=pl.String),
        service=forest.spans["service_name"],
        operation=forest.spans["name"],
        layer=pl.Series(["app"] * len(forest.spans), dtype=pl.String),
        group=np.zeros(n, np.int64),
    )
    return buckets, calls(*(forest.end - forest.start)[forest.entry].tolist())


def compared(a: list[str], b: list[str]) -> tuple[dict[str, Any], pl.DataFrame]:
    """The route's mean, and its nodes."""
    of_a, of_b = profiled(*a), profiled(*b)
    other = of_b[1].with_columns(trace_id=pl.lit(b"b") + pl.col("trace_id"))
    means = routes(side(of_a[1]), side(other)).filter(measure="mean")
    return means.row(0, named=True), nodes(of_a[0], of_b[0], means)


def told(found: pl.DataFrame) -> list[tuple[str, int, int, int]]:
    last = found.with_columns(path=pl.col("path").list.last())
    return [
        (name, a // 10**6, b // 10**6, d // 10**6)
        for name, a, b, d in last.select("path", "a", "b", "difference_nano").rows()
    ]


def test_a_nodes_change_is_what_it_takes_more_on_the_critical_path() -> None:
    mean, found = compared([QUICK] * 40, [SLOW] * 40)
    assert told(found) == [("db db", 2, 5, 3), ("shop web", 5, 5, 0), ("cart cart", 2, 2, 0)]
    assert mean["difference_nano"] == 3 * 10**6
    assert found["significant"].to_list() == [True, False, False]
    assert found.select("kind", "service", "route", "measure").unique().rows() == [("node", "web", "GET /", "mean")]


def test_a_path_that_one_side_lacks_took_nothing_there() -> None:
    _, found = compared([QUICK] * 40, [OTHER] * 40)
    notes = dict(found.select(pl.col("path").list.last(), "note").rows())
    assert notes == {"mail mail": "new", "cart cart": "vanished", "db db": "vanished", "shop web": None}
    assert told(found)[0] == ("mail mail", 0, 4, 4)
    assert found.filter(note="new")["significant"].to_list() == [True]


def test_a_node_of_few_calls_is_told_without_a_verdict() -> None:
    _, found = compared([QUICK] * 40, [QUICK] * 36 + [OTHER] * 4)
    notes = dict(found.select(pl.col("path").list.last(), "note").rows())
    assert notes == {"mail mail": "new", "cart cart": None, "db db": None, "shop web": None}
    assert found.filter(note="new")["p_value"].to_list() == [None]
    _, found = compared([QUICK] * 36 + [OTHER] * 4, [QUICK] * 36 + [OTHER] * 4)
    notes = dict(found.select(pl.col("path").list.last(), "note").rows())
    assert notes == {"mail mail": "in fewer than 10 calls", "cart cart": None, "db db": None, "shop web": None}


def test_nodes_of_a_route_with_too_few_calls_are_told_without_a_verdict() -> None:
    mean, found = compared([QUICK] * 20, [SLOW] * 20)
    assert found["note"].unique().to_list() == [mean["note"]] == ["fewer than 30 calls a side"]
    assert not found["significant"].any()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from([QUICK, SLOW, OTHER]), min_size=1, max_size=7),
    st.lists(st.sampled_from([QUICK, SLOW, OTHER]), min_size=1, max_size=7),
)
def test_the_nodes_sum_to_their_route(a: list[str], b: list[str]) -> None:
    """In whole nanoseconds, whatever the means are rounded to."""
    mean, found = compared(a, b)
    for name in ("a", "b", "difference_nano"):
        assert int(found[name].sum()) == int(mean[name])


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), st.integers(1, 50))
def test_sums_are_shared_out_by_the_largest_remainder(sums: list[int], n: int) -> None:
    shares = shared_out(sums, n)
    assert sum(shares) == sum(sums) // n
    assert all(total // n <= share <= total // n + 1 for total, share in zip(sums, shares, strict=True))
    up = [total % n for total, share in zip(sums, shares, strict=True) if share > total // n]
    down = [total % n for total, share in zip(sums, shares, strict=True) if share == total // n]
    assert min(up, default=n) >= max(down, default=0)


def test_what_changed_most_surely_stands_first() -> None:
    frames = [("same", 1.0), ("sure", 3.0), ("less", 1.1)]
    a = side(*(drawn(n, 400, route=name) for n, (name, _) in enumerate(frames)), drawn(7, 50, route="old"))
    b = side(
        *(drawn(10 + n, 400, factor=by, route=name) for n, (name, by) in enumerate(frames)), drawn(8, 50, route="new")
    )
    found = compare.ranked(routes(a, b), COMPARE.to_frame())
    assert found["route"].unique(maintain_order=True).to_list() == ["sure", "less", "new", "old", "same"]
    assert found["measure"].to_list() == [*MEASURES] * 5
