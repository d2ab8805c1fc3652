"""Compaction: what arrived in an hour, in few files that are sorted by trace.

Owns what is done once an hour is over. Each file of a compacted hour holds a
range of trace ids and says so by its name: who looks for a trace opens one.
Files are replaced in one commit, or not at all; see `Store.replace`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import polars as pl
from deltalake.transaction import AddAction

from tracelens.errors import StoreError
from tracelens.store import files
from tracelens.store.files import DataFile
from tracelens.store.fold import APPLICATION
from tracelens.store.table import Store

TARGET_ROWS = 500_000  # of a file: read and sorted at once, in 0.8 GB of memory
SAMPLE = 200_000  # trace ids that ranges are cut by
QUIET_SECONDS = 3_900.0  # since an hour began: it is over, and what came at its end is committed


@dataclass(frozen=True, slots=True)
class Compacted:
    """What was done."""

    hours: int = 0
    files_before: int = 0
    files_after: int = 0
    spans: int = 0
    bytes_read: int = 0
    bytes_written: int = 0


Told = Callable[[str, Compacted], None]


def compact(
    store: Store,
    *,
    everything: bool = False,
    hours: int | None = None,
    told: Told | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Compacted:
    """Compact the hours that are over and not compacted yet, the oldest first; return what was done.

    everything: hours that are not over, too. hours: at most so many. told: called with each hour, and what was done.
    stop: asked between files; what is half done is as if it had not been begun.
    When another process replaces files of an hour meanwhile, one of the two does it.
    Raises StoreError when a file does not hold what the log says of it.
    """
    by_hour: dict[str, list[DataFile]] = defaultdict(list)
    for file in store.files():
        by_hour[file.hour].append(file)
    last = files.hour_of(int((time.time() - QUIET_SECONDS) * 1e9))
    waiting = sorted(hour for hour, some in by_hour.items() if (everything or hour <= last) and not is_compact(some))
    done = Compacted()
    for hour in waiting[:hours]:
        one = _compact_hour(store, hour, by_hour[hour], stop)
        if one is None:
            break
        done = Compacted(*(getattr(done, name) + getattr(one, name) for name in Compacted.__slots__))
        if told is not None:
            told(hour, one)
    return done


def is_compact(some: Sequence[DataFile]) -> bool:
    """Whether each file holds a range of trace ids of its own."""
    ranges = sorted(file.traces for file in some if file.traces is not None)
    return len(ranges) == len(some) and all(one[1] < other[0] for one, other in pairwise(ranges))


def _compact_hour(store: Store, hour: str, chosen: Sequence[DataFile], stop: Callable[[], bool]) -> Compacted | None:
    """Compact one hour; None when told to stop."""
    rows = sum(file.rows for file in chosen)
    spans = store.scan_files(chosen)
    added: list[AddAction] = []
    found = 0
    for low, high in pairwise([None, *cuts(spans, rows, TARGET_ROWS), None]):
        if stop():
            store.place.remove([action.path for action in added])
            return None
        # From one bound to before the next.
        part = spans
        if low is not None:
            part = part.filter(pl.col("trace_id") >= low)
        if high is not None:
            part = part.filter(pl.col("trace_id") < high)
        frame = part.collect().sort("trace_id", "start_time_unix_nano")
        if len(frame):
            added.append(store.place.write(frame, hour, data_change=False, by_trace=True))
            found += len(frame)
    if found != rows:
        store.place.remove([action.path for action in added])
        raise StoreError(
            f"{store.place}: {found} spans in files of {hour} that should have {rows}. The files stay as they are. "
            "Were they changed by hand?"
        )
    if not store.replace(chosen, added, APPLICATION):
        return Compacted()
    sizes = sum(file.size for file in chosen), sum(action.size for action in added)
    return Compacted(1, len(chosen), len(added), rows, *sizes)


def cuts(spans: pl.LazyFrame, rows: int, most_rows: int) -> list[bytes]:
    """Return the bounds of ranges of trace ids that hold about equally many spans, and at most `most_rows`, about."""
    ranges = -(-rows // most_rows)
    if ranges <= 1:
        return []
    every = max(rows // SAMPLE, 1)
    ids = spans.select("trace_id").gather_every(every).collect(engine="streaming")["trace_id"].sort()
    return sorted({ids[len(ids) * k // ranges] for k in range(1, ranges)})
