"""Findings of a recorded mesh: filters, windows, and traces that are still open."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest

from tests.analysis.test_hops import mesh
from tests.analysis.test_path_findings import OWN
from tests.builders import traces
from tests.lens.memory import FrameSource
from tracelens.analysis.path_patterns import ENOUGH
from tracelens.lens import Lens, Question
from tracelens.report import text

DUMP = Path(__file__).parents[2] / "samples" / "dumps" / "shop.otlp.jsonl.gz"


@pytest.fixture(scope="module")
def shop() -> Lens:
    return Lens.open(str(DUMP))


def test_the_shop_retries_and_repeats(shop: Lens) -> None:
    rows = shop.findings(Question()).rows
    told = set(rows.select("kind", "service").rows())
    assert {("retries", "catalog"), ("n_plus_one", "db")} <= told
    known = rows.drop_nulls("cost_nano")
    assert (known["path_nano"] <= known["cost_nano"]).all()
    assert known["path_nano"].is_sorted(descending=True)


def test_a_filter_is_about_the_callee(shop: Lens) -> None:
    every = shop.findings(Question()).rows
    of_catalog = shop.findings(Question(where=("service=catalog",))).rows
    assert set(of_catalog["service"]) == {"catalog"}
    retries = every.filter(kind="retries", service="catalog").drop("exemplar_trace_id")
    assert of_catalog.filter(kind="retries").drop("exemplar_trace_id").equals(retries)


def test_a_window_holds_the_calls_that_start_in_it(shop: Lens) -> None:
    every = shop.findings(Question())
    first, last = every.source.start_unix_nano, every.source.end_unix_nano
    assert first is not None
    assert last is not None
    middle = (first + last) // 2
    halves = [shop.findings(Question(end_nano=middle)).rows, shop.findings(Question(start_nano=middle)).rows]
    costs = [rows.filter(kind="retries", service="catalog")["cost_nano"].sum() for rows in (*halves, every.rows)]
    assert costs[0] + costs[1] == costs[2]
    assert min(costs) > 0


@dataclass
class LiveSource(FrameSource):
    """A source to which spans may still come."""

    live: bool = field(default=True, init=False)
    part: str = field(default="", init=False)


def test_open_traces_are_in_no_finding() -> None:
    """Of one more than enough, two are still open."""
    drawn = mesh(traces(*[OWN.format("|-------|")] * (ENOUGH + 1)))
    number = pl.col("trace_id").bin.slice(15, 1).bin.reinterpret(dtype=pl.UInt8)
    now = pl.lit(time.time_ns(), pl.Int64)
    settled = drawn.with_columns(received_unix_nano=pl.lit(1, pl.Int64))
    still_open = drawn.with_columns(received_unix_nano=pl.when(number <= 2).then(now).otherwise(pl.lit(1, pl.Int64)))
    kinds = [set(Lens(LiveSource(spans)).findings(Question()).rows["kind"]) for spans in (settled, still_open)]
    assert ["uninstrumented_gap" in found for found in kinds] == [True, False]


def test_text_says_what_is_on_the_path(shop: Lens) -> None:
    out = io.StringIO()
    text.answer(shop.findings(Question()), text.FINDINGS, out, empty="")
    assert "on the path" in out.getvalue()
    assert "calls took more than one attempt" in out.getvalue()
