"""The service graph, with its gateways and without."""

from __future__ import annotations

import polars as pl

from tests.analysis.test_hops import requests
from tests.builders import MILLISECOND, frame, trace, traces
from tracelens.analysis.edges import edges, without_gateways

SHOP = """
    edge/gate      |--------------|
     web/in          |----------|
      web/out          |------|      {0}
       way/gate         |----|       {0}
        cat/in            ||
"""


def graph(spans: pl.DataFrame, *, gateways: bool = True) -> dict[tuple[str | None, str | None], tuple[int, int, float]]:
    """Return (calls, errors, p50 in columns) per (caller, callee)."""
    table = requests(spans)
    found = edges((table if gateways else without_gateways(table)).lazy()).collect()
    return {
        (row["caller"], row["callee"]): (row["calls"], row["errors"], row["p50_nano"] / MILLISECOND)
        for row in found.to_dicts()
    }


def test_an_edge_lasts_as_long_as_the_caller_waited() -> None:
    assert graph(trace(SHOP.format(""))) == {
        (None, "edge"): (1, 0, 15),
        ("edge", "web"): (1, 0, 15),
        ("web", "way"): (1, 0, 7),
        ("way", "cat"): (1, 0, 5),
    }


def test_without_gateways_what_is_on_their_two_sides_is_joined() -> None:
    assert graph(trace(SHOP.format("")), gateways=False) == {(None, "web"): (1, 0, 15), ("web", "cat"): (1, 0, 7)}


def test_a_chain_of_gateways_is_joined_at_its_ends() -> None:
    spans = trace("""
        web/out     |---------|
         way/gate    |-------|
          edge/gate   |-----|
           cat/in      |---|
    """)
    assert graph(spans, gateways=False) == {("web", "cat"): (1, 0, 10)}


def test_attempts_in_vain_are_no_calls_and_their_errors_no_errors() -> None:
    spans = trace("""
        web/out   |------------|
         web/try   |--|          error
          cat/in    ||           error
         web/try        |---|
          cat/in         |-|
    """)
    assert graph(spans) == {("web", "cat"): (1, 0, 13)}


def test_errors_are_those_the_caller_saw() -> None:
    assert graph(traces("web/out |--| error\n cat/in ||", "web/out |--|\n cat/in ||"))["web", "cat"][:2] == (2, 1)


def test_a_gateway_that_answers_itself_is_nobodys_caller() -> None:
    spans = trace("edge/gate |--| attr:response_flags=NR attr:upstream_cluster=-")
    assert set(graph(spans, gateways=False)) == {(None, None)}


def test_no_calls_are_no_edges() -> None:
    assert graph(frame([])) == {}
    assert graph(frame([]), gateways=False) == {}
