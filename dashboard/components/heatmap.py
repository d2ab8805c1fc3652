"""The latency heatmap: counts in cells, percentile lines, one box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import Any

from dashboard import terms
from dashboard.components import mount
from dashboard.courses import Course
from tracelens.lens import Box, Heatmap

MILLISECOND = 1_000_000


def heatmap(
    grid: Heatmap,
    course: Course,
    box: Box | None,
    *,
    key: str,
    title: str,
    label: str,
    chosen: bool,
    on_box: Callable[[Box | None], None],
    marks: Sequence[tuple[int, str]] = (),
) -> None:
    """Draw a route's calls.

    chosen: the box was drawn by a person, it is not the one shown from the start. on_box: what a drawn box does, and
    None when it is taken away. marks: moments, with what happened.
    """
    rows, columns = grid.counts.shape
    data: dict[str, Any] = {
        "title": title,
        "terms": terms.some("p50", "p90", "p99", "calls"),
        "label": label,
        "columns": columns,
        "rows": rows,
        "counts": grid.counts.ravel().tolist(),
        "calls": grid.calls,
        "start_ms": grid.start_nano / MILLISECOND,
        "end_ms": grid.end_nano / MILLISECOND,
        "low_nano": grid.low_nano,
        "high_nano": grid.high_nano,
        "box": None if box is None else to_cells(grid, box),
        "chosen": chosen,
        "marks": [{"at_ms": at / MILLISECOND, "text": text} for at, text in marks],
        "lines": {
            "start_ms": [start / MILLISECOND for start in course.starts],
            "width_ms": course.width_nano / MILLISECOND,
            "calls": course.calls,
            "p50": course.p50,
            "p90": course.p90,
            "p99": course.p99,
        },
    }

    def heard(_event: str, said: dict[str, Any]) -> None:
        cells = said["cells"]
        on_box(None if cells is None else to_box(grid, cells))

    mount("heatmap", data, key=key, events=("box",), heard=heard)


def to_cells(grid: Heatmap, box: Box) -> list[float]:
    """Return a box in cells of the grid, [first column, end column, first row, end row], within the grid."""
    rows, columns = grid.counts.shape
    width = max(grid.end_nano - grid.start_nano, 1)
    height = log(grid.high_nano / grid.low_nano)

    def column(nano: int) -> float:
        place: float = (nano - grid.start_nano) / width * columns
        return min(max(place, 0.0), float(columns))

    def row(nano: int) -> float:
        place: float = log(max(nano, 1) / grid.low_nano) / height * rows
        return min(max(place, 0.0), float(rows))

    return [column(box.start_nano), column(box.end_nano), row(box.low_nano), row(box.high_nano)]


def to_box(grid: Heatmap, cells: list[float]) -> Box:
    """Return the box that cells stand for."""
    rows, columns = grid.counts.shape
    first, last, low, high = cells
    width = grid.end_nano - grid.start_nano
    growth = grid.high_nano / grid.low_nano
    return Box(
        start_nano=grid.start_nano + round(width * first / columns),
        end_nano=grid.start_nano + round(width * last / columns),
        low_nano=round(grid.low_nano * growth ** (low / rows)),
        high_nano=round(grid.low_nano * growth ** (high / rows)),
    )
