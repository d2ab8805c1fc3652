"""Linking, walking and summing: spans a second on one thread of ours, each beside a baseline.

One thread of ours: ranges of traces are not fanned out; polars still uses its
own pool for the columns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from tests.builders import synthetic
from tests.plain_walk import PlainWalk
from tracelens import forest as forests
from tracelens.analysis.critical_path import sections
from tracelens.analysis.profile import profile
from tracelens.forest import link

RUNS = 5
BANDS = ((0.0, 50.0), (50.0, 90.0), (90.0, 99.0), (99.0, 100.0))
PLAIN_SPANS = 20_000  # plain Python takes a second for a million, and only its rate is wanted


def measure(spans: int) -> dict[str, float]:
    """Return medians of RUNS, in spans a second unless named otherwise."""
    threads = forests.THREADS_FROM
    forests.THREADS_FROM = 2 * spans
    try:
        figures = _measure(spans)
    finally:
        forests.THREADS_FROM = threads
    ordered = synthetic(spans)
    figures["link, all threads"] = rate(spans, lambda: link(ordered))
    return figures


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
