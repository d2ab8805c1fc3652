"""How fast spans become answers: calls and routes, and a whole dump to its profile."""

from __future__ import annotations

import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from tests.bench import decode
from tests.builders import synthetic
from tracelens import dumps
from tracelens.analysis.routes import routes
from tracelens.calls import calls
from tracelens.forest import link
from tracelens.lens import Lens, Question

RUNS = 3


def rate(count: int, work: Callable[[], object]) -> float:
    """Return how many of `count` a second the work does, the median of RUNS after one to warm up."""
    work()
    took = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        work()
        took.append(time.perf_counter() - begin)
    return count / statistics.median(took)


def write_dump(path: Path, spans: int) -> int:
    """Write requests after their lengths, as a collector's file exporter does; return how many spans."""
    bodies = decode.requests(spans)
    path.write_bytes(b"".join(struct.pack(">I", len(body)) + body for body in bodies))
    return len(bodies) * decode.PER_BODY


def measure(spans: int) -> dict[str, float]:
    """Return spans/s of folding, of routes, and from OTLP protobuf on disk to frames, routes and a profile."""
    frame = synthetic(spans)
    forest = link(frame)
    folded = calls(forest)
    grouped = folded.table.lazy().group_by("service", "route")
    duration = pl.col("duration_nano")
    baseline = grouped.agg(p50=duration.quantile(0.5), p90=duration.quantile(0.9), p99=duration.quantile(0.99))
    figures = {
        "fold spans into calls, spans/s": rate(len(frame), lambda: calls(forest)),
        "routes with exact percentiles, calls/s": rate(
            len(folded.table), lambda: routes(folded.table.lazy()).collect()
        ),
        "baseline: polars quantiles alone, calls/s": rate(len(folded.table), baseline.collect),
    }
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "dump.otlp"
        written = write_dump(dump, spans)
        figures["baseline: dump (OTLP protobuf) to frames, spans/s"] = rate(
            written, lambda: [batch.spans.height for batch in dumps.read(dump)]
        )
        figures["dump (OTLP protobuf) to routes, spans/s"] = rate(
            written, lambda: Lens.open(str(dump)).routes(Question())
        )
        figures["dump (OTLP protobuf) to profile, spans/s"] = rate(
            written, lambda: Lens.open(str(dump)).profile(Question(), None)
        )
    return figures
