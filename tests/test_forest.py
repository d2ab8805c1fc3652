"""Linking: rules 1 to 8, each drawn."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import polars as pl
import pytest

from tests.builders import MILLISECOND, frame, span_id, synthetic, trace, trace_id, traces
from tracelens import _link, _windows, forest
from tracelens.errors import SchemaError
from tracelens.forest import Forest, link
from tracelens.repair import TRACE_MARK
from tracelens.spans import CLIENT, MARK, SERVER, concat


def names(linked: Forest) -> list[str]:
    return linked.spans["name"].to_list()


def parents(linked: Forest) -> dict[str, str | None]:
    """Name of each span's parent, by name."""
    name = names(linked)
    return {name[i]: name[p] if p >= 0 else None for i, p in enumerate(linked.parent.tolist())}


def columns(linked: Forest, what: str = "start") -> dict[str, float]:
    """An array of the forest by name, in columns of the drawing."""
    values = getattr(linked, what) / MILLISECOND
    return dict(zip(names(linked), values.tolist(), strict=True))


def windows(linked: Forest) -> dict[str, tuple[float, float]]:
    lo, hi = columns(linked, "lo"), columns(linked, "hi")
    return {name: (lo[name], hi[name]) for name in lo}


def marked(linked: Forest) -> dict[str, set[str]]:
    """Names of the marks each marked span has."""
    return {
        name: {mark for mark, bit in TRACE_MARK.items() if bits & bit}
        for name, bits in zip(names(linked), linked.marks.tolist(), strict=True)
        if bits
    }


class TestOrder:
    def test_a_subtree_is_one_stretch_of_rows(self) -> None:
        """Preorder: parents first, siblings by start, `until` ends the subtree."""
        linked = link(
            trace("""
            web    |----------|
             late       |--|
              leaf       |-|
             early |--|
            """)
        )
        assert names(linked) == ["web", "early", "late", "leaf"]
        assert linked.until.tolist() == [4, 2, 4, 4]
        assert linked.depth.tolist() == [0, 1, 1, 2]

    def test_traces_ascend_by_id(self) -> None:
        """Traces stand in the order of their ids' bytes, whatever order spans came in."""
        drawn = concat([trace("a |-|", number=300), trace("b |-|", number=2)])
        assert names(link(drawn)) == ["b", "a"]

    def test_children_by_window_end_then_start_then_id(self) -> None:
        """Rule 9's order: end descending, start ascending, span id ascending."""
        linked = link(
            trace("""
            web |---------|
             a    |---|
             b  |-----|
             c     |----|
             d  |-----|
            """)
        )
        ordered = [names(linked)[i] for i in linked.children[: linked.child_offsets[1]]]
        assert ordered == ["c", "b", "d", "a"]

    def test_nothing(self) -> None:
        """No spans, no traces."""
        linked = link(frame([]))
        assert (linked.traces, linked.repairs()) == (0, {})


class TestTime:
    def test_negative_duration_becomes_zero(self) -> None:
        """Rule 1: an end before its start is a length of 0, and counted."""
        linked = link(frame([{"span_id": span_id(1), "start_time_unix_nano": 5, "end_time_unix_nano": 3}]))
        assert (linked.start.tolist(), linked.end.tolist()) == ([5], [5])
        assert linked.repairs() == {"neg_duration": 1}

    def test_zero_is_a_legal_start(self) -> None:
        """Rule 1: 0 is a time as any other."""
        linked = link(trace("a |--|"))
        assert linked.start.tolist() == [0]
        assert linked.repairs() == {}

    def test_span_without_time_is_transparent(self) -> None:
        """Rule 1: its children attach to its nearest timed ancestor."""
        linked = link(
            trace("""
            web    |------|
             gone  ?
              gap  ?
               db    |--|
            """)
        )
        assert parents(linked) == {"web": None, "gone": "web", "gap": "web", "db": "web"}
        assert columns(linked)["gap"] == columns(linked, "end")["gap"] == 0
        assert linked.repairs() == {"no_time": 2}

    def test_null_times_are_no_time(self) -> None:
        """Rule 1: neither start nor end; with one of them, the span has no length."""
        linked = link(
            trace("""
            web  |----|
             a    |-|
             b     |-|
            """).with_columns(
                start_time_unix_nano=pl.when(pl.col("name") != "a").then("start_time_unix_nano"),
                end_time_unix_nano=pl.when(pl.col("name") == "web").then("end_time_unix_nano"),
            )
        )
        assert columns(linked) == {"web": 0, "a": 0, "b": 2}
        assert columns(linked, "end") == {"web": 5, "a": 0, "b": 2}

    def test_children_of_a_timeless_root_are_roots(self) -> None:
        """Rule 1: with no timed ancestor they are where time begins."""
        linked = link(
            trace("""
            gone ?
             a   |--|
             b     |--|
            """)
        )
        assert linked.n_roots.tolist() == [2]
        assert names(linked)[linked.entry[0]] == "a"
        assert linked.complete.tolist() == [True]

    def test_children_of_a_timeless_orphan_are_orphans(self) -> None:
        """Rules 1 and 6: what is above them is still unknown."""
        linked = link(
            trace("""
            gone ? parent=!9
             a   |--|
            """)
        )
        assert marked(linked)["a"] == {"orphan"}
        assert linked.complete.tolist() == [False]

    def test_trace_without_any_time(self) -> None:
        """Rule 6: it has a root all the same."""
        linked = link(
            trace("""
            a  ?
             b ?
            """)
        )
        assert (linked.n_roots.tolist(), linked.entry.tolist()) == ([1], [0])

    def test_edge_over_a_timeless_span_is_non_blocking_when_a_part_was(self) -> None:
        """Rules 1 and 5: who does not wait for the transparent span does not wait for its children."""
        linked = link(
            trace("""
            web   |---|
             gone ? follows_from
              a    |-|
            """)
        )
        assert not linked.blocking[names(linked).index("a")]


class TestDuplicates:
    def test_shared_span_is_split(self) -> None:
        """Rule 3: CLIENT and SERVER of one id are two spans, the server the client's child."""
        linked = link(
            trace("""
            web         |----------|  kind=client id=7
            cart          |-----|     kind=server id=7
             db            |--|       parent=!7 service=cart
             call           |--|      parent=!7 service=web
             other           |-|      parent=!7 service=third
            """)
        )
        assert parents(linked) == {"web": None, "cart": "web", "db": "cart", "call": "web", "other": "cart"}
        assert linked.repairs() == {"shared_split": 2}

    def test_children_of_a_service_that_calls_itself_go_to_the_server(self) -> None:
        """Rule 3: only a service that is the client's alone keeps its children there."""
        linked = link(
            trace("""
            out  |------|  kind=client id=7 service=web
            in    |---|    kind=server id=7 service=web
             db    |-|     parent=!7 service=web
            """)
        )
        assert parents(linked)["db"] == "in"

    def test_longest_is_kept(self) -> None:
        """Rule 3: of duplicates the longest, then the earliest, then the smallest (service, name)."""
        linked = link(
            trace("""
            short  |--|     id=1
            long    |----|  id=1
            early  |----|   id=1
            """)
        )
        assert names(linked) == ["early"]
        assert linked.repairs() == {"dup_conflict": 2}

    def test_smallest_name_decides_a_tie(self) -> None:
        """Rule 3: equal times leave service and name to decide."""
        linked = link(
            trace("""
            b |--| id=1 service=s
            a |--| id=1 service=s
            c |--| id=1 service=t
            """)
        )
        assert names(linked) == ["a"]

    def test_resent_span_is_identical(self) -> None:
        """Rule 3: only the time of receipt differs when an exporter sends again."""
        once = trace("a |--|").with_columns(received_unix_nano=pl.lit(1, pl.Int64))
        linked = link(concat([once.with_columns(received_unix_nano=pl.lit(2, pl.Int64)), once, once]))
        assert linked.repairs() == {"dup_identical": 2}
        assert linked.spans["received_unix_nano"].to_list() == [1]

    def test_stray_kind_beside_a_shared_span(self) -> None:
        """Rule 3: a third span of the id is a duplicate, however long."""
        linked = link(
            trace("""
            web  |---|      kind=client id=7
            cart  |-|       kind=server id=7
            x    |--------| kind=internal id=7
            """)
        )
        assert parents(linked) == {"web": None, "cart": "web"}
        assert linked.repairs() == {"shared_split": 2, "dup_conflict": 1}

    def test_same_id_in_two_traces_is_no_duplicate(self) -> None:
        """Rule 3: ids count within their trace."""
        assert link(traces("a |-|", "a |-|")).repairs() == {}


class TestParents:
    def test_own_parent_is_none(self) -> None:
        """Rule 4: a span that is its own parent has none."""
        linked = link(trace("a |--| parent=!1"))
        assert linked.parent.tolist() == [-1]
        assert (linked.n_roots.tolist(), linked.complete.tolist()) == ([1], [True])

    def test_follows_from_does_not_block(self) -> None:
        """Rule 5: the edge stays in the forest, off the parent's path, with a window of its own."""
        linked = link(
            trace("""
            web    |---|
             mail      |-----|  follows_from
              smtp        |--|
            """)
        )
        assert linked.blocking.tolist() == [True, False, True]
        assert windows(linked) == {"web": (0, 4), "mail": (4, 10), "smtp": (7, 10)}
        assert linked.repairs() == {}

    def test_consumer_of_a_producer_does_not_block(self) -> None:
        """Rule 5: a producer does not wait for its consumer."""
        linked = link(
            trace("""
            send    |---|      kind=producer
             eat       |-----| kind=consumer
             part    |-|       kind=client
            """)
        )
        assert dict(zip(names(linked), linked.blocking.tolist(), strict=True)) == {
            "send": True,
            "eat": False,
            "part": True,
        }


class TestRoots:
    def test_earliest_then_longest_then_smallest_id(self) -> None:
        """Rule 6: the primary root is the earliest, then longest, then smallest id."""
        linked = link(
            trace("""
            late    |----|
            short  |---|
            long   |----|   id=9
            twin   |----|   id=8
            """)
        )
        assert names(linked)[linked.entry[0]] == "twin"
        assert linked.n_roots.tolist() == [4]

    def test_root_before_an_earlier_orphan(self) -> None:
        """Rule 6: an orphan is primary only without a root."""
        both = link(
            trace("""
            lost  |---|   parent=!99
            web     |---|
            """)
        )
        assert names(both)[both.entry[0]] == "web"
        assert (both.n_orphans.tolist(), both.complete.tolist()) == ([1], [False])
        only = link(trace("lost |---| parent=!99"))
        assert (only.entry.tolist(), only.n_roots.tolist(), only.repairs()) == ([0], [0], {"orphan": 1})

    def test_earliest_of_a_cycle_becomes_an_orphan(self) -> None:
        """Rule 6: the cycle is cut above its earliest span, and both facts are counted."""
        linked = link(
            trace("""
            a    |-----|  id=1 parent=!3
             b    |---|   id=2
              c   |---|   id=3
            web |------| id=4 root
            """)
        )
        assert parents(linked) == {"web": None, "a": None, "b": "a", "c": "b"}
        assert (linked.n_cycles.tolist(), linked.n_orphans.tolist()) == ([1], [1])
        assert marked(linked) == {"a": {"orphan", "cycle"}}

    def test_cycle_among_timeless_spans(self) -> None:
        """Rules 1 and 6: a cycle is cut before spans without time are passed over."""
        linked = link(
            trace("""
            a  ? id=1 parent=!2
            b  ? id=2 parent=!1
            c  |-| parent=!2
            """)
        )
        assert linked.n_cycles.tolist() == [1]
        assert parents(linked) == {"a": None, "b": None, "c": None}


class TestSkew:
    def test_child_that_fits_is_contained_with_its_side(self) -> None:
        """Rule 7: moved by the least amount, and everything below it alike."""
        linked = link(
            trace("""
            call       |--------| kind=client service=web
             cart  |---|          kind=server
              sort  |-|           service=cart
            """)
        )
        assert columns(linked) == {"call": 4, "cart": 4, "sort": 5}
        assert columns(linked, "skew") == {"call": 0, "cart": 4, "sort": 4}
        assert marked(linked) == {"cart": {"skew_shifted"}, "sort": {"skew_moved"}}

    def test_child_that_ends_late_moves_back(self) -> None:
        """Rule 7: by no more than it sticks out."""
        linked = link(
            trace("""
            call   |------|     kind=client
             cart      |----|   kind=server
            """)
        )
        assert (columns(linked)["cart"], columns(linked, "end")["cart"]) == (2, 7)

    def test_longer_child_is_aligned(self) -> None:
        """Rule 7: one that starts earlier starts with its parent; one that starts later is left alone."""
        early = link(
            trace("""
            call     |--|      kind=client
             cart  |-------|   kind=server
            """)
        )
        assert columns(early) == {"call": 2, "cart": 2}
        assert marked(early)["cart"] >= {"skew_aligned"}
        late = link(
            trace("""
            call   |--|        kind=client
             cart   |-------|  kind=server
            """)
        )
        assert not late.skew.any()

    def test_over_the_cap_is_untouched(self) -> None:
        """Rule 7: more than a second is counted and left."""
        drawing = """
            call      |----|  kind=client
             cart |--|        kind=server
        """
        at_cap = link(trace(drawing, unit=250_000_000))
        assert at_cap.repairs() == {"skew_shifted": 1}
        over = link(trace(drawing, unit=250_000_001))
        assert over.repairs() == {"skew_capped": 1, "outside": 1}
        assert not over.skew.any()

    def test_other_host_without_kinds(self) -> None:
        """Rule 7: hosts that are known and differ are enough."""
        linked = link(
            trace("""
            web      |------| host=h1
             cart |--|        host=h2
            """)
        )
        assert columns(linked)["cart"] == 3

    def test_one_host_has_one_clock(self) -> None:
        """Rule 7: equal hosts are never shifted against each other, whatever the kinds."""
        linked = link(
            trace("""
            call      |------| kind=client host=h1
             cart |--|         kind=server host=h1
            """)
        )
        assert not linked.skew.any()

    def test_different_attributes_of_a_host_tell_nothing(self) -> None:
        """Rule 7: a node's name beside a host's name is no difference."""
        linked = link(
            trace("""
            web      |------| host=h1
             cart |--|        res:k8s.node.name=n1
            """)
        )
        assert not linked.skew.any()

    def test_node_name_comes_first(self) -> None:
        """Rule 7: two containers of one node share its clock, whatever they call themselves."""
        linked = link(
            trace("""
            call      |------| kind=client host=c1 res:k8s.node.name=n
             cart |--|         kind=server host=c2 res:k8s.node.name=n
            """)
        )
        assert not linked.skew.any()

    def test_app_and_sidecar_share_a_clock(self) -> None:
        """Rule 7: by pod, or by workload when one of the two is a proxy, and even on unlike hosts."""
        by_pod = link(
            trace("""
            proxy     |------| kind=client pod=p host=h1
             app  |--|         kind=server pod=p host=h2
            """)
        )
        by_workload = link(
            trace("""
            proxy     |------| kind=client service=cart attr:component=proxy
             app  |--|         kind=server service=cart
            """)
        )
        assert not by_pod.skew.any()
        assert not by_workload.skew.any()

    def test_other_side_is_judged_by_itself(self) -> None:
        """Rule 7: below a shifted span, a call to a third machine is compared with where it now is."""
        linked = link(
            trace("""
            call            |-----------| kind=client service=web
             cart    |----------|         kind=server
              ask     |------|            kind=client service=cart
               db                 |--|    kind=server
            """)
        )
        assert columns(linked, "skew") == {"call": 0, "cart": 7, "ask": 7, "db": -1}

    def test_what_nobody_waits_for_is_left_alone(self) -> None:
        """Rules 5 and 7: a consumer may well run after its producer."""
        linked = link(
            trace("""
            send   |--|        kind=producer host=h1
             eat       |-|     kind=consumer host=h2
            """)
        )
        assert not linked.skew.any()

    def test_switched_off(self) -> None:
        """Rule 7: nothing moves when it is off."""
        drawn = trace("""
            call      |------| kind=client
             cart |--|         kind=server
        """)
        assert not link(drawn, skew=False).skew.any()


class TestWindows:
    def test_cut_to_the_parents_window(self) -> None:
        """Rule 8: W(child) = child ∩ W(parent), counted as before, after, outside."""
        linked = link(
            trace("""
            web       |--------|
             early  |---|
              deep    |----|
             late            |---|
             gone               |--|
              below             |-|
            """)
        )
        assert windows(linked) == {
            "web": (2, 11),
            "early": (2, 4),
            "deep": (2, 4),
            "late": (9, 11),
            "gone": (11, 11),
            "below": (11, 11),
        }
        assert marked(linked) == {
            "early": {"clip_before"},
            "deep": {"clip_after"},
            "late": {"clip_after"},
            "gone": {"outside"},
        }
        assert linked.repairs() == {"clip_before": 1, "clip_after": 2, "outside": 1}

    def test_no_length_inside_is_not_outside(self) -> None:
        """Rule 8: a point within its parent is where it belongs."""
        linked = link(
            trace("""
            web  |----|
             a   |
             b        |
            """)
        )
        assert linked.repairs() == {}


class TestScale:
    def test_chain_of_100_000(self) -> None:
        """Rule 18: depth costs nothing but memory."""
        n = 100_000
        linked = link(chain(n))
        assert linked.depth[-1] == n - 1
        assert linked.until[0] == n

    @pytest.mark.slow
    def test_one_trace_of_a_million(self) -> None:
        """Rule 18: one trace may hold everything."""
        linked = link(one_trace(1_000_000).sample(fraction=1, shuffle=True, seed=1))
        assert (linked.traces, linked.n_roots.tolist(), linked.n_orphans.tolist()) == (1, [1], [0])

    def test_star_with_equal_times(self) -> None:
        """Rule 18: ties by the hundred thousand are sorted by id, in n log n."""
        n = 100_000
        rows = one_trace(n).with_columns(
            parent_span_id=pl.when(pl.col("parent_span_id").is_not_null()).then(pl.col("span_id").get(0)),
            start_time_unix_nano=pl.lit(0, pl.Int64),
            end_time_unix_nano=pl.lit(9, pl.Int64),
        )
        linked = link(rows.sample(fraction=1, shuffle=True, seed=1))
        ids = linked.spans["span_id"].gather(linked.children).to_list()
        assert ids == sorted(ids)

    def test_threads_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ranges of traces are independent."""
        rows = synthetic(20_000, shuffled=True)
        alone = link(rows)
        monkeypatch.setattr(forest, "THREADS_FROM", 100)
        assert_same(link(rows), alone)


def one_trace(n: int) -> pl.DataFrame:
    """One trace of n spans: many small trees under one root."""
    top = pl.col("span_id").get(0)
    parent = pl.when(pl.col("parent_span_id").is_null() & (pl.col("span_id") != top)).then(top)
    return synthetic(n).with_columns(trace_id=pl.lit(trace_id(1)), parent_span_id=pl.coalesce("parent_span_id", parent))


def chain(n: int) -> pl.DataFrame:
    """One trace, each span the only child of the one before, each a nanosecond inside it."""
    number = pl.int_range(n, dtype=pl.Int64)
    return one_trace(n).with_columns(
        parent_span_id=pl.col("span_id").shift(1),
        start_time_unix_nano=number,
        end_time_unix_nano=2 * n - number,
    )


def assert_same(a: Forest, b: Forest) -> None:
    """Every array and the spans themselves are equal."""
    assert a.spans.equals(b.spans)
    for field in fields(a):
        mine, other = getattr(a, field.name), getattr(b, field.name)
        if isinstance(mine, np.ndarray):
            assert np.array_equal(mine, other), field.name
    assert a.dropped == b.dropped


class TestRefusals:
    def test_wrong_length(self) -> None:
        """An id that decoders would have refused is named."""
        with pytest.raises(SchemaError, match="trace_id"):
            link(frame([{"trace_id": b"short", "span_id": span_id(1)}]))
        with pytest.raises(SchemaError, match="span_id"):
            link(frame([{"span_id": b"short"}]))
        with pytest.raises(SchemaError, match="span_id"):
            link(frame([{"span_id": None}]))
        with pytest.raises(SchemaError, match="parent_span_id"):
            link(frame([{"span_id": span_id(1), "parent_span_id": b""}]))

    def test_missing_column(self) -> None:
        """So is a column that is absent."""
        with pytest.raises(SchemaError, match="kind"):
            link(trace("a |-|").drop("kind"))


def test_ids_are_ordered_as_bytes() -> None:
    """High bits count: ids above 2^63 come last."""
    big, small = b"\xff" * 8, b"\x01" + bytes(7)
    linked = link(frame([{"span_id": big}, {"span_id": small}, {"trace_id": b"\xff" * 16, "span_id": small}]))
    assert linked.spans["span_id"].to_list() == [small, big, small]
    assert linked.spans["trace_id"].to_list() == [trace_id(1), trace_id(1), b"\xff" * 16]


def test_shared_span_whose_client_came_without_a_parent() -> None:
    """A server half never becomes its own ancestor."""
    linked = link(
        frame(
            [
                {"span_id": span_id(1), "parent_span_id": span_id(1), "kind": SERVER, "name": "s"},
                {"span_id": span_id(1), "parent_span_id": span_id(1), "kind": CLIENT, "name": "c"},
            ]
        )
    )
    assert parents(linked) == {"c": None, "s": "c"}


def test_repairs_of_the_decoder_are_counted() -> None:
    """The counts hold both halves: what one span showed and what the trace showed."""
    linked = link(
        trace("a |-| parent=!9").with_columns(repairs=pl.lit(MARK["bad_utf8"] | MARK["no_service"], pl.Int32))
    )
    assert linked.repairs() == {"bad_utf8": 1, "no_service": 1, "orphan": 1}


def test_kernels_are_compiled_once() -> None:
    """One signature each: a second one would be compiled while somebody waits."""
    forest.warm()
    link(synthetic(1_000))
    link(
        trace("""
        a  |--| id=1 kind=client
        b  |--| id=1 kind=server
         c ?
    """)
    )
    called = {
        _link: "number_traces group_rows sort_traces find_parents cut_cycles lift_timeless preorder",
        _windows: "settle_times cut_windows order_children find_roots count_bits",
    }
    kernels = [getattr(module, name) for module, names in called.items() for name in names.split()]
    assert {kernel.__name__: len(kernel.signatures) for kernel in kernels if len(kernel.signatures) != 1} == {}
