"""Profiles of long windows: names of nodes are read apart from their sums, and are those of the spans."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.systems import planted
from tracelens.lens import Lens, Question, long
from tracelens.settle import settle
from tracelens.store import Store

HOUR = 3_600 * 10**9
ARRIVED = 1_700_000_000 * 10**9


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three hours, of a mesh each: most nodes are of one of them only. The last hour is not settled."""
    made = Store.open(tmp_path / "store", create=True)
    for hour in range(3):
        begin = pl.lit(hour * HOUR)
        spans = planted("value", 3 + hour, requests=40).spans.with_columns(
            trace_id=pl.lit(bytes([hour + 1])) + pl.col("trace_id").bin.slice(1, 15),
            start_time_unix_nano=pl.col("start_time_unix_nano") + begin,
            end_time_unix_nano=pl.col("end_time_unix_nano") + begin,
            received_unix_nano=pl.col("received_unix_nano") + begin,
        )
        made.append(spans, {"test": hour}, arrived_unix_nano=ARRIVED + hour * HOUR)
    assert len(settle(made, now=ARRIVED / 1e9 + 2 * 3_600)) == 2
    return tmp_path / "store"


def test_names_of_nodes_are_those_of_the_spans(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question = Question()
    spans = Lens.open(str(store)).profile(question, None).rows
    monkeypatch.setattr(long, "EXACT_SPANS", 0)
    lens = Lens.open(str(store))
    sums = lens.profile(question, None)
    same = ["node", "parent", "path", "service", "operation", "layer", "exclusive_nano", "traces"]
    assert sums.method.percentile == "log-bucket"
    assert sums.rows.select(same).sort("node").equals(spans.select(same).sort("node"))
    assert lens.profile(question, None).rows.equals(sums.rows)  # kept
