"""Stretches: cells of routes added up by stretches of time, and how calls fared in each.

Owns the way from a day's cells of minutes, or a month's of hours, of which there
are a million, to few. They are looked at some at a time. A cell is where it
begins; a percentile is that of the bucket at its rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens import histogram
from tracelens.analysis._stretches import SHARES, UNKNOWN, add_up, by_group, percentiles
from tracelens.analysis.rollups import ROUTE_CELLS, ROUTE_PARTS
from tracelens.analysis.routes import SERIES
from tracelens.threads import each

Array = npt.NDArray[Any]
Part = Callable[[], pl.LazyFrame]  # ROUTE_CELLS, asked for when they are looked at
KIND = pl.Schema({name: ROUTE_CELLS[name] for name in ROUTE_PARTS if name != "bucket"})
ROUTE = ("service", "route")
TOLD_APART = (*ROUTE, "is_root", "error")  # what a course needs of it
COUNTED = ("start_unix_nano", "bucket", "n", "weight")
SUMS = ("sum_nano", "weighted_nano")


@dataclass(frozen=True, slots=True)
class Stretches:
    """Cells added up by stretches of time; those of a kind may be several rows."""

    starts: Array  # of the stretches, nanoseconds
    kinds: pl.DataFrame  # KIND, or TOLD_APART alone; some are equal
    kind: Array  # of each row, which of them it is
    stretch: Array
    bucket: Array  # UNKNOWN of censored calls
    n: Array
    weight: Array
    sums: Sequence[Array]  # SUMS, when they were asked for
    longest: Array  # nanoseconds
    trace_id: pl.Series  # of the longest; of several the smallest; when it was asked for

    def cells(self) -> pl.DataFrame:
        """Return ROUTE_CELLS, each at the start of its stretch. Sums must have been asked for."""
        known = pl.col("bucket") != UNKNOWN
        told = pl.DataFrame(
            {
                "start_unix_nano": self.starts[self.stretch],
                **{name: self.kinds[name].gather(self.kind) for name in KIND},
                "bucket": self.bucket,
                "n": self.n,
                "weight": self.weight,
                **dict(zip(SUMS, self.sums, strict=True)),
                "max_nano": self.longest,
                "trace_id": self.trace_id,
            }
        )
        unknown = [pl.when(known).then(name).alias(name) for name in ("bucket", "max_nano")]
        return told.with_columns(unknown).select(ROUTE_CELLS.names()).cast(ROUTE_CELLS)


def stretches(cells: Iterable[Part], start_nano: int, end_nano: int, points: int, *, whole: bool = False) -> Stretches:
    """Return cells added up by `points` equal stretches of [start, end).

    cells: one part at least, looked at in their order, some side by side; cells of a kind may be in several.
    whole: with sums and trace ids, and by all of KIND.
    """
    width = max((end_nano - start_nano) // points, 1)
    parts = each(_added_up, [(part, start_nano, width, points, whole) for part in cells])
    first = np.cumsum([0, *(len(kinds) for kinds, _, _ in parts)])
    which, stretch, bucket, n, weight, *sums, longest = (
        np.concatenate(column) for column in zip(*(columns for _, columns, _ in parts), strict=True)
    )
    return Stretches(
        starts=start_nano + width * np.arange(points),
        kinds=pl.concat([kinds for kinds, _, _ in parts]),
        kind=which + np.repeat(first[:-1], [len(columns[0]) for _, columns, _ in parts]),
        stretch=stretch,
        bucket=bucket,
        n=n,
        weight=weight,
        sums=sums,
        longest=longest,
        trace_id=pl.concat([ids for _, _, ids in parts]),
    )


def _added_up(
    part: Part, start_nano: int, width_nano: int, points: int, whole: bool
) -> tuple[pl.DataFrame, Sequence[Array], pl.Series]:
    """Return rows of kinds; of what they are added up to which of them, stretch, and so on; and trace ids."""
    kind = KIND.names() if whole else TOLD_APART
    read = (
        part()
        .select(
            *kind,
            *COUNTED[:1],
            pl.col("bucket").fill_null(UNKNOWN),
            *COUNTED[2:],
            *((*SUMS, "trace_id") if whole else ()),
            pl.col("max_nano").fill_null(0),
            # Cells of one kind stand beside each other: names are looked at once for all of them.
            run=pl.struct(*kind).rle_id(),
        )
        .collect()
    )
    run = read["run"].to_numpy()
    begins = np.flatnonzero(np.append(True, run[1:] != run[:-1])[: len(run)])
    named = read.select(pl.col(kind).gather(begins))
    kinds = named.unique(maintain_order=True)
    group = _numbers(named, kinds)[run]
    start, bucket, n, weight = (_column(read[name]) for name in COUNTED)
    total, weighted = (_column(read[name] if whole else pl.Series(dtype=ROUTE_CELLS[name])) for name in SUMS)
    longest = _column(read["max_nano"])
    order = by_group(group, bucket, len(kinds))
    found = add_up(*order, start, bucket, n, weight, total, weighted, longest, start_nano, width_nano, points)
    row, place, alike = found[-3:]
    ids = pl.Series("trace_id", [], pl.Binary)
    if whole:
        ids = read["trace_id"].gather(row)
        if len(place):
            every = pl.DataFrame(
                {
                    "place": np.concatenate([np.arange(len(row)), place]),
                    "trace_id": pl.concat([ids, read["trace_id"].gather(alike)]),
                }
            )
            ids = every.group_by("place").agg(pl.col("trace_id").min()).sort("place")["trace_id"]
    return kinds, found[:-3], ids


def _numbers(rows: pl.DataFrame, of: pl.DataFrame) -> Array:
    """Return which row of `of` each has the names of."""
    numbered = of.with_row_index("number")
    found = rows.join(numbered, on=of.columns, how="left", validate="m:1", nulls_equal=True, maintain_order="left")
    return found["number"].to_numpy().astype(np.int32)


def _column(series: pl.Series) -> Array:
    """Return values that cannot be written: kernels are compiled for one kind, and polars gives others by chance."""
    found = np.ascontiguousarray(series.to_numpy())
    found.flags.writeable = False
    return found


def series(of: Stretches, *, weighted: bool = False) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return SERIES of all first calls of traces, and of each route.

    weighted: calls stand for different numbers of requests.
    """
    routes = of.kinds.select(ROUTE).unique(maintain_order=True)
    first_calls = np.where(of.kinds["is_root"].to_numpy(), 0, -1).astype(np.int32)
    roots = _rows(routes.clear(1), first_calls[of.kind], of, weighted=weighted)
    return roots, _rows(routes, _numbers(of.kinds.select(ROUTE), routes)[of.kind], of, weighted=weighted)


def _rows(routes: pl.DataFrame, group: Array, of: Stretches, *, weighted: bool) -> pl.DataFrame:
    """Return SERIES of routes. group: which of them each row is of, -1 for none."""
    points = len(of.starts)
    wrong = of.weight * of.kinds["error"].to_numpy()[of.kind]
    order = by_group(group, of.bucket, len(routes))
    n, calls, errors, places, longest = percentiles(
        *order, of.stretch, of.bucket, of.n, of.weight, wrong, of.longest, points, weighted
    )
    told = pl.DataFrame(
        {
            **{name: routes[name].gather(np.repeat(np.arange(len(routes)), points)) for name in ROUTE},
            "bucket_start_unix_nano": np.tile(of.starts, len(routes)),
            "n": n,
            "calls": calls,
            "errors": errors,
            **{f"bucket_{share}": places[:, k] for k, share in enumerate(SHARES)},
            **{f"p{share}_nano": longest[:, k] for k, share in enumerate(SHARES)},
        }
    )
    measured = {f"p{share}_nano": _estimate(f"bucket_{share}", f"p{share}_nano") for share in SHARES}
    return (
        told.lazy()
        .filter(pl.col("n") > 0)
        .with_columns(pl.col("calls", "errors").round(), **measured)
        .select(SERIES.names())
        .cast(SERIES)
        .sort(*ROUTE, "bucket_start_unix_nano")
        .collect()
    )


def _estimate(bucket: str, longest: str) -> pl.Expr:
    """Return what a bucket stands for: no more than the longest call in it; null for UNKNOWN."""
    found = pl.min_horizontal(histogram.estimate(pl.col(bucket)).round().cast(pl.Int64), longest)
    return pl.when(pl.col(bucket) != UNKNOWN).then(found)


def warm() -> None:
    """Compile the kernels, or load them from the cache."""
    series(stretches([ROUTE_CELLS.to_frame().lazy], 0, 1, 1))
