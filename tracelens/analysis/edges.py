"""Edges: who calls whom, how often, how long it takes, how often it goes wrong.

Owns the service graph, and its view without gateways and waypoints. Calls are
the caller's: one with three attempts is one, and lasts as long as the caller
waited. They come from `hops.py`.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tracelens.analysis.routes import counts, percentiles

EDGES = pl.Schema(
    {
        "caller": pl.String,  # null: nobody that wrote a span
        "callee": pl.String,  # null: a call to nobody known
        "calls": pl.Int64,  # all of them, censored ones too
        "errors": pl.Int64,
        "error_rate": pl.Float64,
        "coverage": pl.Float64,  # calls with the callee's span, of those that should have one; null when none should
        "p50_nano": pl.Int64,  # of whole calls; null when all are censored
        "p90_nano": pl.Int64,
        "p99_nano": pl.Int64,
    }
)
# What a gateway's caller knows better than the gateway.
OUTER = ("caller", "caller_call", "start_unix_nano", "duration_nano", "error", "censored", "timed_out", "is_root")


def edges(table: pl.LazyFrame) -> pl.LazyFrame:
    """Return EDGES, by calls. table: REQUESTS of `hops.py`."""
    expected = pl.col("expected").sum()
    return (
        table.rename({"service": "callee"})
        .group_by("caller", "callee")
        .agg(
            **counts(),
            **percentiles(),
            coverage=pl.when(expected > 0).then((pl.col("covered") & pl.col("expected")).sum() / expected),
        )
        .with_columns(error_rate=pl.col("errors") / pl.col("calls"))
        .select(EDGES.names())
        .cast(EDGES)
        .sort("calls", "caller", "callee", descending=[True, False, False], nulls_last=True)
    )


def without_gateways(table: pl.DataFrame) -> pl.DataFrame:
    """Return REQUESTS in which X→gateway→Y is X→Y, as long as X waited.

    A gateway that nobody called leaves its callee without a caller.
    """
    gate = table.select(pl.int_range(pl.len()).alias("row"), "span", "by_gateway").filter("by_gateway").sort("span")
    if gate.is_empty():
        return table
    span, row = gate["span"].to_numpy(), gate["row"].to_numpy()
    caller_call = table["caller_call"].fill_null(-1).to_numpy()
    outer = np.arange(len(table))  # the request that is seen from outside
    while True:
        wanted = caller_call[outer]
        place = np.minimum(np.searchsorted(span, wanted), len(span) - 1)
        through = span[place] == wanted
        if not through.any():
            break
        outer = np.where(through, row[place], outer)  # up one call: a trace ends some time
    seen = table.select(OUTER)[outer]
    return table.with_columns(seen).filter(~pl.col("by_gateway"))
