"""Cells of calls: percentiles at most 1 % off, all else exact, however the cells were added up."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.builders import synthetic
from tests.systems import CAUSES, planted
from tracelens.analysis import rollups
from tracelens.analysis import routes as exact
from tracelens.analysis.edges import edges, without_gateways
from tracelens.analysis.hops import requests
from tracelens.analysis.rollups import HOUR_NANO, MINUTE_NANO
from tracelens.calls import CALLS, calls
from tracelens.forest import link

ESTIMATED = ("p50_nano", "p90_nano", "p99_nano", "p99_low_nano", "p99_high_nano")
SHAPES = ("constant", "modes", "tail of 2 %", "heavy", "log-normal", "few", "zeros", "uniform", "steps", "recorded")


def durations(shape: str, seed: int) -> np.ndarray:
    """Return durations of a shape, nanoseconds."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3_000, 12_000))
    scale = float(rng.lognormal(14, 2))
    drawn = {
        "constant": lambda: np.full(n, scale),
        "modes": lambda: scale * rng.choice([1.0, 7.0, 60.0], n, p=[0.6, 0.3, 0.1]) * rng.lognormal(0, 0.05, n),
        "tail of 2 %": lambda: scale * np.where(rng.random(n) < 0.02, 80.0, 1.0) * rng.lognormal(0, 0.2, n),
        "heavy": lambda: scale * (1 + rng.pareto(1.05, n)),
        "log-normal": lambda: scale * rng.lognormal(0, 1.5, n),
        "few": lambda: scale * rng.lognormal(0, 1, int(rng.integers(1, 12))),
        "zeros": lambda: np.where(rng.random(n) < 0.7, 0, rng.integers(0, 9, n)),
        "uniform": lambda: rng.uniform(0, scale, n),
        "steps": lambda: scale * rng.integers(1, 6, n),
        "recorded": lambda: _recorded(seed),
    }[shape]()
    return np.minimum(drawn, 2**62 / n).astype(np.int64)


def _recorded(seed: int) -> np.ndarray:
    """Return the durations of calls of a system whose tail has a cause."""
    spans = planted([*CAUSES][seed % 5], seed, requests=400).spans
    return calls(link(spans)).table["duration_nano"].to_numpy()


def table(values: np.ndarray, seed: int) -> pl.DataFrame:
    """Return CALLS with durations, over three hours."""
    rng = np.random.default_rng(seed)
    n = len(values)
    rows = {
        "span": np.arange(n),
        "trace": np.arange(n),
        "trace_id": [int(k).to_bytes(16, "big") for k in range(n)],
        "service": "shop",
        "namespace": None,
        "route": rng.choice(["GET /a", "GET /b"], n),
        "caller": None,
        "start_unix_nano": 1_700_000_000 * 10**9 + rng.integers(0, 3 * HOUR_NANO, n),
        "duration_nano": values,
        "error": rng.random(n) < 0.03,
        "censored": rng.random(n) < 0.02,
        "timed_out": rng.random(n) < 0.01,
        "is_root": rng.random(n) < 0.5,
        "echo": False,
        "weight": 1.0,
    }
    return pl.DataFrame(rows, schema=CALLS)


def near(found: pl.Series, truth: pl.Series) -> bool:
    """Whether estimates are at most 1 % off, or by the nanosecond that rounding takes."""
    apart = (found - truth).abs()
    return (
        bool((apart <= 0.01 * truth.abs() + 1).fill_null(value=True).all()) and found.null_count() == truth.null_count()
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", SHAPES)
def test_percentiles_are_one_percent_off_at_most(shape: str, seed: int) -> None:
    """Fifty distributions, each in one piece, and as parts of minutes and hours added up in another order."""
    every = table(durations(shape, seed), seed)
    truth = exact.routes(every.lazy()).collect().sort("route")
    parts = [
        rollups.route_cells(every.gather_every(7, k).lazy(), MINUTE_NANO).collect()
        for k in np.random.default_rng(seed).permutation(7)
    ]
    hours = rollups.coarser(pl.concat(parts).lazy(), HOUR_NANO).collect()
    whole = rollups.routes(rollups.route_cells(every.lazy(), HOUR_NANO)).sort("route")
    for cells in (pl.concat(parts), hours):
        found = rollups.routes(cells.lazy()).sort("route")
        assert found.drop("impact_nano").equals(whole.drop("impact_nano"))
        for name in found.columns:
            if name in ESTIMATED:
                assert near(found[name], truth[name]), name
            elif name not in ("impact_nano", "exemplar_trace_id"):
                assert found[name].equals(truth[name]), name
        # What is above the median is off by no more than the median and the calls around it.
        spent = every.filter(~pl.col("censored")).group_by("route").agg(pl.col("duration_nano").sum()).sort("route")
        assert ((found["impact_nano"] - truth["impact_nano"]).abs() <= 0.02 * spent["duration_nano"] + 2).all()
    roots = rollups.summary(hours.lazy())
    told = exact.summary(every.lazy()).collect()
    assert roots.columns == told.columns
    assert all(near(roots[name], told[name]) for name in told.columns)


def test_an_exemplar_is_a_call_at_that_percentile() -> None:
    every = table(durations("log-normal", 3), 3)
    found = rollups.routes(rollups.route_cells(every.lazy(), MINUTE_NANO))
    for row in found.iter_rows(named=True):
        length = every.filter(trace_id=row["exemplar_trace_id"])["duration_nano"].item()
        assert abs(length - row["p99_nano"]) <= 0.01 * length + 1


def test_weighted_calls_stand_for_more() -> None:
    """A tenth of the slow calls was kept, so that each weighs ten."""
    rng = np.random.default_rng(5)
    every = table(rng.lognormal(15, 1, 8_000).astype(np.int64), 5)
    slow = pl.col("duration_nano") > every["duration_nano"].quantile(0.9)
    kept = every.with_columns(weight=pl.when(slow).then(10.0).otherwise(1.0)).filter(~slow | (pl.col("span") % 10 == 0))
    truth = exact.routes(kept.lazy(), weighted=True).collect().sort("route")
    cells = rollups.route_cells(kept.lazy(), MINUTE_NANO)
    found = rollups.routes(cells, weighted=True).sort("route")
    assert found.select("n", "calls", "errors", "censored").equals(truth.select("n", "calls", "errors", "censored"))
    assert all(near(found[name], truth[name]) for name in ("p50_nano", "p90_nano", "p99_nano", "mean_nano"))


@pytest.mark.parametrize("gateways", [True, False])
def test_edges_have_the_sums_of_all_requests(gateways: bool) -> None:
    forest = link(synthetic(5_000, seed=4))
    every = requests(forest, calls(forest))
    shown = every if gateways else without_gateways(every)
    cells = rollups.edge_cells(every, without_gateways(every), MINUTE_NANO)
    truth = edges(shown.lazy()).collect().sort("caller", "callee")
    found = rollups.edges(cells.lazy(), gateways=gateways).sort("caller", "callee")
    counted = [name for name in truth.columns if name not in ESTIMATED]
    assert found.select(counted).equals(truth.select(counted))
    assert all(near(found[name], truth[name]) for name in ("p50_nano", "p90_nano", "p99_nano"))
    assert cells.filter(gateways=gateways)["sum_nano"].sum() == shown.filter(~pl.col("censored"))["duration_nano"].sum()
