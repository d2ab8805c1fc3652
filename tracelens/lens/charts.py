"""Charts that people make: one measure over time, by service, route, version or any attribute.

Owns what a chart is made of: calls, requests or critical paths, each with its
group. An attribute of a call is that of its entry span, else the greatest of
the other spans that work for it; on a critical path it is that of each span.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from tracelens.analysis import charts as analysis
from tracelens.analysis.charts import (
    BUCKET,
    CHART,
    MEASURES,
    OF_CALLS,
    OF_HOPS,
    PATH,
    RATES,
    SECOND,
    SHARES,
    TOLD,
    TRACES,
)
from tracelens.analysis.critical_path import sections
from tracelens.analysis.hops import requests as all_requests
from tracelens.analysis.rollups import HOUR_NANO, MINUTE_NANO, measured
from tracelens.errors import UsageError
from tracelens.learned import Evidence
from tracelens.lens.analysed import Analysed
from tracelens.lens.large_requests import judgement
from tracelens.lens.long import FINE, Long
from tracelens.lens.parts import Parts
from tracelens.lens.paths import Walk, entries
from tracelens.lens.question import Method, Question, SourceInfo
from tracelens.lens.routes import bounds
from tracelens.semconv import SERVICE_VERSION
from tracelens.spans import attribute

__all__ = ["MEASURES", "RATES", "SHARES", "Chart", "Charted"]

TOGETHER = ""
OF_A_CALL = ("service", "route", "namespace", "caller")
OF_A_SPAN = ("service", "route")  # as critical paths know them: whose span it is, and what it does
VERSION = "version"  # whatever attribute tells it
BY = (TOGETHER, *OF_A_CALL, VERSION)
MOST_LINES = 8  # are told over time: more cannot be told apart
MOST_GROUPS = 1_000  # are told at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What to draw. measure: of MEASURES. by: of BY, or `attr.KEY` or `res.KEY`.

    Raises UsageError when there is no such measure or group, or one does not have the other.
    """

    measure: str
    by: str = TOGETHER

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise UsageError(f"{self.measure!r} is no measure. There are {', '.join(MEASURES)}.")
        if self.by not in BY and self.attribute is None:
            raise UsageError(
                f"charts are not made by {self.by!r}. They are by {', '.join(BY[1:])}, attr.KEY or res.KEY."
            )
        if self.measure == PATH and self.by in OF_A_CALL and self.by not in OF_A_SPAN:
            raise UsageError(f"time on the path is not told by {self.by}: choose {' or '.join(OF_A_SPAN)}.")

    @property
    def attribute(self) -> tuple[str, tuple[str, ...]] | None:
        """(owner, names) of the attribute that groups, the first name that is there; None when none does."""
        if self.by == VERSION:
            return "res", SERVICE_VERSION
        owner, _, key = self.by.partition(".")
        return (owner, (key,)) if owner in ("attr", "res") and key else None

    @property
    def of_hops(self) -> bool:
        """Whether it is made of requests, as callers and callees both tell them."""
        return self.measure in OF_HOPS

    def of(self, question: Question) -> Question:
        """Return a question that reads what the chart looks at."""
        return replace(question, also=(*question.also, *self.attribute[1])) if self.attribute else question


@dataclass(frozen=True, slots=True, kw_only=True)
class Charted:
    """A chart: the groups in one number each, and the largest over time."""

    totals: pl.DataFrame  # CHART of the whole window, the largest first
    rows: pl.DataFrame  # CHART of MOST_LINES groups over time
    groups: int  # that there are
    start_nano: int
    width_nano: int  # of a stretch
    points: int
    source: SourceInfo
    method: Method


def chart(window: Analysed, question: Question, asked: Chart, points: int) -> Charted:
    """Return a chart of spans in memory."""
    told = _told(window, question, asked, None)
    return charted(told.lazy(), asked, question, points, window.info, window.method, weighted=window.weighted)


def chart_of_parts(parts: Parts, asked: Chart, points: int) -> Charted:
    """Return a chart of more spans than memory holds."""
    known = judgement(parts) if asked.of_hops else None

    def work(window: Analysed, learned: Evidence) -> dict[str, pl.DataFrame]:
        table = None if known is None else all_requests(window.forest, window.calls, judgement=known)
        return {"told": _told(window, parts.question, asked, table, learned.clocks)}

    told = pl.scan_parquet(parts.gathered(f"chart {asked!r}", work)["told"])
    return charted(told, asked, parts.question, points, parts.info(), parts.method(), weighted=parts.weighted)


def charted(
    told: pl.LazyFrame,
    asked: Chart,
    question: Question,
    points: int,
    source: SourceInfo,
    method: Method,
    *,
    weighted: bool,
) -> Charted:
    """Return the chart of TOLD rows."""
    start, end = bounds(question, source)
    totals = analysis.totals(told, asked.measure, start, end, weighted=weighted).collect()
    some = told.filter(_is_shown(totals) | (pl.col("group") == TRACES))
    rows = analysis.series(some, asked.measure, start, end, points, weighted=weighted).collect()
    return made(totals, rows, start, end, points, source, method)


def _is_shown(totals: pl.DataFrame) -> pl.Expr:
    return pl.col("group").is_in(totals["group"].head(MOST_LINES).implode(), nulls_equal=True)


def is_rolled(asked: Chart) -> bool:
    """Whether a chart can be made of rollups."""
    return asked.measure in OF_CALLS and asked.by in (TOGETHER, *OF_A_SPAN)


def chart_of_rollups(rolled: Long, asked: Chart, points: int) -> Charted:
    """Return a chart of a long window."""
    start, end = rolled.bounds
    width = (end - start) // points
    named = pl.lit(None, pl.String).alias("group") if asked.by == TOGETHER else _named(asked.by, "service", "route")
    cells = rolled.cells(MINUTE_NANO if width < FINE * HOUR_NANO else HOUR_NANO).with_columns(named)
    stretch = ((pl.col("start_unix_nano") - start) // width).clip(0, points - 1) * width + start
    totals = _rows(cells.with_columns(pl.lit(None, pl.Int64).alias(BUCKET)), asked, end - start, rolled)
    some = cells.filter(_is_shown(totals)).with_columns(stretch.alias(BUCKET))
    rows = _rows(some, asked, width, rolled).sort("group", BUCKET)
    return made(totals, rows, start, end, points, rolled.info, rolled.method)


def _rows(cells: pl.LazyFrame, asked: Chart, width_nano: int, rolled: Long) -> pl.DataFrame:
    value = {
        "calls": pl.col("calls") * SECOND / max(width_nano, 1),
        "errors": pl.col("errors") / pl.col("calls"),
    }.get(asked.measure, pl.col(f"{asked.measure}_nano"))
    told = measured(cells, ("group", BUCKET), weighted=rolled.weighted).with_columns(value=value)
    rows = told.select(CHART.names()).cast(CHART)
    return rows.sort("n", "group", descending=[True, False], nulls_last=True).collect()


def made(
    totals: pl.DataFrame, rows: pl.DataFrame, start: int, end: int, points: int, source: SourceInfo, method: Method
) -> Charted:
    """Return a chart of CHART rows."""
    return Charted(
        totals=totals.head(MOST_GROUPS),
        rows=rows,
        groups=len(totals),
        start_nano=start,
        width_nano=max((end - start) // points, 1),
        points=points,
        source=source,
        method=method,
    )


def _told(
    window: Analysed,
    question: Question,
    asked: Chart,
    requests: pl.DataFrame | None,
    clocks: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return TOLD rows. requests: all REQUESTS, where they are judged by more than the window."""
    if asked.measure == PATH:
        return _on_paths(window, question, asked, clocks)
    if asked.measure in OF_CALLS:
        table, part = window.selected(question), pl.lit(None, pl.Int64)
    else:
        table = window.about(question, window.requests if requests is None else requests)
        table = table.filter(~pl.col("censored") & pl.col("covered"))
        part = pl.col(f"{asked.measure.removeprefix('hop.')}_nano")
    told = table.with_columns(group=_group_of_calls(window, table, asked), part_nano=part)
    return told.select(TOLD.names()).cast(TOLD)


def _group_of_calls(window: Analysed, table: pl.DataFrame, asked: Chart) -> pl.Series:
    if asked.by == TOGETHER:
        return pl.repeat(None, len(table), dtype=pl.String, eager=True)
    if asked.attribute is None:
        return table.select(_named(asked.by, "service", "route")).to_series()
    values = _values(window, asked)
    of_call = window.calls.call
    known = pl.DataFrame(
        {"span": pl.Series(of_call, dtype=pl.Int64), "value": values, "own": of_call == np.arange(len(of_call))}
    ).lazy()
    own = pl.col("value").filter("own").first()
    found = known.drop_nulls("value").group_by("span").agg(group=pl.coalesce(own, pl.col("value").max()))
    asked_of = table.lazy().select(pl.col("span").cast(pl.Int64))
    joined = asked_of.join(found, on="span", how="left", validate="m:1", maintain_order="left")
    return joined.collect()["group"]


def _on_paths(window: Analysed, question: Question, asked: Chart, clocks: pl.DataFrame | None) -> pl.DataFrame:
    """Return a row a trace and group that is on its critical path, and one a trace."""
    walk = Walk()
    start = entries(window, question, None)
    found = sections(window.forest, start, tolerance=walk.tolerance, asynchronous=walk.asynchronous, clocks=clocks)
    labels = window.calls
    if asked.by == TOGETHER:
        group = pl.repeat(None, len(found.span), dtype=pl.String, eager=True)
    elif asked.attribute is not None:
        group = _values(window, asked).gather(found.span)
    else:
        names = {"service": labels.service.gather(found.span), "operation": labels.operation.gather(found.span)}
        group = pl.DataFrame(names).select(_named(asked.by, "service", "operation")).to_series()
    entry = pl.Series(found.entry_index, dtype=pl.Int64)
    part = pl.DataFrame({"entry": entry, "group": group, "part_nano": found.end - found.start}).lazy()
    of_entry = window.selected(question).filter(~pl.col("censored") & pl.col("is_root"))
    traces = of_entry.with_row_index("entry").lazy().with_columns(pl.col("entry").cast(pl.Int64))
    parts = part.group_by("entry", "group").agg(pl.col("part_nano").sum())
    each = parts.join(traces, on="entry", validate="m:1")
    every = traces.with_columns(group=pl.lit(TRACES), part_nano=pl.lit(None, pl.Int64))
    return pl.concat([one.select(TOLD.names()).cast(TOLD) for one in (each, every)]).collect()


def _named(by: str, service: str, what: str) -> pl.Expr:
    """Return the group of a row: a column of it, or of a route its service and name."""
    if by == "route":
        return pl.concat_str(pl.col(service).fill_null("?"), pl.lit(" "), pl.col(what).fill_null("?")).alias("group")
    return pl.col(service if by == "service" else by).alias("group")


def _values(window: Analysed, asked: Chart) -> pl.Series:
    """Return the value of the attribute of each span of the forest, as text."""
    assert asked.attribute is not None
    owner, names = asked.attribute
    spans = window.forest.spans
    return spans.select("kind", value=attribute(spans.columns, names, owner))["value"]  # as long as the spans
