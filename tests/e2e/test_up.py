"""`tracelens up` and `demo`: what they print, what they refuse, and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.builders import trace
from tests.running import answer, doors, eventually, start, tracelens, up
from tracelens.ports import PORTS
from tracelens.store import Store

pytestmark = pytest.mark.process


def send(address: str, spans: int, service: str = "web") -> None:
    """Send spans as an application with the SDK does; returns when all are acknowledged."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"http://{address}", insecure=True)))
    tracer = provider.get_tracer("test")
    for number in range(spans):
        with tracer.start_as_current_span(f"work {number % 3}"):
            pass
    assert provider.force_flush()
    provider.shutdown()


def spans_in(source: Path) -> int:
    found: int = answer("routes", str(source))["source"]["spans"]
    return found


def test_what_an_sdk_sent_is_answered_while_up_runs_and_after(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with up(data) as running:
        send(running.addresses["otlp_grpc"], 50)
        eventually(lambda: spans_in(data), lambda n: n == 50)
        send(running.addresses["otlp_grpc"], 7)
    assert not (data / "addresses.json").exists()
    assert spans_in(data) == 57
    with up(data) as running:
        send(running.addresses["otlp_grpc"], 3)
    assert spans_in(data) == 60


def test_the_dashboard_answers_and_both_addresses_are_written(tmp_path: Path) -> None:
    with up(tmp_path / "data", "--dashboard", "127.0.0.1:0") as running:
        assert set(running.addresses) == {"otlp_grpc", "dashboard"}
        with urllib.request.urlopen(f"http://{running.addresses['dashboard']}/_stcore/health", timeout=10) as reply:
            assert reply.status == 200


def test_a_taken_port_says_who_and_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = tracelens("up", "--data-dir", str(tmp_path), *doors("--otlp-grpc", f"127.0.0.1:{port}"))
    assert done.returncode == 5
    said = done.stderr.decode()
    assert f"127.0.0.1:{port}" in said
    assert "--otlp-grpc" in said
    assert "Traceback" not in said


def test_a_locked_data_directory_says_who_and_what_to_do(tmp_path: Path) -> None:
    with up(tmp_path / "data"):
        done = tracelens("up", "--data-dir", str(tmp_path / "data"), *doors())
    assert done.returncode == 5
    said = done.stderr.decode()
    assert "--data-dir" in said
    assert re.search(r"\b\d+\b", said), "the process that holds it"
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--otlp-grpc", "off"], 2, "nothing to run"),
        (["--otlp-grpc", "nonsense"], 2, "HOST:PORT"),
        (["--otlp-grpc", "0.0.0.0:0"], 5, "--insecure"),
        (["--otlp-http", "0.0.0.0:0"], 5, "--otlp-http"),
    ],
)
def test_what_up_refuses(tmp_path: Path, options: list[str], status: int, said: str) -> None:
    done = tracelens("up", "--data-dir", str(tmp_path), *doors(*options))
    assert (done.returncode, said in done.stderr.decode()) == (status, True), done.stderr.decode()


def test_the_first_start_says_what_it_compiles_and_the_next_does_not(tmp_path: Path) -> None:
    """The cache is kept by the kernels' sources: a new installation compiles once."""
    environment = {**os.environ, "TRACELENS_CACHE_DIR": str(tmp_path / "cache")}
    environment.pop("NUMBA_CACHE_DIR", None)
    first, second = (said_at_start(tmp_path / "data", environment) for _ in range(2))
    assert "compil" in first
    assert "compil" not in second


def said_at_start(data: Path, environment: dict[str, str]) -> str:
    """Return what `up` prints until it is ready."""
    command = [sys.executable, "-m", "tracelens.cli", "up", "--data-dir", str(data), *doors()]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.strip() == "ready":
                break
        for impatient in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(impatient)
        assert process.stdout.read() == ""
        assert process.wait(60) == 0, said
    return said


@pytest.mark.envoy
@pytest.mark.slow
def test_the_demo_shows_routes_of_live_traffic(tmp_path: Path) -> None:
    """What a new user does: run it, wait half a minute, look."""
    command = [sys.executable, "-m", "tracelens.cli", "demo", "--no-open"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.strip() == "ready":
                break
        (folder,) = tmp_path.glob("tracelens-demo-*")
        addresses = json.loads((folder / "addresses.json").read_bytes())
        assert set(addresses) == {*PORTS, "dashboard"}
        begin = time.monotonic()
        eventually(lambda: answer("routes", str(folder))["source"]["spans"], lambda n: n > 0, seconds=60)
        rows = eventually(
            lambda: answer("routes", str(folder))["rows"], lambda rows: any(r["p99_nano"] for r in rows), seconds=90
        )
        print(f"routes {time.monotonic() - begin:.0f} s after ready: {len(rows)}")
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(90) == 0
    assert not list(tmp_path.glob("tracelens-demo-*"))


def test_nothing_outlives_up_however_it_ends(tmp_path: Path) -> None:
    """Killed outright, `up` cannot stop its programs: the kernel tells them, and they drain."""
    running = start(tmp_path / "data", "--dashboard", "127.0.0.1:0")
    send(running.addresses["otlp_grpc"], 20)
    running.process.kill()
    running.process.wait()
    eventually(lambda: processes_of(tmp_path), lambda found: found == [])
    assert spans_in(tmp_path / "data") == 20


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of processes that name a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # ended meanwhile
            continue
        if str(folder) in line and "pytest" not in line.split()[:4]:
            found.append(line)
    return found


def test_a_store_that_cannot_be_read_ends_up_with_its_reason(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "data" / "store", create=True)
    store.append(trace("web |--|"), {"test": 0})
    (store.path / "_delta_log" / f"{0:020}.json").write_text("rubbish")  # not the last: that one may be torn
    done = tracelens("up", "--data-dir", str(tmp_path / "data"), *doors())
    assert done.returncode == 3
    assert "the store cannot be read" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
