"""What would change if something were faster: percentiles beside the measured ones, and the best single fixes."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from tracelens.analysis import whatif as analysis
from tracelens.analysis.critical_path import sections as walked
from tracelens.analysis.fixes import fixes as single
from tracelens.analysis.whatif import Change
from tracelens.lens.analysed import Analysed
from tracelens.lens.paths import Walk, entries
from tracelens.lens.question import Answer, Question
from tracelens.lens.routes import Route, is_route

ROUTE = ("service", "route")


def what_if(
    window: Analysed, question: Question, route: Route | None, changes: Sequence[Change], *, seed: int, walk: Walk
) -> Answer:
    """Return WHAT_IF rows: one route's, or of every route and (service null) of all first calls of traces."""
    table = window.selected(question).filter(pl.col("censored").not_())
    if route is not None:
        table = table.filter(is_route(route))
    forest, begin = window.forest, table["span"].to_numpy()
    measured = (forest.end - forest.start)[begin]
    projected = analysis.project(
        forest, window.calls, begin, changes, seed=seed, tolerance=walk.tolerance, asynchronous=walk.asynchronous
    )
    times = table.select("service", "route", "is_root").with_columns(
        measured=pl.Series(measured, dtype=pl.Int64), projected=pl.Series(projected, dtype=pl.Int64)
    )
    found = analysis.compared(times.lazy())
    if route is None:
        together = times.filter("is_root").with_columns(pl.lit(None, pl.String).alias(name) for name in ROUTE)
        found = pl.concat([analysis.compared(together.lazy()), found])
    return Answer(rows=analysis.by_change(found.collect()), source=window.info, method=window.method)


def fixes(window: Analysed, question: Question, route: Route | None, scale: float, *, walk: Walk) -> Answer:
    """Return FIXES rows, those that win most of p99 first."""
    start = entries(window, question, route)
    found = walked(window.forest, start, tolerance=walk.tolerance, asynchronous=walk.asynchronous)
    rows = single(
        window.forest,
        found,
        window.calls,
        scale=scale,
        tolerance=walk.tolerance,
        asynchronous=walk.asynchronous,
    )
    return Answer(rows=rows, source=window.info, method=window.method)
