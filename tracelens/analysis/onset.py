"""Onset: since when a series of numbers is higher, or lower, than it was.

Owns finding the one moment that parts a series best, and whether there is one
at all. By ranks, after Pettitt (A non-parametric approach to the change-point
problem, 1979): a single outlier moves nothing, and no distribution is assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from statistics import median

import numpy as np

LEAST = 12  # numbers: of fewer any order is chance
SHORTEST = 3  # numbers before and after: fewer are an outlier
SURE = 0.01  # p-value below which a change is told


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Where a series changed."""

    at: int  # the first number after it
    before: float  # median
    after: float
    p_value: float


def onset(values: Sequence[float | None]) -> Change | None:
    """Return the change of a series; None when it has none beyond chance. None among values: unknown."""
    known = [at for at, value in enumerate(values) if value is not None]
    found = np.array([values[at] for at in known], np.float64)
    n = len(found)
    if n < LEAST:
        return None
    order = np.argsort(found, kind="stable")
    ranks = np.empty(n)
    ranks[order] = np.arange(1, n + 1)
    _, group, size = np.unique(found, return_inverse=True, return_counts=True)
    ranks = (np.bincount(group, ranks) / size)[group]  # equal numbers have equal ranks
    steps = np.arange(1, n)
    parted = np.abs(2 * np.cumsum(ranks)[:-1] - steps * (n + 1))
    p_value = min(1.0, 2 * exp(-6 * float(parted.max()) ** 2 / (n**3 + n**2)))
    if p_value >= SURE:
        return None
    # The test's own place leans to the middle: that of least squares, of ranks too, does not.
    inside = slice(SHORTEST - 1, n - SHORTEST)
    place = int(np.argmax((parted**2 / (steps * (n - steps)))[inside])) + SHORTEST - 1
    first, second = found[: place + 1].tolist(), found[place + 1 :].tolist()
    return Change(at=known[place + 1], before=median(first), after=median(second), p_value=p_value)
