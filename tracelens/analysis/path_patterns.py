"""Patterns that spans show: time that nobody tells of, and time beyond the span that should hold it.

Owns their thresholds and evidence. Times on the path are `on_path.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from tracelens._link import I64, Bool
from tracelens.analysis.critical_path import COARSE_NANO, FINE_NANO, LATE_PERCENT, waiting
from tracelens.analysis.hits import HIT, NOBODY, ROUTE, Pattern, count, text
from tracelens.analysis.on_path import OnPath, self_times
from tracelens.calls import Calls
from tracelens.repair import TRACE_MARK

ENOUGH = 20  # calls or spans, before a share is told
GAP_SHARE = 0.2  # of a route's path, in one operation's own time
OUTSIDE_SHARE = 0.01  # of the children's time

KIND = "uninstrumented_gap"
N, HITS = pl.col("n"), pl.col("hits")


def patterns(looked: Mapping[str, pl.LazyFrame]) -> list[Pattern]:
    """Return what spans show. looked: LOOKED of `looked.py`."""
    return [_silent(looked["requests"]), _own_time(looked["own_time"]), _outside(looked["outside"])]


def _silent(requests: pl.LazyFrame) -> Pattern:
    """Calls to a workload that writes no spans; a database, which never does, is none of them."""
    beside = ("client_nano", "egress_proxy_nano", "attempts_nano", "backoff_nano")
    dark = (pl.col("duration_nano") - pl.sum_horizontal(pl.col(name).fill_null(0) for name in beside)).clip(0)
    every = requests.filter(~pl.col("censored")).with_columns(
        hit=(pl.col("missing") == "no_sidecar").fill_null(value=False),
        cost=dark,
        path=pl.min_horizontal("path_nano", dark),
        row="top",
    )
    return Pattern(
        kind=KIND,
        every=every,
        by=("caller", *ROUTE),
        kept=HITS >= ENOUGH,
        evidence=text(
            count(HITS),
            " of ",
            count(N),
            " calls of ",
            NOBODY,
            " go to where nobody writes spans: what they wait for is dark",
        ),
    )


def own_time(requests: pl.DataFrame, calls: Calls, path: OnPath, asked: Bool) -> pl.DataFrame:
    """Return what is looked at for own time: apps' spans that make calls. asked: which spans count."""
    forest = path.forest
    above = forest.parent[requests["top"].to_numpy()]
    rows = np.unique(above[above >= 0])
    rows = rows[asked[rows] & (calls.layer.gather(rows) == "app").to_numpy()]
    own = self_times(forest)[rows]
    trace = forest.trace_of(rows)
    root = forest.entry[trace]
    whole = pl.Series(forest.end[root] - forest.start[root])
    first = pl.struct("trace", *ROUTE).is_first_distinct()
    return (
        _labelled(calls, rows)
        .with_columns(
            trace=pl.Series(trace),
            row=pl.Series(rows),
            until=pl.Series(rows + 1),
            cost=pl.Series(own),
            path=pl.Series(np.minimum(own, path.own[rows])),
            hit=pl.Series(own > 0),
        )
        .with_columns(whole=pl.when(first).then(whole).otherwise(0))  # each trace counts once
    )


def _own_time(every: pl.LazyFrame) -> Pattern:
    """Own time of apps' spans that make calls, where that is much of what their traces take."""
    return Pattern(
        kind=KIND,
        every=every,
        by=ROUTE,
        more={"percent": 100 * pl.col("path").sum() // pl.col("whole").sum().replace(0, None)},
        kept=(pl.col("percent") >= 100 * GAP_SHARE) & (N >= ENOUGH),
        evidence=text(
            pl.col("percent"), " % of the critical path of its traces is its own time around the calls that it makes, "
            "of which no span tells; n ", count(N),
        ),
    )  # fmt: skip


def _labelled(calls: Calls, rows: I64) -> pl.DataFrame:
    return pl.DataFrame({"service": calls.service.gather(rows), "route": calls.operation.gather(rows)})


def outside(calls: Calls, path: OnPath, asked: Bool, clocks: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return what is looked at for time outside: spans with a parent that waits. asked: which parents count."""
    forest = path.forest
    capped = (forest.marks & TRACE_MARK["skew_capped"]) != 0  # another clock, not another time
    rows = np.flatnonzero(forest.blocking & (forest.parent >= 0) & ~capped & asked[np.maximum(forest.parent, 0)])
    above = forest.parent[rows]
    start, end = forest.start[rows], forest.end[rows]
    inside = np.minimum(end, forest.end[above]) - np.maximum(start, forest.start[above])
    out = end - start - np.maximum(inside, 0)
    hit = out > np.maximum(FINE_NANO, (forest.end - forest.start)[above] // (100 // LATE_PERCENT))
    if hit.any():
        coarse = waiting(forest, clocks=clocks).coarse
        hit &= ~(coarse[rows] | coarse[above]) | (out > COARSE_NANO)
    else:
        rows, above, start, end, out, hit = (part[:0] for part in (rows, above, start, end, out, hit))
    return _labelled(calls, above).with_columns(
        trace=pl.Series(forest.trace_of(rows)),
        row=pl.Series(rows),
        until=pl.Series(rows + 1),
        hit=pl.Series(hit),
        cost=pl.Series(out),
        path=pl.lit(0, pl.Int64),  # a path ends with the span it is in
        took=pl.Series(end - start),
    )


def _outside(every: pl.LazyFrame) -> Pattern:
    """Time of children before and after their parent."""
    lost = pl.col("cost").filter(HIT).sum()
    return Pattern(
        kind="outside_parent",
        every=every,
        by=ROUTE,
        more={"lost": lost, "took": pl.col("took").sum()},
        kept=pl.col("lost") >= OUTSIDE_SHARE * pl.col("took"),
        evidence=text(
            count(HITS), " of ", count(N), " spans right below it begin before it or end after it: ",
            (100 * pl.col("lost") / pl.col("took")).round(1), " % of their time is outside, on no path",
        ),
    )  # fmt: skip
