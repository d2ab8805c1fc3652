"""Charts: one measure over time, a line for each group of calls.

Owns what measures there are, and their values of a group in a stretch of time.
Which rows are counted, and how they are grouped, is said by who asks.

    calls              requests a second
    errors             share of requests that failed
    p50 p90 p99 mean   of durations, nanoseconds
    path               nanoseconds a trace on its critical path, traces without any counted as nothing
    hop.LAYER          share of the time of calls that is in a layer of `hops.py`
"""

from __future__ import annotations

import polars as pl

from tracelens.analysis.hops import LAYERS
from tracelens.analysis.routes import DURATION, WEIGHT, estimate, mean, ranked

PERCENTILES = ("p50", "p90", "p99")
OF_CALLS = ("calls", "errors", *PERCENTILES, "mean")
PATH = "path"
OF_HOPS = tuple(f"hop.{layer}" for layer in LAYERS)
MEASURES = (*OF_CALLS, PATH, *OF_HOPS)
SHARES = ("errors", *OF_HOPS)  # 0 to 1
RATES = ("calls",)  # a second; other measures are nanoseconds

# What charts are made of: a row a call, or of `path` a row a trace and group.
TOLD = pl.Schema(
    {
        "group": pl.String(),  # null: told of no group
        "start_unix_nano": pl.Int64(),
        "duration_nano": pl.Int64(),
        "part_nano": pl.Int64(),  # of the duration: on the path, or in the layer; null of measures of calls
        "error": pl.Boolean(),
        "censored": pl.Boolean(),
        "weight": pl.Float64(),  # requests it stands for
    }
)
CHART = pl.Schema(
    {
        "group": pl.String(),
        "bucket_start_unix_nano": pl.Int64(),  # null: of the whole window
        "n": pl.Int64(),  # calls seen, or of `path` traces
        "value": pl.Float64(),  # null where nothing tells it
    }
)
BUCKET = "bucket_start_unix_nano"
SECOND = 1_000_000_000


def totals(told: pl.LazyFrame, measure: str, start_nano: int, end_nano: int, *, weighted: bool = False) -> pl.LazyFrame:
    """Return CHART rows of the whole window, the largest groups first. told: TOLD rows, with those of TRACES."""
    rows = _values(told.with_columns(pl.lit(None, pl.Int64).alias(BUCKET)), measure, end_nano - start_nano, weighted)
    size = "value" if measure == PATH else "n"
    return rows.sort(size, "group", descending=[True, False], nulls_last=True)


def series(
    told: pl.LazyFrame, measure: str, start_nano: int, end_nano: int, points: int, *, weighted: bool = False
) -> pl.LazyFrame:
    """Return CHART rows in `points` equal stretches of [start_nano, end_nano); one without a call has no row."""
    width = max((end_nano - start_nano) // points, 1)
    bucket = ((pl.col("start_unix_nano") - start_nano) // width).clip(0, points - 1) * width + start_nano
    return _values(told.with_columns(bucket.alias(BUCKET)), measure, width, weighted).sort("group", BUCKET)


# Of `path`, rows in which each trace stands once, for itself, are told as this group.
TRACES = "\0traces"


def _values(told: pl.LazyFrame, measure: str, width_nano: int, weighted: bool) -> pl.LazyFrame:
    keys = ("group", BUCKET)
    if measure == PATH:
        is_trace = pl.col("group").eq_missing(pl.lit(TRACES))
        whole = told.filter(is_trace).group_by(BUCKET).agg(n=pl.len().cast(pl.Int64), all=pl.col("weight").sum())
        part = (pl.col("part_nano") * pl.col("weight")).sum()
        found = told.filter(~is_trace).group_by(keys).agg(part=part)
        rows = found.join(whole, on=BUCKET, validate="m:1", nulls_equal=True)
        rows = rows.with_columns(value=pl.col("part") / pl.col("all"))
    else:
        rows = told.group_by(keys).agg(n=_n(measure), value=_value(measure, width_nano, weighted))
    return rows.select(CHART.names()).cast(CHART)


def _n(measure: str) -> pl.Expr:
    return (pl.col("part_nano").is_not_null().sum() if measure in OF_HOPS else pl.len()).cast(pl.Int64)


def _value(measure: str, width_nano: int, weighted: bool) -> pl.Expr:
    weights = WEIGHT if weighted else None
    if measure == "calls":
        return pl.col("weight").sum() * SECOND / max(width_nano, 1)
    if measure == "errors":
        return estimate(pl.col("error")) / pl.col("weight").sum()
    if measure == "mean":
        return mean(DURATION, weights)
    if measure in PERCENTILES:
        return ranked(DURATION, int(measure[1:]), weights)
    part, whole = ((pl.col(name) * pl.col("weight")).sum() for name in ("part_nano", "duration_nano"))
    return pl.when(whole > 0).then(part / whole)
