"""Series of rollups: calls, errors and percentiles over time, of each route and of all first calls.

Owns the way from a day's cells, of which there are a million, to rows. They are
looked at some at a time, and are few once they are added up. A cell is where it
begins; a percentile is that of the bucket at its rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from tracelens import histogram
from tracelens.analysis._series import SHARES, UNKNOWN, add_up, by_group, percentiles
from tracelens.analysis.routes import SERIES
from tracelens.threads import each

KIND = pl.Schema({"service": pl.String, "route": pl.String, "is_root": pl.Boolean})
PARTS = ("service", "route")
_COUNTED = ("start_unix_nano", "bucket", "n", "weight", "error", "max_nano")


def series(
    cells: Iterable[pl.LazyFrame], start_nano: int, end_nano: int, points: int, *, weighted: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return SERIES of all first calls of traces, and of each route, in `points` equal stretches of [start, end).

    cells: ROUTE_CELLS in parts, which are looked at side by side: cells of a kind may be in several.
    weighted: calls stand for different numbers of requests.
    """
    width = max((end_nano - start_nano) // points, 1)
    parts = each(_added_up, [(some, start_nano, width, points) for some in cells])
    kinds = pl.concat([KIND.to_frame(), *(kind for kind, _ in parts)])
    if kinds.is_empty():
        return SERIES.to_frame(), SERIES.to_frame()
    first = np.cumsum([0, *(len(kind) for kind, _ in parts)])
    columns = [np.concatenate(column) for column in zip(*(columns for _, columns in parts), strict=True)]
    kind = np.concatenate([columns[0] + begin for (_, columns), begin in zip(parts, first, strict=False)])
    routes = kinds.select(PARTS).unique(maintain_order=True)
    first_calls = np.where(kinds["is_root"].to_numpy(), 0, -1).astype(np.int32)
    starts = start_nano + width * np.arange(points)
    roots, each_route = (
        _rows(of, group[kind], columns[1:], starts, weighted=weighted)
        for of, group in ((routes.clear(1), first_calls), (routes, _numbers(kinds, routes)))
    )
    return roots, each_route


def _added_up(
    cells: pl.LazyFrame, start_nano: int, width_nano: int, points: int
) -> tuple[pl.DataFrame, Sequence[np.ndarray]]:
    """Return KIND rows, and arrays: which of them, stretch, bucket, n, weight, that of errors, the longest call."""
    names = pl.col(KIND.names())
    read = cells.select(
        *KIND,
        "n",
        "weight",
        "error",
        "start_unix_nano",
        pl.col("bucket").fill_null(UNKNOWN),
        pl.col("max_nano").fill_null(0),
        # Cells of one route stand beside each other: names are looked at once for all of them.
        begins=pl.any_horizontal(names.ne_missing(names.shift())),
    ).collect()
    begins = read["begins"].to_numpy().copy()
    begins[:1] = True
    named = read.select(names.gather(np.flatnonzero(begins)))
    kinds = named.unique(maintain_order=True)
    group = _numbers(named, kinds)[np.cumsum(begins) - 1]
    columns = [_column(read[name]) for name in _COUNTED]
    return kinds, add_up(*by_group(group, columns[1], len(kinds)), *columns, start_nano, width_nano, points)


def _numbers(rows: pl.DataFrame, of: pl.DataFrame) -> np.ndarray:
    """Return which row of `of` each has the names of."""
    numbered = of.with_row_index("number")
    found = rows.join(numbered, on=of.columns, how="left", validate="m:1", nulls_equal=True, maintain_order="left")
    return found["number"].to_numpy().astype(np.int32)


def _column(series: pl.Series) -> np.ndarray:
    """Return values that cannot be written: kernels are compiled for one kind, and polars gives others by chance."""
    found = np.ascontiguousarray(series.to_numpy())
    found.flags.writeable = False
    return found


def _rows(
    of: pl.DataFrame, group: np.ndarray, columns: Sequence[np.ndarray], starts: np.ndarray, *, weighted: bool
) -> pl.DataFrame:
    """Return SERIES of what was added up. group: the row of `of` each belongs to, -1 for none; starts: of stretches."""
    points = len(starts)
    n, weight, errors, places, longest = percentiles(
        *by_group(group, columns[1], len(of)), *columns, points, weighted
    )
    told = pl.DataFrame(
        {
            **{name: of[name].gather(np.repeat(np.arange(len(of)), points)) for name in PARTS},
            "bucket_start_unix_nano": np.tile(starts, len(of)),
            "n": n,
            "calls": weight,
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
    series([cell.lazy()], 0, 1, 1)
