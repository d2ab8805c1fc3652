"""Disks that fail, fill up, are slow or go away: no false acknowledgement, queries go on, and it resumes unaided."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.ledger import Ledger
from tests.prove.disk import Disk
from tests.prove.outside import compare, more, part_of, parts, traced
from tests.prove.rows import Row
from tests.running import eventually, tracelens, up

ANCHOR = "tracelens/WAL.md: Writing"
SLOW = 200_000  # µs a sync
EVERY = 7  # one fdatasync in so many fails
FULL_MIB = 64
LARGE = 500  # spans a request: fills a disk soon
LEFT_MIB = 12  # free when the disk is said to be nearly full: more than is kept free of it


def failing_syncs(folder: Path, times: int) -> Row:
    """Have one fdatasync of the worker in seven fail, until so many requests were refused for it."""
    with up(folder / "data") as running:
        ledger = Ledger(folder / "ledger", running.addresses["otlp_grpc"])
        ledger.start()
        more(ledger, 500)
        refused = ledger.refused
        tamper = ("-e", "trace=fdatasync", "-e", f"inject=fdatasync:error=EIO:when={EVERY}+{EVERY}")
        with traced([part_of(running, "worker")], Path(os.devnull), *tamper):
            eventually(lambda: ledger.refused - refused, lambda n: n >= times)
        more(ledger, 500)
        ledger.stop()
    return _row(
        "a failed fsync is refused, never acknowledged",
        f"one fdatasync in {EVERY} of the worker answers EIO",
        ledger.refused - refused,
        folder / "data" / "store",
        ledger,
    )


def slow_syncs(folder: Path, seconds: int) -> Row:
    """Have every sync of worker and writer take 200 ms for so many seconds."""
    with up(folder / "data") as running:
        ledger = Ledger(folder / "ledger", running.addresses["otlp_grpc"])
        ledger.start()
        more(ledger, 500)
        slow = ("-e", "trace=fdatasync,fsync", "-e", f"inject=fdatasync,fsync:delay_exit={SLOW}")
        before = len(ledger.acknowledged())
        with traced([part_of(running, "worker"), part_of(running, "writer")], Path(os.devnull), *slow):
            answered = _queries_for(running.data_dir, seconds)
        slowly = len(ledger.acknowledged()) - before
        more(ledger, 500)
        ledger.stop()
    return _row(
        "slow syncs slow the answers and lose nothing",
        f"each sync takes {SLOW // 1000} ms, for {seconds} s",
        slowly // 5,
        folder / "data" / "store",
        ledger,
        broken=answered,
    )


def full(folder: Path, times: int) -> Row:
    """Fill a 64 MiB disk under load until all is refused, and make room again; so many times."""
    broken: list[str] = []
    with Disk(folder, "disk", FULL_MIB) as disk:
        data = disk.path / "data"
        with up(data) as running:
            ledger = Ledger(folder / "ledger", running.addresses["otlp_grpc"], spans=LARGE)
            ledger.start()
            more(ledger, 5 * LARGE)
            for _ in range(times):
                with _ballast(disk.path):
                    eventually(lambda: _standing(ledger), bool, seconds=120)
                    broken += _queries_for(data, 1)
                more(ledger, 5 * LARGE)
            ledger.stop()
        return _row(
            "a full disk refuses, answers queries, and goes on when there is room",
            f"ext4 of {FULL_MIB} MiB filled under load, and emptied",
            times,
            data / "store",
            ledger,
            broken=broken,
        )


def store_away(folder: Path, seconds: int) -> Row:
    """Make the store's own disk read-only for so many seconds."""
    with Disk(folder, "disk", 512) as disk:
        store = disk.path / "store"
        with up(folder / "data", "--store", str(store)) as running:
            ledger = Ledger(folder / "ledger", running.addresses["otlp_grpc"])
            ledger.start()
            more(ledger, 3_000)
            eventually(lambda: sorted(store.glob("hour=*/*.parquet")), bool)
            writer = parts(running, "writer")
            disk.remount("ro")
            before = len(ledger.acknowledged())
            broken = _queries_for(store, seconds)
            meanwhile = len(ledger.acknowledged()) - before
            if not meanwhile:
                broken.append("nothing was acknowledged meanwhile")
            disk.remount("rw")
            waiting = set((folder / "data" / "wal").glob("*.wal"))
            eventually(lambda: [path for path in waiting if path.exists()], lambda left: not left)
            if parts(running, "writer") != writer:
                broken.append("the writer had to be started again")
            more(ledger, 500)
            ledger.stop()
        return _row(
            "a store that is down delays spans and loses none",
            f"its disk read-only for {seconds} s; {meanwhile:,} spans acknowledged meanwhile",
            1,
            store,
            ledger,
            broken=broken,
        )


def _row(promise: str, tried: str, times: int, store: Path, ledger: Ledger, *, broken: list[str] | None = None) -> Row:
    acknowledged = ledger.acknowledged()
    found = compare(store, acknowledged)
    return Row(
        promise=promise,
        anchor=ANCHOR,
        tried=tried,
        times=times,
        lost=found.lost,
        twice=found.twice,
        broken=tuple(dict.fromkeys(broken or [])),
        told=f"{len(acknowledged):,} spans acknowledged, {ledger.refused:,} requests refused",
    )


def _queries_for(source: Path, seconds: float) -> list[str]:
    """Ask for the routes again and again; return what was wrong with the answers."""
    wrong = []
    deadline = time.monotonic() + seconds
    while True:
        done = tracelens("routes", str(source), "--format", "json")
        if done.returncode != 0:
            wrong.append(f"a query was not answered: {done.stderr.decode()[-200:]}")
        if time.monotonic() > deadline:
            return wrong


def _standing(ledger: Ledger) -> bool:
    """Whether nothing was acknowledged, and much refused, for a second."""
    size, refused = ledger.path.stat().st_size, ledger.refused
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline and ledger.path.stat().st_size == size:
        time.sleep(0.05)  # between two looks
    return ledger.path.stat().st_size == size and ledger.refused > refused


@contextmanager
def _ballast(folder: Path) -> Iterator[None]:
    """Take most of a disk's room until the block ends; the load takes the rest."""
    file = folder / "ballast"
    stat = os.statvfs(folder)
    size = stat.f_bavail * stat.f_frsize - (LEFT_MIB << 20)
    with file.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, max(size, 1))
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            file.unlink()
