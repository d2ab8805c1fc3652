"""Profile: rule 19, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import MILLISECOND, synthetic, trace, trace_id, traces
from tests.test_forest import chain
from tracelens import histogram
from tracelens.analysis import _sums
from tracelens.analysis.bands import by_duration, by_rank
from tracelens.analysis.critical_path import sections
from tracelens.analysis.profile import (
    MAX_LEVELS,
    PROFILE,
    PROFILE_BUCKETS,
    accumulate,
    cut,
    grouped,
    merge,
    profile,
    warm,
)
from tracelens.errors import UsageError
from tracelens.forest import link

BANDS = ((0.0, 50.0), (50.0, 90.0), (90.0, 99.0), (99.0, 100.0))


def arguments(spans: pl.DataFrame, *, route: Sequence[str] | None = None, names: Sequence[str] = ()) -> dict[str, Any]:
    """What `profile` and `accumulate` take: walks of `names`, by default of each trace's root."""
    forest = link(spans)
    named = forest.spans["name"].to_list()
    entries = np.array([named.index(name) for name in names]) if names else forest.entry
    return {
        "forest": forest,
        "sections": sections(forest, entries, tolerance=0),
        "entries": entries,
        "route": None if route is None else pl.Series(route, dtype=pl.String),
        "service": forest.spans["service_name"],
        "operation": forest.spans["name"],
        "layer": pl.Series(["app"] * len(named), dtype=pl.String),
    }


def rows(frame: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Columns of a frame, times in columns of the drawing."""
    nano = [name for name in columns if name.endswith("_nano")]
    return frame.select(columns).with_columns(pl.col(nano) / MILLISECOND if nano else []).rows()


TWO = (
    """
    web   |--------|  service=shop
     cart  |---|
      db    |-|
    """,
    """
    web   |------------|  service=shop
     cart  |---|
     mail        |-|
    """,
)


class TestSums:
    def test_time_per_path(self) -> None:
        """Each node has the sum of its exclusive times, its share, and its mean where absent is 0."""
        found = profile(**arguments(traces(*TWO)))
        assert found.schema == PROFILE
        assert rows(found, "path", "traces", "exclusive_nano", "inclusive_nano", "mean_nano", "max_nano") == [
            (["shop web"], 2, 12, 22, 6, 7),
            (["shop web", "cart cart"], 2, 6, 8, 3, 4),
            (["shop web", "cart cart", "db db"], 1, 2, 2, 1, 2),
            (["shop web", "mail mail"], 1, 2, 2, 1, 2),
        ]
        assert found["share"].sum() == 1
        assert found["entries"].unique().to_list() == [2]

    def test_exemplar_is_the_trace_of_the_most_and_the_smallest_of_several(self) -> None:
        """Rule 19: largest exclusive, then smallest trace id."""
        found = profile(**arguments(traces(*TWO, TWO[1])))
        assert dict(found.select(pl.col("path").list.last(), "exemplar_trace_id").rows()) == {
            "shop web": trace_id(2),
            "cart cart": trace_id(2),
            "db db": trace_id(1),
            "mail mail": trace_id(2),
        }

    def test_recursion_keeps_its_depth(self) -> None:
        """Equal labels below each other stay nodes of their own; as a group the outermost counts."""
        found = profile(
            **arguments(
                trace("""
                a1    |-------|  service=s op=f
                 a2    |-----|   service=s op=f
                  a3    |---|    service=s op=f
                """)
            )
        )
        assert rows(found, "path", "exclusive_nano", "inclusive_nano") == [
            (["s f"] * 3, 4, 4),
            *sorted([(["s f"], 2, 8), (["s f"] * 2, 2, 6)], key=lambda row: found["path"].to_list().index(row[0])),
        ]
        assert rows(grouped(found, ["service"]), "service", "exclusive_nano", "inclusive_nano") == [("s", 8, 8)]

    def test_span_without_own_time_keeps_its_place(self) -> None:
        """A node that only passes time on is a row, so that the tree has no hole."""
        found = profile(
            **arguments(
                trace("""
                web   |---|
                 gate |---|
                  app |---|
                """)
            )
        )
        assert rows(found.sort(pl.col("path").list.len()), "service", "traces", "exclusive_nano", "inclusive_nano") == [
            ("web", 0, 0, 4),
            ("gate", 0, 0, 4),
            ("app", 1, 4, 4),
        ]

    def test_parents_are_the_nodes_above(self) -> None:
        """`node` and `parent` draw the tree."""
        found = profile(**arguments(traces(*TWO)))
        name = dict(found.select("node", "service").rows())
        assert {name[node]: name.get(parent) for node, parent in found.select("node", "parent").rows()} == {
            "shop": None,
            "cart": "shop",
            "mail": "shop",
            "db": "cart",
        }

    def test_layers_part_nodes_of_one_name(self) -> None:
        """The same service and operation in another layer is another node."""
        given = arguments(
            trace("""
            cart  |-------| op=get
             app   |-----|  service=cart op=get
            """)
        )
        given["layer"] = pl.Series(["ingress_proxy", "app"])
        assert rows(profile(**given), "layer", "path", "exclusive_nano") == [
            ("app", ["cart get", "cart get"], 6),
            ("ingress_proxy", ["cart get"], 2),
        ]

    def test_sub_roots_sum_to_their_routes_latency(self) -> None:
        """Rule 16: a route served inside larger traces has a profile of its own, nested entries and all."""
        given = arguments(trace(TWO[0]), names=["web", "cart", "db"], route=["/", "/cart", "/db"])
        found = profile(**given)
        assert rows(
            found.group_by("route", maintain_order=True).agg(pl.col("exclusive_nano").sum()), "route", "exclusive_nano"
        ) == [
            ("/", 9),
            ("/cart", 4),
            ("/db", 2),
        ]

    def test_entries_without_a_route(self) -> None:
        """Null is a route like any other."""
        given = arguments(traces(*TWO))
        given["route"] = pl.Series([None, "/x"])
        assert profile(**given).group_by("route").agg(pl.col("entries").first()).sort("route").rows() == [
            (None, 1),
            ("/x", 1),
        ]

    def test_entry_of_no_length(self) -> None:
        """It counts, with nothing to share out."""
        found = profile(**arguments(trace("web |")))
        assert rows(found, "exclusive_nano", "share", "traces", "entries") == [(0, 0, 0, 1)]

    def test_nothing(self) -> None:
        """No entries, no rows, in any form."""
        given = arguments(trace("web |-|"))
        given["entries"] = np.array([], np.int64)
        given["sections"] = sections(given["forest"], given["entries"])
        assert profile(**given, bands=BANDS).rows() == []
        assert accumulate(**given).rows() == cut(accumulate(**given), BANDS).rows() == merge([]).rows() == []

    def test_deep_paths_are_folded(self) -> None:
        """What is deeper than MAX_LEVELS counts as that deep, and no time is lost."""
        given = arguments(chain(1_000))
        found = profile(**given)
        assert found["path"].list.len().max() == MAX_LEVELS
        assert found["exclusive_nano"].sum() == 2_000


class TestBands:
    def many(self, n: int = 200) -> dict[str, Any]:
        """n traces of 1 … n columns, each half spent in a child."""
        drawn = [f"web |{'-' * i}|\n db  |{'-' * (i // 2)}|" for i in range(n)]
        return arguments(traces(*drawn))

    def test_bands_share_out_the_entries_by_rank(self) -> None:
        """Band [a, b) holds floor((n−1)·a) … floor((n−1)·b), so the slow band begins at the p99."""
        found = profile(**self.many(), bands=BANDS)
        counts = dict(found.select("band", "entries").unique(maintain_order=True).rows())
        assert counts == {"0-50": 99, "50-90": 80, "90-99": 18, "99-100": 3}

    def test_node_means_add_up_to_the_bands_mean(self) -> None:
        """Rule 19: exactly, in integers."""
        given = self.many()
        duration = np.sort((given["forest"].end - given["forest"].start)[given["entries"]])
        found = profile(**given, bands=BANDS).group_by("band", maintain_order=True).agg(pl.col("exclusive_nano").sum())
        edges = [0, 99, 179, 197, 200]
        wanted = [int(duration[a:b].sum()) for a, b in pairwise(edges)]
        assert found["exclusive_nano"].to_list() == wanted

    def test_bands_may_overlap_and_leave_gaps(self) -> None:
        """Each band is cut by itself."""
        found = profile(**self.many(), bands=[(99, 100), (0, 100), (25, 75)])
        assert found.select("band", "entries").unique(maintain_order=True).rows() == [
            ("99-100", 3),
            ("0-100", 200),
            ("25-75", 100),
        ]

    def test_few_entries(self) -> None:
        """One entry is the p99; a band nobody is in has no rows."""
        found = profile(**arguments(trace(TWO[0])), bands=BANDS)
        assert found["band"].unique().to_list() == ["99-100"]

    def test_ranks_are_within_a_route(self) -> None:
        """A fast route has a slow band too."""
        given = self.many()
        given["route"] = pl.Series(["fast"] * 100 + ["slow"] * 100)
        found = profile(**given, bands=BANDS).filter(band="99-100").select("route", "entries").unique().sort("route")
        assert found.rows() == [("fast", 2), ("slow", 2)]

    def test_no_band(self) -> None:
        """What is no band is refused before anything is computed."""
        with pytest.raises(UsageError, match="90-50"):
            profile(**arguments(trace(TWO[0])), bands=[(90, 50)])


class TestBuckets:
    def test_buckets_hold_all_time(self) -> None:
        """Sums, exact squares, counts and the most per log bucket of the entry's latency."""
        given = arguments(traces(TWO[0], TWO[0]))
        found = accumulate(**given)
        assert found.schema == PROFILE_BUCKETS
        (top,) = found.filter(pl.col("parent").is_null()).rows(named=True)
        own = 5 * MILLISECOND
        assert (top["exclusive_nano"], top["traces"], top["max_nano"], top["entries"]) == (2 * own, 2, own, 2)
        assert int(top["squares_nano2"]) == 2 * own**2
        lo = pl.select(histogram.bucket(pl.lit(9 * MILLISECOND))).item()
        assert found["bucket"].unique().to_list() == [lo]

    def test_squares_beyond_64_bits(self) -> None:
        """An hour squared in nanoseconds needs 84 bits; nothing is rounded."""
        hour = 3_600_000_000_001
        found = accumulate(**arguments(trace("web ||", unit=hour)))
        assert int(found["squares_nano2"][0]) == hour**2

    def test_shards_merge_to_one_run(self) -> None:
        """Associative and commutative."""
        drawn = [*TWO, TWO[0], TWO[1], "web |---|", "web |"]
        whole = accumulate(**arguments(traces(*drawn)))
        shards = [accumulate(**arguments(trace(one, number=i))) for i, one in enumerate(drawn, 1)]
        assert merge(shards).equals(whole)
        assert merge([merge(shards[3:]), merge(shards[:3])]).equals(whole)

    def test_cut_is_close_to_exact(self) -> None:
        """Bands of buckets hold what exact bands hold, but for one bucket at each end."""
        given = TestBands().many()
        exact, rough = profile(**given, bands=BANDS), cut(accumulate(**given), BANDS)
        assert rough.schema == PROFILE
        assert rough["exclusive_nano"].sum() == exact["exclusive_nano"].sum()
        counts = rough.select("band", "entries").unique(maintain_order=True)
        assert counts["band"].to_list() == ["0-50", "50-90", "90-99", "99-100"]
        assert counts["entries"].sum() == 200

    def test_cut_of_one_band_is_the_exact_profile(self) -> None:
        """Without a cut inside nothing is approximate, routes and trees included."""
        given = arguments(trace(TWO[0]), names=["web", "cart", "db"], route=["/", "/cart", "/cart"])
        assert cut(accumulate(**given)).equals(profile(**given))


def test_kernels_are_compiled_once() -> None:
    """One signature each, whatever the arrays come from."""
    warm()
    given = arguments(synthetic(1_000))
    grouped(cut(accumulate(**given), BANDS), ["service"])
    called: list[Any] = [_sums.sum_paths, _sums.sum_subtrees, _sums.key_nodes, _sums.spell_paths, _sums.is_outermost]
    assert [len(kernel.signatures) for kernel in called] == [1] * 5


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=60),
    st.sets(st.sampled_from([0.0, 1.0, 10.0, 33.3, 50.0, 90.0, 99.0, 99.9, 100.0]), min_size=1),
)
def test_bands_are_found_without_sorting(took: list[int], bounds: set[float]) -> None:
    """As by rank, equal ones in their order."""
    duration, cuts = np.array(took, np.int64), sorted(bounds)
    ranked = np.empty(len(took), np.int64)
    ranked[np.argsort(duration, kind="stable")] = by_rank(len(took), cuts)
    assert by_duration(duration, cuts).tolist() == ranked.tolist()
