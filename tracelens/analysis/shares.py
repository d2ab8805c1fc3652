"""Shares: percentiles of what a single node contributes, call by call.

Owns a table that does not add up: the p99 of a node is not its part of the
p99. A call in which a node is not on the path counts as 0. What adds up is
`profile.py`'s and `explain.py`'s.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tracelens._link import I64
from tracelens.analysis import _shares, critical_path
from tracelens.analysis.critical_path import Sections
from tracelens.analysis.labels import NODE, hashed, numbered
from tracelens.analysis.profile import MAX_LEVELS
from tracelens.calls import Calls
from tracelens.calls import calls as fold
from tracelens.forest import Forest, over_traces

PERCENTS = (50, 90, 99)
TIMES = pl.Schema(
    {
        "node": pl.Int64(),  # as in PROFILE
        "exclusive_nano": pl.Int64(),  # in one call
        "inclusive_nano": pl.Int64(),
    }
)
SHARES = pl.Schema(
    {
        "path": pl.List(pl.String()),
        "service": pl.String(),
        "operation": pl.String(),
        "layer": pl.String(),
        "calls": pl.Int64(),  # all of the route: what percentiles are of
        "traces": pl.Int64(),  # calls in which the node is on the path
        **{
            f"{part}_{name}_nano": pl.Int64()
            for part in ("exclusive", "inclusive")
            for name in (*(f"p{percent}" for percent in PERCENTS), "max")
        },
        "node": pl.Int64(),
        "parent": pl.Int64(),
    }
)


def times(forest: Forest, found: Sections, calls: Calls) -> pl.DataFrame:
    """Return TIMES: one row an entry and node on its path, with or without time of its own."""
    begin = np.array(found.entries, np.int64)
    label, names = numbered([calls.service, calls.operation, calls.layer])
    of_label = hashed(names)
    deepest = int(forest.depth.max(initial=0))

    def work(first: int, last: int) -> tuple[I64, I64, I64, I64]:
        return _shares.list_nodes(
            found.entry_index,
            found.span,
            found.start,
            found.end,
            begin,
            first,
            last,
            forest.parent,
            forest.until,
            of_label,
            label,
            deepest,
            MAX_LEVELS - 1,
        )

    parts = over_traces(np.concatenate([[0], np.cumsum(forest.until[begin] - begin)]), work)
    _, node, own, whole = (np.concatenate(column) for column in zip(*parts, strict=True))
    return pl.DataFrame({"node": node, "exclusive_nano": own, "inclusive_nano": whole}, schema=TIMES)


def shares(rows: pl.LazyFrame, profile: pl.DataFrame, calls: int) -> pl.LazyFrame:
    """Return SHARES, in no order.

    rows: TIMES of all calls; profile: PROFILE of the same in one band, for the names; calls: how many there are.
    """
    summed = rows.group_by("node").agg(
        traces=pl.len().cast(pl.Int64),
        **{
            f"{part}_p{percent}_nano": _with_zeros(pl.col(f"{part}_nano"), percent, calls)
            for part in ("exclusive", "inclusive")
            for percent in PERCENTS
        },
        exclusive_max_nano=pl.col("exclusive_nano").max(),
        inclusive_max_nano=pl.col("inclusive_nano").max(),
    )
    return (
        profile.lazy()
        .select("path", *NODE, "node", "parent", calls=pl.lit(calls, pl.Int64))
        .join(summed, on="node", how="left", validate="1:1")
        .cast(SHARES)
        .select(SHARES.names())
    )


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Return SHARES, the nodes with the greatest p99 of their own time first."""
    return rows.sort("exclusive_p99_nano", "exclusive_max_nano", "node", descending=[True, True, False])


def warm() -> None:
    """Compile the kernel, or load it from the cache."""
    forest, found = critical_path.warm()
    times(forest, found, fold(forest))


def _with_zeros(values: pl.Expr, percent: int, calls: int) -> pl.Expr:
    """Return the value at rank floor((n−1)·q) of n calls, those without a value counting as 0."""
    at = (calls - 1) * percent // 100 - (calls - pl.len().cast(pl.Int64))
    return pl.when(at >= 0).then(values.sort().get(at.clip(0))).otherwise(0)
