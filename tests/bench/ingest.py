"""How fast requests are acknowledged and committed, how much disk a span takes, and how long a start takes.

The load comes from the Go client of `../shared/load`, where that folder and Go
are there, else from the protobuf runtime in this process, which is slower
than what it measures.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import grpc

from tests.bench.decode import requests
from tests.ledger import EXPORT, request
from tests.running import eventually, start, up
from tracelens.store import Store, fold

CLIENT = Path(__file__).parents[3] / "shared" / "load"
SECONDS = 10
RUNS = 3
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Load:
    """What a client saw acknowledged."""

    requests: int
    spans: int
    seconds: float


def build_client(folder: Path) -> Path | None:
    """Return the Go client, built; None without it."""
    if not CLIENT.exists() or shutil.which("go") is None:
        return None
    binary = folder / "otlpload"
    subprocess.run(["go", "build", "-o", str(binary), "."], cwd=CLIENT, check=True, stdout=subprocess.DEVNULL)
    return binary


def send(client: Path | None, address: str, spans: int, streams: int) -> Load:
    """Send requests of `spans` spans for SECONDS."""
    if client is None:
        return send_here(address, spans, streams)
    command = [
        str(client),
        "-target",
        address,
        "-spans",
        str(spans),
        "-streams",
        str(streams),
        "-seconds",
        str(SECONDS),
    ]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return Load(said["acked_requests"], said["acked"], said["wall_s"])


def send_here(address: str, spans: int, streams: int) -> Load:
    """Send pre-built requests from this process."""
    prepared = requests(20_000) if spans == 1_000 else [request(spans)[0] for _ in range(500)]
    counts = [0] * streams
    end = time.monotonic() + SECONDS

    def run(stream: int) -> None:
        with grpc.insecure_channel(address) as channel:
            export = channel.unary_unary(EXPORT)
            while time.monotonic() < end:
                export(prepared[counts[stream] % len(prepared)], timeout=30)
                counts[stream] += 1

    threads = [threading.Thread(target=run, args=(n,)) for n in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(sum(counts), sum(counts) * spans, SECONDS)


def processor_seconds(root: int) -> float:
    """Return the processor time of a process and all below it, ended children included."""
    total, waiting = 0.0, [root]
    while waiting:
        process = waiting.pop()
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / TICKS
            for task in Path(f"/proc/{process}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:  # ended meanwhile
            continue
    return total


def ingest(client: Path | None, spans: int, streams: int) -> dict[str, float]:
    """Return rates for requests of `spans` spans, of one run."""
    with tempfile.TemporaryDirectory() as folder, up(Path(folder) / "data") as running:
        store = Store.open(running.data_dir / "store")
        cpu = processor_seconds(running.process.pid)
        begin = time.monotonic()
        load = send(client, running.addresses["otlp_grpc"], spans, streams)
        eventually(store.span_count, lambda count: count >= load.spans, seconds=120)
        committed = time.monotonic() - begin
        cpu = processor_seconds(running.process.pid) - cpu
        figures = {
            f"{spans} a request: acknowledged, spans/s": load.spans / load.seconds,
            f"{spans} a request: acknowledged, requests/s": load.requests / load.seconds,
            f"{spans} a request: until committed, spans/s": load.spans / committed,
            f"{spans} a request: committed, spans a server CPU second": load.spans / cpu,
        }
        if spans >= 1_000:
            while fold(store, many=2):  # half a million spans at a time
                pass
            figures["folded, bytes a span"] = sum(file.size for file in store.files()) / store.span_count()
        return figures


def starts() -> dict[str, float]:
    """Return seconds to `ready`: with an empty kernel cache, and with what that start left."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRACELENS_CACHE_DIR"] = f"{folder}/cache"
        inherited = os.environ.pop("NUMBA_CACHE_DIR", None)
        took = []
        try:
            for _ in range(1 + RUNS):
                begin = time.monotonic()
                running = start(Path(folder) / "data")
                took.append(time.monotonic() - begin)
                running.process.send_signal(signal.SIGTERM)
                running.process.wait(60)
        finally:
            del os.environ["TRACELENS_CACHE_DIR"]
            if inherited is not None:
                os.environ["NUMBA_CACHE_DIR"] = inherited
    return {"cold start to ready, s": took[0], "warm start to ready, s": statistics.median(took[1:])}


def measure() -> dict[str, float]:
    """Return medians of RUNS runs, and the times of starting."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        client = build_client(Path(folder))
        figures["load client: 1 Go, 0 Python"] = float(client is not None)
        for spans, streams in ((1_000, 4), (5, 32)):
            runs = [ingest(client, spans, streams) for _ in range(RUNS)]
            figures |= {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return figures | starts()
