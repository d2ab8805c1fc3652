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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from collector.config import MAX_WORKERS
from collector.data_dir import DataDir
from tracelens import wal
from tracelens.errors import DecodeError, InputError, StoreError
from tracelens.spans import concat
from tracelens.store import Store, fold, sweep
from tracelens.wal import Segment
from tracelens.wire import otlp
from tracelens.wire.decoded import Decoded

LOG = logging.getLogger(__name__)
EVERY_SECONDS = 0.25  # between two looks at the folder: sealing is what paces commits
BATCH_BYTES = 96 << 20  # of segments in one commit; some 150 k spans of sidecars
QUIET_SECONDS = 30.0  # without a segment: time to fold what is left
FEW = 8  # small files worth folding when it is quiet
SWEEP_SECONDS = 60.0
RETRY_SECONDS = 600.0  # after folding failed

DECODERS: dict[int, Callable[[Sequence[bytes], Sequence[int]], Decoded]] = {wal.OTLP_PROTOBUF: otlp.decode}


@dataclass(frozen=True, slots=True)
class Batch:
    """Segments that become one commit, and the last number of each worker among them."""

    paths: tuple[Path, ...]
    last: dict[int, int]


class Writer:
    """Moves sealed segments into a store."""

    def __init__(self, folder: DataDir, store: Path) -> None:
        self._folder = folder
        self._store = Store.open(store, create=True)
        self._numbers: dict[int, int] = {}
        self._busy_at = time.monotonic()
        self._swept_at = 0.0
        self._maintain_from = 0.0

    def start(self) -> None:
        """Drop segments the store has already, and write down where each worker stands."""
        for worker in range(MAX_WORKERS):  # all there may be: what is written down here may have been lost
            known = self._store.committed(self._folder.application(worker))
            if known is not None:
                self._numbers[worker] = known
        self._folder.write_committed({**self._folder.committed(), **self._numbers})
        for worker, number, path in wal.segments(self._folder.wal, wal.SEALED):
            if number <= self._numbers.get(worker, -1):
                path.unlink()

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop, and then until no sealed segment is left."""
        while True:
            stopping = stop.is_set()
            while (batch := self._next()) is not None:
                self._write(batch)
                self._busy_at = time.monotonic()
            if stopping:
                return
            self._maintain()
            stop.wait(EVERY_SECONDS)

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

    def _write(self, batch: Batch) -> None:
        """Store a batch and remove its segments."""
        frames = [self._decode(segment) for path in batch.paths if (segment := self._read(path)) is not None]
        transactions = {self._folder.application(worker): number for worker, number in batch.last.items()}
        if not self._store.append(concat(frames), transactions):
            # `start` has dropped what the store has: these numbers were used before, by other segments.
            raise StoreError(
                f"{self._folder.wal}: the store has segments {batch.last} already. Was the folder restored?"
            )
        self._numbers |= batch.last
        self._folder.write_committed({**self._folder.committed(), **self._numbers})
        for path in batch.paths:
            path.unlink()
        wal.sync_folder(self._folder.wal)

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

    def _decode(self, segment: Segment) -> pl.DataFrame:
        """Return a segment's spans; a request that cannot be decoded is set aside and costs no other."""
        frames = []
        for kind in sorted({record.format for record in segment.records}):
            waiting = [[record for record in segment.records if record.format == kind]]
            while waiting:
                records = waiting.pop()
                try:
                    bodies = [record.body for record in records]
                    frames.append(DECODERS[kind](bodies, [record.received_unix_nano for record in records]).spans)
                except DecodeError as error:
                    # What stands before it and what stands behind it, apart: each is decoded twice at most.
                    waiting += [records[error.record + 1 :], records[: error.record]]
                    record = records[error.record]
                    name = f"{segment.path.stem}-{record.received_unix_nano}.{wal.FORMATS[kind]}"
                    LOG.error("a request cannot be decoded: byte %d: %s; kept as %s", error.byte, error, name)
                    self._set_aside(name, record.body)
        return concat(frames)

    def _set_aside(self, name: str, data: bytes) -> None:
        """Keep bytes that cannot be read, for a person to look at."""
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
            if now - self._swept_at > SWEEP_SECONDS:
                self._swept_at = now
                sweep(self._store)
        except (OSError, PolarsError, StoreError):
            # A file of the store that cannot be read, or no room for the sum: storing goes on.
            self._maintain_from = now + RETRY_SECONDS
            LOG.exception("the store's files cannot be folded; the next try is in %.0f s", RETRY_SECONDS)
