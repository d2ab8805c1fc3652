"""Stretches: cells added up are what polars makes of them, and series are as their calls are."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.test_rollups import durations, near, table
from tracelens.analysis import rollups
from tracelens.analysis import routes as exact
from tracelens.analysis.rollups import EXEMPLAR, MINUTE_NANO, ROUTE_CELLS, ROUTE_PARTS
from tracelens.analysis.routes import SERIES
from tracelens.analysis.stretches import series, stretches

START = 1_700_000_000 * 10**9 // MINUTE_NANO * MINUTE_NANO
MEASURES = ("p50_nano", "p90_nano", "p99_nano")


def test_a_series_counts_each_call_once() -> None:
    every = table(durations("log-normal", 1), 1)
    end = START + 190 * MINUTE_NANO
    roots, each = series(stretches([lambda: rollups.route_cells(every.lazy(), MINUTE_NANO)], START, end, 19))
    for found, some, by in ((roots, every.filter("is_root"), ()), (each, every, ("service", "route"))):
        truth = exact.series(some.lazy(), START, end, 19, by).collect()
        assert found.schema == truth.schema
        assert found.drop(MEASURES).equals(truth.drop(MEASURES))
        assert all(near(found[name], truth[name]) for name in MEASURES)


def cells(rng: np.random.Generator, n: int, *, weighted: bool) -> pl.DataFrame:
    """Return ROUTE_CELLS in no order: some names missing, some calls censored, few buckets so that many are equal."""
    censored = rng.random(n) < 0.1
    bucket = rng.integers(-1, 30, n)
    calls = rng.integers(1, 5, n)
    rows = {
        "start_unix_nano": START + rng.integers(0, 200, n) * MINUTE_NANO,
        "service": rng.choice(["a", "b", None], n).tolist(),
        "namespace": rng.choice(["x", None], n).tolist(),
        "route": rng.choice(["GET /", "POST /", None], n).tolist(),
        "is_root": rng.random(n) < 0.3,
        "error": rng.random(n) < 0.2,
        "censored": censored,
        "timed_out": rng.random(n) < 0.1,
        "bucket": [None if gone else int(b) for gone, b in zip(censored, bucket, strict=True)],
        "n": calls,
        "weight": calls * (rng.choice([1.0, 4.0, 10.0], n) if weighted else 1.0),
        "sum_nano": rng.integers(0, 1_000, n),
        "weighted_nano": rng.integers(0, 1_000, n).astype(float),
        "max_nano": [None if gone else int(1.02 ** max(b, 0)) for gone, b in zip(censored, bucket, strict=True)],
        "trace_id": [bytes([int(b)]) * 16 for b in rng.integers(0, 20, n)],
    }
    return pl.DataFrame(rows, schema=ROUTE_CELLS)


def of_each_kind(some: pl.DataFrame) -> pl.DataFrame:
    """Return cells with those of one start and kind added up, in order."""
    keys = ("start_unix_nano", *ROUTE_PARTS)
    how = {"max_nano": pl.col("max_nano").max(), "trace_id": EXEMPLAR}
    sums = (how.get(name, pl.col(name).sum()) for name in ROUTE_CELLS if name not in keys)
    return some.group_by(keys).agg(*sums).select(ROUTE_CELLS.names()).sort(keys)


def added_up(some: pl.DataFrame, end: int, points: int, by: tuple[str, ...], *, weighted: bool) -> pl.DataFrame:
    """Return SERIES by grouping and sorting."""
    width = (end - START) // points
    stretch = ((pl.col("start_unix_nano") - START) // width).clip(0, points - 1) * width + START
    placed = some.lazy().with_columns(bucket_start_unix_nano=stretch)
    told = rollups.measured(placed, (*by, "bucket_start_unix_nano"), weighted=weighted)
    missing = [pl.lit(None, pl.String).alias(name) for name in ("service", "route") if name not in by]
    rows = told.with_columns(missing).select(SERIES.names()).cast(SERIES)
    return rows.sort("service", "route", "bucket_start_unix_nano").collect()


@given(st.integers(0, 2**32), st.integers(0, 300), st.integers(1, 30), st.integers(1, 4), st.booleans())
def test_series_are_those_of_cells_added_up(seed: int, n: int, points: int, parts: int, weighted: bool) -> None:
    """In parts, of which some may be empty; also of cells beyond the end, which count for the last stretch."""
    rng = np.random.default_rng(seed)
    some = cells(rng, n, weighted=weighted)
    part = pl.Series(rng.integers(0, parts, n))
    end = START + 180 * MINUTE_NANO
    roots, each = series(
        stretches([some.filter(part == k).lazy for k in range(parts)], START, end, points), weighted=weighted
    )
    assert roots.equals(added_up(some.filter("is_root"), end, points, (), weighted=weighted))
    assert each.equals(added_up(some, end, points, ("service", "route"), weighted=weighted))


@given(st.integers(0, 2**32), st.integers(0, 300), st.integers(1, 30), st.integers(1, 4))
def test_cells_are_added_up_with_their_sums_and_longest_calls(seed: int, n: int, points: int, parts: int) -> None:
    """Calls that are as long as each other are many: of them the smallest trace id stays."""
    rng = np.random.default_rng(seed)
    some = cells(rng, n, weighted=True)
    part = pl.Series(rng.integers(0, parts, n))
    end = START + 200 * MINUTE_NANO
    width = (end - START) // points
    found = stretches([some.filter(part == k).lazy for k in range(parts)], START, end, points, whole=True).cells()
    stretch = ((pl.col("start_unix_nano") - START) // width).clip(0, points - 1) * width + START
    truth = of_each_kind(some.with_columns(stretch))
    assert of_each_kind(found).equals(truth)
    assert len(found) <= parts * len(truth)


@pytest.mark.parametrize("weighted", [True, False])
def test_the_order_of_cells_does_not_matter(weighted: bool) -> None:
    """Whole weights, so that sums are the same to the last digit."""
    some = cells(np.random.default_rng(7), 5_000, weighted=weighted)
    end = START + 200 * MINUTE_NANO
    found = series(stretches([some.lazy], START, end, 40), weighted=weighted)
    for other in (some.sample(fraction=1.0, shuffle=True, seed=1), some.sort("service", "route", "bucket")):
        again = series(stretches([other.lazy], START, end, 40), weighted=weighted)
        assert all(a.equals(b) for a, b in zip(found, again, strict=True))


def test_no_cells_are_no_rows() -> None:
    roots, each = series(stretches([ROUTE_CELLS.to_frame().lazy], START, START + MINUTE_NANO, 5))
    assert roots.is_empty()
    assert each.is_empty()
    assert roots.schema == each.schema == SERIES
