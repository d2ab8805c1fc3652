"""The URL: what it says, what is dropped, and that it reads back what it wrote."""

from __future__ import annotations

import pytest

from dashboard.clock import chosen_window, question
from dashboard.state import (
    State,
    askable,
    box_text,
    moment,
    parse,
    parse_box,
    quoted,
    timestamp,
    to_params,
    unknown,
    with_condition,
)
from tracelens.lens import Box
from tracelens.lens.where import parse as parse_filter

SECOND = 1_000_000_000
NOON = 1_790_000_000 * SECOND


def test_what_is_written_reads_back() -> None:
    states = [
        State(),
        State(window="1h", where="service=cart status=error", live=True),
        State(window="custom", start_nano=NOON, end_nano=NOON + 5 * SECOND, live=False),
        State(window="custom", start_nano=NOON),
    ]
    assert [parse(to_params(state), "overview") for state in states] == states


def test_what_cannot_be_read_is_as_if_it_were_not_there() -> None:
    params = {"window": "a week", "start": "yesterday", "live": "perhaps", "where": "  ", "colour": "red"}
    assert parse(params, "overview") == State()


def test_a_window_that_ends_before_it_starts_is_dropped() -> None:
    params = {"window": "custom", "start": timestamp(NOON), "end": timestamp(NOON - SECOND)}
    assert parse(params, "overview") == State(window="custom")


def test_each_page_knows_its_own_parameters_and_the_bars() -> None:
    params = {"window": "1h", "box": "1-2-3-4", "trace": "ab"}
    assert unknown(params, "overview") == ["box", "trace"]
    assert unknown(params, "route") == ["trace"]
    assert parse(params, "trace").page == {"trace": "ab"}


def test_a_moment_without_a_zone_is_utc() -> None:
    assert moment("2026-09-21T14:13:20") == moment("2026-09-21T16:13:20+02:00") == NOON
    assert moment("2026-09-21T14:13:20.000001Z") == NOON + 1_000


def test_a_box_reads_back_and_nothing_else_is_one() -> None:
    box = Box(start_nano=1, end_nano=20, low_nano=3, high_nano=3)
    assert parse_box(box_text(box)) == box
    for text in (None, "", "1-2-3", "1-2-3-4-5", "2-1-3-4", "1-2-4-3", "a-2-3-4", "1--2-3-4"):
        assert parse_box(text) is None


@pytest.mark.parametrize("value", ["cart", "it's", 'two "words"', "", "a b", "'", "=", "日本"])
def test_a_quoted_value_is_read_as_itself(value: str) -> None:
    (condition,) = parse_filter(f"attr.k={quoted(value)}")
    assert condition.value == value


def test_a_condition_is_added_once() -> None:
    once = with_condition("service=cart", "attr.zone", "=", "eu-b")
    assert once == "service=cart attr.zone=eu-b"
    assert with_condition(once, "attr.zone", "=", "eu-b") == once


@pytest.mark.parametrize("key", ["zone", "it's", 'two "words"', "a b", "x\ny", "日本", "a,b;c|d"])
def test_a_condition_on_any_key_is_read_as_itself(key: str) -> None:
    (condition,) = parse_filter(with_condition("", f"attr.{key}", "!=", "it's 1"))
    assert (condition.key, condition.operator, condition.value) == (f"attr.{key}", "!=", "it's 1")


@pytest.mark.parametrize("key", ["a=b", "<b>", "a~", "!x"])
def test_a_key_that_looks_like_a_comparison_cannot_be_asked_for(key: str) -> None:
    assert not askable(key)


def test_a_relative_window_ends_now_in_a_store_and_at_the_end_of_a_dump() -> None:
    """A growing source rounds the end up to a sixtieth of the window, so that answers can be remembered."""
    state = State(window="5m", where="service=cart")
    grown = question(state, "5m", NOON + 1, live=True)
    assert (grown.start_nano, grown.end_nano) == (NOON - 295 * SECOND, NOON + 5 * SECOND)
    dump = question(state, "5m", NOON + 1, live=False)
    assert (dump.start_nano, dump.end_nano) == (NOON + 1 - 300 * SECOND, NOON + 1)
    assert grown.where == ("service=cart",)


@pytest.mark.parametrize(
    ("live", "reach", "shown"),
    [
        (True, None, "all"),
        (True, (NOON - 7200 * SECOND, NOON), "1h"),
        (True, (NOON - 60 * SECOND, NOON), "all"),  # all of it lies in the last hour
        (True, (NOON - 72000 * SECOND, NOON - 7200 * SECOND), "all"),  # an old import
        (False, (NOON - 7200 * SECOND, NOON), "all"),
    ],
)
def test_the_first_window_has_something_in_it(live: bool, reach: tuple[int, int] | None, shown: str) -> None:
    assert chosen_window(State(), live=live, reach=reach, now_nano=NOON) == shown
    assert chosen_window(State(window="6h"), live=live, reach=reach, now_nano=NOON) == "6h"
