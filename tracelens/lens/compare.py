"""What differs between two sides, and where: two sources, or two questions to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl

from tracelens.analysis import compare as analysis
from tracelens.analysis.compare import NEW, VANISHED
from tracelens.analysis.critical_path import sections
from tracelens.analysis.profile import accumulate
from tracelens.analysis.routes import KEY
from tracelens.lens.analysed import Analysed
from tracelens.lens.paths import Walk
from tracelens.lens.question import Method, Question, SourceInfo
from tracelens.lens.routes import Route, bounds, is_route

__all__ = ["KEY", "NEW", "VANISHED", "Comparison", "compare", "rose"]

SECOND_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """COMPARE rows, what the sides were computed from, and how."""

    rows: pl.DataFrame
    a: SourceInfo
    b: SourceInfo
    method: Method
    weighted: bool  # traces of a side stand for different numbers of requests, which durations do not regard
    tests: str = analysis.METHOD


class Looked(Protocol):
    """One side: a question's calls, wherever its spans are."""

    info: SourceInfo
    method: Method
    weighted: bool
    seconds: float  # of the window

    def calls(self) -> pl.LazyFrame: ...
    def profile(self, means: pl.DataFrame, walk: Walk) -> pl.DataFrame: ...


class InMemory:
    """A side whose spans are in memory."""

    def __init__(self, window: Analysed, question: Question) -> None:
        self.info, self.method, self.weighted = window.info, window.method, window.weighted
        self.seconds = seconds(question, window.info)
        self._window, self._calls = window, window.selected(question)

    def calls(self) -> pl.LazyFrame:
        """Return CALLS that the side is about."""
        return self._calls.lazy()

    def profile(self, means: pl.DataFrame, walk: Walk) -> pl.DataFrame:
        """Return PROFILE_BUCKETS of the routes of `means`, by number, all calls in one bucket."""
        return profile_of(self._window, self._calls, means, walk, None)


def compare(a: Looked, b: Looked, route: Route | None, walk: Walk) -> Comparison:
    """Return COMPARE rows, the most significant changes first: of all routes, with the nodes of those that changed.

    route: only this one, with its nodes whether it changed or not; its verdict is that among all.
    """
    rows = analysis.routes(
        analysis.Side(calls=a.calls(), seconds=a.seconds), analysis.Side(calls=b.calls(), seconds=b.seconds)
    )
    if route is None:
        looked_at = pl.col("significant").any().over(KEY)
    else:
        looked_at = pl.lit(value=True)
        rows = rows.filter(is_route(route))
    means = rows.filter(looked_at).filter(measure="mean")
    nodes = analysis.nodes(a.profile(means, walk), b.profile(means, walk), means)
    return Comparison(
        rows=analysis.ranked(rows, nodes),
        a=a.info,
        b=b.info,
        method=Method(sampled=a.method.sampled or b.method.sampled),
        weighted=a.weighted or b.weighted,
    )


def rose(row: dict[str, Any]) -> float:
    """Return by how much the measure of a COMPARE row rose, in its own unit; 0 when it has but one side."""
    found = row["difference"] if row["difference_nano"] is None else row["difference_nano"]
    return float(found or 0)


def seconds(question: Question, info: SourceInfo) -> float:
    """Return how long a question's window is; an open end is the data's."""
    start, end = bounds(question, info)
    return (end - start) / SECOND_NANO


def profile_of(
    window: Analysed, table: pl.DataFrame, means: pl.DataFrame, walk: Walk, clocks: pl.DataFrame | None
) -> pl.DataFrame:
    """Return PROFILE_BUCKETS of the routes of `means`, by number, all calls in one bucket. table: CALLS of a window."""
    numbered = analysis.numbered(table, means)
    entries = np.array(numbered["span"].to_numpy(), np.int64)
    labels = window.calls
    return accumulate(
        window.forest,
        sections(window.forest, entries, tolerance=walk.tolerance, asynchronous=walk.asynchronous, clocks=clocks),
        entries=entries,
        route=numbered["number"],
        service=labels.service,
        operation=labels.operation,
        layer=labels.layer,
        group=np.zeros(len(entries), np.int64),
    )
