"""Backlog: segments the store has not taken yet.

Owns the look at them. Where the writer is behind, for its store is slow or
away, admission is closed before the log fills the disk, and opened again.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

from collector.admission import Admission
from collector.telemetry import Telemetry
from tracelens.wal import OPEN, SEALED

EVERY_SECONDS = 0.5
LIMIT_BYTES = 2 << 30
DISK_PART = 4  # at most so much of the disk: 1 in 4


def limit(folder: Path) -> int:
    """Return how many bytes of segments there may be."""
    stat = os.statvfs(folder)
    return min(LIMIT_BYTES, stat.f_blocks * stat.f_frsize // DISK_PART)


def waiting(folder: Path) -> tuple[int, float]:
    """Return (bytes of all segments, when the oldest was last written to, 0 without any)."""
    size, oldest = 0, 0.0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((OPEN, SEALED)):
                try:
                    stat = entry.stat()
                except FileNotFoundError:  # the writer is done with it
                    continue
                size += stat.st_size
                oldest = min(oldest or stat.st_mtime, stat.st_mtime)
    return size, oldest


async def guard(folder: Path, admission: Admission, telemetry: Telemetry) -> None:
    """Close admission while there is too much, for ever; and tell how much there is."""
    while True:
        with suppress(OSError):  # the folder is away: the log says so itself
            (size, oldest), most = waiting(folder), limit(folder)
            telemetry.state(admission.in_hand, size, time.time() - oldest if oldest else 0.0)
            if size > most:
                admission.close(f"the store is behind: {size >> 20} MiB are to be stored, {most >> 20} may be")
            else:
                admission.open()
        await asyncio.sleep(EVERY_SECONDS)
