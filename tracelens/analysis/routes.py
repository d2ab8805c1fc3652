"""Routes: how many, how fast, how often wrong, per workload and operation.

Owns percentiles of calls. Which spans are a call, and what it is named, is
decided in `calls.py`; give it calls, get one row a route.

Percentiles are exact: the sorted duration at rank floor((n−1)·q). A call whose
client went away is counted (`censored`) and stays out of every duration.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

ROUTES = pl.Schema(
    {
        "service": pl.String,
        "namespace": pl.String,
        "route": pl.String,
        "calls": pl.Int64,  # all of them, censored ones too
        "errors": pl.Int64,
        "error_rate": pl.Float64,  # errors / calls
        "mean_nano": pl.Int64,  # of whole calls, rounded down; null when all are censored, as are those below
        "p50_nano": pl.Int64,
        "p90_nano": pl.Int64,
        "p99_nano": pl.Int64,
        "max_nano": pl.Int64,
        "p99_low_nano": pl.Int64,  # 95 % interval of p99 by order statistics
        "p99_high_nano": pl.Int64,
        "censored": pl.Int64,
        "timed_out": pl.Int64,  # ended by a limit; their durations count, as what the caller waited
        "exemplar_trace_id": pl.Binary,  # of the call at p99; of equal ones the smallest id
        "impact_nano": pl.Int64,  # time spent above the route's own p50, summed
    }
)

SERIES = pl.Schema(
    {
        "service": pl.String,  # null: the first call of each trace, whatever its route
        "route": pl.String,
        "bucket_start_unix_nano": pl.Int64,
        "calls": pl.Int64,
        "errors": pl.Int64,
        "p50_nano": pl.Int64,
        "p90_nano": pl.Int64,
        "p99_nano": pl.Int64,
    }
)

KEY = ("service", "namespace", "route")
WHOLE = pl.col("censored").not_()
DURATION = pl.col("duration_nano").filter(WHOLE)
Z95 = 1.959964  # two-sided 95 % of the normal distribution


def rank(percent: int) -> pl.Expr:
    """Return floor((n−1)·percent/100) of the whole calls, in integers; 0 when there are none."""
    return ((DURATION.len().cast(pl.Int64) - 1) * percent // 100).clip(0)


def percentile(percent: int) -> pl.Expr:
    """Return the duration at the rank of a percentile, nanoseconds; null without a whole call."""
    return DURATION.sort().get(rank(percent), null_on_oob=True)


def percentiles() -> dict[str, pl.Expr]:
    """Return p50, p90 and p99 as named expressions of a group of calls."""
    return {f"p{percent}_nano": percentile(percent) for percent in (50, 90, 99)}


def counts() -> dict[str, pl.Expr]:
    """Return calls and errors as named expressions of a group of calls."""
    return {"calls": pl.len().cast(pl.Int64), "errors": pl.col("error").sum().cast(pl.Int64)}


def routes(calls: pl.LazyFrame) -> pl.LazyFrame:
    """Return one ROUTES row per workload and operation, most impact first.

    calls: CALLS of `calls.py`.
    """
    n = DURATION.len().cast(pl.Float64)
    half = Z95 * (n * 0.99 * 0.01).sqrt()
    low = ((n - 1) * 0.99 - half).floor().clip(0).cast(pl.Int64)
    high = pl.min_horizontal(((n - 1) * 0.99 + half).ceil(), n - 1).clip(0).cast(pl.Int64)
    in_order = pl.col("trace_id").filter(WHOLE).sort_by(DURATION, pl.col("trace_id").filter(WHOLE))
    return (
        calls.group_by(KEY)
        .agg(
            **counts(),
            mean_nano=DURATION.sum() // DURATION.len().replace(0, None).cast(pl.Int64),
            **percentiles(),
            max_nano=DURATION.max(),
            p99_low_nano=DURATION.sort().get(low, null_on_oob=True),
            p99_high_nano=DURATION.sort().get(high, null_on_oob=True),
            censored=pl.col("censored").sum().cast(pl.Int64),
            timed_out=pl.col("timed_out").sum().cast(pl.Int64),
            exemplar_trace_id=in_order.get(rank(99), null_on_oob=True),
            impact_nano=(DURATION - percentile(50)).clip(0).sum(),
        )
        .with_columns(error_rate=pl.col("errors") / pl.col("calls"))
        .cast(ROUTES)
        .select(ROUTES.names())
        .sort("impact_nano", *KEY, descending=[True, False, False, False], nulls_last=True)
    )


def summary(calls: pl.LazyFrame) -> pl.LazyFrame:
    """Return one row over the first calls of traces: calls, errors, error_rate, p50, p90, p99."""
    return (
        calls.filter("is_root")
        .select(**counts(), **percentiles(), censored=pl.col("censored").sum().cast(pl.Int64))
        .with_columns(error_rate=pl.when(pl.col("calls") > 0).then(pl.col("errors") / pl.col("calls")))
    )


def series(calls: pl.LazyFrame, start_nano: int, end_nano: int, points: int, by: Sequence[str]) -> pl.LazyFrame:
    """Return SERIES: counts and percentiles in `points` equal stretches of [start_nano, end_nano).

    by: the columns of CALLS to keep apart, ("service", "route") or () for all together.
    A stretch without a call has no row.
    """
    width = max((end_nano - start_nano) // points, 1)
    bucket = ((pl.col("start_unix_nano") - start_nano) // width).clip(0, points - 1) * width + start_nano
    grouped = calls.group_by(*by, bucket.alias("bucket_start_unix_nano")).agg(**counts(), **percentiles())
    missing = [pl.lit(None, pl.String).alias(name) for name in ("service", "route") if name not in by]
    return (
        grouped.with_columns(missing)
        .cast(SERIES)
        .select(SERIES.names())
        .sort("service", "route", "bucket_start_unix_nano")
    )
