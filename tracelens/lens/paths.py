"""Where the latency of many traces goes: profile and sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens.analysis.critical_path import sections as walked
from tracelens.analysis.profile import profile as summed
from tracelens.analysis.shares import in_order, times
from tracelens.analysis.shares import shares as percentiles_of
from tracelens.errors import UsageError
from tracelens.lens.analysed import Analysed
from tracelens.lens.question import Answer, Question
from tracelens.lens.routes import Route, is_route

Band = tuple[float, float]
ALL: Band = (0.0, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """How critical paths are walked."""

    tolerance: Literal["auto"] | int = "auto"  # nanoseconds two siblings may overlap and still be in series
    asynchronous: bool = False  # a child that outlives its parent is not waited for

    def __post_init__(self) -> None:
        if self.tolerance != "auto" and self.tolerance < 0:
            raise UsageError(
                f"a tolerance of {self.tolerance} ns is negative. Give auto, 0 or a duration such as 50us."
            )


def entries(window: Analysed, question: Question, route: Route | None) -> npt.NDArray[np.int64]:
    """Return the rows where walks start: a route's calls, or without a route the first call of each trace.

    Calls whose client went away are left out: how long they would have taken is unknown.
    """
    table = window.selected(question).filter(pl.col("censored").not_())
    kept = table.filter("is_root") if route is None else table.filter(is_route(route))
    return kept["span"].to_numpy()


def profile(window: Analysed, question: Question, route: Route | None, bands: Sequence[Band], walk: Walk) -> Answer:
    """Return PROFILE rows: per band and call-path node the time on the critical path."""
    for low, high in bands:
        if not 0 <= low < high <= 100:
            raise UsageError(f"band {low:g}-{high:g}: a band is two percents, the smaller first, within 0-100.")
    start = entries(window, question, route)
    forest, labels = window.forest, window.calls
    rows = summed(
        forest,
        walked(forest, start, tolerance=walk.tolerance, asynchronous=walk.asynchronous),
        entries=start,
        route=None,
        service=labels.service,
        operation=labels.operation,
        layer=labels.layer,
        bands=bands,
    )
    return Answer(rows=rows, source=window.info)


def shares(window: Analysed, question: Question, route: Route | None, walk: Walk) -> Answer:
    """Return SHARES rows: percentiles of what each node takes, call by call."""
    start = entries(window, question, route)
    forest, labels = window.forest, window.calls
    found = walked(forest, start, tolerance=walk.tolerance, asynchronous=walk.asynchronous)
    named = summed(
        forest,
        found,
        entries=start,
        route=None,
        service=labels.service,
        operation=labels.operation,
        layer=labels.layer,
    )
    rows = percentiles_of(times(forest, found, labels).lazy(), named, len(start))
    return Answer(rows=in_order(rows.collect()), source=window.info)


def sections(window: Analysed, question: Question, route: Route | None, walk: Walk) -> Answer:
    """Return one row a section, each entry's in order, tiling it exactly."""
    start = entries(window, question, route)
    forest, labels = window.forest, window.calls
    found = walked(forest, start, tolerance=walk.tolerance, asynchronous=walk.asynchronous)
    ids = forest.spans.select("trace_id", "span_id")[found.span]
    rows = ids.with_columns(
        service=labels.service.gather(found.span),
        operation=labels.operation.gather(found.span),
        layer=labels.layer.gather(found.span),
        start_unix_nano=pl.Series(found.start),
        end_unix_nano=pl.Series(found.end),
    )
    return Answer(rows=rows, source=window.info)
