"""Edges: who calls whom, how often, how long it takes, how often it goes wrong.

Owns the service graph, and its view without gateways and waypoints. Calls are
the caller's: one with three attempts is one, and lasts as long as the caller
waited. They come from `hops.py`.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tracelens.analysis.coverage import COVERAGE, coverage
from tracelens.analysis.routes import counts, percentiles

EDGES = pl.Schema(
    {
        "caller": pl.String(),  # null: nobody that wrote a span
        "callee": pl.String(),  # null: a call to nobody known
        "n": pl.Int64(),  # calls seen, censored ones too
        "calls": pl.Int64(),  # requests they stand for
        "errors": pl.Int64(),
        "error_rate": pl.Float64(),
        "p50_nano": pl.Int64(),  # of whole calls; null when all are censored
        "p90_nano": pl.Int64(),
        "p99_nano": pl.Int64(),
        **COVERAGE,
        "unlinked": pl.Int64(),  # of n, begin a trace though their caller was called: it passes no headers on
    }
)
# What a gateway's caller knows better than the gateway.
OUTER = ("caller", "caller_call", "start_unix_nano", "duration_nano", "error", "censored", "timed_out", "is_root")


def edges(table: pl.LazyFrame, *, weighted: bool = False) -> pl.LazyFrame:
    """Return EDGES, by calls. table: REQUESTS of `hops.py`."""
    found = (
        table.rename({"service": "callee"})
        .group_by("caller", "callee")
        .agg(
            **counts(),
            **percentiles(weighted=weighted),
            **coverage(),
            unlinked=pl.col("unlinked").sum(),
        )
        .with_columns(error_rate=pl.col("errors") / pl.col("calls"))
        .select(EDGES.names())
        .cast(EDGES)
    )
    return busiest(found)


def busiest(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return EDGES in their order."""
    return rows.sort("calls", "caller", "callee", descending=[True, False, False], nulls_last=True)


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
