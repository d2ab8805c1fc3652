"""How the collector starts and stops while its kernels are compiled, which takes long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.running import eventually
from tracelens.ports import PORTS, flag

pytestmark = pytest.mark.process

FREE = [option for door in PORTS for option in (flag(door), "127.0.0.1:0")]


@contextmanager
def compiling(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a collector without compiled kernels; gives it as soon as it says that it compiles them."""
    environment = {**os.environ, "TRACELENS_CACHE_DIR": str(folder / "cache")}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-m", "collector", "--data-dir", str(folder / "data"), *FREE]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True) as found:
        assert found.stderr is not None
        try:
            assert "compiling" in found.stderr.readline()
            yield found
        finally:
            if found.poll() is None:
                os.killpg(found.pid, signal.SIGKILL)


def compilers(folder: Path) -> list[str]:
    """Return what the processes that compile for the collector of a folder are told to compile."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            cache = (process / "environ").read_bytes()
        except OSError:  # ended meanwhile, or another user's
            continue
        if f"TRACELENS_CACHE_DIR={folder / 'cache'}".encode() in cache:
            found += [word.decode() for word in words if word in (b"compiler", b"decoders")]
    return sorted(found)


def test_a_stop_does_not_wait_for_the_compiler(tmp_path: Path) -> None:
    with compiling(tmp_path) as collector:
        eventually(lambda: compilers(tmp_path), lambda found: found == ["compiler", "decoders"], seconds=20)
        collector.terminate()
        assert collector.wait(5) == 0
        eventually(lambda: compilers(tmp_path), lambda found: found == [], seconds=5)


def test_a_compiler_ends_with_its_collector(tmp_path: Path) -> None:
    with compiling(tmp_path) as collector:
        eventually(lambda: compilers(tmp_path), lambda found: found == ["compiler", "decoders"], seconds=20)
        collector.kill()
        collector.wait()
        eventually(lambda: compilers(tmp_path), lambda found: found == [], seconds=5)


def test_addresses_of_a_run_that_was_killed_are_gone_before_this_one_takes_spans(tmp_path: Path) -> None:
    addresses = tmp_path / "data" / "addresses.json"
    addresses.parent.mkdir()
    addresses.write_text("{}")
    with compiling(tmp_path):
        assert not addresses.exists()


def test_a_signal_in_the_middle_of_a_wait_ends_the_writer(tmp_path: Path) -> None:
    """An event's lock is not for one thread twice: a handler that set it while its thread waited hung for ever."""
    code = """
import signal, sys, threading
from collector import __main__ as program

class Waiting(threading.Event):
    def wait(self, timeout=None):
        with self._cond:
            signal.raise_signal(signal.SIGTERM)
        return super().wait(timeout)

program.threading.Event = Waiting
program.end_with_parent = lambda how: None
sys.exit(program.main())
"""
    command = [sys.executable, "-c", code, "writer", "--data-dir", str(tmp_path), "--store", str(tmp_path / "store")]
    assert subprocess.run(command, timeout=30, check=False).returncode == 0


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ([option for door in PORTS for option in (flag(door), "off")], 2, "every door is off"),
        (["--otlp-grpc", "nonsense"], 2, "HOST:PORT"),
        (["--otlp-grpc", "0.0.0.0:0"], 5, "--insecure"),
        (["--workers", "0"], 2, "workers"),
    ],
)
def test_what_it_refuses(tmp_path: Path, options: list[str], status: int, said: str) -> None:
    command = [sys.executable, "-m", "collector", "--data-dir", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr
