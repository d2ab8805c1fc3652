"""Serial fan-out: calls of several kinds that one call makes one after the other.

Owns the pattern, and what p99 would be if they were made beside each other, by
`whatif.py`. That is what could be won at most: whether one call needs the
other's answer is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from tracelens._link import I64, Bool
from tracelens.analysis.hits import AT, HIT, ROUTE, Pattern, text
from tracelens.analysis.whatif import Change, project
from tracelens.calls import Calls
from tracelens.forest import Forest
from tracelens.histogram import rank

KIND = "serial_fan_out"
OTHER_CALLS = 3  # by one call, of different kinds
PROJECTED = 10  # findings that are projected, the costliest: each times its traces anew


def fan_out(of_call: pl.DataFrame, of_kind: pl.DataFrame, forest: Forest, calls: Calls) -> pl.DataFrame:
    """Return what is looked at: calls that make others. of_call, of_kind: MADE of each call, and of each kind."""
    kinds = np.unique(of_kind["row"].to_numpy(), return_counts=True)[1]  # both stand by call
    different = pl.col("kinds") >= OTHER_CALLS
    every = (
        of_call.drop(ROUTE)
        .rename({"maker": "service", "maker_route": "route"})
        .with_columns(kinds=pl.Series(kinds))
        .with_columns(hit=different & (pl.col("made") < 2 * pl.col("kinds")) & pl.col("serial"))
    )
    at = _span_around(forest, every)
    labels = [calls.service.gather(at), calls.operation.gather(at)]
    return every.with_columns(series.alias(name) for series, name in zip(labels, AT, strict=True))


def serial_fan_out(every: pl.LazyFrame) -> Pattern:
    """Return the pattern of what `fan_out` has."""
    # The commonest span around them, of those in calls that have the pattern.
    place = pl.struct(AT).filter(HIT).mode().sort().first()
    return Pattern(
        kind=KIND,
        every=every,
        by=ROUTE,
        more={
            "kinds": pl.col("kinds").filter(HIT).max(),
            **{name: place.struct.field(name) for name in AT},
        },
        evidence=text(
            pl.col("hits"), " of ", pl.col("n"), " calls that make others make up to ", pl.col("kinds"),
            " different ones, one after the other; beside each other they would take that much less at best: "
            "what-if --parallel 'service=", pl.col(AT[0]).fill_null(""), ",operation=", pl.col(AT[1]).fill_null(""),
            "'",
        ),
    )  # fmt: skip


def _span_around(forest: Forest, every: pl.DataFrame) -> I64:
    """Return the lowest span above all that begin between `first` and `last`; the call itself where there is none."""
    first, last, call = (every[name].to_numpy() for name in ("first", "last", "row"))
    at: I64 = forest.parent[first]
    while True:
        above = (at >= 0) & (forest.until[np.maximum(at, 0)] <= last)
        if not above.any():
            return np.where(at >= 0, at, call)
        at = np.where(above, forest.parent[np.maximum(at, 0)], at)


def asked(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return findings of serial fan-outs, costliest first, whose p99 is projected. rows: findings in that order."""
    wanted = rows.with_row_index("index").filter((pl.col("kind") == KIND) & pl.col("slow_percent").is_not_null())
    return wanted.head(PROJECTED).to_dicts()


def timed(
    row: Mapping[str, Any], forest: Forest, calls: Calls, counted: Bool, clocks: pl.DataFrame | None = None
) -> tuple[I64, I64]:
    """Return (measured, projected) nanoseconds of the traces that begin at a finding's route.

    row: of FINDINGS, with AT. counted: which traces do; clocks: see `critical_path.sections`.
    """
    root = forest.entry
    begun = pl.select(
        calls.service.gather(root).eq_missing(pl.lit(row["entry_service"], pl.String))
        & calls.operation.gather(root).eq_missing(pl.lit(row["entry_route"], pl.String))
    ).to_series()
    whole = counted & ~calls.outcome["censored"].gather(root).to_numpy() & begun.to_numpy()
    entries = root[whole]
    measured = (forest.end - forest.start)[entries]
    after = measured.copy()
    service, operation = row[AT[0]], row[AT[1]]
    changes = has(forest, (calls.service == service) & (calls.operation == operation))[forest.trace_of(entries)]
    change = Change(service=service, operation=operation, beside=True)
    after[changes] = project(forest, calls, entries[changes], [change], clocks=clocks)
    return measured, after


def won(row: Mapping[str, Any], measured: I64, after: I64) -> int:
    """Return by how much p99 is lower, or p90 where `slow_percent` is 10."""
    at = rank(len(measured), 100 - row["slow_percent"])
    return int(np.sort(measured)[at] - np.sort(after)[at])


def has(forest: Forest, spans: pl.Series) -> Bool:
    """Return which traces have one of some spans."""
    out = np.zeros(forest.traces, np.bool_)
    out[forest.trace_of(np.flatnonzero(spans.fill_null(value=False).to_numpy()))] = True
    return out
