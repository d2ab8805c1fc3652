"""Calls that memory does not hold, by how long they took.

Owns their order: by duration, then trace, then place. Memory holds durations
alone, eight bytes a call; who a call is, is read again where it matters: at a
bound that falls among calls of one length, and of calls that are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens import histogram
from tracelens.analysis.bands import position

Rows = npt.NDArray[np.int64]

ORDER = ("duration_nano", "trace_id", "place")
RANKED = pl.Schema({"trace_id": pl.Binary, "place": pl.Int64, "duration_nano": pl.Int64})


class Ranked:
    """Calls in files, RANKED, one file a unit."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self._durations)

    @cached_property
    def _durations(self) -> Rows:
        """Of all calls, ascending."""
        parts = [pl.read_parquet(file, columns=["duration_nano"]).to_series().to_numpy() for file in self.files]
        found = np.concatenate(parts, dtype=np.int64)
        found.sort()
        return found

    def at(self, ranks: Rows) -> pl.DataFrame:
        """Return the calls of some ranks, in their order: RANKED, with `unit` and `rank`."""
        lengths = np.unique(self._durations[ranks])
        wanted = pl.col("duration_nano").is_in(pl.Series(lengths, dtype=pl.Int64).implode())
        parts = [
            pl.scan_parquet(file).filter(wanted).with_columns(unit=pl.lit(unit, pl.Int64))
            for unit, file in enumerate(self.files)
        ]
        alike = pl.concat(parts).collect(engine="streaming").sort(ORDER)
        duration = np.array(alike["duration_nano"].to_numpy(), np.int64)
        begins = np.searchsorted(duration, lengths)  # of each length, among those alike
        before = np.searchsorted(self._durations, lengths)  # and among all
        which = np.searchsorted(lengths, duration)
        rank = np.arange(len(alike)) - begins[which] + before[which]
        return alike.with_columns(rank=pl.Series(rank, dtype=pl.Int64)).filter(
            pl.col("rank").is_in(pl.Series(ranks, dtype=pl.Int64).implode())
        )

    def groups(self, cuts: Sequence[float]) -> Groups:
        """Return the groups that percents divide all calls into."""
        firsts = [position(len(self), percent) for percent in cuts]
        inside = np.unique([first for first in firsts if first < len(self)]).astype(np.int64)
        named = {row["rank"]: row for row in self.at(inside).iter_rows(named=True)} if len(inside) else {}
        bounds = [named[first] for first in firsts if first in named]
        before = [self._durations[max(first - 1, 0)] for first in firsts if first in named]
        edges = _buckets([bound["duration_nano"] for bound in bounds])
        lower = _buckets(before)
        return Groups(
            bounds=tuple(tuple(bound[name] for name in ORDER) for bound in bounds),
            edges=tuple(edges),
            divided=tuple(
                {edge for edge, low, one in zip(edges, lower, bounds, strict=True) if one["rank"] and edge == low}
            ),
        )


class Groups:
    """Stretches of calls between bounds.

    A call is in the group of the last bound at or below it; -1 is below all.
    """

    def __init__(
        self, bounds: tuple[tuple[object, ...], ...], edges: tuple[int, ...], divided: tuple[int, ...]
    ) -> None:
        self.bounds = bounds  # the first call of each group, by ORDER
        self.edges = edges  # its bucket of latency
        self.divided = divided  # buckets in which a group begins, but not with their first call

    def of_call(self) -> pl.Expr:
        """Return the group (Int64) of a call, from RANKED."""
        return _count([_at_or_above(bound) for bound in self.bounds])

    def of_bucket(self) -> pl.Expr:
        """Return the group (Int64) of a bucket that is not divided."""
        return _count([pl.col("bucket") >= edge for edge in self.edges])


def _at_or_above(bound: tuple[object, ...]) -> pl.Expr:
    duration, trace, place = (pl.col(name) for name in ORDER)
    length, first, begin = (pl.lit(value) for value in bound)
    later = (trace > first) | ((trace == first) & (place >= begin))
    return (duration > length) | ((duration == length) & later)


def _count(held: Sequence[pl.Expr]) -> pl.Expr:
    return pl.sum_horizontal(pl.lit(-1, pl.Int64), *(one.cast(pl.Int64) for one in held))


def _buckets(durations: Sequence[int]) -> list[int]:
    found = pl.select(histogram.bucket(pl.lit(pl.Series(durations, dtype=pl.Int64)))).to_series()
    return [int(bucket) for bucket in found]
