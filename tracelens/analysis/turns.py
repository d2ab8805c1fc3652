"""Turns: groups of rows that are worked out together, so that not all rows are held at once.

Owns how many that are; what is worked out is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

AT_ONCE = 4_000_000  # rows


def turns(rows: pl.LazyFrame, by: Sequence[str]) -> Iterator[pl.LazyFrame]:
    """Yield rows of some groups at a time: no more than AT_ONCE, or one group."""
    for (some,) in turns_of([rows], by):
        yield some


def turns_of(sides: Sequence[pl.LazyFrame], by: Sequence[str]) -> Iterator[list[pl.LazyFrame]]:
    """Yield rows of some groups at a time, of each side: no more than AT_ONCE of all together, or one group."""
    keys = list(by)
    counted = pl.concat([side.group_by(keys).len() for side in sides])
    sizes = counted.group_by(keys).agg(pl.col("len").sum()).sort(keys).collect(engine="streaming")
    numbered = sizes.with_columns(turn=pl.col("len").cum_sum() // AT_ONCE).drop("len")
    for some in numbered.partition_by("turn", maintain_order=True):
        chosen = some.lazy().drop("turn")
        yield [side.join(chosen, on=keys, how="semi", nulls_equal=True) for side in sides]
