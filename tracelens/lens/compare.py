"""What differs between two sides, and where: two sources, or two questions to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
from tracelens.lens.routes import Route, is_route, span_of

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


def compare(
    a: Analysed, b: Analysed, question: Question, against: Question, route: Route | None, walk: Walk
) -> Comparison:
    """Return COMPARE rows, the most significant changes first: of all routes, with the nodes of those that changed.

    route: only this one, with its nodes whether it changed or not; its verdict is that among all.
    """
    of_a, of_b = a.selected(question), b.selected(against)
    rows = analysis.routes(
        analysis.Side(calls=of_a, seconds=_seconds(a, question)),
        analysis.Side(calls=of_b, seconds=_seconds(b, against)),
    )
    if route is None:
        looked_at = pl.col("significant").any().over(KEY)
    else:
        looked_at = pl.lit(value=True)
        rows = rows.filter(is_route(route))
    means = rows.filter(looked_at).filter(measure="mean")
    nodes = analysis.nodes(_profile(a, of_a, means, walk), _profile(b, of_b, means, walk), means)
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


def _seconds(window: Analysed, question: Question) -> float:
    start, end = span_of(window, question)
    return (end - start) / SECOND_NANO


def _profile(window: Analysed, table: pl.DataFrame, means: pl.DataFrame, walk: Walk) -> pl.DataFrame:
    """Return PROFILE_BUCKETS of the routes of `means`, by number, all calls in one bucket."""
    numbered = analysis.numbered(table, means)
    entries = np.array(numbered["span"].to_numpy(), np.int64)
    labels = window.calls
    return accumulate(
        window.forest,
        sections(window.forest, entries, tolerance=walk.tolerance, asynchronous=walk.asynchronous),
        entries=entries,
        route=numbered["number"],
        service=labels.service,
        operation=labels.operation,
        layer=labels.layer,
        group=np.zeros(len(entries), np.int64),
    )
