from __future__ import annotations

from itertools import pairwise
from math import comb

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelens.analysis.marks import FACTS, MARKS, SPANS_A_CALL, marks, over_represented


def facts(*told: tuple[range, str, str, str], slow: int) -> pl.LazyFrame:
    """Facts of calls of one span each: (which calls, service, attribute, value); calls below `slow` are slow."""
    rows = [
        {"call": call, "slow": call < slow, "service": service, "attribute": key, "value": value, "spans": 1}
        for calls, service, key, value in told
        for call in calls
    ]
    every = {(row["call"], row["service"]): {**row, "attribute": SPANS_A_CALL, "value": "1"} for row in rows}
    return pl.DataFrame([*rows, *every.values()], schema=FACTS).with_columns(operation=pl.lit("op")).lazy()


def test_a_value_that_most_slow_calls_have_and_few_others_is_told():
    """45 of 50 slow calls are of the large tenant, and 10 of 1,000 others; region sets nobody apart."""
    found = marks(
        facts(
            (range(45), "db", "tenant", "large"),
            (range(45, 50), "db", "tenant", "small"),
            (range(50, 60), "db", "tenant", "large"),
            (range(60, 1050), "db", "tenant", "small"),
            (range(0, 1050, 2), "db", "region", "a"),
            (range(1, 1050, 2), "db", "region", "b"),
            slow=50,
        )
    )
    assert found.schema == MARKS
    assert found.select("service", "attribute", "value", "slow", "rest", "slow_calls", "rest_calls").rows() == [
        ("db", "tenant", "large", 0.9, 0.01, 45, 10)
    ]
    row = found.row(0, named=True)
    assert row["lift"] == pytest.approx(90)
    assert row["lift_low"] < 90 < row["lift_high"]
    assert row["p_value"] < 1e-30


def test_fewer_than_thirty_calls_say_nothing():
    """However strong it looks: 29 of 29 slow calls; a value of 29 calls; 29 others."""
    assert marks(facts((range(29), "s", "k", "x"), (range(29, 500), "s", "k", "y"), slow=29)).is_empty()
    assert marks(facts((range(29), "s", "k", "x"), (range(29, 500), "s", "k", "y"), slow=60)).is_empty()
    assert marks(facts((range(60), "s", "k", "x"), (range(60, 89), "s", "k", "y"), slow=60)).is_empty()
    assert len(marks(facts((range(30), "s", "k", "x"), (range(30, 500), "s", "k", "y"), slow=30))) == 1


def test_a_value_is_asked_about_where_its_spans_are():
    """A retry happens in slow calls only; that its spans say what they always say marks nothing."""
    found = marks(facts((range(40), "retry", "zone", "a"), (range(500), "s", "zone", "a"), slow=50))
    assert found.is_empty()


def test_a_value_that_only_slow_calls_have_of_what_all_might_say():
    """retry.count is on second attempts only: the calls without it count as others."""
    found = marks(facts((range(40), "s", "retry.count", "1"), (range(500), "s", "zone", "a"), slow=40))
    assert found.select("attribute", "slow", "rest", "lift").rows() == [("retry.count", 1.0, 0.0, None)]


def test_many_chances_are_no_mark():
    """Slow calls run an operation 20 times: one of its spans says anything in most of them. The 20 are told."""
    rows = []
    for call in range(500):
        n = 20 if call < 50 else 1
        fact = {"call": call, "slow": call < 50, "service": "s", "operation": "op", "attribute": "tenant"}
        every = {**fact, "attribute": SPANS_A_CALL, "value": "10+" if n > 1 else "1", "spans": n}
        rows += [every, {**fact, "value": "a", "spans": 2 if n > 1 else call % 10 == 0}]
    told = pl.DataFrame([row for row in rows if row["spans"]], schema=FACTS).lazy()
    assert marks(told).select("attribute", "value", "slow", "rest").rows() == [(SPANS_A_CALL, "10+", 1.0, 0.0)]


def test_ids_mark_nothing():
    """Each call has a value of its own."""
    each = [(range(call, call + 1), "s", "id", str(call)) for call in range(500)]
    assert marks(facts(*each, slow=50)).is_empty()


def test_no_facts_no_marks():
    assert marks(FACTS.to_frame().lazy()).schema == MARKS


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_the_chance_is_fishers(a: int, b: int, more: int, others: int):
    """Against the sum of binomial coefficients, in integers."""
    all_slow, all_rest = a + more, b + others
    have, every = a + b, all_slow + all_rest
    ways = sum(comb(have, k) * comb(every - have, all_slow - k) for k in range(a, min(all_slow, have) + 1))
    assert over_represented(a, b, all_slow, all_rest) == pytest.approx(ways / comb(every, all_slow), abs=1e-9)


def test_by_chance_almost_nothing_is_told():
    """1,000 values that say nothing of slowness: not one passes at a level of 1 % of all findings."""
    rows = [
        (range(first, 2_000, step), "s", f"k{step}-{first}", "x")
        for step in range(7, 60)
        for first in range(min(step, 20))
    ]
    every = [(range(2_000), "s", f"k{step}-{first}", "-") for step in range(7, 60) for first in range(min(step, 20))]
    assert len(rows) > 900
    assert marks(facts(*rows, *every, slow=100)).is_empty()


def test_the_strongest_comes_first():
    found = marks(
        facts(
            (range(50), "s", "a", "x"),
            (range(50, 1000), "s", "a", "y"),
            (range(40), "s", "b", "x"),
            (range(40, 1000), "s", "b", "y"),
            slow=50,
        )
    )
    assert found["attribute"].to_list() == ["a", "b"]
    assert all(first > second for first, second in pairwise((found["slow"] - found["rest"]).to_list()))
