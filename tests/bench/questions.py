"""How long questions of a store take as it grows: by one process, cold and warm, and in how much memory.

    python -m tests.bench.questions --most 10000000 --day --plot docs/store.svg

The store is a day of the recorded shop (or 30), its traces again and again,
each slower or faster by chance; all hours are settled but the last, which has a draft. Cold is a
new process's first answer, without what it takes to start and to open the
store, which is told apart; files are in the system's memory.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.mesh import shop
from tracelens.compiling import compile_all
from tracelens.lens import Lens, Question
from tracelens.settle import Rollups, draft, merge, settle
from tracelens.store import Store, compact

HOUR_NANO = 3_600 * 10**9
FIRST = 1_767_571_200 * 10**9  # 2026-01-05T00:00:00Z
RUNS = 5
REQUEST = "attr:guid:x-request-id"
IDS = "ids"
QUESTIONS = ("overview", "route", "map", "search", "filter", "trace")


def filled(folder: Path, spans: int, hours: int) -> Store:
    """Return a compacted store of some hours, settled but for the last, of which there is a draft; days are merged."""
    store = Store.open(folder, create=True)
    rng = np.random.default_rng(hours)
    once = shop(1)
    for hour in range(hours):
        begin = FIRST + hour * HOUR_NANO
        part = _hour(once, spans // hours, hour, begin, rng)
        store.append(part, {"bench": hour}, arrived_unix_nano=begin + HOUR_NANO - 60 * 10**9)
    compact(store, everything=True)
    settle(store, now=(FIRST + (hours - 1) * HOUR_NANO) / 1e9 + 400)
    merge(Rollups(store))
    draft(store)
    return store


def _hour(once: pl.DataFrame, spans: int, hour: int, begin: int, rng: np.random.Generator) -> pl.DataFrame:
    """Return about so many spans that begin in an hour: copies of one minute, stretched by chance."""
    copies = max(spans // len(once), 1)
    told = pl.DataFrame(
        {
            "head": [(hour << 32 | number).to_bytes(8, "big") for number in range(copies)],
            "pace": rng.lognormal(0, 0.3, copies),
            "salt": [rng.bytes(4).hex() for _ in range(copies)],
            "at": begin + rng.integers(0, HOUR_NANO * 59 // 60, copies),
        }
    )
    first = pl.lit(once["start_time_unix_nano"].min())
    trace = pl.col("start_time_unix_nano").min().over("trace_id")

    def moved(name: str) -> pl.Expr:
        return (pl.col("at") + (pl.col("trace") - first) + (pl.col(name) - pl.col("trace")) * pl.col("pace")).cast(
            pl.Int64
        )

    return (
        once.with_columns(trace=trace)
        .join(told, how="cross")
        .with_columns(
            trace_id=pl.col("head") + pl.col("trace_id").bin.slice(8, 8),
            start_time_unix_nano=moved("start_time_unix_nano"),
            end_time_unix_nano=moved("end_time_unix_nano"),
            received_unix_nano=moved("end_time_unix_nano") + 10**9,
            # Which share of them a mesh keeps is told by their first digits.
            **{REQUEST: pl.col("salt") + pl.col(REQUEST).str.slice(8)},
        )
        .select(once.columns)
    )


def ask(folder: Path, question: str) -> dict[str, Any]:
    """Return milliseconds, cold and warm, and the peak of memory, of one question."""
    trace, request = _of_process(folder, IDS)  # this one reads nothing before it is asked
    every = Question()

    def overview(lens: Lens) -> object:
        return lens.overview(every, 60), lens.coverage(every)

    def route(lens: Lens) -> object:
        found = lens.routes(every).rows
        of = found["service"][0], found["route"][0]
        box = lens.slow_tail(every, of)
        return lens.heatmap(every, of, 120, 40), lens.exemplars(every, of, box, 20), lens.profile(every, of)

    asked: dict[str, Callable[[Lens], object]] = {
        "overview": overview,
        "route": route,
        "map": lambda lens: lens.edges(every),
        "search": lambda lens: lens.traces(every, 100),
        "filter": lambda lens: lens.routes(Question(where=(f"attr.guid:x-request-id={request}",))),
        "trace": lambda lens: lens.trace(trace),
    }
    work = asked[question]
    compile_all()  # loads the kernels and opens the store, as a dashboard does when it starts
    lens = Lens.open(str(folder))
    begin = time.perf_counter()
    lens.ready()
    opened = 1_000 * (time.perf_counter() - begin)
    before = peak()
    took, worked = [], []
    for _ in range(RUNS + 1):
        begin, used = time.perf_counter(), time.process_time()
        work(lens)
        took.append(1_000 * (time.perf_counter() - begin))
        worked.append(1_000 * (time.process_time() - used))
    return {
        "opened": opened,
        "cold": took[0],
        "warm": statistics.median(took[1:]),
        "cold_cpu": worked[0],  # of all threads: what others on the machine do not change much
        "warm_cpu": statistics.median(worked[1:]),
        "more": peak() - before,
        "peak": peak(),
    }


def ids(folder: Path) -> tuple[str, str]:
    """Return the ids of a trace and of a request."""
    one = Store.open(folder).scan(columns=["trace_id", REQUEST]).drop_nulls().head(1).collect()
    return one["trace_id"][0].hex(), one[REQUEST][0]


def _of_process(folder: Path, what: str) -> Any:
    """Return what a process of its own says to a question, or IDS."""
    command = [sys.executable, "-m", "tests.bench.questions", "--ask", what, "--store", str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak() -> int:
    """Return the most memory this process has had, bytes."""
    (told,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(told) << 10


def grow(most: int, *, month: bool) -> list[dict[str, Any]]:
    """Return rows of figures: a day of 10⁵ spans and ten times as many until `most`; month: and 30 days of as many."""
    sizes = [(10**power, 24) for power in range(5, 12) if 10**power <= most]
    rows = []
    for spans, hours in [*sizes, *([(sizes[-1][0], 720)] if month else [])]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "store")
            store = filled(path, spans, hours)
            size = sum(file.size for file in store.files()) / store.span_count()
            for question in QUESTIONS:
                told = _of_process(path, question)
                rows.append({"spans": spans, "hours": hours, "question": question, "size": size, **told})
                print(
                    f"{spans:>11,} spans, {hours:>3} h, {question:<9} "
                    f"cold {told['cold']:7,.0f} ms ({told['cold_cpu']:5,.0f} of CPU), "
                    f"warm {told['warm']:7,.0f} ms ({told['warm_cpu']:5,.0f} of CPU), "
                    f"{told['more'] / 2**20:5,.0f} MiB more, {size:.1f} B a span, opened in {told['opened']:.0f} ms",
                    flush=True,
                )
    return rows


def plot(rows: list[dict[str, Any]]) -> str:
    """Return an SVG: cold milliseconds of each question against the number of spans of a day."""
    width, height, left, bottom = 660, 340, 80, 290
    days = [row for row in rows if row["hours"] == 24]
    sizes = sorted({row["spans"] for row in days})
    colours = dict(zip(QUESTIONS, ("#3b6ea8", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56606b"), strict=True))

    def place(spans: int, milliseconds: float) -> tuple[float, float]:
        x = left + sizes.index(spans) * (width - left - 110) / max(len(sizes) - 1, 1)
        return x, bottom - (np.log10(max(milliseconds, 1)) / 4) * (bottom - 40)

    drawn = []
    for decade in range(5):
        _, y = place(sizes[0], 10**decade)
        drawn.append(f'<path d="M{left} {y:.0f}H{width - 20}" stroke="#ddd"/>')
        drawn.append(f'<text x="{left - 8}" y="{y + 4:.0f}" text-anchor="end" fill="#555">{10**decade:,} ms</text>')
    ends: list[float] = []
    last = {row["question"]: row["cold"] for row in days if row["spans"] == sizes[-1]}
    for question in sorted(last, key=lambda name: -last[name]):  # names from the top down
        points = [place(row["spans"], row["cold"]) for row in days if row["question"] == question]
        line = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
        drawn.append(f'<polyline points="{line}" fill="none" stroke="{colours[question]}" stroke-width="2"/>')
        drawn += [f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{colours[question]}"/>' for x, y in points]
        y = points[-1][1]
        while any(abs(y - other) < 14 for other in ends):
            y += 2
        ends.append(y)
        drawn.append(f'<text x="{points[-1][0] + 10:.0f}" y="{y + 4:.0f}" fill="{colours[question]}">{question}</text>')
    for spans in sizes:
        x, _ = place(spans, 1)
        drawn.append(f'<text x="{x:.0f}" y="{bottom + 20}" text-anchor="middle" fill="#555">{spans:,}</text>')
    title = "First answer of a process, by spans in the store (one day)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
        f'<text x="{left}" y="20" font-size="13" fill="#222">{title}</text>{"".join(drawn)}</svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--day", action="store_true", help="of a day only: a month takes most of an hour to fill")
    parser.add_argument("--ask", choices=(IDS, *QUESTIONS), help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(ids(options.store) if options.ask == IDS else ask(options.store, options.ask)))
        return
    rows = grow(options.most, month=not options.day)
    if options.plot:
        options.plot.write_text(plot(rows))


if __name__ == "__main__":
    main()
