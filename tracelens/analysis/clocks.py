"""Clocks: by how much the hosts of a mesh differ, estimated over many calls.

Owns the estimate; single traces are put right by rule 7 in `forest.py`, by the
least that makes a call fit into its caller. Here the received times count.

A span on host b that answers one on host a began after it and ended before it,
by one true clock. So what b's clock is ahead of a's lies between (end − parent's
end) and (start − parent's start). Each call bounds it; many calls bound it
tightly, from both sides when calls go both ways. The estimate is the middle;
where the bounds contradict each other, clocks drifted or parents did not wait,
and it is unknown.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tracelens import semconv
from tracelens.calls import Calls
from tracelens.forest import Forest
from tracelens.names import NODE_ID, codes
from tracelens.spans import attribute

CLOCKS = pl.Schema(
    {
        "host": pl.String(),
        "other": pl.String(),
        "n": pl.Int64(),  # calls between the two
        "offset_nano": pl.Int64(),  # by how much the other's clock is ahead; null when bounds contradict
        "low_nano": pl.Int64(),  # it lies between these two
        "high_nano": pl.Int64(),
        "shifted": pl.Int64(),  # spans that rule 7 moved on this pair's calls
    }
)
ENOUGH = 20  # calls, before anything is said of two clocks
TAIL = 0.01  # of calls on each side left out: a parent that did not wait is none that bounds


def clocks(forest: Forest, calls: Calls) -> pl.DataFrame:
    """Return CLOCKS: one row a pair of hosts that call each other, those furthest apart first."""
    return of_pairs(between(forest, calls).lazy())


def between(forest: Forest, calls: Calls) -> pl.DataFrame:
    """Return one row a call between two hosts: host, other, least and most that its clock is ahead, shifted."""
    names = hosts(forest, calls)
    host = codes(names).astype(np.int64)
    above = np.maximum(forest.parent, 0)
    pairs = np.flatnonzero(
        (forest.parent >= 0) & forest.blocking & (host >= 0) & (host[above] >= 0) & (host != host[above])
    )
    up = forest.parent[pairs]
    start, end = forest.start - forest.skew, forest.end - forest.skew
    fits = end[pairs] - start[pairs] <= end[up] - start[up]
    pairs, up = pairs[fits], up[fits]
    least, most = end[pairs] - end[up], start[pairs] - start[up]
    # A pair has one direction: names in order.
    table = pl.DataFrame({"host": names.gather(up), "other": names.gather(pairs)}).with_columns(
        least=pl.Series(least), most=pl.Series(most), shifted=pl.Series(forest.skew[pairs] != forest.skew[up])
    )
    turned = pl.col("host") > pl.col("other")
    return table.with_columns(
        host=pl.when(turned).then("other").otherwise("host"),
        other=pl.when(turned).then("host").otherwise("other"),
        least=pl.when(turned).then(-pl.col("most")).otherwise("least"),
        most=pl.when(turned).then(-pl.col("least")).otherwise("most"),
    )


def of_pairs(calls: pl.LazyFrame) -> pl.DataFrame:
    """Return CLOCKS. calls: as `between` has them."""
    bounds = calls.group_by("host", "other").agg(
        n=pl.len(),
        low_nano=pl.col("least").quantile(1 - TAIL, "lower").cast(pl.Int64),
        high_nano=pl.col("most").quantile(TAIL, "higher").cast(pl.Int64),
        shifted=pl.col("shifted").sum(),
    )
    middle = (pl.col("low_nano") + pl.col("high_nano")) // 2
    return (
        bounds.filter(pl.col("n") >= ENOUGH)
        .with_columns(offset_nano=pl.when(pl.col("low_nano") <= pl.col("high_nano")).then(middle))
        .sort(pl.col("offset_nano").abs(), "host", "other", descending=[True, False, False], nulls_last=True)
        .select(CLOCKS.names())
        .cast(CLOCKS)
        .collect()
    )


def hosts(forest: Forest, calls: Calls) -> pl.Series:
    """Return whose clock each span was written by: its host, else its pod, else its workload."""
    columns = forest.spans.columns
    told = forest.spans.select(
        "kind",
        host=pl.coalesce(
            attribute(columns, semconv.HOST, "res"),
            attribute(columns, semconv.K8S_POD_NAME, "res"),
            attribute(columns, semconv.ENVOY_NODE_ID).str.extract(NODE_ID, 1),
        ),
    )
    return told["host"].fill_null(calls.service).rename("host")
