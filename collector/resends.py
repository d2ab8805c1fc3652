"""Re-sends: requests that came a second time because their answer was lost.

Owns the memory of the last ten minutes: a digest of each request, and when it
was received. It is kept on disk so that a crash forgets nothing: the digests
of a batch are written before the batch is committed, under the numbers of its
segments, and count when the store has these numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from tracelens import wal
from tracelens.wal import Record

KEPT_NANO = 600 * 10**9
PERIOD_NANO = 60 * 10**9  # what is older is dropped by whole periods
FEW = 4  # arrays of a period before they become one
ENTRY = np.dtype([("high", "<u8"), ("low", "<u8"), ("received", "<i8")])

Entries = NDArray[np.void]


class Resends:
    """What was received in the last ten minutes."""

    def __init__(self, folder: Path, seed: int, committed: Mapping[int, int]) -> None:
        """Load what is on disk; digests of segments that the store does not have are removed.

        seed: of the digests, 64 bits that no sender knows.
        committed: worker -> the last number the store has.
        """
        self._folder, self._seed = folder, seed
        self._known: dict[int, list[Entries]] = {}  # by period, each sorted by digest
        self._files: dict[Path, int] = {}  # and the newest time in them
        for path in sorted(folder.glob("*.seen")):
            loaded = _load(path)
            if loaded is None or any(number > committed.get(worker, -1) for worker, number in loaded[0].items()):
                path.unlink()
            else:
                self._learn(loaded[1])
                self._files[path] = int(loaded[1]["received"].max(initial=0))

    def fresh(self, records: Sequence[Record]) -> tuple[NDArray[np.bool_], Entries]:
        """Return which requests are here for the first time, and their digests, not yet learnt."""
        entries = np.zeros(len(records), ENTRY)
        digests = b"".join([self._digest(record) for record in records])
        entries["high"], entries["low"] = np.frombuffer(digests, "<u8").reshape(-1, 2).T
        entries["received"] = [record.received_unix_nano for record in records]
        first = np.ones(len(records), np.bool_)
        order = np.argsort(entries, order=("high", "low", "received"), kind="stable")
        ordered = entries[order]
        again = np.zeros(len(records), np.bool_)
        again[1:] = (
            (ordered["high"][1:] == ordered["high"][:-1])
            & (ordered["low"][1:] == ordered["low"][:-1])
            & (ordered["received"][1:] - ordered["received"][:-1] < KEPT_NANO)
        )
        first[order[again]] = False
        for arrays in self._known.values():
            for known in arrays:
                first[_found(known, entries)] = False
        return first, entries[first]

    def _digest(self, record: Record) -> bytes:
        """Return 16 bytes that no other request has."""
        if record.tenant:
            return xxhash.xxh3_128_digest(
                b"%d %s\0%s" % (record.format, record.tenant.encode(), record.body), self._seed
            )
        return xxhash.xxh3_128_digest(record.body, self._seed + record.format)

    def write(self, last: Mapping[int, int], entries: Entries) -> Path:
        """Have the digests of a batch on disk, before it is committed; return their file."""
        name = "-".join(f"{worker:03}.{number:012}" for worker, number in sorted(last.items())[:1])
        path = self._folder / f"{name}.seen"
        partial = path.with_suffix(".partial")
        header = json.dumps({str(worker): number for worker, number in last.items()}).encode()
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(header + b"\n" + entries.tobytes())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        wal.sync_folder(self._folder)
        return path

    def committed(self, path: Path, entries: Entries, now_unix_nano: int) -> None:
        """Learn the digests of a batch that the store has, and forget what is old."""
        self._learn(entries)
        self._files[path] = int(entries["received"].max(initial=now_unix_nano))
        before = now_unix_nano - KEPT_NANO
        for period in [period for period in self._known if (period + 1) * PERIOD_NANO < before]:
            del self._known[period]
        for file in [file for file, newest in self._files.items() if newest < before]:
            file.unlink(missing_ok=True)
            del self._files[file]

    def __len__(self) -> int:
        return sum(len(array) for arrays in self._known.values() for array in arrays)

    def _learn(self, entries: Entries) -> None:
        periods = entries["received"] // PERIOD_NANO
        for period in np.unique(periods).tolist():
            arrays = self._known.setdefault(period, [])
            arrays.append(np.sort(entries[periods == period], order=("high", "low")))
            if len(arrays) > FEW:
                self._known[period] = [np.sort(np.concatenate(arrays), order=("high", "low"))]


def _found(known: Entries, entries: Entries) -> NDArray[np.bool_]:
    """Return which entries are in a sorted array, received less than ten minutes before."""
    at = np.searchsorted(known["high"], entries["high"])
    found = np.zeros(len(entries), np.bool_)
    while True:  # 64 equal bits and 64 others are as good as impossible, and right all the same
        inside = at < len(known)
        at_known = known[np.minimum(at, len(known) - 1)] if len(known) else np.zeros(len(entries), ENTRY)
        same_high = inside & (at_known["high"] == entries["high"])
        near = np.abs(entries["received"] - at_known["received"]) < KEPT_NANO
        found |= same_high & (at_known["low"] == entries["low"]) & near
        if not (same_high & ~found).any():
            return found
        at = at + 1


def _load(path: Path) -> tuple[dict[int, int], Entries] | None:
    """Return (numbers, digests) of a file; None when it is none of ours."""
    try:
        header, _, data = path.read_bytes().partition(b"\n")
        last = {int(worker): int(number) for worker, number in json.loads(header).items()}
        return last, np.frombuffer(data, ENTRY)
    except (OSError, ValueError, AttributeError):
        return None
