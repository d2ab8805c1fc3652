"""Time on the path: how much of a span, of what is below it, or of a stretch of it sets its trace's latency.

Owns sums of the sections of each trace's critical path, from its primary root,
by span: rows stand in preorder, so that a subtree is a stretch of rows and its
time a difference of two running sums. The walk is `critical_path.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from tracelens._fold import PROXY
from tracelens._link import I64, Bool
from tracelens.analysis import _within, critical_path
from tracelens.analysis.critical_path import Sections
from tracelens.analysis.routes import ranked
from tracelens.calls import Calls
from tracelens.forest import Forest, codes

ENOUGH_SLOW = 30  # traces of a slow band: fewer are chance
BEGINS = ("entry_service", "entry_route")
SLOW_PERCENTS = (1, 10)  # of a route's traces, the narrower band first

# One row a trace that is asked about.
TRACES = pl.Schema(
    {
        "trace": pl.Int64(),
        "trace_id": pl.Binary(),
        "begin": pl.Int64(),  # row of ROUTES_BEGUN
        "slow": pl.Boolean(),  # in the slow band of the traces that begin at the same route
    }
)
# One row a route that traces begin at.
ROUTES_BEGUN = pl.Schema(
    {
        "begin": pl.Int64(),
        "entry_service": pl.String(),
        "entry_route": pl.String(),
        "slow_percent": pl.Int64(),  # 1 or 10; null: too few traces for either
        "slow_traces": pl.Int64(),  # of the band
        "edge": pl.Int64(),  # nanoseconds: slow from here
    }
)


@dataclass(frozen=True, slots=True)
class OnPath:
    """Nanoseconds on the critical path of each trace, by row of the forest."""

    forest: Forest
    sections: Sections
    own: I64  # [n] of the span's own
    running: I64  # [n+1] of all rows before

    def below(self, rows: I64) -> I64:
        """Return the time of each of `rows` with all that is below it."""
        return self.running[self.forest.until[rows]] - self.running[rows]

    def within(self, rows: I64, low: I64, high: I64) -> I64:
        """Return the own time of each of `rows` that lies in [low, high)."""
        out = np.zeros(len(rows), np.int64)
        found, trace = self.sections, self.forest.trace_of(rows)
        asked = [np.array(column, np.int64) for column in (trace, rows, low, high)]
        _within.add_within(
            found.offsets, found.span, found.start, found.end, asked[0], asked[1], asked[2], asked[3], out
        )
        return out


def on_path(forest: Forest, clocks: pl.DataFrame | None = None) -> OnPath:
    """Return the time of every span on its trace's critical path. clocks: see `critical_path.sections`."""
    found = critical_path.sections(forest, clocks=clocks)
    own = critical_path.exclusive(forest, found)
    return OnPath(forest, found, own, np.concatenate([np.zeros(1, np.int64), np.cumsum(own)]))


def self_times(forest: Forest) -> I64:
    """Return how long each span works while no child works that it waits for, on the path or not."""
    out = np.empty(len(forest.parent), np.int64)
    _within.self_times(forest.lo, forest.hi, forest.blocking, forest.child_offsets, forest.children, out)
    return out


def measured(requests: pl.DataFrame, calls: Calls, path: OnPath) -> pl.DataFrame:
    """Return REQUESTS with columns more, in the order of their traces.

    request: their number. kind, callee: numbers of (service, route) and of service. until: one past the last row
    below `top`. path_nano: of all that is below it.
    proxies_path_nano: of the two proxies' own, never more than their layers.
    """
    top, sender, entry = (np.array(requests[name].fill_null(-1), np.int64) for name in ("top", "sender", "span"))
    served = requests["covered"].to_numpy() & (calls.role[np.maximum(entry, 0)] == PROXY)
    egress, ingress = (
        np.minimum(np.where(told, path.own[np.maximum(rows, 0)], 0), requests[name].fill_null(0).to_numpy())
        for rows, told, name in ((sender, sender >= 0, "egress_proxy_nano"), (entry, served, "ingress_proxy_nano"))
    )
    callee, route = (codes(requests[name])[0].astype(np.int64) + 1 for name in ("service", "route"))  # 0 is null
    return requests.with_columns(
        kind=pl.Series(callee * (int(route.max(initial=0)) + 1) + route),
        callee=pl.Series(callee),
        request=pl.int_range(len(top), dtype=pl.Int64, eager=True),
        until=pl.Series(path.forest.until[top]),
        path_nano=pl.Series(path.below(top)),
        proxies_path_nano=pl.Series(egress + ingress),
    )


def whole_traces(forest: Forest, calls: Calls, asked: Bool) -> pl.DataFrame:
    """Return trace, trace_id, entry_service, entry_route and took of each that counts: its root was not aborted."""
    root = forest.entry
    whole = np.flatnonzero(asked & ~calls.outcome["censored"].gather(root).to_numpy())
    chosen = root[whole]
    return pl.DataFrame(
        {
            "trace": whole,
            "trace_id": forest.told.gather(["trace_id"], chosen)["trace_id"],
            "entry_service": calls.service.gather(chosen),
            "entry_route": calls.operation.gather(chosen),
            "took": forest.end[chosen] - forest.start[chosen],
        }
    )


def routes_begun(traces: pl.LazyFrame) -> pl.DataFrame:
    """Return ROUTES_BEGUN. traces: as `whole_traces` has them.

    The slow band are those at or above p99 of their route, at rank floor((n−1)·q), if there are ENOUGH_SLOW of them,
    else those at or above p90 if these are enough.
    """
    took = pl.col("took")
    edges = {percent: ranked(took, 100 - percent) for percent in SLOW_PERCENTS}
    bands = {percent: (took >= edge).sum().cast(pl.Int64) for percent, edge in edges.items()}
    first = {percent: pl.when(n >= ENOUGH_SLOW) for percent, n in bands.items()}
    return (
        traces.group_by(BEGINS)
        .agg(
            slow_percent=pl.coalesce(first[percent].then(pl.lit(percent, pl.Int64)) for percent in SLOW_PERCENTS),
            slow_traces=pl.coalesce(first[percent].then(bands[percent]) for percent in SLOW_PERCENTS),
            edge=pl.coalesce(first[percent].then(edges[percent]) for percent in SLOW_PERCENTS),
        )
        .sort(BEGINS)
        .with_row_index("begin")
        .select(ROUTES_BEGUN.names())
        .cast(ROUTES_BEGUN)
        .collect(engine="streaming")
    )


def begun(traces: pl.DataFrame, routes: pl.DataFrame) -> pl.DataFrame:
    """Return TRACES. traces: as `whole_traces` has them; routes: ROUTES_BEGUN."""
    slow = (pl.col("took") >= pl.col("edge")).fill_null(value=False)
    return (
        traces.join(routes, on=BEGINS, how="left", validate="m:1", nulls_equal=True)
        .select("trace", "trace_id", "begin", slow=slow)
        .cast(TRACES)
    )
