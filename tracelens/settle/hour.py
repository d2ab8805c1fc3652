"""An hour of arrival: which traces belong to it, and their rows.

Owns that each trace is in the rows once:

* a trace whose last span came in the last minute of what the hour holds, and of
  which more came soon after and is held by the next hour, is carried over: it
  belongs to that one;
* spans of a trace that is settled already are late: they are counted, and kept
  among the spans;
* all other traces of the hour belong to it.

Which traces those are is committed first. What is added up from them afterwards
depends on nothing else, so that a crash between two commits is made up for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from tracelens.analysis.rollups import (
    ARRIVED,
    HOUR_NANO,
    LATE,
    drawn_facts,
)
from tracelens.analysis.settled import facts
from tracelens.needed import is_needed, with_left_out
from tracelens.settle.made import TAIL_NANO, Chunk, Made, Range, going_on, in_range, late_of, made_of, ranges_of, within
from tracelens.settle.tables import CARRIED, WIDTHS, Rollups, added_up, known_traces, name_of, number_of
from tracelens.taught import Taught
from tracelens.threads import each


@dataclass(frozen=True, slots=True)
class Settled:
    """What was made of an hour of arrival."""

    hour: str
    spans: int  # that arrived in it
    traces: int
    late: int  # spans
    carried: int  # traces


@dataclass
class Hour:
    """An hour of arrival that is being settled."""

    rollups: Rollups
    hour: str
    taught: Taught
    stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.number = number_of(self.hour)
        every = self.rollups.store.files()
        self.files, self.before, self.after = (
            [file for file in every if file.hour == name_of(self.number + k)] for k in (0, -1, 1)
        )
        columns = [name for name in self.rollups.store.columns() if is_needed(name)]
        self.columns = columns
        came_over = [part for part in self.rollups.carried.parts() if part.arrived == name_of(self.number - 1)]
        self.came_over = self.rollups.carried.read(came_over).collect()["trace_id"]
        # Decided by an earlier run that did not come to its end: the same again.
        mine = [part for part in self.rollups.traces.parts() if part.arrived == self.hour]
        self.is_decided = self.rollups.traces.settled() >= self.number
        self.decided = self.rollups.traces.read(mine).select("trace_id").collect()["trace_id"]

    @cached_property
    def last_nano(self) -> int:
        """When the last span that the hour holds was received."""
        received = self.rollups.store.scan_files(self.files).select(pl.col("received_unix_nano").max()).collect()
        return received.item() or 0

    def settle(self) -> Settled | None:
        """Make and commit the rows; None when told to stop."""
        rows = sum(file.rows for file in self.files)
        made = self.rows()
        if made is None:
            return None
        tables, late, carried = made.tables, made.late, made.carried
        known = [
            tables.pop("facts"),
            facts({LATE: late["start_unix_nano"]}),
            facts({ARRIVED: pl.Series([self.number * HOUR_NANO])}).with_columns(n=pl.lit(rows, pl.Int64)),
        ]
        tables["facts"] = pl.concat(known)
        rollups = self.rollups
        if not self.is_decided:
            rollups.carried.put(carried, self.hour, self.number)
            if not rollups.traces.put(tables["traces"], self.hour, self.number):
                return None  # somebody else settles it

        def put(name: str, level: str) -> None:
            table = getattr(rollups, name)[level]
            table.put(added_up(table, tables[name].lazy()), self.hour, self.number)

        # Each waits for the disk: some at once.
        each(put, [(name, level) for name in ("routes", "edges", "facts") for level in WIDTHS])
        rollups.profiles.put(tables["profiles"], self.hour, self.number)
        return Settled(self.hour, rows, len(tables["traces"]), len(late), len(carried))

    def rows(self) -> Made | None:
        """Return what is made of the hour; None when told to stop."""
        made = made_of(self._ranges(), self._chunk, self.taught, self.stop)
        if made is not None:
            made.tables["facts"].extend(drawn_facts(made.evidence.draws, self.number * HOUR_NANO))
        return made

    def _ranges(self) -> list[Range]:
        return ranges_of(self.rollups.store.scan_files(self.files), sum(file.rows for file in self.files))

    def _chunk(self, part: Range) -> Chunk:
        """Return what belongs to the hour of a range of trace ids."""
        store, inside = self.rollups.store, within(part)
        spans = with_left_out(store.scan_files(in_range(self.files, part)).filter(inside).select(self.columns))
        mine = spans.collect()
        if self.is_decided:
            carried, late = self._decided(mine)
        else:
            carried = self._carried(mine, inside)
            late = self._late(mine.filter(~_among(carried["trace_id"])))
        out = _among(carried["trace_id"]) | _among(late)
        kept = mine.filter(~out)
        if len(self.came_over):
            older = store.scan_files(in_range(self.before, part)).filter(inside & _among(self.came_over))
            kept = pl.concat([kept, with_left_out(older.select(self.columns)).collect()])
        return Chunk(kept, late_of(mine.filter(_among(late))), carried)

    def _decided(self, mine: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
        """Return what `_carried` and `_late` have found before."""
        parts = [part for part in self.rollups.carried.parts() if part.arrived == self.hour]
        carried = self.rollups.carried.read(parts).collect()
        ids = mine["trace_id"].unique()
        late = ids.filter(~ids.is_in(self.decided.implode()) & ~ids.is_in(carried["trace_id"].implode()))
        return carried, late

    def _carried(self, mine: pl.DataFrame, inside: pl.Expr) -> pl.DataFrame:
        """Return the traces that go on in the next hour."""
        open_ = going_on(mine.filter(~_among(self.came_over)), self.last_nano)
        if open_.is_empty() or not self.after:
            return CARRIED.to_frame()
        soon = pl.col("received_unix_nano") < self.last_nano + TAIL_NANO
        later = self.rollups.store.scan_files(self.after).filter(inside & soon).select("trace_id").unique()
        return open_.lazy().join(later, on="trace_id", how="semi").select(CARRIED.names()).collect()

    def _late(self, mine: pl.DataFrame) -> pl.Series:
        """Return the traces that are settled already."""
        return known_traces(self.rollups, mine.filter(~_among(self.came_over)))


def _among(ids: pl.Series) -> pl.Expr:
    return pl.col("trace_id").is_in(ids.implode())
