"""Which columns the table has: the fixed ones, and attributes promoted as they come.

A promotion is read from the table and never undone. What is not promoted goes
to `overflow`, typed, so that a crafted key can neither stall the writer nor
widen the table without bound.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson
import polars as pl
from deltalake import Field, Schema
from deltalake.schema import PrimitiveType

from tracelens.spans import MAX_COLUMNS, SPANS, UNFIT_NAME, dtype, is_attribute
from tracelens.store.files import PARTITION

DELTA_TYPES: dict[type[pl.DataType], str] = {
    pl.Binary: "binary",
    pl.String: "string",
    pl.Boolean: "boolean",
    pl.Int8: "byte",
    pl.Int32: "integer",
    pl.Int64: "long",
    pl.Float64: "double",
}


def field(name: str) -> Field:
    """Return a column as Delta has it."""
    kind = SPANS[name] if name in SPANS else dtype(name)
    return Field(name, PrimitiveType(DELTA_TYPES[kind.base_type()]), nullable=True)


def new_table() -> Schema:
    """Return the schema of a table without attributes."""
    return Schema([*(field(name) for name in SPANS), Field(PARTITION, PrimitiveType("string"))])


def promoted(frame: pl.DataFrame, present: Collection[str]) -> list[str]:
    """Return the attribute columns of `frame` to add to a table that has `present`, most frequent first."""
    room = MAX_COLUMNS - sum(map(is_attribute, present))
    lower = {name.lower() for name in present}
    candidates = [
        name
        for name in frame.columns
        if is_attribute(name)
        and name not in present
        and not UNFIT_NAME.search(name)
        and frame[name].null_count() < len(frame)
    ]
    candidates.sort(key=lambda name: (frame[name].null_count(), name))
    chosen: list[str] = []
    for name in candidates:
        # Names that differ only in case are one name to Delta.
        if len(chosen) < room and name.lower() not in lower:
            lower.add(name.lower())
            chosen.append(name)
    return chosen


def fit(frame: pl.DataFrame, present: Collection[str]) -> pl.DataFrame:
    """Return `frame` with the columns of a table; attributes that are none of them join `overflow`."""
    loose = [name for name in frame.columns if is_attribute(name) and name not in present]
    used = [name for name in loose if frame[name].null_count() < len(frame)]
    if used:
        touched = frame.select(pl.any_horizontal(pl.col(used).is_not_null())).to_series()
        rows = frame.with_row_index("row").filter(touched).select("row", "overflow", *used)
        merged = [_merged(row) for row in rows.drop("row").iter_rows(named=True)]
        overflow = frame["overflow"].scatter(rows["row"], pl.Series(merged, dtype=pl.String))
        frame = frame.with_columns(overflow.alias("overflow"))
    return frame.drop(loose)


def _merged(row: dict[str, Any]) -> str:
    """Return the overflow of a row with its loose attributes joined in."""
    known = row.pop("overflow")
    more = {name: _json(name, value) for name, value in row.items() if value is not None}
    return orjson.dumps((orjson.loads(known) if known else {}) | more).decode()


def _json(name: str, value: Any) -> Any:
    """Return an attribute's value as `overflow` holds it; numbers that JSON lacks are their names."""
    if name.endswith("#json"):
        return orjson.loads(value)
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124  # NaN's test
    return value
