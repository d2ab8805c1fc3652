"""Parquet files of spans: a store's data files, or frames that somebody wrote.

Owns reading them in parts. The columns are those of SPANS and attribute
columns; of the former all but ids, times, name and service may be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tracelens.errors import InputError
from tracelens.spans import MARK, SPANS, UNKNOWN_SERVICE, dtype, is_attribute

MAGIC = b"PAR1"
BATCH_SPANS = 250_000
REQUIRED = ("trace_id", "span_id", "parent_span_id", "name", "start_time_unix_nano", "end_time_unix_nano")
DEFAULTS = {"kind": 0, "repairs": 0, "status_code": 0, "follows_from": False, "service_name": UNKNOWN_SERVICE}


def batches(file: str | Path, keep: Callable[[str], bool] | None = None) -> Iterator[pl.DataFrame]:
    """Yield the spans of a file, some at a time, in the SPANS schema and its attribute columns.

    keep: which of these are wanted; all without.

    Raises InputError when it is damaged, or holds something else.
    """
    try:
        scanned = pl.scan_parquet(file, glob=False, hive_partitioning=False)
        found = scanned.collect_schema()
        missing = [name for name in REQUIRED if name not in found]
        if missing:
            raise InputError(
                f"{file}: a Parquet file without the column {missing[0]}. Spans have {', '.join(REQUIRED)}; "
                "`tracelens export --help` tells how to make one."
            )
        wrong = [
            f"{name} is {kind}, and spans have {SPANS[name]}"
            for name, kind in found.items()
            if name in SPANS and not _fits(kind, SPANS[name])
        ]
        if wrong:
            raise InputError(f"{file}: column {wrong[0]}. Is it a Parquet file of spans?")
        shaped = _shaped(scanned, found, keep)
        for first, length in stretches(file):
            yield shaped.slice(first, length).collect()
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: a Parquet file that cannot be read: {error}. Is it whole?") from error


def rows(file: str | Path) -> int:
    """Return how many spans a file holds; 0 when it is damaged, which reading tells."""
    try:
        found: int = pq.read_metadata(file).num_rows
    except (pa.ArrowException, OSError):
        return 0
    return found


def stretches(file: str | Path) -> Iterator[tuple[int, int]]:
    """Yield (first row, rows) of parts of a file, which are row groups where these are of a fit size.

    One at a time: polars' own batches read far ahead, and a file of 10 million spans took 1.2 GiB more.
    """
    told = pq.read_metadata(file)
    first = length = 0
    for group in range(told.num_row_groups):
        rows = told.row_group(group).num_rows
        if length and length + rows > BATCH_SPANS:
            yield first, length
            first, length = first + length, 0
        length += rows
        while length > 2 * BATCH_SPANS:
            yield first, BATCH_SPANS
            first, length = first + BATCH_SPANS, length - BATCH_SPANS
    if length:
        yield first, length


def _fits(found: pl.DataType, wanted: pl.DataType) -> bool:
    return found == wanted or (wanted.is_integer() and found.is_integer()) or found == pl.Null


def _shaped(scanned: pl.LazyFrame, found: pl.Schema, keep: Callable[[str], bool] | None) -> pl.LazyFrame:
    """Return the columns of spans; a missing one is what a span has that does not tell it."""
    fixed = [
        (pl.col(name).cast(kind) if name in found else pl.lit(None, kind).alias(name)).fill_null(DEFAULTS[name])
        if name in DEFAULTS
        else (pl.col(name).cast(kind) if name in found else pl.lit(None, kind).alias(name))
        for name, kind in SPANS.items()
    ]
    usable = (pl.col("parent_span_id").bin.size() == 8).fill_null(value=True)
    attributes = [
        pl.col(name).cast(dtype(name), strict=False)
        for name in found
        if name not in SPANS and is_attribute(name) and (keep is None or keep(name))
    ]
    return scanned.select(*fixed, *attributes).with_columns(
        parent_span_id=pl.when(usable).then("parent_span_id"),
        repairs=pl.col("repairs") | pl.when(usable).then(0).otherwise(MARK["bad_parent"]).cast(pl.Int32),
        name=pl.col("name").fill_null(""),
    )
