"""Layers: what a call's time is made of, over many calls.

Owns the sums of one route or edge over its callers and levels; the layers of
each call are told by `hops.py`.
"""

from __future__ import annotations

import polars as pl

from tracelens.analysis.hops import LAYERS as NAMES
from tracelens.analysis.routes import mean, ranked

LAYERS = pl.Schema(
    {
        "layer": pl.String(),
        "n": pl.Int64(),  # calls that tell it, of those with the callee's span
        "share": pl.Float64(),  # of all time of these calls
        "mean_nano": pl.Int64(),  # a call, those that do not tell it counted as nothing: means add up to the calls'
        "p50_nano": pl.Int64(),  # of those that tell it
        "p90_nano": pl.Int64(),
        "p99_nano": pl.Int64(),
        "level": pl.String(),  # the levels of the calls that tell it, as L1 L3
    }
)


def layers(table: pl.LazyFrame, *, weighted: bool = False) -> pl.LazyFrame:
    """Return LAYERS, in the order a request passes them. table: REQUESTS of `hops.py`; weighted: see there."""
    kept = table.filter(~pl.col("censored") & pl.col("covered"))
    weight = pl.col("weight") if weighted else None
    whole = pl.col("duration_nano") * pl.col("weight")
    rows = []
    for place, name in enumerate(NAMES):
        value = pl.col(f"{name}_nano")
        told = value.is_not_null()
        weights = None if weight is None else weight.filter(told)
        rows.append(
            kept.select(
                place=pl.lit(place),
                layer=pl.lit(name),
                n=told.sum(),
                share=(value * pl.col("weight")).sum() / whole.sum(),
                mean_nano=mean(value.fill_null(0), weight),
                **{f"p{percent}_nano": ranked(value.drop_nulls(), percent, weights) for percent in (50, 90, 99)},
                level=pl.col("level").filter(told).unique().sort().str.join(" "),
            )
        )
    return pl.concat(rows).filter(pl.col("n") > 0).sort("place").select(LAYERS.names()).cast(LAYERS)
