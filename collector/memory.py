"""Memory: how much of it there is for us, and how much of that bodies may take.

Owns the reading of limits: the machine's, and those of the control groups
that this process is in. Source: Linux' cgroup-v1/memory and cgroup-v2.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from collector.admission import BUDGET_BYTES
from tracelens.wal import MAX_BODY

ROOT = Path("/sys/fs/cgroup")
PART = 8  # of the memory, for bodies in hand; a writer and what is outside of the budget need the more


def budget(workers: int) -> int:
    """Return how many bytes each of some workers may have in hand: less than usual where there is little memory."""
    return max(min(limit() // PART // workers, BUDGET_BYTES), MAX_BODY)


def limit(groups: Path = Path("/proc/self/cgroup"), root: Path = ROOT) -> int:
    """Return how many bytes of memory this process may use, with all others in its control groups."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError):
        for file in _files(groups.read_text(), root):
            with suppress(OSError, ValueError):  # not there, or "max"
                found.append(int(file.read_text()))
    return min(found)


def _files(groups: str, root: Path) -> Iterator[Path]:
    """Yield where the limits of groups stand; in a container, where a group's own path means nothing, at the root."""
    for line in groups.splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        folder = root / "memory" if controllers else root
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        path = PurePosixPath(group)
        yield from (folder / above.relative_to("/") / name for above in (path, *path.parents))
