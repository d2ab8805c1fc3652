"""Search: the slowest traces that match, those that are still open among them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from tracelens.lens.analysed import Analysed
from tracelens.lens.question import Method, Question, SourceInfo
from tracelens.lens.traces import MAX_ROWS, listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Rows as `traces` has them with `open`: spans may still come; and of how many they are the slowest."""

    rows: pl.DataFrame
    traces: int  # that match
    source: SourceInfo
    method: Method


def search(window: Analysed, question: Question, shortest: int | None, longest: int | None) -> Found:
    """Return the slowest traces that have a matching call, MAX_ROWS at most.

    shortest, longest: nanoseconds that a whole trace takes at least and at most; None is an open end.
    """
    every = replace(window, settled=np.ones_like(window.settled))
    matched = np.unique(every.selected(question, echoes=True)["trace"].to_numpy())
    taken = pl.lit(value=True)
    if shortest is not None:
        taken &= pl.col("duration_nano") >= shortest
    if longest is not None:
        taken &= pl.col("duration_nano") <= longest
    rows = listed(window, matched).filter(taken).sort("duration_nano", "trace_id", descending=[True, False]).collect()
    return Found(rows=rows.head(MAX_ROWS), traces=len(rows), source=window.info, method=window.method)
