"""Hops and edges of a recorded mesh: filters, windows, gateways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def test_phases_that_a_proxy_tells_by_events_are_read(tmp_path: Path) -> None:
    def proxy(workload: str, cluster: str, start: int, end: int, events: dict[str, int]) -> dict[str, Any]:
        return {
            "resource": {"attributes": [text("service.name", workload)]},
            "scopeSpans": [
                {
                    "scope": {"name": "envoy"},
                    "spans": [
                        {
                            "traceId": "0" * 31 + "1",
                            "spanId": f"{start:016x}",
                            "parentSpanId": "" if start == 1_000 else f"{1_000:016x}",
                            "name": "get",
                            "kind": 3 if start == 1_000 else 2,
                            "startTimeUnixNano": start,
                            "endTimeUnixNano": end,
                            "attributes": [text("upstream_cluster", cluster)],
                            "events": [{"name": name, "timeUnixNano": at} for name, at in events.items()],
                        }
                    ],
                }
            ],
        }

    told = {"first_upstream_tx_byte_sent": 1_200, "last_upstream_rx_byte_received": 1_900}
    spans = [
        proxy("web", "outbound|80||cat.shop.svc.cluster.local", 1_000, 2_000, told),
        proxy("cat", "inbound|80||", 1_300, 1_800, {}),
    ]
    dump = tmp_path / "dump.json"
    dump.write_text(json.dumps({"resourceSpans": spans}))
    (row,) = Lens.open(str(dump)).hops(Question(where=("service=cat",))).rows.to_dicts()
    assert (row["level"], row["egress_proxy_p50_nano"], row["network_queueing_p50_nano"]) == ("L2", 300, 200)


def text(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}
