"""Onset: a step is found where it is, noise is none, and outliers move nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelens.analysis.onset import LEAST, onset


@pytest.mark.parametrize("at", [12, 20, 30, 36])
def test_a_step_is_found_where_it_is(at: int) -> None:
    random = np.random.default_rng(at)
    values = random.lognormal(0, 0.2, 48) * np.where(np.arange(48) < at, 10.0, 20.0)
    found = onset(values.tolist())
    assert found is not None
    assert abs(found.at - at) <= 1
    assert found.before == pytest.approx(10, rel=0.15)
    assert found.after == pytest.approx(20, rel=0.15)


def test_noise_has_none() -> None:
    """Of 2,000 series without a change, no more than the hundredth that chance is allowed."""
    random = np.random.default_rng(7)
    told = sum(onset(random.lognormal(0, 0.5, 48).tolist()) is not None for _ in range(2_000))
    assert told <= 20


def test_an_outlier_moves_nothing() -> None:
    values = [10.0 + at % 3 for at in range(48)]
    values[30] = 1e9
    assert onset(values) is None


def test_gaps_keep_their_places() -> None:
    values: list[float | None] = [1.0 + at % 5 / 10 if at < 24 else 3.0 + at % 5 / 10 for at in range(48)]
    for at in range(0, 48, 4):
        values[at] = None
    found = onset(values)
    assert found is not None
    assert found.at == 25


@given(st.lists(st.none() | st.integers(0, 5).map(float), max_size=60))
def test_it_says_nothing_of_few_or_equal_numbers_and_never_errs(values: list[float | None]) -> None:
    found = onset(values)
    known = [value for value in values if value is not None]
    if len(known) < LEAST or len(set(known)) == 1:
        assert found is None
    if found is not None:
        assert values[found.at] is not None
        assert found.before != found.after or found.p_value < 0.01
