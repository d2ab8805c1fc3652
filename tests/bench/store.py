"""The store: how fast it is written and read, and how many bytes a span takes, beside plain Parquet.

A day of requests as `decode.py` has them: no two spans are equal. Read again
and again, so that all is in the system's memory: what is told is our work.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from tests.bench import decode
from tracelens.lens import Lens, Question
from tracelens.store import Store, compact
from tracelens.wire import otlp

RUNS = 9
BATCH = 70_000  # spans of an append: what the writer takes together
HOUR_NANO = 3_600 * 10**9
SEEDS = 1_000_000  # spans made at once


def batches(spans: int) -> Iterator[pl.DataFrame]:
    """Yield appends of that many spans together, over a day."""
    made = 0
    while made < spans:
        some = min(SEEDS, spans - made)
        frame = otlp.decode(decode.requests(some)).spans
        other = (made // SEEDS).to_bytes(2, "big")
        for first in range(0, len(frame), BATCH):
            part = frame.slice(first, BATCH)
            later = pl.lit((made + first) * 24 * HOUR_NANO // spans, pl.Int64)
            # Other ids than those of the million before.
            yield part.with_columns(
                trace_id=pl.col("trace_id").bin.slice(0, 14) + pl.lit(other),
                span_id=pl.col("span_id").bin.slice(0, 6) + pl.lit(other),
                parent_span_id=pl.col("parent_span_id").bin.slice(0, 6) + pl.lit(other),
                start_time_unix_nano=pl.col("start_time_unix_nano") + later,
                end_time_unix_nano=pl.col("end_time_unix_nano") + later,
            )
        made += some


def filled(location: Path | str, spans: int) -> tuple[Store, float, float]:
    """Return a store of a day, and how many seconds its appends took: by the clock, and of processors."""
    store = Store.open(location, create=True)
    took = worked = 0.0
    for number, frame in enumerate(batches(spans)):
        arrived = int(frame["start_time_unix_nano"][0])
        begin, used = time.perf_counter(), time.process_time()
        store.append(frame, {"bench": number}, arrived_unix_nano=arrived)
        took += time.perf_counter() - begin
        worked += time.process_time() - used
    return store, took, worked


def milliseconds(work: Callable[[], object]) -> float:
    """Return the median of RUNS."""
    took = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        work()
        took.append(time.perf_counter() - begin)
    return 1_000 * statistics.median(took)


def size(store: Store) -> float:
    """Return bytes a span."""
    return sum(file.size for file in store.files()) / max(store.span_count(), 1)


def looked_up(store: Store) -> float:
    """Return the milliseconds of opening a trace."""
    some = store.scan(columns=["trace_id"]).collect()["trace_id"].sample(RUNS, seed=1).to_list()
    waiting = iter(some)
    return milliseconds(lambda: Store.open(str(store.place)).trace(next(waiting)))


def measure(spans: int) -> dict[str, float]:
    """Return figures of a store before and after compaction."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        store, took, worked = filled(Path(folder, "store"), spans)
        n = store.span_count()
        figures["append, spans/s"] = n / took
        figures["append, spans/s a core"] = n / worked
        figures["bytes a span, as appended"] = size(store)
        figures["files, as appended"] = store.file_count()
        figures["open a trace, as appended, ms"] = looked_up(store)
        begin = time.perf_counter()
        compacted = compact(store, everything=True)
        figures["compact, spans/s"] = n / (time.perf_counter() - begin)
        figures["write amplification of compaction"] = 1 + compacted.bytes_written / compacted.bytes_read
        figures["bytes a span, compacted"] = size(store)
        figures["files, compacted"] = store.file_count()
        figures["open a trace, compacted, ms"] = looked_up(store)
        figures["any-attribute filter over all, ms"] = milliseconds(
            lambda: store.scan(columns=["trace_id"], predicate=pl.col("attr:request_size") == "1234567").collect()
        )
        figures["baseline: read that one column, ms"] = milliseconds(
            lambda: store.scan(columns=["attr:request_size"]).collect()
        )
        lens = Lens.open(str(store.path))
        begin = time.perf_counter()
        lens.routes(Question())
        figures["routes of all, from spans, s"] = time.perf_counter() - begin
    return figures
