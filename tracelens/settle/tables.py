"""The tables of a store's rollups, and what is known by looking at them alone."""

from __future__ import annotations

import calendar
import copy
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from tracelens.analysis.rollups import (
    EDGE_CELLS,
    EDGE_PARTS,
    FACT_PARTS,
    FACTS,
    HOUR_NANO,
    MINUTE_NANO,
    PROFILE_CELLS,
    ROUTE_CELLS,
    ROUTE_PARTS,
    TAUGHT,
    TRACE_ROWS,
    added,
    coarser,
)
from tracelens.store import Store
from tracelens.store.files import hour_of
from tracelens.store.fold import GRACE_SECONDS, STRAY_SECONDS
from tracelens.store.rollups import Rollup
from tracelens.taught import Taught
from tracelens.threads import each

NEAR_NANO = HOUR_NANO  # spans of one trace begin so near to each other, clocks that are off included
CARRIED = pl.Schema({"trace_id": pl.Binary(), "start_unix_nano": pl.Int64()})
DRAFT_ROWS = pl.Schema({"start_unix_nano": pl.Int64(), "name": pl.String(), "data": pl.Binary()})  # a frame, as Parquet
WIDTHS = {"minutes": MINUTE_NANO, "hours": HOUR_NANO}
PARTS = {"route": ROUTE_PARTS, "edge": EDGE_PARTS, "fact": FACT_PARTS}  # what rows are counted by


@dataclass(frozen=True)
class Rollups:
    """The tables of a store's rollups."""

    store: Store
    traces: Rollup = field(init=False)
    carried: Rollup = field(init=False)
    routes: dict[str, Rollup] = field(init=False)  # by what WIDTHS calls them, as those below
    edges: dict[str, Rollup] = field(init=False)
    facts: dict[str, Rollup] = field(init=False)

    profiles: Rollup = field(init=False)  # of hours

    drafts: Rollup = field(init=False)  # of hours that are not settled: one file, which the next takes the place of
    drafted: Rollup = field(init=False)  # their traces

    def __post_init__(self) -> None:
        def table(name: str, schema: pl.Schema) -> Rollup:
            return Rollup(self.store.place, name, schema)

        object.__setattr__(self, "traces", table("traces", TRACE_ROWS))
        object.__setattr__(self, "carried", table("carried", CARRIED))
        object.__setattr__(self, "profiles", table("profile_hours", PROFILE_CELLS))
        object.__setattr__(self, "drafts", Rollup(self.store.place, "drafts", DRAFT_ROWS, group=1))
        object.__setattr__(self, "drafted", table("drafted", TRACE_ROWS))
        for name, one, schema in (
            ("routes", "route", ROUTE_CELLS),
            ("edges", "edge", EDGE_CELLS),
            ("facts", "fact", FACTS),
        ):
            object.__setattr__(self, name, {level: table(f"{one}_{level}", schema) for level in WIDTHS})

    @property
    def summed(self) -> tuple[Rollup, ...]:
        """The tables that are made of settled traces."""
        return (*self.routes.values(), *self.edges.values(), *self.facts.values(), self.profiles)

    @property
    def answering(self) -> tuple[Rollup, ...]:
        """The tables of what is settled that answers are read from."""
        return (self.traces, *self.summed)

    @property
    def every(self) -> tuple[Rollup, ...]:
        """All tables of what is settled."""
        return (*self.answering, self.carried)

    def settled(self) -> int:
        """Return the number of the last hour of arrival that all tables hold, hours since 1970; -1 for none."""
        return min(each(Rollup.settled, [(table,) for table in self.answering]))  # opening one waits for its log

    def still(self) -> Rollups:
        """Return the tables that answers are read from as they are now; see `Rollup.still`."""
        now = {table.name: table for table in each(Rollup.still, [(table,) for table in self.answering])}
        found = copy.copy(self)
        for name in ("traces", "profiles"):
            object.__setattr__(found, name, now[getattr(self, name).name])
        for name in ("drafts", "drafted"):  # in this order: a draft names files of traces that were there before
            object.__setattr__(found, name, getattr(self, name).still())
        for name in ("routes", "edges", "facts"):
            levels = getattr(self, name)
            object.__setattr__(found, name, {level: now[table.name] for level, table in levels.items()})
        return found

    def have(self, still: Rollups) -> bool:
        """Whether all files of the tables as they were are needed yet."""
        then, now = ((*one.answering, one.drafts, one.drafted) for one in (still, self))
        return all(set(old.parts()) <= set(new.parts()) for old, new in zip(then, now, strict=True))


def added_up(table: Rollup, rows: pl.LazyFrame) -> pl.DataFrame:
    """Return rows of one of the tables that are made of settled traces, one of each kind, in order.

    rows: any of them, those of hours of arrival one after the other; those of minutes for a table of hours, too.
    """
    one, level = table.name.split("_")
    if one not in PARTS:
        return added([rows.collect()])
    return coarser(rows, WIDTHS[level], PARTS[one]).sort("start_unix_nano", *PARTS[one]).collect()


def number_of(hour: str) -> int:
    """Return the number of an hour of arrival: hours since 1970."""
    return calendar.timegm(time.strptime(hour, "%Y-%m-%dT%H")) // 3600


def name_of(number: int) -> str:
    """Return the name of an hour of arrival."""
    return hour_of(number * HOUR_NANO)


def known_traces(rollups: Rollups, spans: pl.DataFrame, *, last: str | None = None) -> pl.Series:
    """Return the ids of traces, of those that spans are of, that are settled. last: up to this hour of arrival."""
    start = pl.col("start_time_unix_nano")
    traces = spans.lazy().group_by("trace_id").agg(first=start.min(), last=start.max()).collect()
    earliest, latest = traces.select(pl.col("first").min(), pl.col("last").max()).row(0)
    found = [pl.Series("trace_id", [], pl.Binary())]
    for part in rollups.traces.parts() if len(traces) else ():
        if last is not None and part.arrived > last:
            continue
        if earliest > part.last_nano + NEAR_NANO or latest < part.first_nano - NEAR_NANO:
            continue
        near = (pl.col("first") <= part.last_nano + NEAR_NANO) & (pl.col("last") >= part.first_nano - NEAR_NANO)
        some = traces.filter(near)
        if len(some):
            known = rollups.traces.read([part]).select("trace_id")
            found.append(some.lazy().join(known, on="trace_id", how="semi").select("trace_id").collect()["trace_id"])
    return pl.concat(found).unique()


def digest(taught: Taught) -> str:
    """Return a short text that tells what was taught: rows that were made by something else have other names."""
    return hashlib.blake2b(repr(taught).encode(), digest_size=8).hexdigest()


def taught_by(rollups: Rollups, start_nano: int, end_nano: int) -> set[str]:
    """Return the digests of what named the rows of a window."""
    hours = rollups.facts["hours"].scan(start_nano // HOUR_NANO * HOUR_NANO, end_nano).select("what").unique()
    return {what.removeprefix(TAUGHT) for what in hours.collect()["what"] if what.startswith(TAUGHT)}


def let_go(rollups: Rollups, gone: Sequence[str], keep_seconds: float | None = None) -> int:
    """Let go of the traces of hours whose spans are gone, and of all rows that are too old; return how many files.

    keep_seconds: how long rows are kept that are not traces; for ever when not given. Hours are as old as they are
    beside the newest one. Of a day in one file, those hours that are older wait for the last of it.
    """
    files = sum(table.let_go(gone) for table in (rollups.traces, rollups.carried))
    hours = sorted({part.arrived for table in rollups.every for part in table.parts()})
    if keep_seconds is None or not hours:
        return files
    first = number_of(hours[-1]) + 1 - keep_seconds / 3600
    old = [hour for hour in hours if number_of(hour) + 1 <= first]
    return files + sum(table.let_go(old) for table in rollups.every)


def sweep(rollups: Rollups, grace_seconds: float = GRACE_SECONDS, stray_seconds: float = STRAY_SECONDS) -> int:
    """Delete the files of rollups that no version needs; return how many."""
    tables = (*rollups.every, rollups.drafts, rollups.drafted)
    return sum(table.sweep(grace_seconds, stray_seconds) for table in tables)
