"""Verify: whether a store and a collector's log hold what they say.

Owns the checks of what is at rest; it changes nothing, and a collector may run
meanwhile: what it takes away while it is looked at is no finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tracelens import wal
from tracelens.errors import InputError, StoreError
from tracelens.locations import is_url
from tracelens.settle import Rollups, differences, number_of, waiting
from tracelens.store import Store, is_store
from tracelens.store.files import DataFile
from tracelens.store.places import Place

WAL = "wal"
SET_ASIDE = "set-aside"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    found: str
    wrong: bool = False


def verify(source: str) -> Iterator[Check]:
    """Yield what was found of a store, or of a data directory with its log.

    Raises StoreError when there is neither.
    """
    if is_url(source):
        opened = Store.open(source)
        yield from _files(opened)
        yield from _rollups(Rollups(opened))
        return
    path = Path(source)
    log = path / WAL
    store = path if is_store(path) else path / "store"
    if not is_store(store) and not log.is_dir():
        raise StoreError(f"{path}: neither a store nor a collector's data directory is here.")
    if log.is_dir():
        yield from _segments(log)
        yield from _set_aside(path / SET_ASIDE)
    if is_store(store):
        opened = Store.open(store)
        yield from _files(opened)
        yield from _rollups(Rollups(opened))


def _segments(log: Path) -> Iterator[Check]:
    """Look at all segments: headers, checksums, order."""
    for state, name in ((wal.SEALED, "sealed"), (wal.OPEN, "open")):
        records = bodies = segments = 0
        for worker, number, path in wal.segments(log, state):
            try:
                found = wal.read(path)
            except FileNotFoundError:  # the writer is done with it
                continue
            except InputError as error:
                if state == wal.SEALED or path.stat().st_size >= wal.HEADER_SIZE:
                    yield Check(path.name, str(error), wrong=True)
                continue
            segments += 1
            records += len(found.records)
            bodies += sum(len(record.body) for record in found.records)
            if (found.worker, found.number) != (worker, number):
                said = f"its header says worker {found.worker}, number {found.number}. Was it renamed?"
                yield Check(path.name, said, wrong=True)
            for damage in found.damages if state == wal.SEALED else ():
                yield Check(path.name, f"byte {damage.offset}: {len(damage.data):,} bytes are damaged", wrong=True)
        yield Check(f"log, {name}", f"{segments:,} segments, {records:,} requests, {bodies:,} bytes to be stored")


def _set_aside(folder: Path) -> Iterator[Check]:
    """Count what could not be read."""
    kept = list(folder.iterdir()) if folder.is_dir() else []
    if kept:
        yield Check("set aside", f"{len(kept):,} files that could not be read are kept in {folder} for a week")


def _files(store: Store) -> Iterator[Check]:
    """Look at all active files: whether they are there, and hold what the table's log says."""
    files = store.files()
    for file in files:
        if wrong := _wrong(store.place, file):
            yield Check(file.path, wrong, wrong=True)
    size = sum(file.size for file in files)
    yield Check(
        "store", f"version {store.version()}, {len(files):,} files, {store.span_count():,} spans, {size:,} bytes"
    )


def _rollups(rollups: Rollups) -> Iterator[Check]:
    """Make all rollups anew of the spans, and compare."""
    for hours, found, wrong in differences(rollups):
        if wrong or "traces" not in found:
            yield Check(f"rollups of {hours}", found, wrong=wrong)
    last = rollups.settled()
    settled = {file.hour for file in rollups.store.files() if number_of(file.hour) <= last}
    yield Check("rollups", f"{len(settled):,} hours of arrival are settled, {len(waiting(rollups)):,} are waiting")


def _wrong(place: Place, file: DataFile) -> str:
    """Return what is wrong with a file; "" when nothing is."""
    try:
        if (size := place.size(file.path)) != file.size:
            return f"{size:,} bytes, and the table's log says {file.size:,}"
        start, end = pl.col("start_time_unix_nano"), pl.col("end_time_unix_nano")
        # All columns are decoded, for it is their checksums that tell damage.
        frame = pl.read_parquet(place.at(file.path), hive_partitioning=False, storage_options=place.reading)
        rows, first, last, ends = frame.select(pl.len(), start.min(), start.max().alias("last"), end.max()).row(0)
    except FileNotFoundError:
        return "is not there, and the table's log says it is. Was it removed by hand?"
    except (OSError, StoreError, pl.exceptions.PolarsError) as error:
        return f"cannot be read: {error}"
    said = (file.rows, file.first_start_nano, file.last_start_nano, file.last_end_nano)
    if (rows, first, last, ends) != said:
        return f"rows, first start, last start, last end are {(rows, first, last, ends)}; the table's log says {said}"
    ids = frame["trace_id"]
    if ids.null_count() or frame["span_id"].null_count():
        return "has spans without an id"
    if file.traces is not None and (not ids.is_sorted() or (ids[0].hex(), ids[-1].hex()) != file.traces):
        return "is not sorted by trace between the ids that its name tells"
    return ""
