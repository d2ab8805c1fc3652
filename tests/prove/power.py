"""The power fails: what was acknowledged was on disk.

Data directory and store are on an ext4 file system in a file, the ledger is
outside. At a random instant all processes are stopped, the file system is
shut down without its journal, the processes are killed, and it is mounted again.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ledger import Ledger
from tests.prove.disk import Disk
from tests.prove.outside import Compared, compare, kill, more, part_of, processes, replaced, traced
from tests.prove.rows import Row
from tests.prove.steps import STEPS, awaited, met
from tests.running import Up, eventually, start, up
from tracelens import wal

PROMISE = "a power cut loses nothing acknowledged and doubles nothing"
ANCHOR = "tracelens/WAL.md: Writing; tracelens/store/FORMAT.md: Order on disk"
MIB = 1024
HELD = 1_500_000  # µs: a step is held that long, while workers go on and so have the journal written
SYNCS = "fsync,fdatasync,sync_file_range,syncfs,msync"
MET_SECONDS = 15.0


def random_instants(folder: Path, times: int) -> Row:
    """Cut the power `times` times, at random instants under load; the next start must find everything."""
    rng = random.Random(times)
    with Disk(folder, "disk", MIB) as disk:
        cuts = Cuts(disk, folder)
        for _ in range(times):
            with cuts.running() as (running, ledger):
                more(ledger, rng.randrange(25_000))
                cuts.cut(running)
        found = cuts.settle()
    return Row(
        promise=PROMISE,
        anchor=ANCHOR,
        tried="ext4, at random instants under load",
        times=times,
        lost=found.lost,
        twice=found.twice,
        told=f"{len(cuts.acknowledged):,} spans acknowledged",
    )


def each_step(folder: Path, times: int) -> Row:
    """Cut the power while a step of the hand-over is done and the next is not, `times` times each."""
    missed = []
    with Disk(folder, "disk", MIB) as disk:
        cuts = Cuts(disk, folder)
        for step in STEPS:
            for _ in range(times):
                with cuts.running() as (running, ledger):
                    more(ledger, 3_000)
                    eventually(lambda running=running: sorted((running.data_dir / "store").glob("hour=*")), bool)
                    with met(running, step, f"delay_exit={HELD}", folder / "strace") as line:
                        if not awaited(line, seconds=MET_SECONDS):
                            missed.append(f"never met: {step.name}")
                        elif step.part == "writer":
                            more(ledger, 200)
                        cuts.cut(running)
        found = cuts.settle()
    return Row(
        promise=PROMISE,
        anchor=ANCHOR,
        tried=f"ext4, with one of {len(STEPS)} steps of the hand-over just done: "
        + ", ".join(step.name for step in STEPS),
        times=len(STEPS) * times - len(missed),
        lost=found.lost,
        twice=found.twice,
        broken=tuple(dict.fromkeys(missed)),
        told=f"{len(cuts.acknowledged):,} spans acknowledged",
    )


def after_a_kill(folder: Path, times: int) -> Row:
    """Kill the writer when its commit is not yet synced, and cut the power after the next writer relied on it."""
    (step,) = (step for step in STEPS if step.name == "commit's other name gone")
    missed = 0
    with Disk(folder, "disk", MIB) as disk:
        cuts = Cuts(disk, folder)
        for _ in range(times):
            with cuts.running() as (running, ledger):
                more(ledger, 3_000)
                victim = part_of(running, step.part)
                with met(running, step, "signal=KILL", folder / "strace") as line:
                    missed += not awaited(line, seconds=MET_SECONDS)
                replaced(running, step.part, victim)
                left = sealed(running)
                eventually(lambda running=running, left=left: left & sealed(running), lambda found: not found)
                more(ledger, 200)
                cuts.cut(running)
        found = cuts.settle()
    return Row(
        promise=PROMISE,
        anchor=ANCHOR,
        tried="ext4, after the writer was killed between its commit and the commit's sync, and another has taken over",
        times=times - missed,
        lost=found.lost,
        twice=found.twice,
        broken=("the writer was not killed where it should be",) if missed else (),
        told=f"{len(cuts.acknowledged):,} spans acknowledged",
    )


def without_syncs(folder: Path, times: int) -> Row:
    """Do the same with every sync left out: unless that loses spans, the other rows show nothing."""
    lost = 0
    for turn in range(times):
        with Disk(folder, f"disk-{turn}", MIB) as disk:
            cuts = Cuts(disk, folder / f"ledgers-{turn}")
            with cuts.running() as (running, ledger):
                tasks = processes(running.data_dir)
                without = ("-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:retval=0")
                with traced(tasks, Path(os.devnull), *without):
                    more(ledger, 3_000)
                    cuts.cut(running)
            try:
                lost += cuts.settle().lost
            except AssertionError:  # it does not even start
                lost += len(cuts.acknowledged)
    return Row(
        promise="the control: without syncs a power cut does lose",
        anchor=ANCHOR,
        tried="ext4, every sync of every part answered without being done",
        times=times,
        broken=() if lost else ("nothing was lost: the cut is none",),
        told=f"{lost:,} acknowledged spans lost, as they must be",
    )


def sealed(running: Up) -> set[Path]:
    """Return the segments that are not in the store yet."""
    return set((running.data_dir / "wal").glob(f"*{wal.SEALED}"))


class Cuts:
    """One data directory through many power cuts, and all that was ever acknowledged."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        self.acknowledged: list[bytes] = []
        self._disk, self._folder = disk, folder
        self._data = disk.path / "data"
        self._turn = 0
        folder.mkdir(exist_ok=True)

    @contextmanager
    def running(self) -> Iterator[tuple[Up, Ledger]]:
        """Start the collector under load; the block ends with the cut."""
        self._turn += 1
        running = start(self._data)
        ledger = Ledger(self._folder / f"ledger-{self._turn}", running.addresses["otlp_grpc"])
        ledger.start()
        try:
            yield running, ledger
        finally:
            kill(running)
            ledger.stop()
            self.acknowledged += ledger.acknowledged()
        self._disk.unmount()
        self._disk.mount()

    def cut(self, running: Up) -> None:
        """Stop everything where it is, and cut the power."""
        for process in processes(running.data_dir):
            os.kill(process, signal.SIGSTOP)
        self._disk.cut_power()

    def settle(self) -> Compared:
        """Start once more, let it drain, and compare."""
        with up(self._data):
            pass
        return compare(self._data / "store", self.acknowledged)
