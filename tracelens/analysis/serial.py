"""Serial fan-out: calls of several kinds that one call makes one after the other.

Owns the pattern, and what p99 would be if they were made beside each other, by
`whatif.py`. That is what could be won at most: whether one call needs the
other's answer is not seen.
"""

from __future__ import annotations

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


def serial_fan_out(of_call: pl.DataFrame, of_kind: pl.DataFrame, forest: Forest, calls: Calls) -> Pattern:
    """Return the pattern. of_call, of_kind: MADE of each call, and of each kind that it makes."""
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
    every = every.with_columns(series.alias(name) for series, name in zip(labels, AT, strict=True))
    # The commonest span around them, of those in calls that have the pattern.
    place = pl.struct(AT).filter(HIT).mode().sort().first()
    return Pattern(
        kind=KIND,
        every=every.lazy(),
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


def with_projections(rows: pl.DataFrame, forest: Forest, calls: Calls, begun: I64, asked: Bool) -> pl.DataFrame:
    """Return findings, costliest first, with p99_nano of serial fan-outs: by how much what-if lowers it.

    Of the traces that begin at the same route: of p99, or of p90 where `slow_percent` is 10; null where it is null.
    begun: of each trace the number of the route that it begins at. asked: which traces count.
    """
    wanted = rows.with_row_index("index").filter((pl.col("kind") == KIND) & pl.col("slow_percent").is_not_null())
    projected = rows["p99_nano"].to_list()
    for index in rows.with_row_index("index").filter(pl.col("kind") == KIND)["index"]:
        projected[index] = None
    for row in wanted.head(PROJECTED).iter_rows(named=True):
        entries = forest.entry[(begun == row["begin"]) & asked]
        measured = (forest.end - forest.start)[entries]
        after = measured.copy()
        service, operation = row["at_service"], row["at_operation"]
        changes = has(forest, (calls.service == service) & (calls.operation == operation))[forest.trace_of(entries)]
        change = Change(service=service, operation=operation, beside=True)
        after[changes] = project(forest, calls, entries[changes], [change])
        at = rank(len(entries), 100 - row["slow_percent"])
        projected[row["index"]] = int(np.sort(measured)[at] - np.sort(after)[at])
    return rows.with_columns(p99_nano=pl.Series(projected, dtype=pl.Int64))


def has(forest: Forest, spans: pl.Series) -> Bool:
    """Return which traces have one of some spans."""
    out = np.zeros(forest.traces, np.bool_)
    out[forest.trace_of(np.flatnonzero(spans.fill_null(value=False).to_numpy()))] = True
    return out
