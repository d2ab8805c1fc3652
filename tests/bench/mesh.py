"""How fast linked spans of sidecars and apps become calls, routes, hops, edges and findings, and in how much memory.

The spans are those of the recorded shop, over and over: real Envoys and SDKs,
24 spans a trace, with all the attributes they write.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import polars as pl

from tests.bench.paths import rate
from tracelens.analysis.edges import edges
from tracelens.analysis.findings import findings
from tracelens.analysis.hops import hops, requests
from tracelens.analysis.routes import routes
from tracelens.calls import calls
from tracelens.forest import Forest, link
from tracelens.lens.sources import open_source

DUMP = Path(__file__).parents[2] / "samples" / "dumps" / "shop.otlp.jsonl.gz"


def shop(spans: int) -> pl.DataFrame:
    """Return about so many spans of the shop: its traces again and again, each time with other ids."""
    once = open_source(str(DUMP)).load(None, None, ()).spans
    copies = max(spans // len(once), 1)
    numbered = pl.DataFrame({"copy": range(copies)}).with_columns(
        head=pl.Series([number.to_bytes(8, "big") for number in range(copies)])
    )
    return (
        once.join(numbered, how="cross")
        .with_columns(trace_id=pl.col("head") + pl.col("trace_id").bin.slice(8, 8))
        .drop("copy", "head")
        .rechunk()
    )


def answer(forest: Forest) -> None:
    """Work out all that the pages about the mesh show."""
    folded = calls(forest)
    table = requests(forest, folded).lazy()
    pl.collect_all([routes(folded.table.lazy()), hops(table), edges(table)])


def measure(spans: int) -> dict[str, float]:
    """Return spans/s of each step and of all, and bytes a span at the peak, beyond the linked spans themselves."""
    frame = shop(spans)
    n = len(frame)
    forest = link(frame)
    folded = calls(forest)
    table = requests(forest, folded)
    by_name = frame.lazy().with_columns(took=pl.col("end_time_unix_nano") - pl.col("start_time_unix_nano"))
    baseline = by_name.group_by("service_name", "name").agg(pl.col("took").quantile(0.99), pl.len())
    figures = {
        "spans to calls, routes, hops and edges, spans/s": rate(n, lambda: answer(forest)),
        "spans to calls, spans/s": rate(n, lambda: calls(forest)),
        "calls to hops of each, spans/s": rate(n, lambda: requests(forest, folded)),
        "hops and edges over all, spans/s": rate(n, lambda: pl.collect_all([hops(table.lazy()), edges(table.lazy())])),
        "findings of hops and paths, spans/s": rate(n, lambda: findings(forest, folded, table)),
        "baseline: polars quantile by service and name, spans/s": rate(n, baseline.collect),
    }
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        before, after = pool.apply(_peaks, (spans,))
    figures["memory beyond linked spans, bytes a span"] = max(after - before, 1) / n
    figures["memory in all, bytes a span"] = after / n
    return figures


def _peaks(spans: int) -> tuple[int, int]:
    """Return the memory of a process that holds linked spans, and its peak while it answers, bytes."""
    forest = link(shop(spans))
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew
    before = _peak()
    answer(forest)
    return before, _peak()


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
