"""A collector seen from outside: its processes, its system calls, and its store beside a ledger."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.ledger import Ledger
from tests.running import Up, eventually
from tracelens.store import Store


class Lacking(AssertionError):
    """This machine cannot run the proof; says what it needs."""


def processes(data_dir: Path, *words: str) -> list[int]:
    """Return the processes that have a data directory, and some words, among their arguments."""
    found = []
    wanted = {os.fsencode(word) for word in (str(data_dir), *words)}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile
            continue
        if wanted <= set(arguments):
            found.append(int(folder.name))
    return found


def parts(running: Up, part: str) -> list[int]:
    """Return the processes of a part of this collector."""
    return processes(running.data_dir, "collector", part)


def part_of(running: Up, part: str) -> int:
    """Return the one process of a part, as soon as there is one."""
    return eventually(lambda: parts(running, part), lambda found: len(found) == 1)[0]


def replaced(running: Up, part: str, victim: int) -> int:
    """Return the process that took a dead one's place, as soon as it has."""
    return eventually(lambda: parts(running, part), lambda found: len(found) == 1 and found != [victim])[0]


def kill(running: Up) -> None:
    """End all of a collector at once, and return when nothing of it is left."""
    for process in processes(running.data_dir):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    running.process.wait()
    eventually(lambda: processes(running.data_dir), lambda found: not found)
    assert running.process.stdout is not None
    running.process.stdout.close()


@dataclass(frozen=True, slots=True)
class Compared:
    """A store beside a ledger."""

    lost: int  # acknowledged, and not there
    twice: int  # there more than once


def compare(store: Path | str, acknowledged: Iterable[bytes]) -> Compared:
    """Look for every acknowledged span in the store, and for any that is there twice."""
    counts = Counter(Store.open(store).scan(columns=["span_id"]).collect()["span_id"].to_list())
    lost = sum(span not in counts for span in acknowledged)
    return Compared(lost, sum(count > 1 for count in counts.values()))


def more(ledger: Ledger, spans: int, *, seconds: float = 60) -> None:
    """Return when so many more spans are acknowledged."""
    before = ledger.path.stat().st_size
    eventually(lambda: ledger.path.stat().st_size, lambda size: size > before + 8 * spans, seconds=seconds)


@contextmanager
def traced(
    tasks: Iterable[int], log: Path, *expressions: str, follow: bool = True
) -> Iterator[subprocess.Popen[bytes]]:
    """Tamper with the system calls of processes, or of single threads, until the block ends.

    expressions: strace's own, each after an -e, or -P with a path.
    """
    if shutil.which("strace") is None:
        raise Lacking("strace is not here. As root: apt-get update && apt-get install --yes strace")
    tasks = list(tasks)
    command = ["strace", "-y", "-o", str(log), *(["-f"] if follow else []), *expressions]
    command += [word for task in tasks for word in ("-p", str(task))]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    assert tracer.stderr is not None
    try:
        for _ in tasks:  # it says so of each, and only then are calls seen
            line = tracer.stderr.readline()
            if b"attached" not in line:
                raise Lacking(f"strace cannot attach: {line.decode().strip()}. It needs root, or CAP_SYS_PTRACE.")
        os.set_blocking(tracer.stderr.fileno(), False)
        yield
    finally:
        tracer.terminate()
        try:
            tracer.wait(1)
        except subprocess.TimeoutExpired:  # it waits for a thread that ended before it was seen
            tracer.kill()
            tracer.wait()
        tracer.stderr.close()


def threads(process: int, chosen: Callable[[str], bool]) -> list[int]:
    """Return the threads of a process whose names are chosen."""
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        with suppress(OSError):  # it has ended
            if chosen((task / "comm").read_text().strip()):
                found.append(int(task.name))
    return found
