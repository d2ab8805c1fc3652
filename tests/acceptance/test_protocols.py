"""Real sidecars through every door that they speak, and by both engines: spans stored are spans sent.

Runs the mesh of `../shared` where that folder stands beside the project.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.running import answer, eventually, up
from tracelens.ports import flag

MESH = Path(__file__).parents[3] / "shared" / "mesh" / "run_mesh.sh"
REQUESTS = 300
ON = tuple(word for door in ("otlp_http", "zipkin") for word in (flag(door), "127.0.0.1:0"))
# Protocol and door of the sidecars, of the apps, and the engine that speaks gRPC.
WAYS = {
    "grpc, asgi": ("grpc", "otlp_grpc", "grpc", "otlp_grpc", "asgi"),
    "http, apps by grpc": ("http", "otlp_http", "grpc", "otlp_grpc", "grpcio"),
    "grpc, apps by http": ("grpc", "otlp_grpc", "http", "otlp_http", "asgi"),
    "zipkin JSON": ("zipkin", "zipkin", "grpc", "otlp_grpc", "grpcio"),
    "zipkin protobuf": ("zipkin", "zipkin", "grpc", "otlp_grpc", "asgi"),
}

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(not MESH.exists(), reason=f"{MESH.parent} is not beside this project"),
]


@pytest.mark.parametrize("way", [*WAYS])
def test_what_sidecars_sent_is_stored(tmp_path: Path, way: str) -> None:
    protocol, door, app_protocol, app_door, engine = WAYS[way]
    with up(tmp_path / "data", *ON, "--grpc-engine", engine) as running:
        command = ["sh", str(MESH), running.addresses[door], "--protocol", protocol, "--requests", str(REQUESTS)]
        command += ["--app-spans", "--app-otlp", running.addresses[app_door], "--app-protocol", app_protocol]
        command += ["--zipkin-proto"] if way == "zipkin protobuf" else []
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        sent = json.loads(done.stdout)
        spans = sent["envoy_spans"]["sent"] + sent["app_spans_sent"]
        assert sent["envoy_spans"]["dropped"] == 0
        source = str(running.data_dir)
        found = eventually(
            lambda: answer("routes", source)["source"], lambda found: found["spans"] >= spans, seconds=60
        )
    assert (found["spans"], found["rejected_spans"]) == (spans, 0)
    assert spans > 10 * REQUESTS
