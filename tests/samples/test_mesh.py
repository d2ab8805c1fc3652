"""The sample mesh: what real Envoys say they sent is what arrives, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from samples.record import otlp_json, receiver, spans_of
from samples.shop import PEERS, VISITS
from tests.running import eventually

REQUESTS = 120


def run(module: str, *arguments: str) -> dict[str, Any]:
    """Run a sample and return what it says it sent."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(f"{module}: ") for line in done.stderr.splitlines()), done.stderr
    sent: dict[str, Any] = json.loads(done.stdout)
    return sent


def spans(bodies: list[bytes]) -> list[dict[str, Any]]:
    return [span for body in bodies for span in spans_of(otlp_json(body))]


@pytest.mark.envoy
@pytest.mark.process
@pytest.mark.parametrize("options", [(), ("--app-spans",)], ids=["sidecars", "sidecars-and-apps"])
def test_what_envoys_say_they_sent_arrives(options: tuple[str, ...]) -> None:
    with receiver() as received:
        sent = run("samples.mesh", "--otlp", received.address, "--requests", str(REQUESTS), *options)
    found = spans(received.bodies)
    assert sent["requests"] == REQUESTS
    assert sent["statuses"] == {"200": REQUESTS}
    assert list(sent["envoy_spans"]) == list(PEERS)
    assert all(each["made"] == each["sent"] > 0 == each["dropped"] for each in sent["envoy_spans"].values())
    assert len(found) == sent["spans"]
    assert (sent["app_spans"] > 0) == bool(options)
    assert len({span["traceId"] for span in found}) == sent["traces"] == REQUESTS
    assert {span["spanId"] for span in found} >= {span["parentSpanId"] for span in found if "parentSpanId" in span}
    assert set(sent["gateway"]) == {visit.name for visit in VISITS}
    assert sum(route["count"] for route in sent["gateway"].values()) == REQUESTS


@pytest.mark.envoy
@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to end children with their parent")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_however_an_endless_mesh_ends_no_envoy_outlives_it(number: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with receiver() as received:
        command = [sys.executable, "-m", "samples.mesh", "--otlp", received.address, "--rate", "50"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as mesh:
            eventually(lambda: len(received.bodies), lambda count: count > 5)
            envoys = children(mesh.pid)
            assert len(envoys) == len(PEERS)
            mesh.send_signal(number)
            said, _ = mesh.communicate(timeout=60)
        eventually(lambda: [pid for pid in envoys if alive(pid)], lambda left: not left, seconds=10)
    if number == signal.SIGKILL:
        return
    assert mesh.returncode == 0
    assert json.loads(said)["spans"] == len(spans(received.bodies))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.envoy
@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the children")
@pytest.mark.parametrize("service", ["db", "gateway"])
def test_an_envoy_that_dies_ends_the_mesh_and_is_told(service: str, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with receiver() as received:
        command = [sys.executable, "-m", "samples.mesh", "--otlp", received.address, "--rate", "50"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as mesh:
            eventually(lambda: len(received.bodies), lambda count: count > 5)
            envoys = children(mesh.pid)  # in the order in which they were started
            os.kill(envoys[list(PEERS).index(service)], signal.SIGKILL)
            said, told = mesh.communicate(timeout=60)
    assert (mesh.returncode, said) == (1, b"")
    assert f"Envoy of {service} ended with status -9" in told.decode()
    assert b"Traceback" not in told
    assert not [pid for pid in envoys if alive(pid)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.envoy
@pytest.mark.process
def test_a_mesh_ends_soon_though_its_collector_is_gone() -> None:
    with receiver() as received:
        command = [sys.executable, "-m", "samples.mesh", "--otlp", received.address, "--rate", "50", "--app-spans"]
        mesh = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        eventually(lambda: len(received.bodies), lambda count: count > 5)
    mesh.send_signal(signal.SIGTERM)
    try:
        said, _ = mesh.communicate(timeout=12)  # one export's time limit, not one of each app
    finally:
        mesh.kill()  # nothing when it has ended
    assert mesh.returncode == 0
    assert json.loads(said)["requests"] > 0


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.process
def test_the_built_in_shop_sends_what_it_says() -> None:
    with receiver() as received:
        sent = run("samples.app", "--otlp", received.address, "--requests", "20", "--rate", "200")
    assert (sent["requests"], sent["traces"]) == (20, 20)
    assert len(spans(received.bodies)) == sent["spans"]
    assert len({span["traceId"] for span in spans(received.bodies)}) == 20


@pytest.mark.process
def test_the_sample_to_copy_sends_two_spans() -> None:
    with receiver() as received:
        environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{received.address}"}
        subprocess.run([sys.executable, "-m", "samples.sdk"], env=environment, check=True, timeout=60)
    assert sorted(span["name"] for span in spans(received.bodies)) == ["GET /hello/{name}", "look up the name"]


@pytest.mark.process
@pytest.mark.parametrize(
    ("otlp", "status", "said"),
    [
        ("127.0.0.1:1", 5, "tracelens up"),
        ("nonsense", 2, "HOST:PORT"),
        ("127.0.0.1:65536", 2, "HOST:PORT"),
        ("127.0.0.1:²", 2, "HOST:PORT"),
    ],
)
@pytest.mark.parametrize("module", ["samples.mesh", "samples.app"])
def test_an_address_that_takes_no_spans_is_told(module: str, otlp: str, status: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--otlp", otlp], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.process
@pytest.mark.parametrize("option", ["--requests=0", "--requests=-3", "--seconds=nan", "--rate=-1", "--rate=inf"])
def test_a_pace_that_is_none_is_told(option: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "samples.app", option], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "above 0" in done.stderr


@pytest.mark.process
def test_the_built_in_shop_ends_after_the_time_it_was_given() -> None:
    with receiver() as received:
        sent = run("samples.app", "--otlp", received.address, "--seconds", "0.5", "--rate", "40")
    assert 0 < sent["requests"] <= 21
    assert len(spans(received.bodies)) == sent["spans"]
