"""The filter language: what it selects, and what it says when it cannot be read."""

from __future__ import annotations

import pytest

from tests.builders import traces
from tracelens.calls import calls
from tracelens.errors import UsageError
from tracelens.forest import link
from tracelens.lens import Question
from tracelens.lens.where import parse, select, trace_id

SPANS = traces(
    "web |--------| kind=server attr:user_agent=curl/8 attr:size#int=10\n db |--| kind=server error",
    "web |---|      kind=server attr:user_agent=Mozilla attr:size#int=200",
)


def selected(*texts: str) -> list[tuple[str, int]]:
    """Return (service, trace) of each call that matches."""
    forest = link(SPANS)
    conditions = Question(where=texts).conditions
    folded = calls(forest)
    return select(folded.table, folded, forest.spans, conditions).select("service", "trace").rows()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("service=web", [("web", 0), ("web", 1)]),
        ("service!=web", [("db", 0)]),
        ("service~^d", [("db", 0)]),
        ("service!~^d", [("web", 0), ("web", 1)]),
        ("caller=web", [("db", 0)]),
        ("caller!=web", [("web", 0), ("web", 1)]),
        ("status=error", [("db", 0)]),
        ("status=ok", [("web", 0), ("web", 1)]),
        ("status!=error", [("web", 0), ("web", 1)]),
        ("duration>5ms", [("web", 0)]),
        ("duration<=3000us", [("db", 0)]),
        ("attr.user_agent~curl", [("web", 0)]),
        ("attr.user_agent!~curl", [("db", 0), ("web", 1)]),
        ("attr.size>100", [("web", 1)]),
        ("attr.size=10", [("web", 0)]),
        ("attr.absent=1", []),
        ("attr.absent!=1", [("web", 0), ("db", 0), ("web", 1)]),
        ("trace=2", [("web", 1)]),
        ("name=db", [("db", 0)]),
        ("service=web duration>5ms", [("web", 0)]),
        ("route='web'", [("web", 0), ("web", 1)]),
    ],
)
def test_filters(text: str, found: list[tuple[str, int]]) -> None:
    assert selected(text) == found


def test_filters_are_anded() -> None:
    assert selected("service=web", "duration>5ms") == [("web", 0)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("service", "no comparison"),
        ("colour=red", "no key"),
        ("attr.=red", "no key"),
        ("duration>5", "no duration"),
        ("duration~5ms", "duration takes"),
        ("status=broken", "a status is one of"),
        ("service>a", "service takes"),
        ("service~(", "not a regular expression"),
        ("route='GET", "Close the quotation"),
        ("trace=xyz", "no trace id"),
    ],
)
def test_a_filter_that_cannot_be_read_says_why(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse(text)


def test_comparing_with_what_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="not a number"):
        selected("attr.size>ten")


def test_short_trace_ids_are_padded() -> None:
    """Some backends drop leading zeros."""
    assert trace_id("ABC") == bytes.fromhex("0" * 29 + "abc")
