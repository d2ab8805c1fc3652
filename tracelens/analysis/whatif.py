"""What-if: traces timed anew with some of their times changed, and what that would do to percentiles.

Owns the rule of the new timing, and what may be changed. Linking and critical
paths are given; loops stand in `_retime.py`; the best single fixes are
`fixes.py`'s.

A child that is waited for began when the last of its siblings that had finished
by then was done, else with its parent, plus a gap that is its parent's own
time. So it will again: the gaps are scaled and shifted with the parent's own
time, the rest follows. A span ends its last gap after all its children. Times
are those of windows (clipped to the parent), overlap within the tolerance of
the critical path counts as none, and a scale of 1 gives every trace back
exactly. What runs beside the path and is not waited for does not change.

What this cannot know: queues. Less load on a database makes each of its answers
faster, more parallel calls may make them slower; here only the named times move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tracelens._fold import APP_CLIENT, ATTEMPT, OUTBOUND, PROXY
from tracelens._link import I64, U64, Bool
from tracelens.analysis import _retime, critical_path
from tracelens.analysis.critical_path import Tolerance, Waiting, waiting
from tracelens.analysis.routes import Z95
from tracelens.calls import LAYERS, Calls
from tracelens.calls import calls as fold
from tracelens.errors import UsageError
from tracelens.forest import Forest, over_traces

PERCENTS = (50, 90, 99)
# A layer's other names; a layer alone is LAYERS'.
LAYER_NAMES = {
    "sidecar": ("ingress_proxy", "egress_proxy"),
    "sidecars": ("ingress_proxy", "egress_proxy"),
    "network": ("network_queueing",),
    **{layer: (layer,) for layer in LAYERS},
}

WHAT_IF = pl.Schema(
    {
        "service": pl.String(),  # null: first calls of traces, whatever their route
        "route": pl.String(),
        "calls": pl.Int64(),  # seen, without aborted ones
        "changed": pl.Int64(),  # of these, whose duration is another now
        **{
            f"{prefix}{name}_nano": pl.Int64()
            for prefix in ("", "projected_")
            for name in ("mean", "p50", "p90", "p99", "p99_low", "p99_high")
        },  # p99_low, p99_high: 95 % interval by order statistics
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing done to all spans that match; None matches any.

    service: the workload; operation: as routes and nodes are named; layer: of LAYER_NAMES.
    Raises UsageError for a layer that is none, a negative scale, or a share outside 0-1.
    """

    service: str | None = None
    operation: str | None = None
    layer: str | None = None
    scale: float = 1.0  # of own time: 0.5 halves it
    shift_nano: int = 0  # added to the own time of each span; never below nothing
    most_nano: int | None = None  # a span takes no longer: its caller gives up
    beside: bool = False  # its children are called beside each other instead of one after the other
    hits: float | None = None  # this share of its calls, drawn at random, is not made: a cache

    def __post_init__(self) -> None:
        if self.layer is not None and self.layer not in LAYER_NAMES:
            raise UsageError(f"{self.layer!r} is no layer. There are {', '.join(LAYER_NAMES)}.")
        if not 0 <= self.scale < 1e6:
            raise UsageError(f"a scale of {self.scale:g}: give 0 for nothing, 0.5 for half, 2 for twice.")
        if self.most_nano is not None and self.most_nano < 0:
            raise UsageError("a limit below zero. Give a duration such as 200ms.")
        if self.hits is not None and not 0 <= self.hits <= 1:
            raise UsageError(f"a share of hits of {self.hits:g}: give a number from 0 to 1.")


def project(
    forest: Forest,
    calls: Calls,
    entries: I64,
    changes: Sequence[Change],
    *,
    seed: int = 0,
    tolerance: Tolerance = "auto",
    asynchronous: bool = False,
    clocks: pl.DataFrame | None = None,
) -> I64:
    """Return how long each entry would take after all changes together, nanoseconds.

    entries: rows of the forest, each timed in its own interval. seed: of what is drawn at random; a call is drawn by
    its ids, so that a trace has the same luck in whatever company. tolerance, asynchronous, clocks: as `sections`.
    """
    n = len(forest.parent)
    factor, shift, most = np.ones(n, np.float64), np.zeros(n, np.int64), np.full(n, -1, np.int64)
    beside, left_out = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    for change in changes:
        matched = _matched(calls, change, n)
        factor[matched] *= change.scale
        shift[matched] += change.shift_nano
        if change.most_nano is not None:
            least = np.where(most < 0, change.most_nano, np.minimum(most, change.most_nano))
            most[matched] = least[matched]
        beside |= matched & change.beside
        if change.hits is not None:
            left_out |= _drawn(forest, calls, matched, change.hits, seed)
    rules = waiting(forest, tolerance=tolerance, asynchronous=asynchronous, clocks=clocks)
    begin = np.array(entries, np.int64)
    out = np.empty(len(begin), np.int64)
    rough = rough_below(forest, rules)
    sizes = np.concatenate([[0], np.cumsum(forest.until[begin] - begin)])

    def work(first: int, last: int) -> None:
        _retime.retime(
            begin,
            first,
            last,
            forest.start,
            forest.end,
            rules.waited,
            forest.until,
            forest.parent,
            forest.child_offsets,
            forest.children,
            rough,
            rules.fine,
            rules.rough,
            rules.hundredth,
            factor,
            shift,
            most,
            beside,
            left_out,
            out,
        )

    over_traces(sizes, work)
    return out


def compared(times: pl.LazyFrame) -> pl.LazyFrame:
    """Return WHAT_IF, in no order: percentiles per route beside each other.

    times: service and route of each entry, null for all together; how long it took (`measured`), and would take
    (`projected`).
    """
    return (
        times.group_by("service", "route")
        .agg(
            calls=pl.len().cast(pl.Int64),
            changed=(pl.col("measured") != pl.col("projected")).sum().cast(pl.Int64),
            **_percentiles("measured", ""),
            **_percentiles("projected", "projected_"),
        )
        .cast(WHAT_IF)
        .select(WHAT_IF.names())
    )


def by_change(rows: pl.DataFrame) -> pl.DataFrame:
    """Return WHAT_IF in its order: all traces together, then the most changed p99 first."""
    changed = (pl.col("p99_nano") - pl.col("projected_p99_nano")).abs()
    together = pl.col("service").is_not_null()
    descending = [False, True, True, False, False]
    return rows.sort(together, changed, "calls", "service", "route", descending=descending, nulls_last=True)


def _percentiles(column: str, prefix: str) -> dict[str, pl.Expr]:
    values, n = pl.col(column), pl.len().cast(pl.Int64)
    half = Z95 * (n * 0.99 * 0.01).sqrt()
    low = ((n - 1) * 0.99 - half).floor().clip(0).cast(pl.Int64)
    high = pl.min_horizontal(((n - 1) * 0.99 + half).ceil(), n - 1).clip(0).cast(pl.Int64)
    found = {f"p{percent}": values.sort().get((n - 1) * percent // 100) for percent in PERCENTS}
    found |= {"mean": values.sum() // n, "p99_low": values.sort().get(low), "p99_high": values.sort().get(high)}
    return {f"{prefix}{name}_nano": value for name, value in found.items()}


def _matched(calls: Calls, change: Change, n: int) -> Bool:
    """Return which spans a change is about."""
    wanted = pl.repeat(value=True, n=n, dtype=pl.Boolean, eager=True)
    if change.service is not None:
        wanted &= calls.service == change.service
    if change.operation is not None:
        wanted &= calls.operation == change.operation
    if change.layer is not None:
        wanted &= calls.layer.is_in(LAYER_NAMES[change.layer])
    return np.array(wanted.fill_null(value=False).to_numpy(), np.bool_)


def _drawn(forest: Forest, calls: Calls, matched: Bool, share: float, seed: int) -> Bool:
    """Return the spans where calls begin that are not made: of each call that matches its outermost span."""
    above = np.maximum(forest.parent, 0)
    inner = matched & (forest.parent >= 0) & matched[above]
    top = np.flatnonzero(matched & ~inner)
    carries = (calls.role == APP_CLIENT) | (calls.role == ATTEMPT)
    carries |= (calls.role == PROXY) & (calls.direction == OUTBOUND)
    carries &= forest.parent >= 0  # what nobody called is not saved by a cache
    while True:  # from the callee's span to the caller's: a few steps
        climbs = (forest.parent[top] >= 0) & carries[above[top]]
        if not climbs.any():
            break
        top = np.where(climbs, forest.parent[top], top)
    top = np.unique(top[forest.parent[top] >= 0])
    out = np.zeros(len(matched), np.bool_)
    out[top] = _luck(forest, top, seed) < share
    return out


def _luck(forest: Forest, rows: I64, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a number from 0 to 1 for each span, by its ids and the seed: splitmix64 (Steele et al., OOPSLA '14)."""
    ids = forest.spans.select(
        trace=pl.col("trace_id").bin.slice(8, 8).bin.reinterpret(dtype=pl.UInt64, endianness="big"),
        span=pl.col("span_id").bin.reinterpret(dtype=pl.UInt64, endianness="big"),
    )[rows]
    mixed: U64 = np.array(ids["trace"].to_numpy(), np.uint64)
    for salt in (ids["span"].to_numpy(), np.uint64(seed % 2**64)):
        mixed = mixed ^ salt
        mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)).astype(np.float64) / 2**53


def rough_below(forest: Forest, rules: Waiting) -> Bool:
    """Return which spans have a child whose clock ticks in milliseconds."""
    out = np.zeros(len(forest.parent), np.bool_)
    _retime.any_below(forest.parent, rules.coarse, out)
    return out


def warm() -> None:
    """Compile the kernels, or load them from the cache."""
    forest, _ = critical_path.warm()
    calls = fold(forest)
    project(forest, calls, forest.entry, [Change(scale=0.5)])
