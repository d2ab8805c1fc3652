"""Calls by start and duration, as counts on a logarithmic grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Nanos = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Grid:
    """Counts, and the durations the lowest and the highest row stand for."""

    low_nano: int
    high_nano: int
    counts: npt.NDArray[np.int64]  # [rows, columns], lowest durations first


def grid(
    start: Nanos, duration: Nanos, bounds: tuple[int, int], columns: int, rows: int, *, weights: Nanos | None = None
) -> Grid:
    """Return how many calls fall in each cell.

    start, duration: of whole calls, nanoseconds. bounds: half-open window of
    the columns. The rows span the durations there are, a little wider, so that
    no call stands on the edge; a duration of 0 counts as 1 ns. weights: how
    many calls each stands for.
    """
    if len(duration) == 0:
        return Grid(1_000, 1_000_000_000, np.zeros((rows, columns), np.int64))
    positive = np.maximum(duration, 1)
    low, high = int(positive.min() * 0.9), int(positive.max() * 1.1) + 1
    low = max(min(low, high // 10), 1)  # a decade at least: a flat route is a line, not noise
    level = np.log(positive / low) / np.log(high / low)
    y = np.clip((level * rows).astype(np.int64), 0, rows - 1)
    first, last = bounds
    x = np.clip(((start - first) / max(last - first, 1) * columns).astype(np.int64), 0, columns - 1)
    counts = np.bincount(y * columns + x, weights, minlength=rows * columns).reshape(rows, columns)
    return Grid(low, high, counts.astype(np.int64))
