"""Routes: how many, how fast, how often wrong, per workload and operation.

Owns percentiles of calls. Which spans are a call, and what it is named, is
decided in `calls.py`; give it calls, get one row a route.

Percentiles are exact: the sorted duration at rank floor((n−1)·q). A call whose
client went away is counted (`censored`) and stays out of every duration. Where
traces were sampled, each call stands for the requests that its trace does.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

ROUTES = pl.Schema(
    {
        "service": pl.String,
        "namespace": pl.String,
        "route": pl.String,
        "n": pl.Int64,  # calls seen, censored ones too: what percentiles rest on
        "calls": pl.Int64,  # requests they stand for: more than n when traces were sampled
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
        "n": pl.Int64,
        "calls": pl.Int64,
        "errors": pl.Int64,
        "p50_nano": pl.Int64,
        "p90_nano": pl.Int64,
        "p99_nano": pl.Int64,
    }
)

KEY = ("service", "namespace", "route")
ORDER = ("impact_nano", *KEY)
WHOLE = pl.col("censored").not_()
DURATION = pl.col("duration_nano").filter(WHOLE)
WEIGHT = pl.col("weight").filter(WHOLE)
Z95 = 1.959964  # two-sided 95 % of the normal distribution


def ranked(values: pl.Expr, percent: int, weights: pl.Expr | None = None) -> pl.Expr:
    """Return the value at the rank of a percentile; null without any.

    Of n values it is floor((n−1)·q) in their order. With weights, which stand beside the values, it is the first
    whose running sum of weights exceeds (W − the last one's)·q: the same when all weigh alike.
    """
    n = values.len().cast(pl.Int64)
    return values.sort().get(_place(values, percent, n, weights), null_on_oob=True)


def _place(values: pl.Expr, percent: int, n: pl.Expr, weights: pl.Expr | None) -> pl.Expr:
    if weights is None:
        return ((n - 1) * percent // 100).clip(0)
    in_order = weights.sort_by(values)
    running = in_order.cum_sum()
    # A billionth is more than sums of weights are off, and less than a call is of the sum.
    reached = (weights.sum() - in_order.last()) * (percent / 100) * (1 + 1e-9)
    return pl.min_horizontal((running <= reached).sum().cast(pl.Int64), n - 1).clip(0)


def percentiles(*, weighted: bool = False) -> dict[str, pl.Expr]:
    """Return p50, p90 and p99 as named expressions of a group of calls; null without a whole call.

    weighted: calls stand for different numbers of requests.
    """
    weights = WEIGHT if weighted else None
    return {f"p{percent}_nano": ranked(DURATION, percent, weights) for percent in (50, 90, 99)}


def estimate(condition: pl.Expr) -> pl.Expr:
    """Return how many requests the calls that fulfil a condition stand for."""
    return (condition * pl.col("weight")).sum().round().cast(pl.Int64)


def counts() -> dict[str, pl.Expr]:
    """Return n (calls seen), calls and errors (requests they stand for) as named expressions of a group of calls."""
    return {
        "n": pl.len().cast(pl.Int64),
        "calls": pl.col("weight").sum().round().cast(pl.Int64),
        "errors": estimate(pl.col("error")),
    }


def mean(values: pl.Expr, weights: pl.Expr | None = None) -> pl.Expr:
    """Return the mean, rounded down; null without a value."""
    if weights is None:
        return values.sum() // values.len().replace(0, None).cast(pl.Int64)
    return ((values * weights).sum() / weights.sum()).floor().cast(pl.Int64, strict=False)


def routes(calls: pl.LazyFrame, *, weighted: bool = False) -> pl.LazyFrame:
    """Return one ROUTES row per workload and operation, most impact first.

    calls: CALLS of `calls.py`. weighted: they stand for different numbers of requests.
    """
    weights = WEIGHT if weighted else None
    n = DURATION.len().cast(pl.Float64)
    half = Z95 * (n * 0.99 * 0.01).sqrt()
    low = ((n - 1) * 0.99 - half).floor().clip(0).cast(pl.Int64)
    high = pl.min_horizontal(((n - 1) * 0.99 + half).ceil(), n - 1).clip(0).cast(pl.Int64)
    in_order = pl.col("trace_id").filter(WHOLE).sort_by(DURATION, pl.col("trace_id").filter(WHOLE))
    return (
        calls.group_by(KEY)
        .agg(
            **counts(),
            mean_nano=mean(DURATION, weights),
            **percentiles(weighted=weighted),
            max_nano=DURATION.max(),
            p99_low_nano=DURATION.sort().get(low, null_on_oob=True),
            p99_high_nano=DURATION.sort().get(high, null_on_oob=True),
            censored=estimate(pl.col("censored")),
            timed_out=estimate(pl.col("timed_out")),
            exemplar_trace_id=in_order.get(
                _place(DURATION, 99, DURATION.len().cast(pl.Int64), weights), null_on_oob=True
            ),
            impact_nano=((DURATION - ranked(DURATION, 50, weights)).clip(0) * WEIGHT).sum().round().cast(pl.Int64),
        )
        .with_columns(error_rate=pl.col("errors") / pl.col("calls"))
        .cast(ROUTES)
        .select(ROUTES.names())
        .sort(*ORDER, descending=[True, False, False, False], nulls_last=True)
    )


def by_impact(rows: pl.DataFrame) -> pl.DataFrame:
    """Return ROUTES in their order: those where most time is spent above their own median first."""
    return rows.sort(*ORDER, descending=[True, False, False, False], nulls_last=True)


def summary(calls: pl.LazyFrame, *, weighted: bool = False) -> pl.LazyFrame:
    """Return one row over the first calls of traces: n, calls, errors, error_rate, p50, p90, p99."""
    return (
        calls.filter("is_root")
        .select(**counts(), **percentiles(weighted=weighted), censored=estimate(pl.col("censored")))
        .with_columns(error_rate=pl.when(pl.col("calls") > 0).then(pl.col("errors") / pl.col("calls")))
    )


def series(
    calls: pl.LazyFrame, start_nano: int, end_nano: int, points: int, by: Sequence[str], *, weighted: bool = False
) -> pl.LazyFrame:
    """Return SERIES: counts and percentiles in `points` equal stretches of [start_nano, end_nano).

    by: the columns of CALLS to keep apart, ("service", "route") or () for all together.
    A stretch without a call has no row.
    """
    width = max((end_nano - start_nano) // points, 1)
    bucket = ((pl.col("start_unix_nano") - start_nano) // width).clip(0, points - 1) * width + start_nano
    grouped = calls.group_by(*by, bucket.alias("bucket_start_unix_nano")).agg(
        **counts(), **percentiles(weighted=weighted)
    )
    missing = [pl.lit(None, pl.String).alias(name) for name in ("service", "route") if name not in by]
    return (
        grouped.with_columns(missing)
        .cast(SERIES)
        .select(SERIES.names())
        .sort("service", "route", "bucket_start_unix_nano")
    )
