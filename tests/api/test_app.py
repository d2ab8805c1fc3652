"""The API port's application, asked without a server."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector import telemetry
from tracelens.api.app import make_app

PROMTOOL = shutil.which("promtool")


def ask(
    folder: Path, path: str, parts: Mapping[str, bool] | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body."""
    app = make_app(folder, lambda: parts or {})
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [], "root_path": ""}
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    asyncio.run(app(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in said[0]["headers"]}
    return said[0]["status"], headers, b"".join(message.get("body", b"") for message in said[1:])


def counted(folder: Path) -> Path:
    """Return a folder in which each metric was counted, with labels that are hostile text."""
    counters = telemetry.start(folder, "worker 0", ["otlp_grpc"])
    counters.accepted("otlp_grpc", "otlp-proto", 5, 900)
    counters.refused("otlp_grpc", "disk")
    counters.rejected("otlp_grpc", 2)
    counters.synced(0.003)
    counters.state(1, 2, 3.0)
    counters.committed(5, 0.2, 2.5)
    counters.repaired({"no_time": 1})
    counters.clock_far_off('a"b\\c\nd\ud800', 1)
    return folder


def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    status, headers, body = ask(counted(tmp_path), "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert len(families) == len(telemetry.COUNTERS) + len(telemetry.GAUGES) + len(telemetry.HISTOGRAMS)
    (far,) = families["tracelens_collector_clock_far_off_spans"].samples
    assert far.labels == {"service": 'a"b\\c\ufffdd\ufffd'}
    assert {sample.labels["le"]: sample.value for sample in families["tracelens_collector_lag_seconds"].samples
            if sample.name.endswith("_bucket")}["2.0"] == 0  # fmt: skip


def test_promtool_finds_nothing_to_say(tmp_path: Path) -> None:
    text = ask(counted(tmp_path), "/metrics")[2]
    done = subprocess.run([str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_folder_of_no_files_is_an_empty_text(tmp_path: Path) -> None:
    assert ask(tmp_path, "/metrics")[::2] == (200, b"")
    assert ask(tmp_path / "not there yet", "/metrics")[::2] == (200, b"")


@pytest.mark.parametrize(
    ("parts", "status", "ready"),
    [
        ({"worker 0": True, "writer": True}, 200, True),
        ({"worker 0": True, "writer": False}, 503, False),
        ({}, 503, False),
    ],
)
def test_readiness_names_the_part_that_is_not(tmp_path: Path, parts: dict[str, bool], status: int, ready: bool) -> None:
    found, headers, body = ask(tmp_path, "/readyz", parts)
    assert (found, json.loads(body)) == (status, {"ready": ready, "parts": parts})
    assert headers["content-type"] == "application/json"


def test_health_is_an_answer(tmp_path: Path) -> None:
    assert ask(tmp_path, "/healthz")[0] == 200


@pytest.mark.parametrize(
    ("path", "method", "status", "error"),
    [("/nothing", "GET", 404, "Not Found"), ("/metrics", "POST", 405, "Method Not Allowed")],
)
def test_errors_are_json(tmp_path: Path, path: str, method: str, status: int, error: str) -> None:
    found, headers, body = ask(tmp_path, path, method=method)
    assert (found, headers["content-type"], json.loads(body)) == (status, "application/json", {"error": error})
