"""Killed at any instant: what was acknowledged is in the store, once.

Five instants here; with TRACELENS_PROVE set, as `make prove` does, forty.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.ledger import Ledger
from tests.running import Up, eventually, start, up
from tracelens.store import Store

KILLS = 40 if os.environ.get("TRACELENS_PROVE") else 5

pytestmark = [pytest.mark.process, pytest.mark.slow]


def parts(running: Up, part: str) -> list[int]:
    """Return the processes of a part of this collector."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile
            continue
        if b"collector" in arguments and part.encode() in arguments and str(running.data_dir).encode() in arguments:
            found.append(int(folder.name))
    return found


def stored(data_dir: Path) -> list[bytes]:
    ids: list[bytes] = Store.open(data_dir / "store").scan(columns=["span_id"]).collect()["span_id"].to_list()
    return ids


def check(data_dir: Path, ledger: Ledger) -> None:
    """Compare the store with the ledger: none missing, none twice."""
    counts = Counter(stored(data_dir))
    missing = [span for span in ledger.acknowledged() if span not in counts]
    twice = [span for span, count in counts.items() if count > 1]
    assert (len(missing), len(twice)) == (0, 0)


@pytest.mark.parametrize("part", ["worker", "writer"])
def test_kills_under_load(tmp_path: Path, part: str) -> None:
    rng = random.Random(part)
    data = tmp_path / "data"
    with up(data) as running:
        ledger = Ledger(tmp_path / "ledger", running.addresses["otlp_grpc"])
        ledger.start()
        for _ in range(KILLS):
            before = len(ledger.acknowledged())
            eventually(lambda: len(ledger.acknowledged()), lambda n, before=before: n > before + rng.randrange(4_000))
            (victim,) = eventually(lambda: parts(running, part), lambda found: len(found) == 1)
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: parts(running, part), lambda found, victim=victim: found not in ([], [victim]))
        after = len(ledger.acknowledged())
        eventually(lambda: len(ledger.acknowledged()), lambda n: n > after + 500)
        ledger.stop()
    assert len(ledger.acknowledged()) > 500
    check(data, ledger)


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
