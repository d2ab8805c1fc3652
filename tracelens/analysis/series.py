"""Series of rollups: calls, errors and percentiles over time, of each route and of all first calls.

Owns the way from a day's cells, of which there are a million, to rows. They are
looked at some at a time, and are few once they are added up. A cell is where it
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
from tracelens.analysis._series import SHARES, UNKNOWN, add_up, by_group, percentiles
from tracelens.analysis.routes import SERIES
from tracelens.threads import each

Array = npt.NDArray[Any]
KIND = pl.Schema({"service": pl.String, "route": pl.String, "is_root": pl.Boolean})
PARTS = ("service", "route")
_COUNTED = ("start_unix_nano", "bucket", "n", "weight", "error", "max_nano")


@dataclass(frozen=True, slots=True)
class Stretches:
    """Cells added up by stretches of time."""

    starts: Array  # of the stretches, nanoseconds
    kinds: pl.DataFrame  # KIND, of which some are equal
    kind: Array  # which of them each of the others is of
    columns: Sequence[Array]  # stretch, bucket, n, weight, that of errors, the longest call


def stretches(cells: Iterable[Callable[[], pl.LazyFrame]], start_nano: int, end_nano: int, points: int) -> Stretches:
    """Return cells added up by `points` equal stretches of [start, end).

    cells: parts of ROUTE_CELLS, asked for in their order and looked at side by side; cells of a kind may be in several.
    """
    width = max((end_nano - start_nano) // points, 1)
    parts = each(_added_up, [(some, start_nano, width, points) for some in cells])
    first = np.cumsum([0, *(len(kinds) for kinds, _ in parts)])
    which, *columns = (np.concatenate(column) for column in zip(*(columns for _, columns in parts), strict=True))
    return Stretches(
        starts=start_nano + width * np.arange(points),
        kinds=pl.concat([kinds for kinds, _ in parts]),
        kind=which + np.repeat(first[:-1], [len(columns[0]) for _, columns in parts]),
        columns=columns,
    )


def series(of: Stretches, *, weighted: bool = False) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return SERIES of all first calls of traces, and of each route.

    weighted: calls stand for different numbers of requests.
    """
    routes = of.kinds.select(PARTS).unique(maintain_order=True)
    first_calls = np.where(of.kinds["is_root"].to_numpy(), 0, -1).astype(np.int32)
    roots = _rows(routes.clear(1), first_calls[of.kind], of, weighted=weighted)
    return roots, _rows(routes, _numbers(of.kinds, routes)[of.kind], of, weighted=weighted)


def _added_up(
    cells: Callable[[], pl.LazyFrame], start_nano: int, width_nano: int, points: int
) -> tuple[pl.DataFrame, Sequence[Array]]:
    """Return KIND rows, and arrays: which of them, stretch, bucket, n, weight, that of errors, the longest call."""
    names = pl.col(KIND.names())
    read = (
        cells()
        .select(
            *KIND,
            "n",
            "weight",
            "error",
            "start_unix_nano",
            pl.col("bucket").fill_null(UNKNOWN),
            pl.col("max_nano").fill_null(0),
            # Cells of one route stand beside each other: names are looked at once for all of them.
            begins=pl.any_horizontal(names.ne_missing(names.shift())),
        )
        .collect()
    )
    begins = read["begins"].to_numpy().copy()
    begins[:1] = True
    named = read.select(names.gather(np.flatnonzero(begins)))
    kinds = named.unique(maintain_order=True)
    group = _numbers(named, kinds)[np.cumsum(begins) - 1]
    start, bucket, n, weight, error, longest = (_column(read[name]) for name in _COUNTED)
    order = by_group(group, bucket, len(kinds))
    return kinds, add_up(*order, start, bucket, n, weight, error, longest, start_nano, width_nano, points)


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


def _rows(routes: pl.DataFrame, group: Array, of: Stretches, *, weighted: bool) -> pl.DataFrame:
    """Return SERIES of routes. group: which of them each row is of, -1 for none."""
    points = len(of.starts)
    stretch, bucket, n, weight, wrong, longest = of.columns
    order = by_group(group, bucket, len(routes))
    told_n, calls, errors, places, most = percentiles(
        *order, stretch, bucket, n, weight, wrong, longest, points, weighted
    )
    told = pl.DataFrame(
        {
            **{name: routes[name].gather(np.repeat(np.arange(len(routes)), points)) for name in PARTS},
            "bucket_start_unix_nano": np.tile(of.starts, len(routes)),
            "n": told_n,
            "calls": calls,
            "errors": errors,
            **{f"bucket_{share}": places[:, k] for k, share in enumerate(SHARES)},
            **{f"p{share}_nano": most[:, k] for k, share in enumerate(SHARES)},
        }
    )
    measured = {f"p{share}_nano": _estimate(f"bucket_{share}", f"p{share}_nano") for share in SHARES}
    return (
        told.lazy()
        .filter(pl.col("n") > 0)
        .with_columns(pl.col("calls", "errors").round(), **measured)
        .select(SERIES.names())
        .cast(SERIES)
        .sort(*PARTS, "bucket_start_unix_nano")
        .collect()
    )


def _estimate(bucket: str, longest: str) -> pl.Expr:
    """Return what a bucket stands for: no more than the longest call in it; null for UNKNOWN."""
    found = pl.min_horizontal(histogram.estimate(pl.col(bucket)).round().cast(pl.Int64), longest)
    return pl.when(pl.col(bucket) != UNKNOWN).then(found)


def warm() -> None:
    """Compile the kernels, or load them from the cache."""
    row = {"service": "a", "route": "b", "is_root": True, "start_unix_nano": 0, "bucket": 1, "n": 1, "weight": 1.0}
    cell = pl.DataFrame([{**row, "error": False, "max_nano": 1}], schema_overrides={"bucket": pl.Int32})
    series(stretches([cell.lazy], 0, 1, 1))
