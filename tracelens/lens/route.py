"""One route looked at closely: heatmap, slow tail, what the slow calls share, which traces to open."""

from __future__ import annotations

import numpy as np
import polars as pl

from tracelens.analysis.contrast import comparable
from tracelens.analysis.contrast import contrast as contrasted
from tracelens.analysis.heatmap import grid
from tracelens.lens.analysed import Analysed
from tracelens.lens.question import Answer, Box, Heatmap, Question
from tracelens.lens.routes import Route, is_route, span_of
from tracelens.lens.sources import Source
from tracelens.spans import is_attribute

WHOLE = pl.col("censored").not_()


def whole_calls(window: Analysed, question: Question, route: Route) -> pl.DataFrame:
    """Return the calls of a route whose duration is known, in the order they started."""
    return window.selected(question).filter(is_route(route) & WHOLE).sort("start_unix_nano", "span")


def heatmap(window: Analysed, question: Question, route: Route, columns: int, rows: int) -> Heatmap:
    """Return the calls of a route by start and duration."""
    table = whole_calls(window, question, route)
    start, end = span_of(window, question)
    cells = grid(table["start_unix_nano"].to_numpy(), table["duration_nano"].to_numpy(), (start, end), columns, rows)
    return Heatmap(
        start_nano=start,
        end_nano=end,
        low_nano=cells.low_nano,
        high_nano=cells.high_nano,
        counts=cells.counts,
        calls=len(table),
        source=window.info,
    )


def slow_tail(window: Analysed, question: Question, route: Route, share: float) -> Box:
    """Return the box over the slowest `share` of a route's calls, over the whole window."""
    durations = np.sort(whole_calls(window, question, route)["duration_nano"].to_numpy())
    start, end = span_of(window, question)
    if len(durations) == 0:
        return Box(start_nano=start, end_nano=end, low_nano=0, high_nano=0)
    first = min(int(len(durations) * (1 - share)), len(durations) - 1)
    return Box(start_nano=start, end_nano=end, low_nano=int(durations[first]), high_nano=int(durations[-1]))


def in_box(box: Box) -> pl.Expr:
    """Whether a call lies in a box."""
    started = pl.col("start_unix_nano")
    inside = (started >= box.start_nano) & (started < box.end_nano)
    return inside & pl.col("duration_nano").is_between(box.low_nano, box.high_nano)


def exemplars(window: Analysed, question: Question, route: Route, box: Box, limit: int) -> Answer:
    """Return the slowest calls in a box: trace_id, start_unix_nano, duration_nano, error; one row a call."""
    rows = (
        whole_calls(window, question, route)
        .filter(in_box(box))
        .sort("duration_nano", "trace_id", descending=[True, False])
        .head(limit)
        .select("trace_id", "start_unix_nano", "duration_nano", "error")
    )
    return Answer(rows=rows, source=window.info)


def contrast(source: Source, window: Analysed, question: Question, route: Route, box: Box) -> Answer:
    """Return what the calls in a box share and the route's other calls do not.

    Attributes are those of all spans that work for a call, of whatever type, as
    text: the entry span's value, else the greatest of the others', so that an
    attempt's `retry.count` tells of the call.
    """
    table = whole_calls(window, question, route)
    chosen = table.select(in_box(box)).to_series()
    # Of the calls, not of the box: the next box is compared without reading anything.
    attributes = window.kept.get(
        ("attributes", question, route), lambda: comparable(_attributes(source, window, question, table))
    )
    return Answer(rows=contrasted(attributes, chosen), source=window.info)


def _attributes(source: Source, window: Analysed, question: Question, table: pl.DataFrame) -> pl.DataFrame:
    """Return one row a call of `table`, one String column an attribute; null columns left out."""
    full = source.whole(table["trace_id"].unique(), question.start_nano, question.end_nano)
    columns = [name for name in full.columns if is_attribute(name)]
    texts = full.lazy().select("trace_id", "span_id", *(pl.col(name).cast(pl.String) for name in columns))
    # A span sent twice is one: the first of each id stands.
    known = texts.unique(["trace_id", "span_id"], keep="first", maintain_order=True)
    of_entry = [pl.col(name).filter("is_entry").first() for name in columns]
    of_others = [pl.col(name).max() for name in columns]
    found = (
        _working_spans(window, table)
        .join(known, on=["trace_id", "span_id"], how="left", validate="m:1", maintain_order="left")
        .group_by("call", maintain_order=True)
        .agg(pl.coalesce(own, other) for own, other in zip(of_entry, of_others, strict=True))
        .sort("call")
        .drop("call")
        .collect()
    )
    of_call = table.select(
        "caller", error=pl.col("error").cast(pl.String), timed_out=pl.col("timed_out").cast(pl.String)
    )
    present = [name for name in found.columns if found[name].null_count() < len(found)]
    return pl.concat([of_call, found.select(present)], how="horizontal")


def _working_spans(window: Analysed, table: pl.DataFrame) -> pl.LazyFrame:
    """Return the spans that work for the calls of `table`: call (row of the table), is_entry, ids."""
    entry = table["span"].to_numpy()
    position = np.full(len(window.calls.call) + 1, -1, np.int64)  # of a call's row; the last is for spans of no call
    position[entry] = np.arange(len(entry))
    call = position[window.calls.call]
    rows = np.flatnonzero(call >= 0)
    ids = window.forest.spans.select("trace_id", "span_id")[rows]
    return ids.lazy().with_columns(call=pl.Series(call[rows]), is_entry=pl.Series(window.calls.call[rows] == rows))
