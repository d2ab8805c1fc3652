"""The data directory: its lock, its identity, its folders, and who may be where.

DATA_DIR/
  id                 a random UUID: with a worker's number it names an application to the store
  secret             random: the seed of digests
  lock, writer.lock  held by the collector and by its writer
  wal/               segments, and committed.json: the last number the store has of each worker
  seen/              digests of the requests of the last ten minutes, to know those that come again
  set-aside/         records and bytes that could not be read, mode 0600, kept for a week
  run/metrics/       counters of the parts, while the collector runs
  addresses.json     what is bound, while the collector runs
  store.path         where the store was made: when it is not there, its disk is away, and none is made anew
  store/             the store, unless it is elsewhere
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
import uuid
from pathlib import Path
from typing import IO

from tracelens import wal
from tracelens.errors import Locked, StartError
from tracelens.locations import whole

WAIT_SECONDS = 10.0  # for a predecessor that was killed to be gone


class DataDir:
    """A collector's folder on local disk."""

    def __init__(self, path: Path) -> None:
        """Make it when it is not there. Raises StartError when it cannot be made."""
        self.path = path.absolute()
        self.wal = self.path / "wal"
        self.seen = self.path / "seen"
        self.set_aside = self.path / "set-aside"
        self.metrics = self.path / "run" / "metrics"
        self.addresses = self.path / "addresses.json"
        self._committed = self.wal / "committed.json"
        for folder in (self.path, self.wal, self.seen, self.set_aside, self.metrics):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise StartError(
                    f"{folder} cannot be made: {error.strerror}. Choose another folder with --data-dir."
                ) from None

    def application(self, worker: int) -> str:
        """Return the name under which the store knows a worker's segments."""
        file = self.path / "id"
        if not file.exists():
            replace(file, str(uuid.uuid4()))
        return f"{file.read_text().strip()}-{worker:03}"

    def secret(self) -> int:
        """Return 63 random bits of this folder, which no sender knows."""
        file = self.path / "secret"
        if not file.exists():
            replace(file, secrets.token_hex(8))
            file.chmod(0o600)
        return int(file.read_text(), 16) >> 1

    def lock(self, name: str, *, wait_seconds: float = 0.0) -> IO[str]:
        """Hold a lock until the process ends; keep what is returned.

        Raises Locked, naming who holds it.
        """
        file = (self.path / name).open("a+")
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    holder = file.read().strip() or "unknown"
                    raise Locked(
                        f"{self.path} is in use by process {holder}. "
                        "Stop that one, or choose another folder with --data-dir."
                    ) from None
                time.sleep(0.05)  # flock can wait, but not for so long and no longer
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        return file

    def knows(self, store: str | Path) -> bool:
        """Whether a store was made there before."""
        file = self.path / "store.path"
        return file.exists() and file.read_text() == whole(store)

    def remember(self, store: str | Path) -> None:
        """Write down where the store is."""
        if not self.knows(store):
            replace(self.path / "store.path", whole(store))

    def committed(self) -> dict[int, int]:
        """Return, per worker, the last segment the store has, as the writer last wrote it down."""
        try:
            written = json.loads(self._committed.read_bytes())
        except FileNotFoundError:
            return {}
        return {int(worker): int(number) for worker, number in written.items()}

    def write_committed(self, numbers: dict[int, int]) -> None:
        """Write that down, before the segments go: a number is never used twice."""
        replace(self._committed, json.dumps(numbers))

    def next_number(self, worker: int) -> int:
        """Seal what the worker left open and return the number of its next segment."""
        wal.recover(self.wal, worker)
        # In this order: the writer writes a number down before it removes the segment.
        on_disk = wal.highest(self.wal, worker)
        return max(on_disk, self.committed().get(worker, -1)) + 1


def replace(file: Path, text: str) -> None:
    """Put text in a file's place, at once and on disk."""
    partial = file.with_name(f"{file.name}.partial")
    with partial.open("w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(file)
    wal.sync_folder(file.parent)
