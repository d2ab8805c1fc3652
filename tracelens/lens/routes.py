"""Which routes are slow: per route, over time, and altogether."""

from __future__ import annotations

import polars as pl

from tracelens.analysis import routes as analysis
from tracelens.lens.analysed import Analysed
from tracelens.lens.question import Answer, Question, SourceInfo
from tracelens.names import path

Route = tuple[str, str]  # service, operation


def routes(window: Analysed, question: Question) -> Answer:
    """Return ROUTES rows, most impact first."""
    rows = analysis.routes(window.selected(question).lazy(), weighted=window.weighted).collect()
    return Answer(rows=rows, source=window.info, method=window.method)


def route_names(window: Analysed, question: Question) -> Answer:
    """Return one row a route and rule: service, route, rule, n, paths, example; the busiest first."""
    table = window.selected(question)
    spans = window.forest.spans
    # The path stands on the entry span, or on that of the app behind it.
    own = spans.select("kind", path=path(spans.columns))["path"]
    told = (
        table.lazy()
        .select("service", "route")
        .with_columns(rule=window.calls.rule.gather(table["span"]).cast(pl.String), path=own.gather(table["span"]))
    )
    rows = (
        told.group_by("service", "route", "rule")
        .agg(
            n=pl.len().cast(pl.Int64),
            paths=pl.col("path").drop_nulls().n_unique().cast(pl.Int64),
            example=pl.col("path").min(),
        )
        .sort("n", "service", "route", "rule", descending=[True, False, False, False])
    )
    return Answer(rows=rows.collect(), source=window.info, method=window.method)


def summary(window: Analysed, question: Question) -> Answer:
    """Return one row over the first calls of traces."""
    rows = analysis.summary(window.selected(question).lazy(), weighted=window.weighted).collect()
    return Answer(rows=rows, source=window.info, method=window.method)


def series(window: Analysed, question: Question, route: Route | None, points: int) -> Answer:
    """Return SERIES rows of one route, or of every route and (service null) of all first calls of traces."""
    table = window.selected(question).lazy()
    start, end = span_of(window, question)
    if route is not None:
        one = table.filter(is_route(route))
        rows = analysis.series(one, start, end, points, ("service", "route"), weighted=window.weighted).collect()
    else:
        each = analysis.series(table, start, end, points, ("service", "route"), weighted=window.weighted)
        roots = analysis.series(table.filter("is_root"), start, end, points, (), weighted=window.weighted)
        rows = pl.concat(pl.collect_all([roots, each]))
    return Answer(rows=rows, source=window.info, method=window.method)


def is_route(route: Route) -> pl.Expr:
    """Whether a call is of a route."""
    service, operation = route
    return (pl.col("service") == service) & (pl.col("route") == operation)


def span_of(window: Analysed, question: Question) -> tuple[int, int]:
    """Return the bounds of a question's window; an open end is the data's."""
    return bounds(question, window.info)


def bounds(question: Question, info: SourceInfo) -> tuple[int, int]:
    """Return the bounds of a question's window; an open end is that of the data that answered it."""
    start = question.start_nano if question.start_nano is not None else info.start_unix_nano or 0
    end = question.end_nano if question.end_nano is not None else (info.end_unix_nano or 0) + 1
    return start, max(end, start + 1)
