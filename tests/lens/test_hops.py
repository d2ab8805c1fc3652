"""Hops and edges of a recorded mesh: filters, windows, gateways."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tracelens.analysis.hops import LAYERS
from tracelens.lens import Lens, Question

DUMP = Path(__file__).parents[2] / "samples" / "dumps" / "shop.otlp.jsonl.gz"


@pytest.fixture(scope="module")
def lens() -> Lens:
    return Lens.open(str(DUMP))


def test_a_filter_is_about_the_callee(lens: Lens) -> None:
    rows = lens.hops(Question(where=("service=db status=ok",))).rows
    assert set(rows["callee"]) == {"db"}
    assert set(rows["caller"]) == {"cart", "catalog", "payment"}


def test_a_window_holds_the_calls_that_start_in_it(lens: Lens) -> None:
    everything = lens.hops(Question())
    first, last = everything.source.start_unix_nano, everything.source.end_unix_nano
    assert first is not None
    assert last is not None
    middle = (first + last) // 2
    halves = [lens.hops(Question(end_nano=middle)).rows, lens.hops(Question(start_nano=middle)).rows]
    assert sum(half["calls"].sum() for half in halves) == everything.rows["calls"].sum()
    assert all(not half.is_empty() for half in halves)


def test_hops_and_edges_count_the_same_calls(lens: Lens) -> None:
    by_edge = lens.hops(Question()).rows.group_by("caller", "callee").agg(pl.col("calls").sum())
    edges = lens.edges(Question()).rows.select("caller", "callee", "calls")
    assert by_edge.sort("caller", "callee").equals(edges.sort("caller", "callee"))


def test_means_of_the_layers_add_up_where_every_call_tells_the_same(lens: Lens) -> None:
    rows = lens.hops(Question()).rows
    total = rows.select(pl.sum_horizontal(f"{layer}_mean_nano" for layer in LAYERS)).to_series()
    assert ((rows["mean_nano"] - total).is_between(0, len(LAYERS))).all()  # each is rounded down


def test_without_gateways_their_callees_are_called_from_outside(lens: Lens) -> None:
    shown, joined = (lens.edges(Question(), gateways=gateways).rows for gateways in (True, False))
    assert "gateway" in set(shown["callee"])
    assert "gateway" not in {*joined["callee"], *joined["caller"]}
    outside = joined.filter(pl.col("caller").is_null()).select("callee", "calls").rows()
    assert outside == shown.filter(caller="gateway").select("callee", "calls").rows()
