"""Search: the slowest traces that match, those that are still open among them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from tracelens.lens.analysed import Analysed
from tracelens.lens.long import Long
from tracelens.lens.question import Method, Question, SourceInfo
from tracelens.lens.traces import LISTED, MAX_ROWS, listed


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
    return _slowest(listed(window, matched).filter(_takes(shortest, longest)), window.info, window.method)


def search_long(rolled: Long, shortest: int | None, longest: int | None) -> Found:
    """Return the same of a long window without a filter: of all traces that begin in it."""
    start, end = rolled.bounds
    kept = rolled.settled_traces().select(*LISTED, open=pl.lit(value=False))
    every = pl.concat([kept, listed(rolled.tail)])
    inside = pl.col("start_unix_nano").is_between(start, end, closed="left")
    return _slowest(every.filter(inside & _takes(shortest, longest)), rolled.info, rolled.method)


def _takes(shortest: int | None, longest: int | None) -> pl.Expr:
    """Whether a trace takes so long."""
    taken = pl.lit(value=True)
    if shortest is not None:
        taken &= pl.col("duration_nano") >= shortest
    if longest is not None:
        taken &= pl.col("duration_nano") <= longest
    return taken


def _slowest(rows: pl.LazyFrame, source: SourceInfo, method: Method) -> Found:
    top = rows.sort("duration_nano", "trace_id", descending=[True, False]).head(MAX_ROWS)
    shown, number = pl.collect_all([top, rows.select(pl.len())])
    return Found(rows=shown, traces=int(number.item()), source=source, method=method)
