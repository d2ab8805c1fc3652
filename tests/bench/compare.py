"""How fast two sides are compared: calls of fifty routes, beside what `routes` takes for both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from tracelens.analysis import compare
from tracelens.analysis.routes import routes

ROUTES = 50
A_TRACE = 4  # calls
RUNS = 3


def side(calls: int, seed: int) -> pl.DataFrame:
    """Return the columns of CALLS that are compared, and those `routes` needs, of so many calls."""
    rng = np.random.default_rng(seed)
    number = np.arange(calls)
    trace = pl.Series(number // A_TRACE + seed * calls)
    return pl.DataFrame(
        {
            "trace_id": trace.cast(pl.String).cast(pl.Binary),
            "service": "web",
            "namespace": "shop",
            "route": pl.Series(rng.integers(0, ROUTES, calls)).cast(pl.String),
            "duration_nano": rng.lognormal(16, 1, calls).astype(np.int64),
            "error": rng.random(calls) < 0.01,
            "censored": rng.random(calls) < 0.001,
            "timed_out": False,
            "weight": 1.0,
        }
    )


def measure(calls: int) -> dict[str, float]:
    """Return seconds, of wall and of CPU, for `calls` calls a side."""
    a, b = side(calls, 1), side(calls, 2)
    sides = [compare.Side(calls=one.lazy(), seconds=60.0) for one in (a, b)]
    compared = seconds(lambda: compare.routes(*sides))
    both = seconds(lambda: [routes(one.lazy()).collect() for one in (a, b)])
    return {
        "compare two sides of 50 routes, s": compared[0],
        "the same, CPU s": compared[1],
        "baseline: routes of both sides, s": both[0],
        "baseline: the same, CPU s": both[1],
    }


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the median wall and CPU time of RUNS, after one to warm up."""
    work()
    wall, cpu = [], []
    for _ in range(RUNS):
        begin, spent = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - spent)
    return statistics.median(wall), statistics.median(cpu)
