"""Whether rollups say what the spans do: all rows are made anew, and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from tracelens.analysis.rollups import ARRIVED, EDGE_PARTS, ROUTE_PARTS, TAUGHT, coarser
from tracelens.names import NOTHING
from tracelens.settle.hour import Hour
from tracelens.settle.tables import WIDTHS, Rollups, digest, number_of
from tracelens.store.rollups import Rollup
from tracelens.taught import Taught


def differences(rollups: Rollups, taught: Taught = NOTHING) -> Iterator[tuple[str, str, bool]]:
    """Yield (hour, what was found, whether it is wrong) of each settled hour whose spans are still there.

    All rows are made anew of the spans, and compared; where something else was taught, only what is counted.
    """
    last = rollups.settled()
    for hour in sorted({file.hour for file in rollups.store.files()}):
        if number_of(hour) <= last:
            yield hour, *_compared(Hour(rollups, hour, taught))


def _compared(hour: Hour) -> tuple[str, bool]:
    """Return what a comparison of the rows with the spans finds, and whether that is wrong."""
    rows = sum(file.rows for file in hour.files)
    known = _stored(hour, hour.rollups.facts["minutes"])
    arrived = known.filter(what=ARRIVED)["n"].sum()
    if rows != arrived:
        return f"{rows - arrived:,} spans came after it was settled: they are in no rollup", rows < arrived
    if len(hour.came_over) and not hour.before:
        return "not compared: it has traces that began in an hour whose spans are gone", False
    found = hour.rows()
    assert found is not None
    tables = found.tables
    named = f"{TAUGHT}{digest(hour.taught)}"
    is_named = bool((known["what"] == named).any()) or tables["traces"].is_empty()
    for name, parts in (("routes", ROUTE_PARTS), ("edges", EDGE_PARTS)):
        for level, width in WIDTHS.items():
            made = coarser(tables[name].lazy(), width, parts).sort("start_unix_nano", *parts).collect()
            kept = _stored(hour, getattr(hour.rollups, name)[level])
            if not _alike(made, kept, parts, by_name=is_named):
                return f"the spans give other {level} of {name} than the rollup has", True
    if is_named and not tables["profiles"].equals(_stored(hour, hour.rollups.profiles)):
        return "the spans give other profiles than the rollup has", True
    traces = _stored(hour, hour.rollups.traces)
    if not tables["traces"].select("trace_id", "arrived").equals(traces.select("trace_id", "arrived")):
        return "the spans are of other traces than the rollup has", True
    return f"{len(traces):,} traces", False


def _stored(hour: Hour, table: Rollup) -> pl.DataFrame:
    return table.read([part for part in table.parts() if part.arrived == hour.hour]).collect()


def _alike(made: pl.DataFrame, kept: pl.DataFrame, parts: Sequence[str], *, by_name: bool) -> bool:
    """Whether two tables of cells say the same. by_name: cell by cell, not only altogether."""
    sums = [name for name, kind in made.schema.items() if kind == pl.Int64 and name != "start_unix_nano"]
    if not by_name:
        return made.select(pl.col(sums).sum()).equals(kept.select(pl.col(sums).sum()))
    order = ("start_unix_nano", *parts)
    a, b = (frame.sort(order).select(*order, *sums) for frame in (made, kept))
    return a.equals(b)
