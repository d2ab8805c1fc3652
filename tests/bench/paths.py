"""Linking, walking and summing: spans a second, each beside a baseline.

One thread of ours: ranges of traces are not fanned out; polars still uses its
own pool for the columns. All threads: from a frame, or from Parquet, to a
profile, beside processes that share nothing, each with one thread, its own
polars' included, and its own part of the spans.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import numpy as np
import polars as pl

from tests.builders import synthetic
from tests.plain_walk import PlainWalk
from tracelens import columns
from tracelens import forest as forests
from tracelens.analysis.critical_path import Sections, sections
from tracelens.analysis.profile import profile
from tracelens.forest import link
from tracelens.keeping import keep_memory

RUNS = 9
FEW = 3  # runs of what takes long
STEPS = ("link", "walk", "profile", "link, walk and profile")
BANDS = ((0.0, 50.0), (50.0, 90.0), (90.0, 99.0), (99.0, 100.0))
PLAIN_SPANS = 20_000  # plain Python takes a second for a million, and only its rate is wanted


def measure(spans: int) -> dict[str, float]:
    """Return medians of RUNS, in spans a second unless named otherwise."""
    with one_thread():
        figures = _measure(spans)
    ordered = synthetic(spans)
    n = len(ordered)
    for name in STEPS:
        with one_thread():
            figures[f"baseline: {name}, 1 thread"] = rate(n, step(name, ordered))
        together, apart = side_by_side(name, ordered)
        figures[f"{name}, all threads"] = n / statistics.median(together)
        figures[f"baseline: {name}, a process a core"] = n / statistics.median(apart)
        figures[f"{name}: threads / processes"] = statistics.median(
            other / own for own, other in zip(together, apart, strict=True)
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "spans.parquet")
        ordered.write_parquet(file)
        figures["the same from Parquet, all threads"] = rate(n, lambda: profiled(pl.read_parquet(file)))
        figures["baseline: Parquet read only"] = rate(n, lambda: pl.read_parquet(file))
    for times in (0.1, 1, 10):
        some = synthetic(max(int(spans * times), 20))
        figures[f"link, walk and profile of {len(some):,} spans, ns of CPU a span"] = cost(some)
    return figures


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep all work of ours on the caller's thread."""
    before = forests.THREADS_FROM, columns.THREADS_FROM
    forests.THREADS_FROM = columns.THREADS_FROM = 1 << 62
    try:
        yield
    finally:
        forests.THREADS_FROM, columns.THREADS_FROM = before


def step(name: str, spans: pl.DataFrame) -> Callable[[], object]:
    """Return one of STEPS, on spans, with what it needs done before."""
    if name == "link":
        return lambda: link(spans)
    if name == "link, walk and profile":
        return lambda: profiled(spans)
    forest = link(spans)
    if name == "walk":
        return lambda: sections(forest)
    found = sections(forest)
    return lambda: summed(forest, found)


def profiled(spans: pl.DataFrame) -> pl.DataFrame:
    """Everything from spans to the profile of whole traces."""
    forest = link(spans)
    return summed(forest, sections(forest))


def summed(forest: forests.Forest, found: Sections) -> pl.DataFrame:
    """The profile of whole traces."""
    names = forest.told.select("service_name", "name").select(
        service="service_name", operation="name", layer=pl.lit("app")
    )
    return profile(forest, found, entries=forest.entry, route=None, bands=BANDS, **names.to_dict())


def cost(spans: pl.DataFrame) -> float:
    """Return the nanoseconds of CPU time of all threads that a span costs, the median of a few runs."""
    profiled(spans)
    took = []
    for _ in range(FEW):
        begin = time.process_time_ns()
        profiled(spans)
        took.append(time.process_time_ns() - begin)
    return statistics.median(took) / len(spans)


def side_by_side(name: str, spans: pl.DataFrame) -> tuple[list[float], list[float]]:
    """Return seconds of runs of a step: by our threads, and in turn with these by processes, one a core.

    A machine that others use is now slow, now fast: what is compared is run within a second of each other.
    """
    count = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    polars_threads = os.environ.get("POLARS_MAX_THREADS")
    os.environ["POLARS_MAX_THREADS"] = "1"
    together, apart = [], []
    work = step(name, spans)
    work()
    try:
        with context.Manager() as manager:
            begin, end = manager.Barrier(count + 1), manager.Barrier(count + 1)
            with ProcessPoolExecutor(count, context) as pool:
                share = [max(len(spans) // count, 20)] * count
                ended = pool.map(_alone, [name] * count, share, range(count), [begin] * count, [end] * count)
                for _ in range(RUNS):
                    began = time.perf_counter()
                    work()
                    together.append(time.perf_counter() - began)
                    begin.wait()
                    end.wait()
                apart = [max(runs) for runs in zip(*ended, strict=True)]
    finally:
        if polars_threads is None:
            del os.environ["POLARS_MAX_THREADS"]
        else:
            os.environ["POLARS_MAX_THREADS"] = polars_threads
    return together, apart


def _alone(name: str, spans: int, seed: int, begin: Barrier, end: Barrier) -> list[float]:
    """Return the seconds of each run of one process, begun with the others'."""
    keep_memory()
    part = synthetic(spans, seed=seed)
    took = []
    with one_thread():
        work = step(name, part)
        work()
        for _ in range(RUNS):
            begin.wait()
            began = time.perf_counter()
            work()
            took.append(time.perf_counter() - began)
            end.wait()
    return took


def _measure(spans: int) -> dict[str, float]:
    ordered, shuffled = synthetic(spans), synthetic(spans, shuffled=True)
    n = ordered.height
    linked = link(ordered)
    found = sections(linked)
    entries = np.sort(np.random.default_rng(0).choice(n, n * 3 // 10, replace=False))
    visited = int((linked.until[entries] - entries).sum())
    labels = {
        "service": linked.spans["service_name"],
        "operation": linked.spans["name"],
        "layer": pl.repeat("app", n, eager=True),
    }
    small = link(ordered.head(PLAIN_SPANS))
    slow = PlainWalk(small)
    return {
        "link, 1 thread": rate(n, lambda: link(ordered)),
        "link, spans in no order, 1 thread": rate(n, lambda: link(shuffled)),
        "baseline: parents by a polars join": rate(n, lambda: join(ordered)),
        "baseline: parents by a polars join, no order": rate(n, lambda: join(shuffled)),
        "walk, 1 thread": rate(n, lambda: sections(linked)),
        "walk from 30 % of the spans, subtree spans/s, 1 thread": rate(visited, lambda: sections(linked, entries)),
        "baseline: walk in plain Python": rate(small.spans.height, lambda: plain(slow, small)),
        "profile, 1 thread": rate(
            n, lambda: profile(linked, found, entries=linked.entry, route=None, bands=BANDS, **labels)
        ),
        "baseline: sums per span label by polars": rate(n, lambda: sums(linked, found.span, found.end - found.start)),
    }


def rate(n: int, work: Callable[[], object]) -> float:
    """Return items a second: the median of RUNS after one that compiles."""
    work()
    took = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        work()
        took.append(time.perf_counter() - begin)
    return n / statistics.median(took)


def join(spans: pl.DataFrame) -> pl.DataFrame:
    """The parent's row by joins: no order of children, windows or repairs yet."""
    rows = (
        spans.select("trace_id", "span_id", "parent_span_id", "start_time_unix_nano").sort("trace_id").with_row_index()
    )
    above = rows.select("trace_id", parent_span_id="span_id", parent="index")
    return rows.join(above, on=["trace_id", "parent_span_id"], how="left", maintain_order="left", validate="m:1")


def plain(walk: PlainWalk, forest: forests.Forest) -> None:
    """Walk every trace in plain Python."""
    for entry in forest.entry.tolist():
        walk.sections(entry)


def sums(forest: forests.Forest, span: np.ndarray, time_nano: np.ndarray) -> pl.DataFrame:
    """Time per service and operation, without paths or bands."""
    named = forest.spans.select("service_name", "name")[span].with_columns(time=pl.Series(time_nano))
    return named.group_by("service_name", "name").agg(pl.col("time").sum())
