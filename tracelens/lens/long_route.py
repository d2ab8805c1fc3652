"""One route over a long window: heatmap, slow tail and exemplars, from rollups."""

from __future__ import annotations

import polars as pl

from tracelens import histogram
from tracelens.analysis.heatmap import grid
from tracelens.analysis.rollups import HOUR_NANO, MINUTE_NANO, WHOLE
from tracelens.lens.long import Long
from tracelens.lens.question import Answer, Box, Heatmap
from tracelens.lens.routes import Route, is_route


def _whole_calls(cells: pl.LazyFrame, route: Route) -> pl.DataFrame:
    """Return the cells of a route's calls whose duration is known, with the duration they stand for."""
    length = histogram.estimate(pl.col("bucket")).round().cast(pl.Int64)
    return (
        cells.filter(is_route(route) & WHOLE)
        .with_columns(duration_nano=pl.min_horizontal(length, "max_nano"))
        .collect()
    )


def heatmap(window: Long, route: Route, columns: int, rows: int) -> Heatmap:
    """Return the calls of a route by start and duration: both are those of their cells."""
    start, end = window.bounds
    wide = HOUR_NANO if (end - start) // columns >= 2 * HOUR_NANO else MINUTE_NANO
    cells = _whole_calls(window.cells(wide), route)
    found = grid(
        cells["start_unix_nano"].to_numpy(),
        cells["duration_nano"].to_numpy(),
        (start, end),
        columns,
        rows,
        weights=cells["n"].to_numpy(),
    )
    return Heatmap(
        start_nano=start,
        end_nano=end,
        low_nano=found.low_nano,
        high_nano=found.high_nano,
        counts=found.counts,
        calls=int(cells["n"].sum()),
        source=window.info,
    )


def slow_tail(window: Long, route: Route, share: float) -> Box:
    """Return the box over about the slowest `share` of a route's calls: no bucket is divided."""
    start, end = window.bounds
    cells = _whole_calls(window.added_up, route).sort("bucket")
    calls = int(cells["n"].sum())
    if calls == 0:
        return Box(start_nano=start, end_nano=end, low_nano=0, high_nano=0)
    first = min(int(calls * (1 - share)), calls - 1)
    at = int((cells["n"].cum_sum() <= first).sum())
    return Box(
        start_nano=start,
        end_nano=end,
        low_nano=int(cells["duration_nano"][at]),
        high_nano=int(cells["max_nano"].max()),  # type: ignore[arg-type]  # Int64
    )


def exemplars(window: Long, route: Route, box: Box, limit: int) -> Answer:
    """Return the slowest calls in a box, the slowest of each cell: start_unix_nano is that of its minute."""
    started = pl.col("start_unix_nano")
    # A box begins where a heatmap's row does, which may be within a bucket.
    inside = pl.col("max_nano").is_between(box.low_nano, box.high_nano)
    rows = (
        _whole_calls(window.cells(MINUTE_NANO), route)
        .filter(started >= box.start_nano // MINUTE_NANO * MINUTE_NANO, started < box.end_nano)
        .filter(inside)
        .sort("max_nano", "trace_id", descending=[True, False])
        .head(limit)
        .select("trace_id", "start_unix_nano", "error", duration_nano="max_nano")
    )
    return Answer(
        rows=rows.select("trace_id", "start_unix_nano", "duration_nano", "error"),
        source=window.info,
        method=window.method,
    )
