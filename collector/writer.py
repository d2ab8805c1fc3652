"""The writer: sealed segments into the store, each record once.

Owns the loop and the hand-over. A batch of segments becomes one file and one
commit that names the last segment of each worker; only when that is on disk
are the segments removed. Whatever step a crash cuts, the next start either
finds the number committed and drops the segment, or stores it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from collector import logs
from collector.clocks import Clocks
from collector.config import MAX_WORKERS
from collector.data_dir import DataDir
from collector.resends import Entries, Resends
from collector.telemetry import Telemetry
from tracelens import wal
from tracelens.errors import DecodeError, InputError, StoreError
from tracelens.redact import Rules, apply
from tracelens.spans import SPAN_MARKS, concat
from tracelens.store import Store, fold, is_store, sweep
from tracelens.wal import Segment
from tracelens.wire import otlp
from tracelens.wire._chunk import Stretches

LOG = logging.getLogger(__name__)
EVERY_SECONDS = 0.25  # between two looks at the folder: sealing is what paces commits
BATCH_BYTES = 40 << 20  # of segments in one commit; some 70 k spans of sidecars
QUIET_SECONDS = 30.0  # without a segment: time to fold what is left
FEW = 8  # small files worth folding when it is quiet
RETRY_SECONDS = 600.0  # after folding failed
AGAIN_SECONDS = 1.0  # between two tries of a store that takes nothing
SET_ASIDE_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Segments that become one commit, and the last number of each worker among them."""

    paths: tuple[Path, ...]
    last: dict[int, int]


@dataclass(frozen=True, slots=True)
class Handover:
    """A batch that was given to the store: until it answers, it may have it or not."""

    batch: Batch
    spans: pl.DataFrame
    oldest_unix_nano: int
    seen: Path
    digests: Entries


class Restored(StoreError):
    """The store has numbers that this folder is about to use: one of them was put back from a copy."""


class Writer:
    """Moves sealed segments into a store. workers: how many may seal some while it runs."""

    def __init__(
        self, folder: DataDir, store: str | Path, rules: Rules, telemetry: Telemetry, workers: int = MAX_WORKERS
    ) -> None:
        self._folder, self._rules, self._telemetry, self._workers = folder, rules, telemetry, workers
        self._store = _opened(store, folder)
        self._numbers: dict[int, int] = {}
        self._resends = Resends(folder.seen, 0, {})
        self._clocks = Clocks(telemetry)
        self._busy_at = time.monotonic()
        self._swept_at = 0.0
        self._maintain_from = 0.0
        self._failing = False
        self._handover: Handover | None = None

    def start(self) -> None:
        """Drop segments the store has already, and write down where each worker stands."""
        written = self._folder.committed()
        # Not of those alone that are written down here, for that may have been lost.
        asked = {*range(self._workers), *written}
        asked |= {owner for owner, _, _ in wal.segments(self._folder.wal, wal.SEALED)}
        workers = {self._folder.application(worker): worker for worker in asked}
        self._numbers |= {workers[one]: known for one, known in self._store.all_committed(workers).items()}
        self._folder.write_committed({**written, **self._numbers})
        self._resends = Resends(self._folder.seen, self._folder.secret(), self._numbers)
        for worker, number, path in wal.segments(self._folder.wal, wal.SEALED):
            if number <= self._numbers.get(worker, -1):
                path.unlink()

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop, and then until no sealed segment is left.

        A store that is full or away is tried again until it is back; after the
        word to stop that ends the writer, and its segments wait for the next.
        """
        while True:
            stopping = stop.is_set()
            while (work := self._work()) is not None:
                try:
                    work()
                except Restored:
                    raise
                except Exception:  # whatever it is: nothing is lost by trying again
                    if stopping:
                        raise
                    self._told_failing()
                    stop.wait(AGAIN_SECONDS)
                    break
                self._busy_at = time.monotonic()
                self._failing = False
            if stopping:
                return
            if not self._failing:
                self._maintain()
            stop.wait(EVERY_SECONDS)

    def _told_failing(self) -> None:
        """Say once that the store takes nothing."""
        self._telemetry.commit_failed()
        if not self._failing:
            logs.failed(LOG, f"the store takes nothing; trying again every {AGAIN_SECONDS:.0f} s, segments are kept")
        self._failing = True

    def _work(self) -> Callable[[], None] | None:
        """Return what is to be done: ask what became of a commit that failed, or write a batch; None: nothing."""
        if self._handover is not None:
            return self._ask
        batch = self._next()
        return None if batch is None else partial(self._write, batch)

    def _next(self) -> Batch | None:
        """Return the oldest segments, whole workers' runs of them, up to BATCH_BYTES; None when there are none.

        A worker's lower number that is still open holds back what is above it:
        the store takes a number to mean that all up to it are stored.
        """
        # Before the sealed ones are listed, so that one that is sealed meanwhile is missed in neither list.
        lowest_open: dict[int, int] = {}
        for worker, number, _ in wal.segments(self._folder.wal, wal.OPEN):
            lowest_open.setdefault(worker, number)
        paths: list[Path] = []
        last: dict[int, int] = {}
        size = 0
        by_number = sorted(wal.segments(self._folder.wal, wal.SEALED), key=lambda found: (found[1], found[0]))
        for worker, number, path in by_number:
            if number > lowest_open.get(worker, number):
                continue
            size += path.stat().st_size
            if paths and size > BATCH_BYTES:
                break
            paths.append(path)
            last[worker] = number
        return Batch(tuple(paths), last) if paths else None

    def _ask(self) -> None:
        """Find out whether a commit that failed was made all the same: the store's answer may have been lost."""
        assert self._handover is not None
        last = self._handover.batch.last
        if {worker: self._store.committed(self._folder.application(worker)) for worker in last} == last:
            self._hand_over(self._handover)
        self._handover = None

    def _write(self, batch: Batch) -> None:
        """Store a batch and remove its segments."""
        begin = time.monotonic()
        segments = [segment for path in batch.paths if (segment := self._read(path)) is not None]
        records = [record for segment in segments for record in segment.records]
        first, digests = self._resends.fresh(records)
        self._telemetry.resent(len(records) - len(digests))
        frames, before = [], 0
        for segment in segments:
            kept = np.flatnonzero(first[before : before + len(segment.records)])
            before += len(segment.records)
            frames.append(apply(self._decode(segment, kept), self._rules))
        frame = concat(frames)
        seen = self._resends.write(batch.last, digests)
        transactions = {self._folder.application(worker): number for worker, number in batch.last.items()}
        oldest = min((record.received_unix_nano for record in records), default=time.time_ns())
        self._handover = Handover(batch, frame, oldest, seen, digests)
        known = {self._folder.application(worker): self._numbers.get(worker) for worker in batch.last}
        if not self._store.append(frame, transactions, after=known):
            # `start` has dropped what the store has: these numbers were used before, by other segments; or by a
            # commit that was taken after we had given it up, and then `start` drops its segments.
            raise Restored(
                f"{self._folder.wal}: the store has segments up to {batch.last} already, or some of them: a commit was "
                "taken long after it was made, or the folder was restored. What is stored is dropped at the next start."
            )
        self._hand_over(self._handover, begin)
        self._handover = None

    def _hand_over(self, done: Handover, begin: float | None = None) -> None:
        """Write down that the store has a batch, and remove its segments. begin: of writing it, when that is known."""
        self._numbers |= done.batch.last
        self._resends.committed(done.seen, done.digests, time.time_ns())
        self._folder.write_committed({**self._folder.committed(), **self._numbers})
        for path in done.batch.paths:
            path.unlink(missing_ok=True)
        wal.sync_folder(self._folder.wal)
        took = 0.0 if begin is None else time.monotonic() - begin
        self._telemetry.committed(len(done.spans), took, (time.time_ns() - done.oldest_unix_nano) / 1e9)
        self._telemetry.repaired(count_marks(done.spans))
        self._clocks.look(done.spans)

    def _read(self, path: Path) -> Segment | None:
        """Return a segment; one whose header is damaged is set aside whole."""
        try:
            segment = wal.read(path)
        except InputError as error:
            LOG.error("%s", error)
            self._set_aside(f"{path.stem}.segment", path.read_bytes())
            return None
        for damage in segment.damages:
            name = f"{path.stem}-{damage.offset}.damaged"
            LOG.error("%s: byte %d: %d bytes are damaged, kept as %s", path, damage.offset, len(damage.data), name)
            self._set_aside(name, damage.data)
        return segment

    def _decode(self, segment: Segment, kept: NDArray[np.intp]) -> pl.DataFrame:
        """Return the spans of some requests; one that cannot be decoded is set aside and costs no other.

        kept: which of the segment's records.
        """
        starts = np.array(segment.starts, np.int64)
        ends = starts + np.array([len(record.body) for record in segment.records], np.int64)
        received = np.array([record.received_unix_nano for record in segment.records], np.int64)
        frames = []
        waiting = [kept]
        while waiting:
            some = waiting.pop()
            if not len(some):
                continue
            try:
                stretches = Stretches(segment.data, starts[some], ends[some])
                frames.append(otlp.decode(stretches, received[some].tolist()).spans)
            except DecodeError as error:
                # What stands before it and what stands behind it, apart: each is decoded twice at most.
                waiting += [some[error.record + 1 :], some[: error.record]]
                self._undecodable(segment, int(some[error.record]), f"byte {error.byte}: {error}")
            except (MemoryError, OSError):
                raise
            except Exception as bug:  # of the decoder: found by halving
                LOG.debug("decoding %d requests failed", len(some), exc_info=True)
                if len(some) == 1:
                    self._undecodable(segment, int(some[0]), f"a bug of ours: {bug!r}")
                else:
                    waiting += [some[len(some) // 2 :], some[: len(some) // 2]]
        return concat(frames)

    def _undecodable(self, segment: Segment, number: int, why: str) -> None:
        """Set a request aside, and say so."""
        record = segment.records[number]
        name = f"{segment.path.stem}-{record.received_unix_nano}.{wal.FORMATS.get(record.format, 'unknown')}"
        LOG.error("a request cannot be decoded: %s; kept as %s", why, name)
        self._set_aside(name, record.body)

    def _set_aside(self, name: str, data: bytes | memoryview) -> None:
        """Keep bytes that cannot be read, for a person to look at within a week."""
        self._telemetry.set_aside()
        descriptor = os.open(self._folder.set_aside / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _maintain(self) -> None:
        """Fold many small files, or few when it is quiet; now and then remove what nobody reads."""
        now = time.monotonic()
        if now < self._maintain_from:
            return
        quiet = now - self._busy_at > QUIET_SECONDS
        if quiet:
            self._busy_at = now
        try:
            fold(self._store, **({"many": FEW} if quiet else {}))
            if now - self._swept_at > self._store.place.sweep_seconds:
                self._swept_at = now
                sweep(self._store)
                self._forget()
            self._maintain_from = now + self._store.place.look_seconds
        except (OSError, PolarsError, StoreError):
            # A file of the store that cannot be read, or no room for the sum: storing goes on.
            self._maintain_from = now + RETRY_SECONDS
            logs.failed(LOG, f"the store's files cannot be folded; the next try is in {RETRY_SECONDS:.0f} s")

    def _forget(self) -> None:
        """Remove what was set aside long ago: it holds what senders sent, secrets included."""
        before = time.time() - SET_ASIDE_SECONDS
        for path in self._folder.set_aside.iterdir():
            if path.stat().st_mtime < before:
                path.unlink()


def _opened(location: str | Path, folder: DataDir) -> Store:
    """Open the store, made when there never was one. Raises StoreError when there was one, and it is away."""
    if folder.knows(location) and not is_store(location):
        raise StoreError(
            f"{location}: the store that was here is not. Is its disk mounted, or its bucket another one? "
            f"To begin a new one, remove {folder.path / 'store.path'}."
        )
    store = Store.open(location, create=True)
    folder.remember(location)
    return store


def count_marks(frame: pl.DataFrame) -> dict[str, int]:
    """Return how many spans have each mark of a repair, those that some have."""
    repairs = frame["repairs"].filter(frame["repairs"] != 0)
    if repairs.is_empty():
        return {}
    counts = {mark: int(((repairs & 1 << bit) != 0).sum()) for bit, mark in enumerate(SPAN_MARKS)}
    return {mark: count for mark, count in counts.items() if count}
