"""Fixes: what each single one would win of a route's percentiles, all in one pass.

Owns the order of best fixes. A fix scales the own time of one (service,
operation, layer), and traces are timed anew as in `whatif.py`. Only what has
time on a trace's critical path can make it faster, so that no more is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens._link import I32, I64
from tracelens.analysis import _retime, critical_path
from tracelens.analysis.critical_path import Sections, Tolerance, waiting
from tracelens.analysis.labels import NODE, numbered
from tracelens.analysis.whatif import PERCENTS, rough_below
from tracelens.calls import Calls
from tracelens.calls import calls as fold
from tracelens.errors import UsageError
from tracelens.forest import Forest, over_traces
from tracelens.histogram import rank

FIXES = pl.Schema(
    {
        "service": pl.String(),
        "operation": pl.String(),
        "layer": pl.String(),
        "traces": pl.Int64(),  # calls in which it has time on the critical path
        "mean_nano": pl.Int64(),  # what is won of the mean when its own time is scaled, and so below
        "p50_nano": pl.Int64(),
        "p90_nano": pl.Int64(),
        "p99_nano": pl.Int64(),
        "exemplar_trace_id": pl.Binary(),  # where most is won; of several the smallest id
    }
)


def fixes(
    forest: Forest,
    found: Sections,
    calls: Calls,
    *,
    scale: float = 0.5,
    tolerance: Tolerance = "auto",
    asynchronous: bool = False,
    clocks: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return FIXES: what scaling the own time of each single (service, operation, layer) would win, most of p99 first.

    found: the critical paths of the entries. scale: from 0 to 1.
    """
    if not len(found.entries):
        return FIXES.to_frame()
    code, labels = numbered([calls.service, calls.operation, calls.layer])
    entry, of, length = each(forest, found, code, scale, tolerance=tolerance, asynchronous=asynchronous, clocks=clocks)
    order = np.argsort(of.astype(np.uint16) if len(labels) <= 1 << 16 else of, kind="stable")
    entry, of, length = entry[order], of[order], length[order]
    measured = (forest.end - forest.start)[found.entries]
    distinct, first = np.unique(of, return_index=True)

    def ids(pairs: I64) -> pl.Series:
        return forest.spans["trace_id"].gather(found.entries[entry[pairs]])

    return best_first(_ranked(labels[distinct], first, measured[entry], length, ids, np.sort(measured)))


def wins(
    forest: Forest,
    found: Sections,
    calls: Calls,
    scale: float,
    *,
    tolerance: Tolerance = "auto",
    asynchronous: bool = False,
    clocks: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return what `each` finds, by name: service, operation, layer, trace_id, measured, projected; one row a pair."""
    code, labels = numbered([calls.service, calls.operation, calls.layer])
    entry, of, length = each(forest, found, code, scale, tolerance=tolerance, asynchronous=asynchronous, clocks=clocks)
    begin = found.entries[entry]
    return labels[of].with_columns(
        trace_id=forest.spans["trace_id"].gather(begin),
        measured=pl.Series((forest.end - forest.start)[begin], dtype=pl.Int64),
        projected=pl.Series(length, dtype=pl.Int64),
    )


def ranked(pairs: pl.DataFrame, measured: I64) -> pl.DataFrame:
    """Return FIXES, in no order, of `wins` of all entries. measured: how long all entries take, ascending."""
    rows = pairs.sort(*NODE, "trace_id", maintain_order=True)
    labels = rows.select(NODE).unique(maintain_order=True)
    first = rows.select(pl.int_range(pl.len()).filter(pl.struct(NODE).rle_id().diff().fill_null(1) > 0)).to_series()
    was, now = (np.array(rows[name].to_numpy(), np.int64) for name in ("measured", "projected"))
    return _ranked(labels, first.to_numpy(), was, now, rows["trace_id"].gather, measured)


def _ranked(
    labels: pl.DataFrame,
    first: npt.NDArray[np.integer[Any]],
    was: I64,
    now: I64,
    ids: Callable[[I64], pl.Series],
    measured: I64,
) -> pl.DataFrame:
    """Return FIXES, in no order: a row a group of pairs.

    labels: NODE of each group; first: where its pairs begin; was, now: how long their entries take; ids: the traces of
    some pairs; measured: how long all entries take, ascending.
    """
    edges = [*first.tolist(), len(was)]
    groups = [slice(begin, end) for begin, end in pairwise(edges)]
    won = was - now
    best = np.array([group.start + int(won[group].argmax()) for group in groups], np.int64)
    ranks = _ranks(len(measured))
    after = np.zeros((len(groups), len(PERCENTS)), np.int64)
    for row, group in zip(after, groups, strict=True):
        _retime.ranks_after(measured, np.sort(was[group]), np.sort(now[group]), ranks, row)
    return (
        labels.with_columns(
            traces=pl.Series(np.diff(edges), dtype=pl.Int64),
            mean_nano=pl.Series([int(won[group].sum()) // len(measured) for group in groups], dtype=pl.Int64),
            exemplar_trace_id=ids(best),
            **{f"p{percent}_nano": pl.Series(measured[ranks[i]] - after[:, i]) for i, percent in enumerate(PERCENTS)},
        )
        .cast(FIXES)
        .select(FIXES.names())
    )


def best_first(rows: pl.DataFrame) -> pl.DataFrame:
    """Return FIXES in their order: most of p99 first."""
    return rows.sort("p99_nano", "mean_nano", *NODE, descending=[True, True, False, False, False])


def _ranks(n: int) -> I64:
    return np.array([rank(n, percent) for percent in PERCENTS], np.int64)


def each(
    forest: Forest,
    found: Sections,
    code: I32,
    scale: float,
    *,
    tolerance: Tolerance = "auto",
    asynchronous: bool = False,
    clocks: pl.DataFrame | None = None,
) -> tuple[I64, I64, I64]:
    """Return (entry, code, length): how long an entry takes when the own time of one code's spans is scaled.

    One for each code that has time on the entry's critical path. entry: index into found.entries; code: of each row
    of the forest. Raises UsageError for a scale outside 0-1: a slower span may come onto the path.
    """
    if not 0 <= scale <= 1:
        raise UsageError(f"a scale of {scale:g}: a fix makes faster, so give a number from 0 to 1.")
    rules = waiting(forest, tolerance=tolerance, asynchronous=asynchronous, clocks=clocks)
    begin = np.array(found.entries, np.int64)
    offsets = _retime.sections_of(found.entry_index, len(begin))
    rough = rough_below(forest, rules)
    sizes = np.concatenate([[0], np.cumsum(forest.until[begin] - begin)])

    def work(first: int, last: int) -> tuple[I64, I64, I64]:
        return _retime.retime_each(
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
            code,
            scale,
            offsets,
            found.span,
        )

    entry, of, length = (np.concatenate(column) for column in zip(*over_traces(sizes, work), strict=True))
    return entry, of, length


def warm() -> None:
    """Compile the kernels, or load them from the cache."""
    forest, found = critical_path.warm()
    fixes(forest, found, fold(forest))
