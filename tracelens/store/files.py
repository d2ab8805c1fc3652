"""The store's files: written whole, on a local disk synced, and listed with what prunes them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction

ROW_GROUP = 125_000  # rows: large enough to compress, small enough to skip
FAST, SMALL, SMALLEST = 1, 3, 9  # levels of zstd: of what is folded soon, what is compacted soon, and what stays
LOG = "_delta_log"
PARQUET = b"PAR1"  # the last bytes of such a file
RANGED = re.compile(r"/traces-([0-9a-f]{32})-([0-9a-f]{32})-[0-9a-f]+\.parquet$")
PARTITION = "hour"  # of arrival, UTC: retention drops whole ones, and a span with an absurd time makes no new one


@dataclass(frozen=True, slots=True)
class DataFile:
    """An active file and its statistics."""

    path: str  # relative to the table
    hour: str
    size: int
    rows: int
    first_start_nano: int
    last_start_nano: int
    last_end_nano: int

    @property
    def traces(self) -> tuple[str, str] | None:
        """The first digits of its lowest and its highest trace id, as its name tells; None when it may hold any."""
        told = RANGED.search(self.path)
        return None if told is None else (told[1], told[2])


def hour_of(unix_nano: int) -> str:
    """Return the partition of a moment: 2026-01-31T13."""
    return time.strftime("%Y-%m-%dT%H", time.gmtime(unix_nano // 1_000_000_000))


def named(frame: pl.DataFrame, hour: str, *, by_trace: bool) -> str:
    """Return the path of a new file, relative to the table; by_trace: it tells the range of its trace ids."""
    name = f"part-{uuid.uuid4().hex}.parquet"
    if by_trace:
        ids = frame["trace_id"]
        name = f"traces-{ids[0].hex()}-{ids[-1].hex()}-{uuid.uuid4().hex[:12]}.parquet"
    return f"{PARTITION}={hour}/{name}"


def put(frame: pl.DataFrame, target: str | Path, *, data_change: bool, by_trace: bool, **how: Any) -> None:
    """Write a frame as Parquet, without the columns that have no value. how: more that polars is told."""
    kept = [column for column in frame.columns if frame[column].null_count() < len(frame)]
    level = SMALLEST if by_trace else FAST if data_change else SMALL
    sink(frame.select(kept), target, level=level, rows=ROW_GROUP, **how)


def sink(frame: pl.DataFrame, target: str | Path, *, level: int, rows: int, **how: Any) -> None:
    """Write a frame as Parquet. level: of zstd; rows: of a group; how: more that polars is told."""
    frame.lazy().sink_parquet(
        target, compression="zstd", compression_level=level, row_group_size=rows, maintain_order=True, **how
    )


def adding(frame: pl.DataFrame, path: str, hour: str, size: int, *, data_change: bool) -> AddAction:
    """Return the action that adds a file, with the statistics of what is in it."""
    start, end = frame["start_time_unix_nano"], frame["end_time_unix_nano"]
    low = {"start_time_unix_nano": start.min(), "end_time_unix_nano": end.min()}
    high = {"start_time_unix_nano": start.max(), "end_time_unix_nano": end.max()}
    stats = {"numRecords": len(frame), "minValues": low, "maxValues": high, "nullCount": {}}
    return AddAction(
        path=path,
        size=size,
        partition_values={PARTITION: hour},
        modification_time=time.time_ns() // 1_000_000,
        data_change=data_change,
        stats=json.dumps(stats),
    )


def write(
    table: Path, frame: pl.DataFrame, hour: str, *, data_change: bool = True, by_trace: bool = False
) -> AddAction:
    """Write one Parquet file, synced with its folder, and return the action that adds it.

    frame: at least one row; columns without a value are left out. by_trace: it is sorted by trace id, and holds all
    spans of its hour between its first and its last one: the name tells which.
    """
    path = named(frame, hour, by_trace=by_trace)
    file = table / path
    made = not file.parent.exists()
    file.parent.mkdir(exist_ok=True)
    try:
        put(frame, file, data_change=data_change, by_trace=by_trace, sync_on_close="all")
    except BaseException:  # a full disk, above all: half a file would only make it fuller
        with suppress(OSError):  # of a disk that takes nothing: the first error is the one to tell
            file.unlink()
        raise
    sync(file.parent)
    if made:
        sync(table)
    return adding(frame, path, hour, file.stat().st_size, data_change=data_change)


def active(table: DeltaTable) -> list[DataFile]:
    """Return the files of a table's version, in the order of their first span."""
    actions = pl.DataFrame(table.get_add_actions(flatten=True))
    files = [
        DataFile(
            path=row["path"],
            hour=row[f"partition.{PARTITION}"],
            size=row["size_bytes"],
            rows=row["num_records"],
            first_start_nano=row["min.start_time_unix_nano"],
            last_start_nano=row["max.start_time_unix_nano"],
            last_end_nano=row["max.end_time_unix_nano"],
        )
        for row in actions.iter_rows(named=True)
    ]
    return sorted(files, key=lambda file: (file.first_start_nano, file.path))


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is there, whether a version needs it or not."""

    path: str  # relative to the table
    size: int
    modified_seconds: float  # by the clock of who keeps it


@contextmanager
def alone(table: Path) -> Iterator[None]:
    """Hold off others who commit, or remove files, until the block ends."""
    descriptor = os.open(table, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Have the file system put a file or a folder's entries on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_log(table: Path, since: int) -> None:
    """Put commits after version `since`, and the folder of the log, on disk: deltalake syncs nothing."""
    for _, commit in _commits(table, since):
        with suppress(FileNotFoundError):  # a checkpoint sums it up since it was listed
            sync(commit)
    sync(table / LOG)


def mend_log(table: Path) -> None:
    """Set aside what a power cut left half written at the end of the log, for deltalake reads no log that has it.

    It was not synced yet, so nobody relied on it. For appenders, before they
    read. A file that is damaged in any other way stays, and is told.
    """
    checkpoints = sorted((table / LOG).glob("*.checkpoint.parquet"))
    torn = [path for path in checkpoints[-1:] if not path.read_bytes().endswith(PARQUET)]
    if torn:  # the commits it sums up are removed only when it is on disk
        (table / LOG / "_last_checkpoint").unlink(missing_ok=True)
    for _, commit in reversed(_commits(table)):
        if _is_whole(commit):
            break
        torn.append(commit)
    for path in torn:
        path.rename(path.with_name(f"{path.name}.torn"))
        sync(table / LOG)  # one by one, newest first: a log has no holes


def has_log(table: Path) -> bool:
    """Whether there is a commit, or a checkpoint that sums some up."""
    return any(any((table / LOG).glob(pattern)) for pattern in ("*.checkpoint.parquet", "*.json"))


def _commits(table: Path, since: int = -1) -> list[tuple[int, Path]]:
    """Return (version, file) of the commits after a version that no checkpoint sums up, in their order."""
    log = table / LOG
    # Names only: the log of a month may have hundreds, and is looked at with each commit.
    names = os.listdir(log) if log.is_dir() else []  # noqa: PTH208
    summed = max((int(name.partition(".")[0]) for name in names if name.endswith(".checkpoint.parquet")), default=-1)
    last = max(summed, since)
    told = (name.partition(".") for name in names)
    numbers = (int(stem) for stem, _, kind in told if kind == "json" and stem.isdigit())
    return [(number, log / f"{number:020}.json") for number in sorted(numbers) if number > last]


def _is_whole(commit: Path) -> bool:
    """Whether a commit was written to its end: each line is an action."""
    *_, last = commit.read_bytes().splitlines() or [b""]
    try:
        json.loads(last)
    except ValueError:
        return False
    return True
