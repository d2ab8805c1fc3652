"""Settled traces: the rollup rows of whole traces, a minute at a time.

Owns what is known of traces that are not looked at again: a row for each, and
counts. Cells of routes and edges are `rollups.py`'s; which traces they are made
of, and when, is `settle.py`'s.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tracelens.analysis import hops
from tracelens.analysis.critical_path import sections
from tracelens.analysis.edges import without_gateways
from tracelens.analysis.kinds import Judgement
from tracelens.analysis.profile import accumulate
from tracelens.analysis.rollups import (
    COMPLETE,
    FACT_PARTS,
    FACTS,
    HOUR_NANO,
    MINUTE_NANO,
    PROFILE_CELLS,
    REPAIR,
    SPANS,
    TOLD,
    TRACE_ROWS,
    TRACES,
    edge_cells,
    floor,
    route_cells,
)
from tracelens.calls import Calls
from tracelens.forest import Forest
from tracelens.sampling import TOLD_BY


def rows_of(
    spans: pl.DataFrame,
    forest: Forest,
    folded: Calls,
    judgement: Judgement | None,
    named_by: str,
    clocks: pl.DataFrame | None = None,
) -> dict[str, pl.DataFrame]:
    """Return the rows of whole traces, by table: those of minutes, and of profiles those of hours.

    spans: as they came. judgement: what more requests than theirs decide. named_by: the fact that tells what was
    taught. clocks: as `profile_cells` has it.
    """
    table = folded.table.filter(~pl.col("echo"))
    requests = hops.requests(forest, folded, judgement=judgement)
    return {
        "traces": trace_rows(forest, folded)
        .join(spans.group_by("trace_id").agg(arrived=pl.len().cast(pl.Int64)), on="trace_id", validate="1:1")
        .sort("trace_id"),
        "routes": route_cells(table.lazy(), MINUTE_NANO).collect(),
        "edges": edge_cells(requests, without_gateways(requests), MINUTE_NANO),
        "profiles": profile_cells(forest, folded, clocks),
        "facts": _known(spans, forest, folded, named_by),
    }


def profile_cells(forest: Forest, folded: Calls, clocks: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return PROFILE_CELLS of whole traces: of the calls of each route, and of first calls whatever their route.

    clocks: what more spans than theirs tell of whose clocks tick in milliseconds.
    """
    table = folded.table.filter(~pl.col("echo") & ~pl.col("censored")).with_columns(
        floor(pl.col("start_unix_nano"), HOUR_NANO)
    )
    roots = table.filter("is_root").with_columns(service=pl.lit(None, pl.String), route=pl.lit(None, pl.String))
    every = pl.concat([table, roots]).select("start_unix_nano", "span", entry_service="service", entry_route="route")
    entry = pl.struct("start_unix_nano", "entry_service", "entry_route")
    numbered = every.with_columns(label=entry.rank("dense").cast(pl.String))
    entries = np.array(numbered["span"].to_numpy(), np.int64)
    sums = accumulate(
        forest,
        sections(forest, entries, clocks=clocks),
        entries=entries,
        route=numbered["label"],
        service=folded.service,
        operation=folded.operation,
        layer=folded.layer,
    )
    of_label = numbered.select("start_unix_nano", "entry_service", "entry_route", route="label").unique()
    return sums.join(of_label, on="route", validate="m:1").select(PROFILE_CELLS.names())


def trace_rows(forest: Forest, folded: Calls) -> pl.DataFrame:
    """Return TRACE_ROWS of whole traces but `arrived`, in the order of the forest."""
    first = forest.trace_offsets[:-1]
    entry = forest.entry
    per_trace = (
        folded.table.lazy()
        .group_by("trace")
        .agg(
            errors=pl.col("error").sum().cast(pl.Int64),
            route=pl.col("route").sort_by("is_root", descending=True).first(),
        )
    )
    services = (
        pl.LazyFrame({"trace": forest.trace_of(np.arange(len(forest.parent))), "service": folded.service})
        .group_by("trace")
        .agg(services=pl.col("service").n_unique().cast(pl.Int64))
    )
    rows = pl.LazyFrame(
        {
            "trace": np.arange(forest.traces, dtype=np.int64),
            "trace_id": forest.told.gather(["trace_id"], first)["trace_id"],
            "service": folded.service.gather(entry),
            "start_unix_nano": forest.start[entry],
            "spans": np.diff(forest.trace_offsets).astype(np.int64),
            "end_unix_nano": np.maximum.reduceat(forest.end, first) if len(first) else forest.end[:0],
            "duration_nano": forest.end[entry] - forest.start[entry],
            "complete": forest.complete,
        }
    )
    return (
        rows.join(per_trace, on="trace", how="left", validate="1:1")
        .join(services, on="trace", how="left", validate="1:1")
        .sort("trace")
        .select(name for name in TRACE_ROWS if name != "arrived")
        .collect()
    )


def _known(spans: pl.DataFrame, forest: Forest, folded: Calls, named_by: str) -> pl.DataFrame:
    """Return FACTS of whole traces."""
    start = pl.Series(forest.start[forest.entry], dtype=pl.Int64)
    sampling = folded.sampling
    told = {f"{TOLD}{name}": np.flatnonzero(sampling.told_by == code) for code, name in enumerate(TOLD_BY)}
    parts = [
        facts({TRACES: start}, pl.Series(sampling.weight)),
        facts({COMPLETE: start.filter(pl.Series(forest.complete))}),
        facts({SPANS: spans["start_time_unix_nano"]}),
        facts({named_by: start}),
        *(facts({what: start.gather(rows)}, pl.Series(sampling.weight[rows])) for what, rows in told.items()),
    ]
    if len(start):
        repairs = forest.repairs()
        at = int(forest.start[forest.entry].min())
        made = {"start_unix_nano": [at] * len(repairs), "what": [f"{REPAIR}{mark}" for mark in repairs]}
        parts.append(
            pl.DataFrame(
                {**made, "weight": [None] * len(repairs), "n": [*repairs.values()]}, schema=FACTS
            ).with_columns(floor(pl.col("start_unix_nano"), MINUTE_NANO))
        )
    return pl.concat(parts)


def facts(starts: dict[str, pl.Series], weight: pl.Series | None = None) -> pl.DataFrame:
    """Return FACTS that count starts by minute and weight."""
    parts = []
    for what, start in starts.items():
        told = pl.LazyFrame({"start_unix_nano": start, "weight": weight if weight is not None else [None] * len(start)})
        minute = floor(pl.col("start_unix_nano").cast(pl.Int64), MINUTE_NANO)
        counted = told.with_columns(minute, what=pl.lit(what)).group_by("start_unix_nano", *FACT_PARTS).agg(n=pl.len())
        parts.append(counted.select(FACTS.names()).cast(FACTS).collect())
    return pl.concat(parts)
