"""Where a call's time goes between its caller and its callee."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from tracelens.analysis import hops as analysis
from tracelens.lens.analysed import Analysed
from tracelens.lens.question import Answer, Question


def hops(window: Analysed, question: Question) -> Answer:
    """Return HOPS rows, those where most time is spent first."""
    return Answer(rows=analysis.hops(requests(window, question).lazy()).collect(), source=window.info)


def requests(window: Analysed, question: Question) -> pl.DataFrame:
    """Return REQUESTS of settled traces that a question is about: service and route are the callee's."""
    table = analysis.requests(window.forest, window.calls)
    return replace(window, calls=replace(window.calls, table=table)).selected(question)
