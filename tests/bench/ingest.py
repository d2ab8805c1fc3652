"""How fast requests are acknowledged and committed, how much memory and disk that takes, and how long a start.

The load comes from the Go client of `../shared/load`, where that folder and Go
are there, else from pre-built requests of this process, which is slower than
what it measures. Client and server share the machine, so what is compared is
work a second of the server's processor time: of the workers, up to the
acknowledgement; and of all its processes, up to the committed rows.
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.decode import requests
from tests.ledger import request
from tests.running import eventually, start, up
from tests.senders import SENDERS
from tracelens.store import Store, fold

CLIENT = Path(__file__).parents[3] / "shared" / "load"
SECONDS = 6
RUNS = 3
TICKS = os.sysconf("SC_CLK_TCK")
TRANSPORTS = {  # name -> (engine, door, the client's option)
    "gRPC, grpcio": ("grpcio", "otlp_grpc", "-target"),
    "gRPC, asgi": ("asgi", "otlp_grpc", "-target"),
    "HTTP": ("asgi", "otlp_http", "-http"),
}
SIZES = ((1_000, 4), (100, 16), (5, 32))  # spans a request, requests in flight
PLACE = {"otlp_http": "http://{}/v1/traces", "otlp_grpc": "{}"}
ON = ("--otlp-http", "127.0.0.1:0")


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


def send(client: Path | None, transport: str, address: str, spans: int, streams: int) -> Load:
    """Send requests of `spans` spans for SECONDS; all must be acknowledged."""
    _, door, option = TRANSPORTS[transport]
    if client is None:
        return send_here(transport, address, spans, streams)
    size = ("-spans", str(spans), "-streams", str(streams), "-seconds", str(SECONDS))
    command = [str(client), option, PLACE[door].format(address), *size]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert said["failed"] == 0, said["codes"]
    return Load(said["acked_requests"], said["acked"], said["wall_s"])


def send_here(transport: str, address: str, spans: int, streams: int) -> Load:
    """Send pre-built requests from this process."""
    engine, door, _ = TRANSPORTS[transport]
    sender = next(one for one in SENDERS.values() if (one.engine, one.door) == (engine, door))
    prepared = requests(20_000) if spans == 1_000 else [request(spans)[0] for _ in range(500)]
    counts = [0] * streams
    end = time.monotonic() + SECONDS

    def run(stream: int) -> None:
        while time.monotonic() < end:
            assert sender.send(address, prepared[counts[stream] % len(prepared)]).word == "ok"
            counts[stream] += 1

    threads = [threading.Thread(target=run, args=(n,)) for n in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(sum(counts), sum(counts) * spans, SECONDS)


def processes(root: int) -> dict[int, str]:
    """Return a process and all below it, with the parts of the collector they are."""
    found: dict[int, str] = {}
    waiting = [root]
    while waiting:
        process = waiting.pop()
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            part = next((word.decode() for word in words if word in (b"worker", b"writer")), "supervisor")
            found[process] = part if b"collector" in words else "up"
            for task in Path(f"/proc/{process}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:  # ended meanwhile
            continue
    return found


def processor_seconds(root: int, part: str | None = None) -> float:
    """Return the processor time of a process and all below it, or of those that are one part."""
    total = 0.0
    for process, name in processes(root).items():
        if part in (None, name):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:13])) / TICKS
    return total


def proportional_memory(root: int) -> float:
    """Return the memory of a collector, MiB: what its processes share is counted once."""
    total = 0
    for process, name in processes(root).items():
        if name != "up":
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def highest(measure: Callable[[], float], stop: threading.Event) -> list[float]:
    """Measure four times a second until stopped; the list holds the highest."""
    found = [0.0]

    def run() -> None:
        while not stop.wait(0.25):
            found[0] = max(found[0], measure())

    threading.Thread(target=run, daemon=True).start()
    return found


def ingest(client: Path | None, transport: str, spans: int, streams: int, workers: int) -> dict[str, float]:
    """Return figures of one run."""
    engine, door, _ = TRANSPORTS[transport]
    with (
        tempfile.TemporaryDirectory() as folder,
        up(Path(folder) / "data", *ON, "--grpc-engine", engine, "--workers", str(workers)) as running,
    ):
        root = running.process.pid
        store = Store.open(running.data_dir / "store")
        all_before, workers_before = processor_seconds(root), processor_seconds(root, "worker")
        stop = threading.Event()
        memory = highest(lambda: proportional_memory(root), stop)
        load = send(client, transport, running.addresses[door], spans, streams)
        worked = processor_seconds(root, "worker") - workers_before
        eventually(store.span_count, lambda count: count >= load.spans, seconds=120)
        all_worked = processor_seconds(root) - all_before
        stop.set()
        name = f"{transport}, {spans:,} a request, {workers} worker{'s' if workers > 1 else ''}"
        figures = {
            f"{name}: acknowledged requests/s": load.requests / load.seconds,
            f"{name}: acknowledged requests a worker CPU second": load.requests / worked,
            f"{name}: acknowledged spans a worker CPU second": load.spans / worked,
            f"{name}: committed spans a CPU second of all": load.spans / all_worked,
            f"{name}: highest memory, MiB": memory[0],
        }
        if spans >= 1_000 and workers == 1 and transport == "HTTP":
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
        for workers in (1, 2):
            for transport in TRANSPORTS:
                for spans, streams in SIZES:
                    runs = [ingest(client, transport, spans, streams, workers) for _ in range(RUNS)]
                    figures |= {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return figures | starts()
