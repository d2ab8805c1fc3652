"""Where a call's time goes between its caller and its callee."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from tracelens.analysis import hops as analysis
from tracelens.analysis.coverage import coverage
from tracelens.analysis.layers import layers as summed
from tracelens.lens.analysed import Analysed
from tracelens.lens.question import Answer, Question


def hops(window: Analysed, question: Question) -> Answer:
    """Return HOPS rows, those where most time is spent first."""
    table = requests(window, question)
    return answer(window, table, analysis.hops(table.lazy(), weighted=window.weighted))


def layers(window: Analysed, question: Question, callee: str, caller: str | None, route: str | None) -> Answer:
    """Return LAYERS of the calls to a workload; caller, route: only of this one, None for any."""
    table = requests(window, question).filter(pl.col("service") == callee)
    if caller is not None:
        table = table.filter(pl.col("caller") == caller)
    if route is not None:
        table = table.filter(pl.col("route") == route)
    return answer(window, table, summed(table.lazy(), weighted=window.weighted))


def coverage_of(window: Analysed, question: Question) -> float | None:
    """Return the share of calls that have their callee's span, of those that should; None when none should."""
    found: float | None = requests(window, question).select(coverage()["coverage"]).item()
    return found


def requests(window: Analysed, question: Question) -> pl.DataFrame:
    """Return REQUESTS of settled traces that a question is about: service and route are the callee's."""
    return window.about(question, window.requests)


def answer(window: Analysed, table: pl.DataFrame, rows: pl.LazyFrame) -> Answer:
    """Return rows that were made of `table`, REQUESTS, with their coverage."""
    covered = table.select(coverage()["coverage"]).item()
    return Answer(rows=rows.collect(), source=replace(window.info, coverage=covered), method=window.method)
