"""Programs of ours, started for a test and stopped with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tracelens.ports import PORTS, flag

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Up:
    """A running `tracelens up`."""

    process: subprocess.Popen[str]
    data_dir: Path
    addresses: dict[str, str]


def doors(*options: str) -> list[str]:
    """Return options of `up`: OTLP/gRPC on a free port, and the other doors off, unless told otherwise."""
    usual = {flag(name): "off" for name in (*PORTS, "dashboard")} | {"--otlp-grpc": "127.0.0.1:0"}
    return [word for option, value in usual.items() if option not in options for word in (option, value)] + [*options]


def start(data_dir: Path, *options: str) -> Up:
    """Start `tracelens up` on free ports and return once it is ready."""
    command = [sys.executable, "-m", "tracelens.cli", "up", "--data-dir", str(data_dir), *doors(*options)]
    if "--workers" not in options:
        command += ["--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "ready":
            return Up(process, data_dir, json.loads((data_dir / "addresses.json").read_bytes()))
    raise AssertionError(f"up ended with status {process.wait()} before it was ready")


@contextmanager
def up(data_dir: Path, *options: str) -> Iterator[Up]:
    """Run `tracelens up` on free ports until the block ends; it must drain and end with 0."""
    running = start(data_dir, *options)
    try:
        yield running
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0
    finally:
        if running.process.poll() is None:
            os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait()
        assert running.process.stdout is not None
        running.process.stdout.close()


def tracelens(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run one verb and return what it wrote."""
    command = [sys.executable, "-m", "tracelens.cli", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=180, check=False)


def answer(*arguments: str) -> dict[str, Any]:
    """Run one verb with --format json and return the document; it must succeed."""
    done = tracelens(*arguments, "--format", "json")
    assert done.returncode == 0, done.stderr.decode()
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def eventually(ask: Callable[[], T], holds: Callable[[T], bool], *, seconds: float = 60) -> T:
    """Ask until the answer holds; fail with the last answer when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = ask()
        if holds(found):
            return found
        assert time.monotonic() < deadline, f"still not after {seconds} s: {found}"
        time.sleep(0.1)  # between two looks at another process
