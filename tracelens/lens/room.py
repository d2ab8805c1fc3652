"""How much memory answers may take, and where spans go on disk when that is not enough.

Owns the limit and the folder. What is done there is `parts.py`'s.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tracelens import _cache
from tracelens.lens.buckets import Told, fill
from tracelens.lens.parts import Parts
from tracelens.lens.pruned import Pruned
from tracelens.lens.question import Question
from tracelens.lens.sources import Source
from tracelens.taught import Taught

STALE_SECONDS = 24 * 3600  # what an interrupted answer left is kept so long, to go on from


def _untold(what: str, done: int, of: int | None) -> None:
    del what, done, of


@dataclass(frozen=True, kw_only=True)
class Room:
    """What answers may take.

    What they put on disk serves the next question, and is removed when nobody holds the room any more: but what an
    interrupted one left is kept, so that it goes on from there when it is asked again.
    """

    memory: int | None = None  # bytes; None: whatever it takes
    scratch: Path | None = None  # where it goes on disk, and stays; None: a folder of ours
    told: Told = _untold
    _answered: set[Path] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        weakref.finalize(self, _remove, self._answered)

    @contextmanager
    def parts(self, source: Source, question: Question, taught: Taught, *, skew: bool) -> Iterator[Parts | None]:
        """Give a question's spans on disk, when memory does not hold them; else None."""
        if self.memory is None or source.weight(question.start_nano, question.end_nano) <= self.memory:
            yield None
            return
        window = (question.start_nano, question.end_nano) if source.live else ()
        key = f"{source.version()} {window} {question.keys} {pl.__version__}"
        home = self.scratch or _cache.cache_home() / "scratch"
        folder = home / hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
        if self.scratch is None and folder not in self._answered:
            _sweep(home)
        self._answered.discard(folder)
        buckets = fill(
            folder,
            source.parts(*(window or (None, None)), question.keys),
            source.describe,
            key,
            self.told,
        )
        yield Parts(
            buckets=buckets,
            source=source,
            question=question,
            taught=taught,
            folder=folder,
            told=self.told,
            skew=skew,
            draws=source.draws(question.start_nano, question.end_nano) if isinstance(source, Pruned) else None,
        )
        if self.scratch is None:
            self._answered.add(folder)


def _remove(folders: set[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(home: Path) -> None:
    """Remove what was left long ago."""
    for folder in home.glob("*/") if home.is_dir() else ():
        if folder.stat().st_mtime < time.time() - STALE_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def free_memory() -> int:
    """Return how many bytes of memory are free for us: what the system says, or what is left of a control group's."""
    told = [int(line.split()[1]) << 10 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable:")]
    limit, used = (_lines(f"/sys/fs/cgroup/memory.{what}") for what in ("max", "current"))
    if limit and used and limit[0] != "max":
        told.append(max(int(limit[0]) - int(used[0]), 0))
    return min(told, default=4 << 30)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
