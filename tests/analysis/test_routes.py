"""Percentiles by rank, intervals, censored calls apart."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tracelens.analysis import routes
from tracelens.analysis.contrast import contrast
from tracelens.analysis.heatmap import grid
from tracelens.calls import CALLS


def calls(*durations: int, **columns: Any) -> pl.DataFrame:
    """Return calls of one route, a nanosecond apart, with `columns` set for all or one by one."""
    rows = [
        {
            "span": n,
            "trace": n,
            "trace_id": n.to_bytes(16, "big"),
            "service": "web",
            "namespace": None,
            "route": "GET /",
            "caller": None,
            "start_unix_nano": n,
            "duration_nano": duration,
            "error": False,
            "censored": False,
            "timed_out": False,
            "is_root": True,
            "echo": False,
            "weight": 1.0,
            **{name: value[n] if isinstance(value, list) else value for name, value in columns.items()},
        }
        for n, duration in enumerate(durations)
    ]
    return pl.DataFrame(rows, schema=CALLS)


def one(frame: pl.DataFrame, *, weighted: bool = False) -> dict[str, Any]:
    (row,) = routes.routes(frame.lazy(), weighted=weighted).collect().to_dicts()
    return row


PERCENTILES = ("p50_nano", "p90_nano", "p99_nano", "mean_nano", "exemplar_trace_id")


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=120), st.sampled_from([1.0, 3.0, 10.0, 1 / 0.03, 1e4]))
def test_calls_that_weigh_alike_have_the_percentiles_of_their_ranks(durations: list[int], weight: float) -> None:
    plain, weighed = one(calls(*durations)), one(calls(*durations, weight=weight), weighted=True)
    assert [plain[name] for name in PERCENTILES[:3]] == [weighed[name] for name in PERCENTILES[:3]]
    assert (weighed["n"], weighed["calls"]) == (len(durations), round(weight * len(durations)))


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 9)), min_size=1, max_size=60))
def test_a_call_that_stands_for_many_counts_as_many(told: list[tuple[int, int]]) -> None:
    """The percentile lies where it would if each request had been seen, within what one call stands for."""
    weighed = one(calls(*(d for d, _ in told), weight=[float(w) for _, w in told]), weighted=True)
    every = sorted(d for d, w in told for _ in range(w))
    assert weighed["calls"] == len(every)
    assert abs(weighed["mean_nano"] - sum(every) / len(every)) <= 1
    for percent in (50, 90, 99):
        found, target = weighed[f"p{percent}_nano"], (len(every) - 1) * percent / 100
        assert sum(d < found for d in every) <= target
        assert sum(d <= found for d in every) > target - max(w for _, w in told)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=300))
def test_a_percentile_is_the_duration_at_its_rank(durations: list[int]) -> None:
    row = one(calls(*durations))
    for percent in (50, 90, 99):
        assert row[f"p{percent}_nano"] == sorted(durations)[(len(durations) - 1) * percent // 100]
    assert row["mean_nano"] == sum(durations) // len(durations)
    assert row["max_nano"] == max(durations)
    assert row["p99_low_nano"] <= row["p99_nano"] <= row["p99_high_nano"]
    assert durations[int.from_bytes(row["exemplar_trace_id"], "big")] == row["p99_nano"]
    assert row["impact_nano"] == sum(max(d - row["p50_nano"], 0) for d in durations)


def test_calls_whose_client_left_count_and_stay_out_of_durations() -> None:
    row = one(calls(1, 2, 3, 1_000_000, censored=[False, False, False, True]))
    assert (row["calls"], row["censored"], row["max_nano"], row["mean_nano"]) == (4, 1, 3, 2)


def test_a_route_of_censored_calls_only_has_no_percentiles() -> None:
    row = one(calls(5, 6, censored=True))
    assert {row[name] for name in ("p50_nano", "p99_nano", "p99_low_nano", "mean_nano", "exemplar_trace_id")} == {None}
    assert row["calls"] == 2


def test_routes_stand_by_impact_and_keep_namespaces_apart() -> None:
    frame = pl.concat([calls(1, 100), calls(1, 1, route="GET /b"), calls(1, 10, namespace="shop")])
    found = routes.routes(frame.lazy()).collect().select("namespace", "route", "impact_nano").rows()
    assert found == [(None, "GET /", 99), ("shop", "GET /", 9), (None, "GET /b", 0)]


def test_the_summary_is_of_first_calls() -> None:
    row = routes.summary(calls(1, 2, 3, is_root=[True, False, True], error=[True, True, False]).lazy()).collect()
    assert row.to_dicts() == [
        {"n": 2, "calls": 2, "errors": 1, "p50_nano": 1, "p90_nano": 1, "p99_nano": 1, "censored": 0, "error_rate": 0.5}
    ]


def test_a_series_has_a_row_for_each_stretch_with_a_call() -> None:
    frame = calls(5, 7, 9, start_unix_nano=[0, 5, 99])
    found = routes.series(frame.lazy(), 0, 100, 10, ("service", "route")).collect()
    assert found.select("bucket_start_unix_nano", "calls", "p50_nano").rows() == [(0, 2, 5), (90, 1, 9)]


def test_the_grid_counts_every_call_once() -> None:
    frame = calls(*range(1, 1_000), start_unix_nano=list(range(999)))
    cells = grid(frame["start_unix_nano"].to_numpy(), frame["duration_nano"].to_numpy(), (0, 999), 20, 10)
    assert cells.counts.shape == (10, 20)
    assert cells.counts.sum() == 999
    assert cells.counts[-1, -1] > 0
    assert cells.counts[0, -1] == 0


def test_an_empty_grid_is_empty() -> None:
    none = calls()["duration_nano"].to_numpy()
    assert grid(none, none, (0, 1), 4, 3).counts.sum() == 0


def test_contrast_names_the_value_that_differs_most() -> None:
    frame = pl.DataFrame(
        {
            "attr:retry": ["2", "2", None, None, None, "2"],
            "attr:zone": ["a", "b", "a", "b", "a", "b"],
            "attr:same": ["x"] * 6,
        }
    )
    found = contrast(frame, pl.Series([True, True, False, False, False, False]))
    first = found.row(0, named=True)
    assert (first["attribute"], first["value"], first["selected_calls"], first["rest_calls"]) == (
        "attr:retry",
        "2",
        2,
        1,
    )
    assert first["lift"] == 4.0
    assert "attr:same" not in found["attribute"]


def test_contrast_leaves_ids_out() -> None:
    frame = pl.DataFrame({"attr:guid": [str(n) for n in range(1_000)]})
    assert contrast(frame, pl.Series([n < 10 for n in range(1_000)])).is_empty()


def test_contrast_leaves_ids_of_few_calls_out() -> None:
    frame = pl.DataFrame({"attr:guid": ["a", "b", "c", "d"], "attr:zone": ["x", "x", "y", "y"]})
    found = contrast(frame, pl.Series([True, True, False, False]))
    assert found["attribute"].to_list() == ["attr:zone"]
