"""Why a route's slow calls are slow: where their time goes, and what they have in common."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens.analysis.bands import Band
from tracelens.analysis.critical_path import sections as walked
from tracelens.analysis.explain import SLOW_GROUP, TYPICAL, Totals, explain, groups, slow_band
from tracelens.analysis.marks import FACTS, SPANS_A_CALL, marks
from tracelens.analysis.profile import accumulate
from tracelens.lens.analysed import Analysed
from tracelens.lens.paths import Walk, entries
from tracelens.lens.question import Explanation, Method, Question, SourceInfo
from tracelens.lens.routes import Route
from tracelens.lens.sources import Source
from tracelens.spans import is_attribute, split_column

MOST_SLOW = 2_000  # calls whose attributes are read, the slowest of the band
MOST_REST = 4_000  # other calls beside them, every so manieth by duration

Rows = npt.NDArray[np.int64]


def explanation(
    source: Source,
    window: Analysed,
    question: Question,
    route: Route | None,
    walk: Walk,
    *,
    typical: Band = TYPICAL,
    slow: Band | None = None,
) -> Explanation:
    """Return why the slow band of a route's calls is slow; without a route of the first calls of traces.

    slow: the slowest hundredth when not given, or more where that is too few calls.
    Raises UsageError for bands that overlap.
    """
    start = entries(window, question, route)
    forest, labels = window.forest, window.calls
    order = start[np.lexsort((start, (forest.end - forest.start)[start]))]
    slow = slow_band(len(order)) if slow is None else slow
    group = groups(len(order), typical, slow)
    chosen = order[group >= 0]
    sums = accumulate(
        forest,
        walked(forest, chosen, tolerance=walk.tolerance, asynchronous=walk.asynchronous),
        entries=chosen,
        route=None,
        service=labels.service,
        operation=labels.operation,
        layer=labels.layer,
        group=group[group >= 0],
    )
    rows, totals = explain(sums, typical, slow)
    tail, rest = looked_at(order[group == SLOW_GROUP], order[group != SLOW_GROUP])
    ids = forest.spans["trace_id"].gather(np.concatenate([tail, rest])).unique()
    full = source.whole(ids, question.start_nano, question.end_nano)
    found = facts_of(full, window, tail, rest)
    return explained(found, rows, totals, (len(tail), len(rest)), window.info, window.method)


def looked_at(slow: Rows, others: Rows) -> tuple[Rows, Rows]:
    """Return the calls whose attributes are read: of those in the slow band, and of the others, by duration."""
    spaced = np.linspace(0, len(others) - 1, min(len(others), MOST_REST)).astype(np.int64)
    return slow[-MOST_SLOW:], others[spaced]


def explained(
    facts: pl.DataFrame,
    rows: pl.DataFrame,
    totals: Totals,
    calls: tuple[int, int],
    info: SourceInfo,
    method: Method,
) -> Explanation:
    """Return an explanation of rows and totals, with the marks that facts show. calls: how many facts are of."""
    return Explanation(
        rows=rows,
        marks=_told_once(marks(facts.lazy()), rows),
        totals=totals,
        looked_at=calls,
        source=info,
        method=method,
    )


def facts_of(full: pl.DataFrame, window: Analysed, tail: Rows, rest: Rows) -> pl.DataFrame:
    """Return FACTS of some calls: what the spans below each of them say.

    full: the spans of their traces with all attributes; tail, rest: rows where slow calls and others begin.
    """
    forest, labels = window.forest, window.calls
    every = np.concatenate([tail, rest])
    sizes = forest.until[every] - every
    call = np.repeat(np.arange(len(every)), sizes)
    row = np.arange(len(call)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + every[call]
    told = forest.spans.select("trace_id", "span_id")[row].with_columns(
        call=pl.Series(call, dtype=pl.Int64),
        slow=pl.Series(call < len(tail), dtype=pl.Boolean),
        service=labels.service.gather(row),
        operation=labels.operation.gather(row),
        error=labels.outcome["error"].gather(row).cast(pl.String),
        timed_out=labels.outcome["timed_out"].gather(row).cast(pl.String),
    )
    columns = [name for name in full.columns if is_attribute(name)]
    # A span sent twice is one: the first of each id stands.
    known = full.lazy().select("trace_id", "span_id", *columns).unique(["trace_id", "span_id"], keep="first")
    joined = told.lazy().join(known, on=["trace_id", "span_id"], how="left", validate="m:1").collect()
    facts = [_times(joined, "operation"), _times(joined, pl.lit(None, pl.String).alias("operation"))]
    facts += [_of_column(joined, name) for name in ("error", "timed_out", *columns)]
    return pl.concat([part.select(FACTS.names()).cast(FACTS) for part in facts])


def _times(joined: pl.DataFrame, operation: str | pl.Expr) -> pl.DataFrame:
    """Return how many spans each call has at each place, from ten on by powers of ten: all calls differ otherwise."""
    n = pl.col("spans")
    several = (
        pl.when(n < 10).then(n.cast(pl.String)).otherwise(pl.format("{}+", 10 ** n.log10().floor().cast(pl.Int64)))
    )
    return (
        joined.lazy()
        .group_by("call", "slow", "service", operation)
        .agg(spans=pl.len())
        .with_columns(attribute=pl.lit(SPANS_A_CALL), value=several)
        .collect()
    )


def _of_column(joined: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return what a column says; a resource speaks for its whole workload."""
    owner, key, _ = split_column(name) if is_attribute(name) else ("attr", name, "")
    place = pl.col("operation") if owner == "attr" else pl.lit(None, pl.String).alias("operation")
    return (
        joined.lazy()
        .drop_nulls(name)
        .group_by("call", "slow", "service", place, value=pl.col(name).cast(pl.String))
        .agg(spans=pl.len())
        .with_columns(attribute=pl.lit(key))
        .collect()
    )


def _told_once(found: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Return marks; of those that say the same of the same calls, the one at the costliest place."""
    weight = rows.group_by("service", "operation").agg(pl.col("difference_nano").max())
    by_service = weight.group_by("service").agg(of_service=pl.col("difference_nano").max())
    known = found.join(weight, on=["service", "operation"], how="left", validate="m:1", maintain_order="left")
    known = known.join(by_service, on="service", how="left", validate="m:1", maintain_order="left")
    heavy = pl.coalesce("difference_nano", "of_service").fill_null(0)
    apart = pl.col("slow") - pl.col("rest")
    return (
        known.sort(apart, heavy, maintain_order=True, descending=True)
        .unique(["attribute", "value", "slow_calls", "rest_calls"], keep="first", maintain_order=True)
        .select(found.columns)
    )
