"""Log buckets: 1 % off at most, and the rank rule."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tracelens import histogram


def of(duration: int | None) -> int | None:
    number: int | None = pl.select(histogram.bucket(pl.lit(duration, pl.Int64))).item()
    return number


@given(st.integers(1, 10**18))
def test_a_bucket_stands_for_its_durations(duration: int) -> None:
    """The estimate is at most 1 % off any duration in its bucket."""
    estimate = pl.select(histogram.estimate(histogram.bucket(pl.lit(duration)))).item()
    assert abs(estimate - duration) <= histogram.RELATIVE_ERROR * duration * (1 + 1e-9)


@given(st.integers(1, 10**18), st.integers(1, 10**18))
def test_buckets_are_ordered_as_durations(a: int, b: int) -> None:
    """A longer duration never lies in an earlier bucket: ranks survive."""
    first, second = of(min(a, b)), of(max(a, b))
    assert first is not None
    assert second is not None
    assert first <= second


def test_no_length_has_a_bucket_of_its_own() -> None:
    """0 is no logarithm, and null no duration."""
    assert (of(0), of(1), of(None)) == (histogram.ZERO, 0, None)
    assert pl.select(histogram.estimate(pl.lit(histogram.ZERO))).item() == 0


def test_rank() -> None:
    """floor((n−1)·q), exact where floats would fall below an integer."""
    assert [histogram.rank(101, percent) for percent in (0, 50, 99, 100)] == [0, 50, 99, 100]
    assert histogram.rank(1001, 99.9) == 999
    assert (histogram.rank(1, 99), histogram.rank(0, 50)) == (0, 0)
