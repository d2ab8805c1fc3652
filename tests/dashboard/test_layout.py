"""Places on the map: callers before callees, cycles cut, the same every time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dashboard.layout import layout


def test_a_service_stands_after_all_that_call_it() -> None:
    edges = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("a", "d")]
    assert layout(edges, []) == [["a"], ["b", "c"], ["d"]]


def test_a_call_that_leads_back_moves_nobody() -> None:
    assert layout([("a", "b"), ("b", "c"), ("c", "a"), ("b", "b")], []) == [["a"], ["b"], ["c"]]


def test_a_service_without_edges_has_a_place() -> None:
    assert layout([], ["alone"]) == [["alone"]]
    assert layout([], []) == []


def test_services_stand_by_whom_they_talk_to() -> None:
    edges = [("top", "x"), ("end", "a"), ("in", "top"), ("in", "end")]
    first, second, third = layout(edges, [])
    assert (first, sorted(second)) == (["in"], ["end", "top"])
    assert third == [dict(edges[:2])[name] for name in second]


NAMES = st.sampled_from("abcdefgh")


@given(st.lists(st.tuples(NAMES, NAMES), max_size=30))
def test_every_service_has_one_place_and_the_order_of_edges_does_not_matter(edges: list[tuple[str, str]]) -> None:
    found = layout(edges, [])
    assert sorted(name for layer in found for name in layer) == sorted({name for edge in edges for name in edge})
    assert layout(reversed(edges), []) == found
    assert all(found)
