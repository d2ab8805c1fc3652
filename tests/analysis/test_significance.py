"""Tests and intervals: worked by hand, and by brute force."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelens.analysis import significance as tests
from tracelens.analysis.significance import Sides, Sums


def sides(a: list[int], b: list[int], trace: list[int] | None = None) -> Sides:
    """Two sides, each call of a trace of its own unless told; `trace` follows the sorted values."""
    codes = np.arange(len(a) + len(b)) if trace is None else np.array(trace)
    return Sides(np.array([*sorted(a), *sorted(b)], np.int64), codes, len(a))


def drawn(seed: int, n: int, spread: float = 0.5, factor: float = 1.0) -> list[int]:
    values = np.random.default_rng(seed).lognormal(16, spread, n) * factor
    return [int(value) for value in values]


DURATIONS = st.lists(st.integers(0, 50), min_size=2, max_size=60)


class TestScores:
    @given(DURATIONS, st.sampled_from([50, 90, 99]))
    def test_they_sum_to_what_lies_above_and_rise_with_the_value(self, values: list[int], percent: int) -> None:
        array = np.array(values, np.int64)
        scores = tests.scores_around(array, percent)
        assert math.isclose(scores.sum(), len(values) * (100 - percent) / 100, abs_tol=1e-9)
        order = np.argsort(array, kind="stable")
        assert (np.diff(scores[order]) >= -1e-12).all()
        assert ((scores >= -1e-12) & (scores <= 1 + 1e-12)).all()
        assert all(len(set(scores[array == value].round(9))) == 1 for value in set(values))

    def test_far_from_the_percentile_they_are_a_step(self) -> None:
        scores = tests.scores_around(np.arange(1_000), 90)
        assert (scores[:875] == 0).all()
        assert (scores[925:] == 1).all()
        assert scores[899:901].mean() == 0.5

    def test_only_the_order_counts(self) -> None:
        """A longer tail beyond the percentile's neighbourhood tells nothing about the percentile."""
        a, b = drawn(1, 400), drawn(2, 400)
        plain = sides(a, b)
        stretched = sides([value**2 for value in a], [value**2 for value in b])
        for percent in (50, 90, 99):
            p_values = [tests.score_test(one, tests.scores_around(one.values, percent)) for one in (plain, stretched)]
            assert p_values[0] == p_values[1]

    def test_the_sides_may_be_exchanged(self) -> None:
        a, b = drawn(1, 300), drawn(2, 400, factor=1.1)
        forth, back = sides(a, b), sides(b, a)
        for percent in (50, 90, 99):
            there = tests.score_test(forth, tests.scores_around(forth.values, percent))
            again = tests.score_test(back, tests.scores_around(back.values, percent))
            assert there == pytest.approx(again)


class TestPermutation:
    def test_the_p_value_is_that_of_all_ways_to_part_the_calls(self) -> None:
        """Against the permutation distribution itself: 12,870 partings of 16 calls."""
        scores = np.random.default_rng(3).random(16)
        one = sides(list(range(8)), list(range(8)))
        seen = abs(scores[8:].mean() - scores[:8].mean())
        total = scores.sum()
        differences = [abs(2 * sum(chosen) - total) / 8 for chosen in combinations(scores.tolist(), 8)]
        exact = sum(difference >= seen - 1e-12 for difference in differences) / len(differences)
        p_value, effect = tests.score_test(one, scores)
        assert exact - 0.01 <= p_value <= exact + 0.05  # Student's tails are longer, of so few
        assert effect == 1.0

    def test_nothing_varies(self) -> None:
        one = sides([5] * 40, [5] * 40)
        assert tests.score_test(one, tests.scores_around(one.values, 50))[0] == 1.0
        assert tests.mean_change(one).p_value == 1.0

    def test_all_of_one_side_above_the_other(self) -> None:
        one = sides([1] * 40, [2] * 40)
        assert tests.score_test(one, tests.scores_around(one.values, 50))[0] < 1e-6
        assert tests.mean_change(one).p_value == 0.0


class TestTraces:
    def test_calls_of_a_trace_that_are_alike_count_as_one(self) -> None:
        """Each of 40 calls told five times over: the same verdict as once."""
        a, b = drawn(1, 40), drawn(2, 40, factor=1.3)
        once = sides(a, b)
        ranks = [sorted(a).index(value) for value in sorted(a)] + [40 + sorted(b).index(value) for value in sorted(b)]
        often = sides(a * 5, b * 5, [rank for rank in ranks for _ in range(5)])
        for percent in (50, 90):
            alone, _ = tests.score_test(once, tests.scores_around(once.values, percent))
            together, effect = tests.score_test(often, tests.scores_around(often.values, percent))
            assert together == pytest.approx(alone, rel=0.1)
            assert effect == pytest.approx(5, rel=0.05)
        assert tests.mean_change(often).p_value == pytest.approx(tests.mean_change(once).p_value, rel=0.1)
        assert tests.mean_change(often).interval == pytest.approx(tests.mean_change(once).interval, rel=0.02)

    def test_one_trace_says_nothing(self) -> None:
        one = sides(drawn(1, 40), drawn(2, 40), [0] * 80)
        assert tests.score_test(one, tests.scores_around(one.values, 50))[0] == 1.0

    def test_how_many_there_are(self) -> None:
        assert sides([1, 2, 3], [4, 5], [0, 0, 7, 7, 7]).traces == (2, 1)

    def test_traces_apart_have_no_effect(self) -> None:
        assert tests.design_effect(np.array([1.0, -1.0, 2.0]), np.array([0, 1, 2])) == pytest.approx(1.5)
        one = sides([1, 2], [3])
        assert one.design_effect(np.array([1.0, -1.0, 2.0])) == 1.0


class TestIntervals:
    def test_of_a_percentile_are_order_statistics(self) -> None:
        """Of 0 … 999 the ranks themselves: 499.5 ± 1.96·√250."""
        low, high = tests.percentile_interval(np.arange(1_000), None, 50)
        assert (low, high) == (math.floor(499.5 - 30.99), math.ceil(499.5 + 30.99))

    def test_of_a_percentile_are_open_where_the_calls_end(self) -> None:
        low, high = tests.percentile_interval(np.arange(300), None, 99)
        assert (low, high) == (292, math.inf)
        assert tests.percentile_interval(np.arange(4), None, 50) == (-math.inf, math.inf)

    @pytest.mark.parametrize("percent", [50, 90, 99])
    def test_hold_the_true_difference_as_often_as_they_say(self, percent: int) -> None:
        rng, held, trials = np.random.default_rng(percent), 0, 400
        truth = float(np.quantile(rng.lognormal(0, 0.5, 2_000_000), percent / 100)) * 1e6
        for _ in range(trials):
            a, b = (np.sort(rng.lognormal(0, 0.5, 600) * 1e6 * by).astype(np.int64) for by in (1, 1.2))
            found = [tests.percentile_interval(side, None, percent) for side in (a, b)]
            at = tests.rank(600, percent)
            low, high = tests.joined(float(a[at]), found[0], float(b[at]), found[1])
            held += low <= 0.2 * truth <= high
        assert 0.92 <= held / trials <= 0.99

    def test_of_the_mean_hold_the_true_difference_as_often_as_they_say(self) -> None:
        held, trials = 0, 400
        truth = 0.2 * math.exp(16 + 0.125)
        for seed in range(trials):
            low, high = tests.mean_change(sides(drawn(seed, 200), drawn(10_000 + seed, 300, factor=1.2))).interval
            held += low <= truth <= high
        assert 0.92 <= held / trials <= 0.98

    def test_of_a_share(self) -> None:
        """Wilson 1927, of 10 in 100: 5.5 % to 17.4 %."""
        assert tests.share_interval(10, 100, 1.0) == pytest.approx((0.0552, 0.1744), abs=1e-4)
        assert tests.share_interval(100, 1_000, 10.0) == pytest.approx((0.0552, 0.1744), abs=1e-4)
        assert tests.share_interval(0, 100, 1.0) == pytest.approx((0.0, 0.0370), abs=1e-4)
        assert tests.share_interval(3, 5, math.inf) == (0.0, 1.0)

    def test_joined(self) -> None:
        """Newcombe 1998, 56/70 against 48/80: 0.2 with 0.0524 to 0.3339."""
        first, second = tests.share_interval(48, 80, 1.0), tests.share_interval(56, 70, 1.0)
        assert tests.joined(48 / 80, first, 56 / 70, second) == pytest.approx((0.0524, 0.3339), abs=2e-4)


class TestMeans:
    def test_welch(self) -> None:
        """Of 3, 5, 7 and 10, 20, 30, 40: t = 3.07 with 3.19 degrees of freedom."""
        found = tests.mean_change(sides([3, 5, 7], [10, 20, 30, 40]))
        assert (found.difference, found.variance) == (20.0, pytest.approx(4 / 3 + 500 / 3 / 4))
        assert found.freedom == pytest.approx(3.190, abs=1e-3)

    @given(DURATIONS, DURATIONS)
    def test_sums_tell_the_same_as_the_calls(self, a: list[int], b: list[int]) -> None:
        of_calls = tests.mean_change(sides(a, b))
        of_sums = tests.mean_change_of_sums(*(Sums(len(x), sum(x), sum(v * v for v in x)) for x in (a, b)), effect=1.0)
        for name in ("difference", "variance", "freedom", "alike"):
            assert getattr(of_sums, name) == pytest.approx(getattr(of_calls, name), abs=1e-9)
        assert of_sums.p_value == pytest.approx(of_calls.p_value)

    def test_sums_are_exact(self) -> None:
        """Two calls of an hour that differ by two nanoseconds."""
        hour = 3_600_000_000_000
        assert Sums(2, 2 * hour, (hour - 1) ** 2 + (hour + 1) ** 2).variance == 2.0

    @pytest.mark.parametrize(("t", "freedom", "p"), [(2.228, 10, 0.05), (2.042, 30, 0.05), (3.169, 10, 0.01)])
    def test_student(self, t: float, freedom: float, p: float) -> None:
        """As tables have it."""
        assert tests.student(t * t, freedom) == pytest.approx(p, rel=0.02)
        assert tests.student(tests.student_95(freedom) ** 2, freedom) == pytest.approx(0.05, rel=1e-3)

    def test_few_heavy_tailed_calls_beside_many_are_no_change(self) -> None:
        """Welch's test alone is wrong of these one time in five."""
        wrong = 0
        for seed in range(300):
            found = tests.mean_change(sides(drawn(seed, 30, 1.5), drawn(9_000 + seed, 3_000, 1.5)))
            wrong += found.p_value <= 0.05
        assert wrong <= 15


def fisher(hits_a: int, n_a: int, hits_b: int, n_b: int) -> float:
    hits = hits_a + hits_b
    chance = {x: math.comb(n_b, x) * math.comb(n_a, hits - x) for x in range(max(0, hits - n_a), min(hits, n_b) + 1)}
    tails = (sum(c for x, c in chance.items() if x <= hits_b), sum(c for x, c in chance.items() if x >= hits_b))
    return min(1.0, 2 * min(tails) / sum(chance.values()))


class TestShares:
    @given(st.data())
    def test_fisher(self, data: st.DataObject) -> None:
        n_a, n_b = data.draw(st.integers(0, 80)), data.draw(st.integers(1, 80))
        hits_a, hits_b = data.draw(st.integers(0, n_a)), data.draw(st.integers(0, n_b))
        found = tests.share_test(hits_a, n_a, hits_b, n_b, 1.0)
        assert found == pytest.approx(fisher(hits_a, n_a, hits_b, n_b), rel=1e-9)

    def test_hits_of_one_trace_count_as_one(self) -> None:
        assert tests.share_test(0, 800, 8, 800, 8.0) == 1.0
        assert tests.share_test(0, 800, 8, 800, 1.0) == pytest.approx(2 * 0.5**8, rel=0.05)
        assert tests.share_test(0, 800, 8, 800, math.inf) == 1.0

    def test_many(self) -> None:
        """A million calls a side, half of them hits."""
        assert tests.share_test(500_000, 1_000_000, 500_000, 1_000_000, 1.0) == 1.0
        assert tests.share_test(500_000, 1_000_000, 502_000, 1_000_000, 1.0) == pytest.approx(0.0047, abs=2e-4)


class TestManyTests:
    def test_benjamini_hochberg(self) -> None:
        """The example of their paper: 15 p-values, of which four are significant at 5 %."""
        p_values = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
            0.7590, 1.0000,
        ]  # fmt: skip
        found = tests.benjamini_hochberg(np.array(p_values))
        assert (found <= 0.05).sum() == 4
        assert found[3] == pytest.approx(0.0095 * 15 / 4)

    @given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=40))
    def test_adjusting_keeps_the_order_and_leaves_out_what_was_not_tested(self, p_values: list[float]) -> None:
        given_p = np.array(p_values)
        found: Any = tests.benjamini_hochberg(given_p)
        assert (np.isnan(found) == np.isnan(given_p)).all()
        tested = ~np.isnan(given_p)
        assert (found[tested] >= given_p[tested]).all()
        assert (found[tested] <= 1).all()
        order = np.argsort(given_p[tested], kind="stable")
        assert (np.diff(found[tested][order]) >= 0).all()
