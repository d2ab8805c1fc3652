"""Killed as a whole: what was acknowledged is in the store, once. `tests/prove` kills part by part, step by step."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.ledger import Ledger
from tests.prove.outside import Compared, compare, parts
from tests.running import eventually, start, up

pytestmark = [pytest.mark.process, pytest.mark.slow]


def check(data_dir: Path, ledger: Ledger) -> None:
    """Compare the store with the ledger: none missing, none twice."""
    assert compare(data_dir / "store", ledger.acknowledged()) == Compared(lost=0, twice=0)


def test_the_whole_collector_killed(tmp_path: Path) -> None:
    """Supervisor, worker and writer at once, as when the machine's memory runs out."""
    data = tmp_path / "data"
    ledgers = []
    for turn in range(2):
        running = start(data)
        ledger = Ledger(tmp_path / f"ledger-{turn}", running.addresses["otlp_grpc"])
        ledger.start()
        eventually(lambda ledger=ledger: len(ledger.acknowledged()), lambda n: n > 3_000)
        for part in ("--workers", "worker", "writer"):
            for process in parts(running, part):
                os.kill(process, signal.SIGKILL)
        ledger.stop()
        ledgers.append(ledger)
        assert running.process.wait(60) != 0
    with up(data):
        pass
    for ledger in ledgers:
        check(data, ledger)


def test_what_a_worker_left_is_stored_though_there_are_fewer_now(tmp_path: Path) -> None:
    data = tmp_path / "data"
    running = start(data, "--workers", "3")
    ledger = Ledger(tmp_path / "ledger", running.addresses["otlp_grpc"], streams=12)
    ledger.start()
    eventually(lambda: len(ledger.acknowledged()), lambda n: n > 1_000)
    for part in ("--workers", "worker", "writer"):
        for process in parts(running, part):
            os.kill(process, signal.SIGKILL)
    ledger.stop()
    assert running.process.wait(60) != 0
    assert len({name.name[:3] for name in (data / "wal").glob("0*")}) > 1, "connections spread over workers"
    with up(data):
        pass
    check(data, ledger)


def test_drained_restarted_sent_restarted(tmp_path: Path) -> None:
    """An emptied folder never uses a number again: the store would take new spans for old ones."""
    data = tmp_path / "data"
    ledgers = []
    for turn in range(3):
        with up(data) as running:
            ledger = Ledger(tmp_path / f"ledger-{turn}", running.addresses["otlp_grpc"])
            ledger.start()
            eventually(lambda ledger=ledger: len(ledger.acknowledged()), lambda n: n > 200)
            ledger.stop()
            ledgers.append(ledger)
        assert not list((data / "wal").glob("*.wal"))
        assert not list((data / "wal").glob("*.open"))
    for ledger in ledgers:
        check(data, ledger)
