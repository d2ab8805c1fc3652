"""The program: where it listens, how it ends, and what it says when it cannot start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from dashboard.__main__ import bind
from tests.dashboard.conftest import dashboard
from tracelens.errors import PortTaken, UsageError
from tracelens.store import Store


@pytest.mark.parametrize("address", ["8501", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999", ":80", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        bind(address, insecure=False)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "example.com:80"])
def test_addresses_beyond_loopback_are_asked_for_twice(address: str) -> None:
    with pytest.raises(UsageError, match="--insecure"):
        bind(address, insecure=False)


def test_any_address_goes_when_it_is_asked_for_twice() -> None:
    with bind("0.0.0.0:0", insecure=True) as listening:
        assert listening.getsockname()[1] > 0


def test_a_taken_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"cannot listen on 127.0.0.1:{port}: .* Stop who listens there"):
            bind(f"127.0.0.1:{port}", insecure=False)


@pytest.mark.process
def test_a_taken_port_ends_it_with_5() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "dashboard", "--source", ".", "--address", address]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 5
    assert ended.stderr.startswith(f"dashboard: the dashboard cannot listen on {address}")
    assert "Traceback" not in ended.stderr


@pytest.mark.process
def test_it_answers_and_ends_on_a_signal(tmp_path: Path) -> None:
    """Ends with 0: `dashboard` asserts it."""
    Store.open(tmp_path / "store", create=True)
    with dashboard(tmp_path) as url:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/_stcore/health", timeout=30) as answer:
            assert answer.read() == b"ok"
            assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.process
def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Even when that one is killed and can tell nobody."""
    starter = (
        "import subprocess, sys\n"
        "command = [sys.executable, '-m', 'dashboard', '--source', sys.argv[1], '--address', '127.0.0.1:0']\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)\n"
        "print(child.pid, child.stdout.readline(), flush=True)\n"
        "child.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", starter, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline().split()[0])
    ended = os.pidfd_open(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    import select

    assert select.select([ended], [], [], 30)[0] == [ended]
    os.close(ended)


SCAN = """\
import json, sys
from streamlit.components.v2.manifest_scanner import scan_component_manifests
found = [(root, m) for m, root in scan_component_manifests() if m.name == "tracelens"]
print(json.dumps([[str(root), [c.name for c in m.components]] for root, m in found]))
"""


@pytest.mark.process
def test_streamlit_finds_the_components_of_an_installed_wheel(installed: Path) -> None:
    """The manifest lies where Streamlit looks, and the assets beside it."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    scan = [sys.executable, "-P", "-c", SCAN]
    said = subprocess.run(scan, check=True, capture_output=True, text=True, env=environment, cwd=installed).stdout
    found = dict(json.loads(said.strip().splitlines()[-1]))
    names = found[str(installed / "tracelens")]
    assert sorted(names) == [
        "chart", "distribution", "findings", "flame", "headline", "heatmap", "map", "table", "tiles", "waterfall",
    ]  # fmt: skip
    for name in names:
        assert (installed / "tracelens" / "assets" / f"{name}.js").is_file()
    assert (installed / "dashboard" / "assets" / "shell.css").is_file()
