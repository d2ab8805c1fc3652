"""The steps of the hand-over, as system calls of the worker and the writer.

A step is met from outside: strace is attached to the part, waits for the call,
and kills the part there or holds it there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.prove.outside import part_of, threads, traced
from tests.running import Up, eventually
from tracelens import wal
from tracelens.store import Store

AHEAD = 6  # commits and segments that are watched for: some pass between the look and the call


@dataclass(frozen=True, slots=True)
class Step:
    """One system call of the way of a span from the request to the store."""

    name: str
    part: str
    call: str
    seen: str  # what the call's line in strace's log has
    paths: Callable[[Up], list[Path]] | None = None  # watched for; None is any
    library: bool = False  # of the libraries' threads only: Python's make the same call elsewhere


def _segments(running: Up, state: str = wal.OPEN) -> list[Path]:
    folder = running.data_dir / "wal"
    first = max(wal.highest(folder, 0), 0)
    return [folder / wal.name(0, number, state) for number in range(first, first + AHEAD)]


def _commits(running: Up, suffix: str = "") -> list[Path]:
    store = running.data_dir / "store"
    first = Store.open(store).version() + 1
    return [store / "_delta_log" / f"{number:020}.json{suffix}" for number in range(first, first + AHEAD)]


def _hours(running: Up) -> list[Path]:
    return sorted((running.data_dir / "store").glob("hour=*"))[-1:]


def _digests(running: Up) -> list[Path]:
    first = max(wal.highest(running.data_dir / "wal", 0), 0)
    return [running.data_dir / "seen" / f"000.{number:012}.partial" for number in range(first, first + AHEAD)]


def _log(running: Up) -> list[Path]:
    return [running.data_dir / "store" / "_delta_log"]


def _wal(running: Up) -> list[Path]:
    return [running.data_dir / "wal"]


def _number(running: Up) -> list[Path]:
    return [running.data_dir / "wal" / "committed.json.partial"]


STEPS = (
    Step("record written", "worker", "writev", r"wal/\d+-\d+\.open", _segments),
    Step("record synced", "worker", "fdatasync", r"wal/\d+-\d+\.open", _segments),
    Step("segment sealed", "worker", "rename", r"wal/\d+-\d+\.open", _segments),
    Step("sealing synced", "worker", "fsync", r"/wal>", _wal),
    Step("digests written", "writer", "fsync", r"seen/.*\.partial", _digests),
    Step("digests in place", "writer", "rename", r"seen/.*\.seen", _digests),
    Step("Parquet synced", "writer", "fsync", r"part-\w+\.parquet", library=True),
    Step("its folder synced", "writer", "fsync", r"hour=[^/]+>", _hours),
    Step("commit made", "writer", "linkat", r"_delta_log/\d+\.json"),
    Step("commit's other name gone", "writer", "unlink", r"_delta_log/\d+\.json#", lambda up: _commits(up, "#1")),
    Step("commit synced", "writer", "fsync", r"_delta_log/\d+\.json>", _commits),
    Step("commits' folder synced", "writer", "fsync", r"_delta_log>", _log),
    Step("number written", "writer", "fsync", r"committed", _number),
    Step("number in place", "writer", "rename", r"committed", _number),
    Step("number synced", "writer", "fsync", r"/wal>", _wal),
    Step("segment removed", "writer", "unlink", r"wal/\d+-\d+\.wal", lambda up: _segments(up, wal.SEALED)),
)


@contextmanager
def met(running: Up, step: Step, tamper: str, log: Path) -> Iterator[Callable[[], bool]]:
    """Have the next call of a step tampered with; gives what tells whether it was met.

    tamper: as strace spells it, such as signal=KILL.
    """
    process = part_of(running, step.part)
    log.unlink(missing_ok=True)
    expressions = ["-e", f"trace={step.call}", "-e", f"inject={step.call}:{tamper}:when=1"]
    for path in step.paths(running) if step.paths else []:
        expressions += ["-P", str(path)]
    tasks = threads(process, lambda name: name != "python") if step.library else [process]

    def line() -> bool:
        return log.exists() and re.search(step.seen, log.read_text(errors="replace")) is not None

    with traced(tasks, log, *expressions, follow=not step.library):
        yield line


def awaited(line: Callable[[], bool], *, seconds: float) -> bool:
    """Whether a step was met in time."""
    try:
        eventually(line, bool, seconds=seconds)
    except AssertionError:
        return False
    return True
