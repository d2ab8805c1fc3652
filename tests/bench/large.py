"""How cost grows with size: a profile of 10⁵ to 10⁸ spans from Parquet, in memory and by disk, and the memory it takes.

    python -m tests.bench.large --most 100000000 --plot docs/cost.svg

Each measurement is a process of its own, so that its peak is its own; kernels
are compiled before. Spans come in the order of their starts, traces apart.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from tests.builders import synthetic
from tracelens.analysis import profile
from tracelens.keeping import keep_memory
from tracelens.lens import Lens, Question, Room

CHUNK = 1_000_000
MEMORY = 2 << 30  # what an answer may take before it goes by disk
BANDS = ((0.0, 50.0), (50.0, 90.0), (90.0, 99.0), (99.0, 100.0))


def write(file: Path, spans: int) -> int:
    """Write so many spans, in the order of their starts, some at a time; return how many."""
    writer: pq.ParquetWriter | None = None
    written = 0
    while written < spans:
        part = synthetic(min(CHUNK, spans - written), seed=written, templates=100, shapes=0).sort(
            "start_time_unix_nano"
        )
        table = part.to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=250_000)
        written += len(part)
    assert writer is not None
    writer.close()
    return written


def look(file: Path, memory: int | None, scratch: Path) -> dict[str, float]:
    """Return seconds, processor seconds and the peak of this process in bytes, of one profile after a small one."""
    keep_memory()
    profile.warm()
    begin, used = time.perf_counter(), time.process_time()
    answer = Lens.open(str(file), room=Room(memory=memory, scratch=scratch)).profile(Question(), None, BANDS)
    took = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - used}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {**took, "peak": peak, "spans": answer.source.spans, "time": int(answer.rows["exclusive_nano"].sum())}


def measured(file: Path, memory: int | None) -> dict[str, float]:
    """Return what a process of its own measures."""
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        command = [sys.executable, "-m", "tests.bench.large", "--look", str(file), "--scratch", scratch]
        command += [] if memory is None else ["--memory", str(memory)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(spans: int) -> dict[str, float]:
    """Return figures of a tenth of so many spans, of all, and of all by disk."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spans.parquet"
        for n in (max(spans // 10, 1_000), spans):
            whole = write(file, n)
            in_memory = measured(file, None)
            figures[f"Parquet to profile, {n:,} spans, spans/s"] = whole / in_memory["seconds"]
        by_disk = measured(file, 0)
        assert by_disk["time"] == in_memory["time"]
        figures[f"the same by disk, {spans:,} spans, spans/s"] = whole / by_disk["seconds"]
        figures["memory by disk, bytes"] = by_disk["peak"]
        figures["baseline: memory in memory, bytes"] = in_memory["peak"]
    return figures


def grow(most: int) -> list[dict[str, Any]]:
    """Return a row for 10⁵, 10⁶, … spans: what a profile takes when it may take MEMORY."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        n = 100_000
        while n <= most:
            file = Path(folder) / f"{n}.parquet"
            write(file, n)
            found = measured(file, MEMORY)
            file.unlink()
            rows.append({"n": n, **found})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            n *= 10
    return rows


def plot(rows: list[dict[str, Any]]) -> str:
    """Return an SVG of microseconds a span, and of memory, against the number of spans."""
    width, height, left, bottom = 560, 300, 60, 250
    costs = [1e6 * row["seconds"] / row["n"] for row in rows]
    top = max(costs) * 1.25
    step = (width - left - 40) / max(len(rows) - 1, 1)
    places = [(left + i * step, bottom - cost / top * (bottom - 40)) for i, cost in enumerate(costs)]
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in places)
    marks = "".join(
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4"/>'
        f'<text x="{x:.0f}" y="{y - 12:.0f}">{cost:.2f} µs</text>'
        f'<text x="{x:.0f}" y="{bottom + 18}">10{"⁵⁶⁷⁸"[i]}</text>'
        f'<text x="{x:.0f}" y="{bottom + 34}" opacity=".65">{row["peak"] / 2**30:.1f} GiB</text>'
        for i, ((x, y), cost, row) in enumerate(zip(places, costs, rows, strict=True))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12" text-anchor="middle" fill="#3b6ea8">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
        f'<text x="{width / 2}" y="18" font-size="13" fill="#222">A profile from Parquet: time and memory</text>'
        f'<path d="M{left} 30V{bottom}H{width - 20}" fill="none" stroke="#999"/>'
        f'<polyline points="{line}" fill="none" stroke="#3b6ea8" stroke-width="2"/>{marks}</svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=10_000_000)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--look", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        print(json.dumps(look(options.look, options.memory, options.scratch)))
        return
    rows = grow(options.most)
    if options.plot:
        options.plot.write_text(plot(rows))


if __name__ == "__main__":
    main()
