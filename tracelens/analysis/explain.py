"""Explain: why the slow band is slow, node by node, in numbers that add up.

Owns tail attribution: the mean profile of the slow band less that of the
typical band. Per node the differences, in whole nanoseconds, sum exactly to the
difference of the two bands' means. Bands are cut in `bands.py`, sums are
`profile.py`'s; which attributes mark the slow calls is `marks.py`'s.

Intervals are Welch's, 95 %, from exact sums of squares, a call that lacks a
node counting as 0, and calls taken as independent of each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import polars as pl

from tracelens._link import I64
from tracelens.analysis.bands import Band, by_rank, cuts_of
from tracelens.analysis.labels import NODE
from tracelens.analysis.means import shared_out
from tracelens.analysis.profile import merge
from tracelens.analysis.significance import student_95, welch
from tracelens.errors import UsageError

EXPLAIN = pl.Schema(
    {
        "path": pl.List(pl.String()),  # "service operation" from the entry down
        "service": pl.String(),  # of the node itself
        "operation": pl.String(),
        "layer": pl.String(),
        "typical_nano": pl.Int64(),  # own time on the path per call of the band, rounded so that all sum to the mean
        "slow_nano": pl.Int64(),
        "difference_nano": pl.Int64(),  # slow − typical
        "share": pl.Float64(),  # of the difference of the means; null when that is 0
        "low_nano": pl.Int64(),  # 95 % interval of the difference; null with fewer than two calls in a band
        "high_nano": pl.Int64(),
        "typical_traces": pl.Int64(),  # calls of the band in which the node has time of its own
        "slow_traces": pl.Int64(),
        "typical_spans": pl.Float64(),  # of the node on the path, per call of the band
        "slow_spans": pl.Float64(),
        "repeated": pl.String(),  # the uppermost node on the way that slow calls run more often; null when none is
        "typical_exemplar_trace_id": pl.Binary(),  # where it has most of it, in each band
        "exemplar_trace_id": pl.Binary(),
        "node": pl.Int64(),  # as in PROFILE
        "parent": pl.Int64(),
    }
)

TYPICAL: Band = (0.0, 50.0)
# The slowest hundredth, or more of them where that is too few to say anything about.
SLOW: tuple[Band, ...] = ((99.0, 100.0), (95.0, 100.0), (90.0, 100.0))
ENOUGH = 30  # calls in the slow band
MORE_OFTEN = 2.0  # times as many spans a call, and at least one more, is a repetition
TYPICAL_GROUP, SLOW_GROUP = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The two bands whose difference is explained."""

    typical: Band
    slow: Band
    typical_calls: int
    slow_calls: int
    typical_nano: int  # mean, rounded down
    slow_nano: int

    @property
    def difference_nano(self) -> int:
        return self.slow_nano - self.typical_nano


def slow_band(calls: int) -> Band:
    """Return the narrowest slow band that has ENOUGH of so many calls; the widest when none has."""
    fitting = (band for band in SLOW if int((by_rank(calls, band) == 0).sum()) >= ENOUGH)
    return next(fitting, SLOW[-1])


def groups(calls: int, typical: Band, slow: Band) -> I64:
    """Return of each of so many calls, by duration ascending, which band it is in: TYPICAL_GROUP, SLOW_GROUP or -1.

    Raises UsageError when the bands overlap or are none.
    """
    cuts_of((typical, slow))
    if typical[1] > slow[0]:
        raise UsageError(f"the typical band {typical[0]:g}-{typical[1]:g} reaches into the slow band from {slow[0]:g}.")
    found = np.full(calls, -1, np.int64)
    found[by_rank(calls, typical) == 0] = TYPICAL_GROUP
    found[by_rank(calls, slow) == 0] = SLOW_GROUP
    return found


def bounds(band: Band, bands: Sequence[Band]) -> tuple[int, int]:
    """Return the first group of `bands.py` that a band holds, and the first beyond it."""
    cuts = cuts_of(bands)
    return cuts.index(band[0]), cuts.index(band[1])


def explain(sums: pl.DataFrame, typical: Band, slow: Band) -> tuple[pl.DataFrame, Totals]:
    """Return (EXPLAIN, the greatest differences first; what they add up to).

    sums: PROFILE_BUCKETS of one route whose buckets are TYPICAL_GROUP and SLOW_GROUP.
    """
    merged = merge([sums])
    sides = [merged.filter(pl.col("bucket") == group) for group in (TYPICAL_GROUP, SLOW_GROUP)]
    calls = [int(side["entries"].sum()) for side in sides]
    named = pl.concat(sides).unique("node", keep="first", maintain_order=True).select("path", *NODE, "node", "parent")
    joined = _beside(named, sides[0], "typical")
    joined = _beside(joined, sides[1], "slow")
    sums_of = [joined[f"{prefix}_exclusive_nano"].fill_null(0).to_list() for prefix in ("typical", "slow")]
    means = [np.array(shared_out(total, n), np.int64) for total, n in zip(sums_of, calls, strict=True)]
    squares = [joined[f"{prefix}_squares_nano2"].fill_null(0).to_list() for prefix in ("typical", "slow")]
    half = [_half(node, calls) for node in zip(*sums_of, *squares, strict=True)]
    totals = Totals(
        typical=typical,
        slow=slow,
        typical_calls=calls[0],
        slow_calls=calls[1],
        typical_nano=int(means[0].sum()),
        slow_nano=int(means[1].sum()),
    )
    difference = means[1] - means[0]
    rows = joined.with_columns(
        typical_nano=pl.Series(means[0]),
        slow_nano=pl.Series(means[1]),
        difference_nano=pl.Series(difference),
        share=pl.Series(difference / totals.difference_nano if totals.difference_nano else [None] * len(joined)),
        low_nano=pl.Series([None if h is None else int(d) - h for d, h in zip(difference, half, strict=True)]),
        high_nano=pl.Series([None if h is None else int(d) + h for d, h in zip(difference, half, strict=True)]),
        typical_traces=pl.col("typical_traces").fill_null(0),
        slow_traces=pl.col("slow_traces").fill_null(0),
        **{
            f"{prefix}_spans": pl.col(f"{prefix}_spans").fill_null(0) / max(n, 1)
            for prefix, n in zip(("typical", "slow"), calls, strict=True)
        },
        typical_exemplar_trace_id=pl.when(pl.col("typical_max_nano") > 0).then("typical_exemplar_trace_id"),
        exemplar_trace_id=pl.when(pl.col("slow_max_nano") > 0).then("slow_exemplar_trace_id"),
    )
    rows = rows.with_columns(repeated=_repeated(rows))
    ordered = rows.cast({name: kind for name, kind in EXPLAIN.items() if name in rows.columns}).select(EXPLAIN.names())
    return ordered.sort("difference_nano", "node", descending=[True, False]), totals


def _repeated(rows: pl.DataFrame) -> pl.Series:
    """Return for each node the uppermost one from the entry down to it that slow calls run more often."""
    above = dict(rows.select("node", "parent").iter_rows())
    often = {
        node: path[-1]
        for node, path, typical, slow in rows.select("node", "path", "typical_spans", "slow_spans").iter_rows()
        if slow >= typical + 1 and slow >= MORE_OFTEN * typical > 0
    }
    found: list[str | None] = []
    for node in rows["node"]:
        uppermost, at = None, node
        while at is not None and often:
            uppermost = often.get(at, uppermost)
            at = above.get(at)
        found.append(uppermost)
    return pl.Series("repeated", found, dtype=pl.String)


def _beside(rows: pl.DataFrame, side: pl.DataFrame, prefix: str) -> pl.DataFrame:
    """Return rows with the sums of a band beside them; null where it lacks the node."""
    columns = ("exclusive_nano", "squares_nano2", "traces", "exemplar_trace_id", "max_nano", "spans")
    told = side.select("node", *(pl.col(name).alias(f"{prefix}_{name}") for name in columns))
    return rows.join(told, on="node", how="left", validate="1:1", maintain_order="left")


def _half(node: tuple[int, int, Decimal, Decimal], calls: Sequence[int]) -> int | None:
    """Return half the width of the 95 % interval of a node's difference; None with fewer than two calls in a band.

    node: sum in the typical and in the slow band, sum of squares in each.
    """
    if min(calls) < 2:
        return None
    # n·Σx² − (Σx)² in integers: the difference of two great numbers, which floats would lose.
    variances = [
        (n * int(square) - int(total) ** 2) / (n * n * (n - 1))
        for total, square, n in zip(node[:2], node[2:], calls, strict=True)
    ]
    freedom = welch(variances[0], calls[0], variances[1], calls[1])
    return math.ceil(student_95(freedom) * math.sqrt(sum(variances)))
