"""Real sidecars, a thousand requests: nothing lost, and percentiles as the gateway's access log has them.

Runs the mesh of `../shared` where that folder stands beside the project; our
own mesh has its tests in tests/samples.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.running import Up, answer, eventually, up
from tracelens.lens import Lens, Question

MESH = Path(__file__).parents[3] / "shared" / "mesh" / "run_mesh.sh"
REQUESTS = 1_000

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(not MESH.exists(), reason=f"{MESH.parent} is not beside this project"),
]


def run_mesh(running: Up, *options: str) -> dict[str, Any]:
    """Send the mesh's traffic and return what it says it sent."""
    command = ["sh", str(MESH), running.addresses["otlp_grpc"], "--requests", str(REQUESTS), "--raw", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-3000:]
    sent: dict[str, Any] = json.loads(done.stdout)
    return sent


@pytest.mark.parametrize("options", [(), ("--app-spans",)], ids=["sidecars", "sidecars-and-apps"])
def test_a_thousand_requests(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Counts hold in every run; times are compared again when another program took the processor.

    A span ends when Envoy's worker comes to it, the access log's time when the
    last byte went out: on a busy machine they differ by a time slice.
    """
    apart = one_run(tmp_path / "first", options)
    assert not apart or not one_run(tmp_path / "second", options), apart


def one_run(data_dir: Path, options: tuple[str, ...]) -> list[str]:
    """Send the traffic, check all counts, and return the percentiles that are not those of the access log."""
    with up(data_dir) as running:
        sent = run_mesh(running, *options)
        spans = sent["envoy_spans"]["sent"] + sent.get("app_spans_sent", 0)
        assert sent["envoy_spans"]["dropped"] == 0
        source = str(running.data_dir)
        # settled: the last flush, the last seal, and fifteen seconds without a span
        found = eventually(
            lambda: answer("routes", source)["source"],
            lambda head: head["spans"] >= spans and head["open_traces"] == 0,
            seconds=90,
        )
    assert found["spans"] == spans
    assert found["traces"] == sent["traces_expected"]
    assert found["rejected_spans"] == 0
    return compare_with_gateway(source, sent)


def compare_with_gateway(source: str, sent: dict[str, Any]) -> list[str]:
    """Compare each route of the gateway with its access log; return the percentiles that differ."""
    rows = pl.DataFrame(answer("routes", source, "--where", "service=gateway")["rows"])
    ours = route_of_each_trace(source)
    compared = 0
    apart = []
    for name, expected in sent["routes"].items():
        if "gateway_ms" not in expected or set(expected["status"]) == {"0"}:
            continue  # every client hung up: how long it would have taken is unknown
        traces = {row["trace_id"] for row in sent["rows"] if row["route"] == name and row["status"] != 0}
        routes = {ours[trace] for trace in traces}
        assert len(routes) == 1, f"{name} became {routes}"
        (row,) = rows.filter(pl.col("route") == routes.pop()).iter_rows(named=True)
        assert row["calls"] - row["censored"] == expected["gateway_ms"]["count"], name
        for percent in (50, 90, 99):
            logged = expected["gateway_ms"][f"p{percent}"] * 1e6
            if abs(row[f"p{percent}_nano"] - logged) > max(0.01 * logged, 200_000):
                apart.append(f"{name} p{percent}: {row[f'p{percent}_nano']} ns, the log has {logged:.0f}")
            compared += 1
    assert compared >= 24
    return apart


def route_of_each_trace(source: str) -> dict[str, str]:
    """Return the gateway's route of each trace, by trace id."""
    lens = Lens.open(source)
    found: dict[str, str] = {}
    window = lens._memory.get(lens.source, Question())
    for trace, route in window.calls.table.filter(service="gateway").select("trace_id", "route").iter_rows():
        found[trace.hex()] = route
    return found
