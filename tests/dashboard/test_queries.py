"""What the pages are told about the shop, and that parts add up to wholes."""

from __future__ import annotations

import re
from datetime import UTC
from pathlib import Path

import pytest

from dashboard import queries
from dashboard.components.heatmap import to_box, to_cells
from dashboard.state import box_text, parse_box
from tracelens.lens import ALL, Box, Lens, Question

PRODUCT = ("frontend", "GET /product/{id}")
EVERYTHING = Question()
MINUTE = 60_000_000_000


@pytest.fixture(scope="module")
def lens(shop_store: Path) -> Lens:
    return Lens.open(str(shop_store))


def half(lens: Lens) -> Question:
    """The second half of the data."""
    reach = lens.now_range()
    assert reach is not None
    return Question(start_nano=(reach[0] + reach[1]) // 2, end_nano=reach[1] + 1)


def test_the_overview_counts_every_trace_once(lens: Lens) -> None:
    shown = queries.overview(lens, EVERYTHING)
    assert shown.summary["calls"] == 1_200
    assert sum(shown.course.calls) == 1_200
    assert {route["service"] for route in shown.routes} == {"frontend", "catalog", "cart", "db", "pricing", "payment"}
    for route in shown.routes:
        assert sum(shown.courses[route["service"], route["route"]].calls) == route["calls"]


def test_a_stretch_without_a_call_is_unknown_and_not_zero(lens: Lens) -> None:
    reach = lens.now_range()
    assert reach is not None
    wide = Question(start_nano=reach[0] - (reach[1] - reach[0]), end_nano=reach[1] + 1)
    course = queries.overview(lens, wide).course
    assert course.calls[0] == 0
    assert course.p99[0] is None
    assert course.error_rate[0] is None
    assert course.p99[-2] is not None


def test_a_stretch_that_is_not_over_has_no_percentiles_yet(lens: Lens) -> None:
    reach = lens.now_range()
    assert reach is not None
    length = reach[1] - reach[0]
    beyond = Question(start_nano=reach[0], end_nano=reach[1] + length // 200)
    course = queries.overview(lens, beyond).course
    assert course.calls[-1] > 0
    assert course.p99[-1] is None
    assert course.p99[-2] is not None


def test_earlier_data_is_unknown_when_the_data_begins_within_the_window_before(lens: Lens) -> None:
    assert queries.earlier(lens, EVERYTHING) is None
    reach = lens.now_range()
    assert reach is not None
    two_thirds = Question(start_nano=reach[0] + (reach[1] - reach[0]) // 3, end_nano=reach[1] + 1)
    assert queries.earlier(lens, two_thirds) is None


def test_the_window_before_is_as_long_and_ends_where_this_one_begins(lens: Lens) -> None:
    third = half(lens)
    reach = lens.now_range()
    assert reach is not None
    late = Question(start_nano=third.start_nano, end_nano=(third.start_nano or 0) + (reach[1] - reach[0]) // 3)
    found = queries.earlier(lens, late)
    assert found is not None
    summary, routes = found
    assert 300 < summary["calls"] < 500
    assert routes[PRODUCT]["p99_nano"] < 100_000_000  # before the retries began


def test_the_reasons_sum_to_the_difference(lens: Lens) -> None:
    shown = queries.route(lens, half(lens), PRODUCT)
    why = shown.slow.why
    assert shown.slow.band == (90.0, 100.0)
    assert why.slow_calls > 0
    assert sum(one.difference_nano for one in why.reasons) == pytest.approx(why.difference_nano, rel=1e-9)
    assert sum(one.share for one in why.reasons) == pytest.approx(1.0)
    assert (why.reasons[0].service, why.reasons[0].operation) == ("db", "POST /query")
    assert why.reasons[0].share > 0.9


def test_the_slow_calls_share_the_retry(lens: Lens) -> None:
    question = half(lens)
    tail = lens.slow_tail(question, PRODUCT)
    box = (tail.start_nano, tail.end_nano, tail.low_nano, tail.high_nano)
    first = queries.contrast(lens, question, PRODUCT, box).row(0, named=True)
    assert (first["attribute"], first["value"]) == ("attr:retry.count", "2")
    slowest = queries.exemplars(lens, question, PRODUCT, box)
    assert slowest["duration_nano"].is_sorted(descending=True)
    assert len(slowest) == queries.EXEMPLARS


@pytest.mark.parametrize("key", [None, PRODUCT])
def test_a_tree_of_paths_holds_all_time_once(lens: Lens, key: tuple[str, str] | None) -> None:
    """Own times sum to the root's time, a parent's to its own and its children's."""
    shown = queries.paths(lens, EVERYTHING, key, ALL)
    nodes = shown.nodes
    assert nodes[0].parent == -1
    assert all(0 <= node.parent < at for at, node in enumerate(nodes) if at)
    assert sum(node.exclusive_nano for node in nodes) == nodes[0].inclusive_nano
    for at, node in enumerate(nodes):
        below = sum(child.inclusive_nano for child in nodes if child.parent == at)
        assert node.inclusive_nano == node.exclusive_nano + below
    assert len({node.key for node in nodes}) == len(nodes)


def test_of_a_long_window_the_newest_stretch_is_looked_at(lens: Lens) -> None:
    """It ends with the data or with the box drawn, holds what can be read at once, and says so."""
    reach = lens.now_range()
    assert reach is not None
    whole = queries.stretch(lens, EVERYTHING, None)
    assert whole.said(UTC) is None
    assert whole.narrow(EVERYTHING) == EVERYTHING
    middle = (reach[0] + reach[1]) // 2
    for until, last in ((None, reach[1]), (middle, middle)):
        found = queries.stretch(lens, EVERYTHING, until, most=2_000)
        assert 0 <= found.end_nano - last <= MINUTE
        assert 0 < found.spans <= 2_000 < found.of_spans
        narrow = found.narrow(EVERYTHING)
        assert lens.routes(narrow).source.spans == found.spans
        assert re.fullmatch(rf"[\d:]+ – [\d:]+: {found.spans:,} of [\d.]+ k spans", found.said(UTC) or "")


def test_a_box_of_the_grid_goes_there_and_back(lens: Lens) -> None:
    """What is dragged, written to the URL and drawn again is the same box."""
    grid = queries.route(lens, EVERYTHING, PRODUCT).grid
    cells = [3.0, 17.0, 20.0, 44.0]
    read = parse_box(box_text(to_box(grid, cells)))
    assert read is not None
    assert to_cells(grid, read) == pytest.approx(cells, abs=1e-3)


def test_a_box_beyond_the_grid_is_cut_to_it(lens: Lens) -> None:
    grid = queries.route(lens, EVERYTHING, PRODUCT).grid
    beyond = Box(start_nano=0, end_nano=2**62, low_nano=0, high_nano=2**62)
    rows, columns = grid.counts.shape
    assert to_cells(grid, beyond) == [0.0, float(columns), 0.0, float(rows)]
