"""Hits: where a pattern was seen, summed to findings.

Owns the shape that all patterns share: who has it, in how many traces, what
it costs, and how much of that lies on the critical paths. What a pattern is, is
said in `request_patterns.py` and `path_patterns.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import accumulate

import polars as pl

ROUTE = ("service", "route")
ALWAYS = pl.lit(value=True)
HIT = pl.col("hit")
NOBODY = pl.col("caller").fill_null("callers nobody knows")
AT = ("at_service", "at_operation")  # whose spans make the calls

# One row a place where a pattern was seen.
HITS = pl.Schema(
    {
        "finding": pl.Int64(),  # number of the group
        "trace": pl.Int64(),
        "row": pl.Int64(),  # its rows of the forest, from this one
        "until": pl.Int64(),  # to before this one: of hits of a finding within each other the outer one has the path
        "cost_nano": pl.Int64(),
        "path_nano": pl.Int64(),  # of the cost, on the critical path of the trace
    }
)
# A finding in some traces.
SUMS = pl.Schema(
    {
        "finding": pl.Int64(),
        "cost_nano": pl.Int64(),
        "path_nano": pl.Int64(),
        "most_path": pl.Int64(),  # of the worst of these traces
        "most_cost": pl.Int64(),
        "trace_id": pl.Binary(),
        "traces": pl.Int64(),
    }
)
# A finding in some traces that begin at the same route.
BEGUN = pl.Schema(
    {
        "finding": pl.Int64(),
        "begin": pl.Int64(),
        "path_nano": pl.Int64(),
        "slow_nano": pl.Int64(),  # in the slow band
        "traces": pl.Int64(),
    }
)
WORST = ("path_nano", "cost_nano", "trace_id")
DESCENDING = (True, True, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What was looked at for one kind of finding.

    every: a row a place looked at: `by`, trace, `hit` (whether the pattern is there), cost, path, row, until. Without
    cost it has no path either. by: the columns of a group; evidence: a sentence of a group's columns, which are
    by, n (places), hits, and `more`; kept: which groups are told, of those with a hit.
    """

    kind: str
    every: pl.LazyFrame
    by: Sequence[str]
    evidence: pl.Expr
    more: Mapping[str, pl.Expr] = field(default_factory=dict)
    kept: pl.Expr = ALWAYS
    costs: bool = True

    def groups(self) -> pl.LazyFrame:
        """Return a row a finding."""
        return (
            self.every.group_by(self.by)
            .agg(n=pl.len(), hits=pl.col("hit").sum(), **self.more)
            .filter((pl.col("hits") > 0) & self.kept)
            .sort(self.by)
            .with_columns(kind=pl.lit(self.kind), evidence=self.evidence)
        )

    def hits(self, groups: pl.DataFrame) -> pl.LazyFrame:
        """Return HITS of numbered groups."""
        unknown = pl.lit(None, pl.Int64)
        costs = {
            "cost_nano": pl.col("cost") if self.costs else unknown,
            "path_nano": pl.col("path") if self.costs else unknown,
            "row": pl.col("row") if self.costs else unknown,
            "until": pl.col("until") if self.costs else unknown,
        }
        numbered = groups.lazy().select(*self.by, "finding")
        return (
            self.every.filter("hit")
            .join(numbered, on=self.by, validate="m:1", nulls_equal=True)
            .select("finding", "trace", **costs)
            .select(HITS.names())
            .cast(HITS)
        )


def told(patterns: Sequence[Pattern]) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Return (a row a finding, by `finding`: kind, service, route, evidence, and AT where told; groups by pattern)."""
    groups = pl.collect_all([pattern.groups() for pattern in patterns], engine="streaming")
    numbers = accumulate((len(group) for group in groups), initial=0)
    numbered = [
        group.with_columns(finding=pl.int_range(first, first + len(group), dtype=pl.Int64))
        for group, first in zip(groups, numbers, strict=False)
    ]
    rows = [group.select("finding", "kind", *ROUTE, "evidence", *(set(AT) & set(group.columns))) for group in numbered]
    return pl.concat(rows, how="diagonal"), numbered


def summed(patterns: Sequence[Pattern], groups: Sequence[pl.DataFrame], traces: pl.DataFrame) -> list[pl.DataFrame]:
    """Return SUMS and BEGUN of the hits of some traces, which `added` adds up with those of others.

    groups: by pattern, as `told` has them. traces: TRACES of `on_path.py`.
    """
    some = [pair for pair in zip(patterns, groups, strict=True) if len(pair[1])]
    hits = pl.concat([HITS.to_frame(), *pl.collect_all([pattern.hits(group) for pattern, group in some])])
    path, cost = pl.col("path_nano"), pl.col("cost_nano")
    is_outer = pl.col("until").cum_max().shift(1).over("finding").fill_null(-1) <= pl.col("row")
    per_trace = (
        hits.lazy()
        .sort("finding", "row", "until", descending=[False, False, True])
        .with_columns(pl.when(is_outer | path.is_null()).then(path).otherwise(0))
        .group_by("finding", "trace")
        .agg(_sum(cost), _sum(path))
    )
    whole = (
        per_trace.join(traces.lazy().select("trace", "trace_id"), on="trace", validate="m:1")
        .sort(WORST, descending=DESCENDING, nulls_last=True)
        .group_by("finding", maintain_order=True)
        .agg(
            cost_nano=_sum(cost),
            path_nano=_sum(path),
            most_path=path.first(),
            most_cost=cost.first(),
            trace_id=pl.col("trace_id").first(),
            traces=pl.len(),
        )
    )
    begun = (
        per_trace.join(traces.lazy(), on="trace", validate="m:1")
        .drop_nulls("begin")
        .group_by("finding", "begin")
        .agg(_sum(path), slow_nano=_sum(path.filter("slow")), traces=pl.len())
    )
    return [frame.cast(kind) for frame, kind in zip(pl.collect_all([whole, begun]), (SUMS, BEGUN), strict=True)]


def added(parts: Sequence[Sequence[pl.DataFrame]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return two frames by `finding`: traces, cost_nano, path_nano and trace_id; begin and slow_nano.

    trace_id: of the one with most of the path time, then of the cost, then the smallest.
    begin: of the routes that its traces begin at the one with most of the path time; slow_nano: path time in the slow
    band there.
    """
    sums, begun = (pl.concat(frames) for frames in zip(*parts, strict=True))
    path = pl.col("path_nano")
    whole = (
        sums.sort("most_path", "most_cost", "trace_id", descending=DESCENDING, nulls_last=True)
        .group_by("finding", maintain_order=True)
        .agg(_sum(pl.col("cost_nano")), _sum(path), pl.col("trace_id").first(), pl.col("traces").sum())
    )
    most = (
        begun.group_by("finding", "begin")
        .agg(_sum(path), _sum(pl.col("slow_nano")), pl.col("traces").sum())
        .sort("path_nano", "traces", "begin", descending=DESCENDING, nulls_last=True)
        .unique("finding", keep="first", maintain_order=True)
        .select("finding", "begin", slow_nano=pl.when(path.is_not_null()).then(pl.col("slow_nano").fill_null(0)))
    )
    return whole, most


def _sum(column: pl.Expr) -> pl.Expr:
    """Return the sum; null when nothing is known."""
    return pl.when(column.is_not_null().any()).then(column.sum())


def text(*parts: str | pl.Expr) -> pl.Expr:
    """Return a sentence of words and columns."""
    pieces = [pl.lit(part) if isinstance(part, str) else part.cast(pl.String) for part in parts]
    return reduce(lambda sentence, piece: sentence + piece, pieces)


def count(number: pl.Expr) -> pl.Expr:
    """Return a whole number that is not negative as words, its thousands apart."""
    backward = number.cast(pl.String).str.reverse().str.replace_all(r"(\d{3})", "$1,")
    return backward.str.reverse().str.strip_chars_start(",")


def milliseconds(nano: pl.Expr) -> pl.Expr:
    """Return milliseconds to a hundredth."""
    return (nano / 1_000_000).round(2)
