"""Group commit: one write and one fdatasync for all requests that wait.

Owns the worker's open segment. A request's append returns when its bytes are
on disk, and raises when they may not be: then it must not be acknowledged.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tracelens import wal
from tracelens.wal import Appender, Record

LOG = logging.getLogger(__name__)
PACE_SECONDS = 0.002  # between the begins of two syncs: what comes meanwhile shares the next
SEAL_BYTES = 32 << 20
SEAL_SECONDS = 2.0  # spans are seen that much later; fewer, larger files the other way
# Below it the log refuses, so that queries and folding still have room: an eighth of a small disk.
MIN_FREE_BYTES = 256 << 20
MIN_FREE_PART = 8


Encoded = tuple[bytes, bytes | memoryview]
Waiting = tuple[Encoded, asyncio.Future[None]]  # an encoded record, and who waits for it


class NotDurable(Exception):
    """The disk did not take a request; the sender may try again."""

    def __init__(self, message: str, reason: str = "disk") -> None:
        super().__init__(message)
        self.reason = reason


class GroupCommit:
    """The log of one ingest worker."""

    def __init__(
        self, folder: Path, worker: int, first_number: int, synced: Callable[[float], None] = lambda _seconds: None
    ) -> None:
        """Begin with a number; synced: told how long each write took until it was on disk."""
        self._folder, self._worker, self._number = folder, worker, first_number
        self._synced = synced
        self._segment: Appender | None = None
        self._unsealed: list[Path] = []  # closed, and still without their final names
        self._opened = self._synced_at = 0.0
        self._waiting: deque[Waiting] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._disk = ThreadPoolExecutor(1, "wal")  # writes and syncs, one after the other
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def append(self, record: Record) -> None:
        """Return once the record is on disk. Raises NotDurable."""
        if self._closing:
            raise NotDurable("the collector is stopping", "stopping")
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((wal.encode(record), done))
        self._wake.set()
        await done

    async def close(self) -> None:
        """Write what waits, seal the segment, and take nothing more."""
        self._closing = True
        self._wake.set()
        await self._task
        self._disk.shutdown()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._until_sealing()):
                    await self._wake.wait()
            except TimeoutError:
                await self._on_disk(self._seal)
                continue
            self._wake.clear()
            while self._waiting:
                early = self._synced_at + PACE_SECONDS - time.monotonic()
                if early > 0 and not self._closing:
                    await asyncio.sleep(early)
                self._synced_at = time.monotonic()
                await self._commit(self._batch())
                # Here, and not after the loop: under a steady load there is always one more batch.
                if self._until_sealing() == 0:
                    await self._on_disk(self._seal)
            if self._closing:
                await self._on_disk(self._seal)
                return

    def _batch(self) -> list[Waiting]:
        """Take what waits, up to a segment's size: a segment is read whole, so it must not be a budget's."""
        batch, size = [], 0
        while self._waiting and size < SEAL_BYTES:
            batch.append(self._waiting.popleft())
            size += len(batch[-1][0][1])
        return batch

    async def _commit(self, batch: list[Waiting]) -> None:
        """Write a batch, and tell those who wait for it how that went."""
        try:
            await self._on_disk(self._write, [encoded for encoded, _ in batch])
        except OSError as error:
            refusal = NotDurable(f"the log cannot be written: {error.strerror or error}")
            for _, done in batch:
                if not done.done():
                    done.set_exception(refusal)
        else:
            for _, done in batch:
                if not done.done():  # its caller may have gone away
                    done.set_result(None)

    async def _on_disk(self, work: Callable[..., None], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._disk, work, *arguments)

    def _until_sealing(self) -> float | None:
        """Return the seconds until the open segment is old or large enough; None when nothing is to be sealed."""
        if self._segment is None:
            return SEAL_SECONDS if self._unsealed else None
        if self._segment.size >= SEAL_BYTES:
            return 0
        return max(self._opened + SEAL_SECONDS - time.monotonic(), 0)

    def _write(self, encoded: Sequence[Encoded]) -> None:
        """Write and sync; on failure abandon the segment, for a failed sync is never tried again."""
        if self._segment is None:
            _check_space(self._folder)
            number, self._number = self._number, self._number + 1
            self._segment = Appender(self._folder, self._worker, number, time.time_ns())
            self._opened = time.monotonic()
        try:
            begin = time.monotonic()
            self._segment.append(encoded)
            self._synced(time.monotonic() - begin)
        except OSError:
            segment, self._segment = self._segment, None
            self._unsealed.append(segment.path)
            try:
                segment.abandon()
            finally:
                self._seal()
            raise

    def _seal(self) -> None:
        """Seal the open segment, and those that could not be sealed before."""
        segment, self._segment = self._segment, None
        if segment is not None:
            self._unsealed.append(segment.path)
            segment.close()
        self._unsealed = [path for path in self._unsealed if not _sealed(path)]


def _sealed(path: Path) -> bool:
    """Seal a segment; return whether that is done with.

    Until it is, the writer takes none beyond it, so trying again loses nothing.
    """
    try:
        wal.seal(path)
    except OSError:
        LOG.exception("%s cannot be sealed; its spans are not in the store before it is", path)
    return not path.exists()  # renamed though the folder's sync failed, or taken away by somebody


def _check_space(folder: Path) -> None:
    """Raise OSError when the disk is nearly full: better early than in the middle of a record."""
    stat = os.statvfs(folder)
    free = stat.f_bavail * stat.f_frsize
    least = min(MIN_FREE_BYTES, stat.f_blocks * stat.f_frsize // MIN_FREE_PART)
    if free < least:
        raise OSError(errno.ENOSPC, f"only {free >> 20} MiB are free, {least >> 20} must be")
