"""Since when a route is slower, or faster, than it was."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from tracelens.analysis.onset import onset
from tracelens.lens.question import Answer, Question
from tracelens.lens.routes import bounds

MEASURE = "p99_nano"


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """When a route's p99 changed: medians of the stretches of time before and after."""

    at_nano: int  # the first stretch after it begins here
    width_nano: int  # of a stretch
    before_nano: float
    after_nano: float
    p_value: float


def since(series: Answer, question: Question, points: int) -> Since | None:
    """Return when the p99 of a route changed; None when it has not beyond chance. series: SERIES of one route."""
    start, end = bounds(question, series.source)
    width = max((end - start) // points, 1)
    last = series.source.end_unix_nano or 0
    known = dict(series.rows.select("bucket_start_unix_nano", pl.col(MEASURE)).iter_rows())
    starts = [start + at * width for at in range(points)]
    # The stretch that the data ends in has but some of its calls.
    found = onset([known.get(begin) if begin + width <= last + 1 else None for begin in starts])
    if found is None:
        return None
    return Since(
        at_nano=starts[found.at],
        width_nano=width,
        before_nano=found.before,
        after_nano=found.after,
        p_value=found.p_value,
    )
