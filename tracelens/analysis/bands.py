"""Bands: percents of a route's calls by how long they took.

Owns which entries are in which. Of n entries sorted by duration (ties by
trace), band [a, b) holds positions floor((n−1)·a) up to, not including,
floor((n−1)·b); b = 100 includes the last. So the first entry of [99, 100] is
the p99, and bands that meet share no entry. A group is a stretch of entries
between two bounds, which no band divides.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from tracelens import histogram
from tracelens._link import I64
from tracelens.errors import UsageError
from tracelens.forest import Forest

Band = tuple[float, float]
EVERYTHING: tuple[Band, ...] = ((0.0, 100.0),)


def cuts_of(bands: Sequence[Band]) -> list[float]:
    """Return all bounds of `bands`, ascending. Raises UsageError for what is no band."""
    for low, high in bands:
        if not 0 <= low < high <= 100:
            raise UsageError(f"band {low:g}-{high:g}: a band is two percents, the smaller first, within 0-100.")
    return sorted({bound for band in bands for bound in band})


def position(n: int, percent: float) -> int:
    """Return the first position of n that lies at or above a bound; the end for 100."""
    return n if percent == 100 else histogram.rank(n, percent)


def groups_by_rank(forest: Forest, entries: I64, route: I64, cuts: Sequence[float]) -> I64:
    """Return the number of the last bound at or below each entry's rank within its route; -1 below all."""
    duration = forest.end[entries] - forest.start[entries]
    if len(entries) and route.min() == route.max() and (np.diff(entries) >= 0).all():
        return by_duration(duration, cuts)
    order = np.lexsort((entries, duration, route))
    group = np.empty(len(entries), np.int64)
    edges = [*np.flatnonzero(np.diff(route[order], prepend=-1)).tolist(), len(entries)]
    for begin, end in pairwise(edges):
        group[order[begin:end]] = by_rank(end - begin, cuts)
    return group


def by_duration(duration: I64, cuts: Sequence[float]) -> I64:
    """Return the group of each entry of one route, of equal ones the first is the shorter; nothing is sorted."""
    n = len(duration)
    positions = np.array([position(n, percent) for percent in cuts], np.int64)
    inside = np.unique(positions[positions < n])
    bounds = np.full(len(cuts), np.iinfo(np.int64).max)
    bounds[positions < n] = np.partition(duration, inside)[positions[positions < n]]
    group: I64 = np.searchsorted(bounds, duration, side="left") - 1
    for bound in np.unique(bounds[positions < n]):  # some as long as it stand before it
        tied = np.flatnonzero(duration == bound)
        rank = np.count_nonzero(duration < bound) + np.arange(len(tied))
        group[tied] = np.searchsorted(positions, rank, side="right") - 1
    return group


def by_rank(n: int, cuts: Sequence[float]) -> I64:
    """Return the group of each of n entries of one route, by duration ascending; -1 below all bounds."""
    positions = [position(n, percent) for percent in cuts]
    found: I64 = np.searchsorted(positions, np.arange(n), side="right") - 1
    return found


def groups_of_buckets(counts: pl.Series, cuts: Sequence[float]) -> pl.Series:
    """Return the group of each bucket of one route, ascending: the bounds whose rank lies in or below it."""
    n = int(counts.sum())
    first_beyond = counts.cum_sum().to_numpy()  # the position after the bucket's last
    held = [np.searchsorted(first_beyond, position(n, percent), side="right") for percent in cuts]
    return pl.Series(np.searchsorted(held, np.arange(len(counts)), side="right") - 1, dtype=pl.Int64)
