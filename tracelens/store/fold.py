"""Folding: many small files of an hour into one, and the removal of what nobody reads any more.

Owns the only path that removes files. deltalake's own compaction is never
called: two of them at once doubled a table.
"""

from __future__ import annotations

from collections import defaultdict

import polars as pl

from tracelens.errors import StoreError
from tracelens.store.files import DataFile, Found
from tracelens.store.places import DAY_SECONDS
from tracelens.store.table import Store

MANY = 50  # small files of one hour: each costs every query about 0.25 ms
MOST_ROWS = 500_000  # read and sorted at once, in 0.8 GB of memory; 2,000,000 took 2.9 GB and 9 s
SMALL_ROWS = MOST_ROWS // 2  # a file with more is left alone: two of them may be one file
GRACE_SECONDS = 600.0  # longer than the longest query: removed files stay so long for those who read them
STRAY_SECONDS = DAY_SECONDS  # longer than an append or a compaction takes, by far
APPLICATION = "maintenance"


def fold(store: Store, *, many: int = MANY) -> int:
    """Fold the small files of each hour that has at least `many`; return how many files that spared.

    When another process folds the same hour at the same time, one of the two does it.
    Raises StoreError when a file does not hold what the log says of it.
    """
    by_hour: dict[str, list[DataFile]] = defaultdict(list)
    for file in store.files():
        if file.rows < SMALL_ROWS:
            by_hour[file.hour].append(file)
    spared = 0
    for hour, small in by_hour.items():
        chosen = _at_most(small)
        if len(small) < many or len(chosen) < 2:
            continue
        merged = _read(store, chosen).sort("trace_id", "start_time_unix_nano")
        if len(merged) != sum(file.rows for file in chosen):
            raise StoreError(
                f"{store.place}: {len(merged)} spans in files of {hour} that should have "
                f"{sum(file.rows for file in chosen)}. The files stay as they are. Were they changed by hand?"
            )
        added = store.place.write(merged, hour, data_change=False)
        if not store.replace(chosen, [added], APPLICATION):
            continue
        spared += len(chosen) - 1
    return spared


def _at_most(small: list[DataFile]) -> list[DataFile]:
    """Return the first files that together hold at most MOST_ROWS."""
    chosen, rows = [], 0
    for file in small:
        rows += file.rows
        if rows > MOST_ROWS:
            break
        chosen.append(file)
    return chosen


def _read(store: Store, chosen: list[DataFile]) -> pl.DataFrame:
    scans = [
        pl.scan_parquet(store.place.at(file.path), hive_partitioning=False, storage_options=store.place.reading)
        for file in chosen
    ]
    return pl.concat(scans, how="diagonal").collect()


def unneeded(store: Store) -> list[Found]:
    """Return the files that no version needs: replaced or let go, or written by an append that never committed."""
    every = store.place.found()  # before the version is read: what is committed meanwhile is in that
    return _not_of(store, every)


def _not_of(store: Store, every: list[Found]) -> list[Found]:
    needed = {file.path for file in store.files()}
    return [file for file in every if file.path not in needed]


def sweep(store: Store, *, grace_seconds: float = GRACE_SECONDS, stray_seconds: float = STRAY_SECONDS) -> int:
    """Delete files that no version needs, and the folders of hours that hold no other.

    Returns how many files. One younger than the grace is left for those who still read it; on object storage, one
    that the log never had is left for `stray_seconds`, for those who may be about to commit it.
    """
    with store.place.alone():  # a file that is about to be committed is as new as its commit
        every = store.place.found()
        some = _not_of(store, every)
        gone = store.place.removable(some, every, store.table(), grace_seconds, stray_seconds) if some else []
        store.place.remove([file.path for file in gone])
    return len(gone)
