"""Log buckets: the one percentile sketch.

Owns the bucket of a duration and the value a bucket stands for. Bucket b holds
γ^(b-1) < d ≤ γ^b nanoseconds, and 2γ^b/(γ+1) is at most 1 % off every one of
them, so that counts per bucket can be added in any order and still answer any
percentile (Masson, Rim, Lee, DDSketch, VLDB '19).
"""

from __future__ import annotations

import math

import polars as pl

RELATIVE_ERROR = 0.01
GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
ZERO = -1  # the bucket of no length; 1 ns is bucket 0


def bucket(duration_nano: pl.Expr) -> pl.Expr:
    """Return the bucket (Int32) of a duration in nanoseconds; ZERO when it has none."""
    log = (duration_nano.cast(pl.Float64).log() / math.log(GAMMA)).ceil()
    return pl.when(duration_nano > 0).then(log).when(duration_nano.is_not_null()).then(ZERO).cast(pl.Int32)


def estimate(number: pl.Expr) -> pl.Expr:
    """Return the duration (Float64, nanoseconds) a bucket stands for; 0 for ZERO."""
    value = (number.cast(pl.Float64) * math.log(GAMMA)).exp() * (2 / (GAMMA + 1))
    return pl.when(number == ZERO).then(0.0).otherwise(value)


def rank(n: int, percent: float) -> int:
    """Return the position, from 0, of a percentile among n sorted values: floor((n−1)·q)."""
    # In whole billionths of a percent, because 99.9 / 100 in floats can fall below the integer it is.
    return max(n - 1, 0) * round(percent * 1_000_000_000) // 100_000_000_000
