"""The walk: rules 9 to 18, each drawn. Sections are (name, start, end) in columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.builders import MILLISECOND, frame, path, span_id, synthetic, trace, traces, walk
from tests.test_forest import chain, one_trace
from tracelens.analysis import _walk, critical_path
from tracelens.analysis.critical_path import outliving, outliving_share, sections
from tracelens.forest import Forest, link


def row(linked: Forest, name: str) -> int:
    return linked.spans["name"].to_list().index(name)


def walk_from(linked: Forest, *names: str, **options: object) -> list[tuple[int, str, float, float]]:
    """Sections of walks from named spans: (entry, name, start, end)."""
    entries = np.array([row(linked, name) for name in names])
    found = sections(linked, entries, **options)  # type: ignore[arg-type]  # options are sections' own
    name = linked.spans["name"].gather(found.span).to_list()
    start, end = (found.start / MILLISECOND).tolist(), (found.end / MILLISECOND).tolist()
    return list(zip(found.entry_index.tolist(), name, start, end, strict=True))


class TestWalk:
    def test_back_to_back_siblings_stay_on_the_path(self) -> None:
        """Rule 10: a child that ends exactly where the next starts keeps its time."""
        spans = trace("""
            web  |---------|
             a   |----|
             b        |----|
        """)
        assert path(spans) == ["b", "a"]

    def test_time_between_children_is_the_parents(self) -> None:
        """Rule 10: what no child covers is booked to the span itself."""
        spans = trace("""
            web  |----------|
             a    |--|
             b         |-|
        """)
        assert walk(spans) == [("web", 0, 1), ("a", 1, 4), ("web", 4, 6), ("b", 6, 8), ("web", 8, 11)]

    def test_grandchildren_within_their_windows(self) -> None:
        """Rule 10: the walk goes down into each child it takes."""
        spans = trace("""
            web   |--------|
             cart  |------|
              db     |--|
        """)
        assert walk(spans) == [("web", 0, 1), ("cart", 1, 3), ("db", 3, 6), ("cart", 6, 8), ("web", 8, 9)]

    def test_concurrent_sibling_gets_no_time(self) -> None:
        """Rule 11: a child that overlaps the chosen one is skipped whole, never cut."""
        spans = trace("""
            web  |---------|
             a   |-----|
             b      |------|
        """)
        assert walk(spans) == [("web", 0, 3), ("b", 3, 10)]

    def test_an_earlier_sibling_behind_a_concurrent_one(self) -> None:
        """Rule 11: the scan goes on to what had finished when the chosen one started."""
        spans = trace("""
            web  |---------|
             a   |-|
             b     |---|
             c       |-----|
        """)
        assert walk(spans) == [("a", 0, 2), ("web", 2, 4), ("c", 4, 10)]

    def test_ties_by_start_then_id(self) -> None:
        """Rule 9: of children that end together the earlier started, then the smaller id is waited for."""
        longer = trace("""
            web  |-----|
             a     |---|
             b    |----|
        """)
        twins = trace("""
            web  |-----|
             a    |----| id=9
             b    |----| id=8
        """)
        assert walk(longer) == [("web", 0, 1), ("b", 1, 6)]
        assert walk(twins) == [("web", 0, 1), ("b", 1, 6)]

    def test_non_blocking_child_is_off_the_path(self) -> None:
        """Rules 5 and 10: nobody waits for it."""
        spans = trace("""
            web   |-------|
             log   |------|  follows_from
             a    |---|
        """)
        assert walk(spans) == [("a", 0, 4), ("web", 4, 8)]

    def test_child_outside_is_off_the_path_with_its_subtree(self) -> None:
        """Rule 8: an empty window has no time to give."""
        spans = trace("""
            web  |----|
             a          |---|
              b         |--|
        """)
        assert walk(spans) == [("web", 0, 5)]

    def test_child_is_cut_to_its_parents_window(self) -> None:
        """Rules 8 and 17: what outlives the parent counts until the parent ends."""
        spans = trace("""
            web   |-----|
             a      |------|
              b        |----|
        """)
        assert walk(spans) == [("web", 0, 2), ("a", 2, 5), ("b", 5, 6)]

    def test_zero_length_spans_change_nothing(self) -> None:
        """Rule 13: a window of no length is no section, and splits none."""
        spans = trace("""
            web  |-----|
             a    |
             b      |--|
             c         |
             d   |
        """)
        assert walk(spans) == [("web", 0, 3), ("b", 3, 6)]

    def test_zero_length_root(self) -> None:
        """Rule 14: nothing to tile, nothing booked."""
        assert walk(trace("web |")) == []

    def test_only_the_primary_root_is_walked(self) -> None:
        """Rule 6: other roots and orphans are never concatenated."""
        spans = trace("""
            web   |---|
            later     |---|
            lost        |---| parent=!9
        """)
        assert walk(spans) == [("web", 0, 4)]

    def test_timeless_span_passes_its_children_on(self) -> None:
        """Rule 1: the path goes through it as if it were not there."""
        spans = trace("""
            web    |------|
             gone  ?
              db    |--|
        """)
        assert walk(spans) == [("web", 0, 1), ("db", 1, 4), ("web", 4, 7)]


class TestTolerance:
    SPANS = """
        web  |-------------------|
         a   |---------|
         b            |----------|
    """  # a overlaps b by one column

    def test_overlap_within_the_tolerance_is_in_series(self) -> None:
        """Rule 12: the window of the earlier one is cut where the later starts."""
        spans = trace(self.SPANS)
        assert walk(spans, tolerance=0) == [("web", 0, 9), ("b", 9, 20)]
        assert walk(spans, tolerance=MILLISECOND) == [("a", 0, 9), ("b", 9, 20)]
        assert walk(spans, tolerance=MILLISECOND - 1) == [("web", 0, 9), ("b", 9, 20)]

    # a ends where b starts, and `ahead` columns later by its clock.
    AHEAD = """
        web  |-----------------------------------------|
         a    |------------------|                       skew={ahead}
         b                       |-----------------|
    """

    @pytest.mark.parametrize(
        ("unit", "at", "ahead", "in_series"),
        [
            (100_000, 1, 0.100, True),  # 10 µs of 4.2 ms
            (100_000, 1, 0.101, False),
            (1_000, 1, 0.420, True),  # 1 % of 42 µs
            (1_000, 1, 0.421, False),
            (4_000_000, 0, 0.25, True),  # every start is a whole millisecond, so one of overlap is rounding
            (4_000_000, 1, 0.25, False),
            (4_000_000, 0, 0.5, False),
        ],
    )
    def test_default(self, unit: int, at: int, ahead: float, in_series: bool) -> None:
        """Rule 12: max(10 µs, the clock's granularity), and at most 1 % of the parent's window."""
        assert ("a" in path(trace(self.AHEAD.format(ahead=ahead), unit=unit, at=at))) == in_series

    def test_children_of_a_cut_sibling_are_cut_with_it(self) -> None:
        """Rules 8 and 12: below a cut window, order is by what is left of each child."""
        spans = trace("""
            web   |-------------------|
             a    |---------|
              x      |----|            id=8
              y     |-------|          id=9
             b             |----------|
        """)
        # y (2…10) and x (3…8): y is cut to 9 and still ends last.
        assert walk(spans, tolerance=MILLISECOND) == [("a", 0, 2), ("y", 2, 9), ("b", 9, 20)]

    def test_cut_siblings_tie(self) -> None:
        """Rules 9 and 12: two children cut at one moment end together, and the earlier started is taken."""
        spans = trace("""
            web   |-------------------|
             a    |----------|
              x      |------|
              y     |--------|
             b             |----------|
        """)
        assert walk(spans, tolerance=2 * MILLISECOND) == [("a", 0, 2), ("y", 2, 9), ("b", 9, 20)]
        later = trace("""
            web   |-------------------|
             a    |----------|
              x     |-------|
              y      |-------|
             b             |----------|
        """)
        assert walk(later, tolerance=2 * MILLISECOND) == [("a", 0, 2), ("x", 2, 9), ("b", 9, 20)]


class TestEntries:
    DRAWN = """
        web    |-----------|
         cart     |----------|
          db        |-----|
          tax                |-|
    """

    def test_sub_root_has_its_own_interval(self) -> None:
        """Rule 16: cut by its parent in the trace's walk, whole in its own."""
        linked = link(trace(self.DRAWN))
        assert walk_from(linked, "web") == [
            (0, "web", 0, 3),
            (0, "cart", 3, 5),
            (0, "db", 5, 11),
            (0, "cart", 11, 12),
        ]
        assert walk_from(linked, "cart") == [
            (0, "cart", 3, 5),
            (0, "db", 5, 11),
            (0, "cart", 11, 14),
        ]

    def test_entries_in_one_another(self) -> None:
        """Rule 16: each entry walks by itself, in the order given."""
        linked = link(trace(self.DRAWN))
        together = walk_from(linked, "db", "cart", "web", "db")
        apart = [walk_from(linked, name) for name in ("db", "cart", "web", "db")]
        assert together == [(i, *found[1:]) for i, one in enumerate(apart) for found in one]

    def test_order_below_a_sub_root_is_by_its_own_windows(self) -> None:
        """Rules 9 and 16: children that tie where the trace cuts them differ in the sub-root's own window."""
        linked = link(
            trace("""
            web   |------|
             cart |----------|
              a   |-------|
              b     |-----|
              c    |--------|
            """)
        )
        assert [name for _, name, _, _ in walk_from(linked, "web")] == ["a"]
        assert walk_from(linked, "cart") == [(0, "cart", 0, 1), (0, "c", 1, 10), (0, "cart", 10, 11)]

    def test_non_blocking_subtree_is_an_entry_of_its_own(self) -> None:
        """Rules 5 and 6: off the path of its parent, whole when asked for."""
        linked = link(
            trace("""
            web   |---|
             mail     |-----|  follows_from
              smtp      |-|
            """)
        )
        assert walk_from(linked, "mail") == [(0, "mail", 4, 6), (0, "smtp", 6, 8), (0, "mail", 8, 10)]

    def test_no_entries(self) -> None:
        """None asked, none answered."""
        found = sections(link(trace("a |-|")), np.array([], np.int64))
        assert (len(found), found.offsets.tolist()) == (0, [0])

    def test_offsets(self) -> None:
        """Sections of an entry are one stretch, also of one that has none."""
        found = sections(link(traces("a |-|", "b |", "c |-|")))
        assert found.offsets.tolist() == [0, 1, 1, 2]


class TestAsynchronous:
    DRAWN = """
        web   |---------|
         a     |--|
         mail   |-----------|
    """

    def test_children_that_outlive_their_parent_are_cut_by_default(self) -> None:
        """Rule 17: the parent may have waited until its end."""
        assert walk(trace(self.DRAWN)) == [("web", 0, 2), ("mail", 2, 10)]

    def test_or_not_waited_for(self) -> None:
        """Rule 17: with the option, who ends more than 1 % later was not waited for."""
        assert walk(trace(self.DRAWN), asynchronous=True) == [("web", 0, 1), ("a", 1, 4), ("web", 4, 10)]

    def test_a_little_late_is_waited_for(self) -> None:
        """Rule 17: up to max(e, 1 %)."""
        spans = trace(self.DRAWN)
        assert walk(spans, asynchronous=True, tolerance=4 * MILLISECOND) == walk(spans, tolerance=4 * MILLISECOND)
        assert "mail" not in path(spans, asynchronous=True, tolerance=4 * MILLISECOND - 1)

    def test_share_is_reported(self) -> None:
        """Rule 17: how much of the children's time lies after their parents' end."""
        linked = link(trace(self.DRAWN))
        assert (outliving(linked) / MILLISECOND).tolist() == [0, 0, 4]
        assert outliving_share(linked) == 4 / 15


class TestWhole:
    def test_exclusive_times_sum_to_the_root(self) -> None:
        """Rules 14 and 15: in integers."""
        linked = link(synthetic(10_000))
        spent = critical_path.exclusive(linked, sections(linked))
        assert spent.sum() == (linked.end - linked.start)[linked.entry].sum()

    def test_a_broken_partition_is_a_bug(self) -> None:
        """Rule 14: sections that do not tile raise, and say which entry."""
        linked = link(trace("a |--|"))
        none = np.array([], np.int64)
        assert _walk.first_broken(np.array([], np.int32), none, none, linked.entry, 0, 1, linked.start, linked.end) == 0

    def test_times_at_the_limits(self) -> None:
        """Rule 14: the whole range of 64 bits is tiled like any other."""
        end = 2**63 - 1
        rows = [
            {"span_id": span_id(1), "start_time_unix_nano": -end, "end_time_unix_nano": end},
            {
                "span_id": span_id(2),
                "parent_span_id": span_id(1),
                "start_time_unix_nano": -(2**63),
                "end_time_unix_nano": end - 1,
            },
        ]
        found = sections(link(frame(rows)))
        assert list(zip(found.start.tolist(), found.end.tolist(), strict=True)) == [(-end, end - 1), (end - 1, end)]

    def test_entry_beyond_the_forest(self) -> None:
        """Refused before a kernel reads memory that is not its own."""
        with pytest.raises(IndexError, match="1 rows"):
            sections(link(trace("a |-|")), np.array([1]))

    def test_chain_of_100_000(self) -> None:
        """Rule 18: no depth limit."""
        n = 100_000
        linked = link(chain(n))
        found = sections(linked, tolerance=0)
        assert len(found) == 2 * n - 1
        assert (found.start[0], found.end[-1]) == (0, 2 * n)

    @pytest.mark.slow
    def test_one_trace_of_a_million(self) -> None:
        """Rule 18: no limit on width either."""
        linked = link(one_trace(1_000_000))
        found = sections(linked, np.arange(0, 1_000_000, 3))
        assert len(found.entries) == 333_334

    def test_nested_cut_windows_are_sorted_anew_each_time(self) -> None:
        """Rules 12 and 16: thousands of children below a cut window, in n log n."""
        n = 20_000
        number = pl.int_range(n, dtype=pl.Int64)
        rows = one_trace(n).with_columns(
            parent_span_id=pl.when(number == 1)
            .then(pl.col("span_id").get(0))
            .when(number > 1)
            .then(pl.col("span_id").get(1)),
            start_time_unix_nano=pl.when(number > 1).then(number).otherwise(0),
            end_time_unix_nano=pl.when(number == 0).then(n).when(number == 1).then(2 * n).otherwise(number + n),
        )
        linked = link(rows)
        found = sections(linked, np.array([1]), tolerance=0)
        assert found.end[-1] == 2 * n

    def test_threads_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Entries are independent of each other."""
        linked = link(synthetic(20_000))
        alone = sections(linked, np.arange(20_000))
        monkeypatch.setattr("tracelens.forest.THREADS_FROM", 100)
        shared = sections(linked, np.arange(20_000))
        for name in ("entry_index", "span", "start", "end"):
            assert np.array_equal(getattr(alone, name), getattr(shared, name))

    def test_kernels_are_compiled_once(self) -> None:
        """One signature each, whatever the arrays come from."""
        linked = link(synthetic(1_000))
        linked.entry.flags.writeable = False
        sections(linked, tolerance=5, asynchronous=True)
        critical_path.warm()
        called: list[Any] = [_walk.walk, _walk.first_broken, _walk.add_times]
        assert [len(kernel.signatures) for kernel in called] == [1, 1, 1]
