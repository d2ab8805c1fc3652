"""Why a callee's span is not there, drawn; and what begins a trace of its own."""

from __future__ import annotations

import pytest

from tests.analysis.test_hops import mesh
from tests.builders import traces
from tracelens.analysis.edges import edges
from tracelens.analysis.hops import requests
from tracelens.calls import calls
from tracelens.forest import link
from tracelens.taught import Taught

COVERED = """
    web/out   |------|
     cat/in     |--|
"""
MISSING = "web/out   |------|"
OWN = "cat/in   |--|"


def reasons(*drawings: str, rate: float | None = None, cut: bool = False) -> list[str | None]:
    """Return why the callee of each request from web is missing, in the order of the drawings."""
    forest = link(mesh(traces(*drawings)))
    table = requests(forest, calls(forest, Taught(rate=rate)), cut=cut)
    found = table.filter(caller="web").sort("trace")["missing"].to_list()
    assert all(reason is None or isinstance(reason, str) for reason in found)
    return found


def test_what_is_there_has_no_reason() -> None:
    assert reasons(COVERED) == [None]


def test_a_callee_that_nobody_writes_spans_for_has_no_sidecar() -> None:
    assert reasons(MISSING) == ["no_sidecar"]
    assert reasons(MISSING, cut=True, rate=0.1) == ["no_sidecar"]


def test_a_callee_that_writes_spans_otherwise_was_sampled_away_or_lost() -> None:
    assert reasons(COVERED, MISSING, rate=0.1) == [None, "sampling"]
    assert reasons(COVERED, MISSING) == [None, "unknown"]


def test_a_callee_that_tells_of_the_calls_it_makes_has_a_sidecar() -> None:
    """None of its own was kept, by chance: the sidecar is there."""
    makes = """
        cat/out   |------|
         db/in      |--|
    """
    assert reasons(MISSING, makes, rate=0.1) == ["sampling"]
    assert reasons(MISSING, makes) == ["unknown"]


def test_a_callee_that_begins_traces_of_its_own_gets_no_headers() -> None:
    assert reasons(COVERED, MISSING, OWN, rate=0.1) == [None, "propagation"]


@pytest.mark.parametrize(("cut", "reason"), [(True, "late"), (False, "unknown")])
def test_at_the_end_of_a_dump_spans_may_still_come(cut: bool, reason: str) -> None:
    last = MISSING.replace("web/out", "web/out    ")  # starts after the other's callee
    assert reasons(COVERED, last, cut=cut) == [None, reason]


def test_who_reached_nobody_misses_nothing() -> None:
    assert reasons(MISSING + " attr:response_flags=UF,URX") == [None]


def test_a_database_writes_no_spans() -> None:
    assert reasons("web/client   |------|  attr:db.system=postgresql") == [None]
    assert reasons("web/client   |------|") == ["no_sidecar"]


def test_edges_count_the_reasons() -> None:
    forest = link(mesh(traces(COVERED, MISSING, MISSING, "db/in |----|")))
    rows = edges(requests(forest, calls(forest, Taught(rate=0.5))).lazy()).collect()
    (row,) = rows.filter(caller="web").to_dicts()
    assert (row["n"], row["calls"], row["coverage"], row["missing_sampling"]) == (3, 6, pytest.approx(1 / 3), 2)
    assert row["missing_no_sidecar"] + row["missing_unknown"] + row["missing_late"] + row["missing_propagation"] == 0


def test_calls_of_a_caller_that_was_called_elsewhere_are_unlinked() -> None:
    forest = link(mesh(traces("web/in |--------|", COVERED)))
    rows = edges(requests(forest, calls(forest)).lazy()).collect()
    assert rows.filter(caller="web")["unlinked"].to_list() == [1]
    forest = link(mesh(traces(COVERED)))
    assert edges(requests(forest, calls(forest)).lazy()).collect()["unlinked"].to_list() == [0]
