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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import polars as pl

from tracelens import forest as forests
from tracelens.analysis import hops
from tracelens.analysis.critical_path import ticks
from tracelens.analysis.kinds import Judgement, judge, kinds
from tracelens.analysis.kinds import merge as merge_kinds
from tracelens.analysis.rollups import (
    ARRIVED,
    HOUR_NANO,
    LATE,
    MINUTE_NANO,
    TAUGHT,
    added,
    drawn_facts,
)
from tracelens.analysis.settled import facts, rows_of
from tracelens.calls import calls
from tracelens.learned import Evidence
from tracelens.learned import merge as merge_evidence
from tracelens.needed import is_needed, with_left_out
from tracelens.settle.tables import CARRIED, WIDTHS, Rollups, added_up, digest, known_traces, name_of, number_of
from tracelens.store.compact import cuts
from tracelens.store.files import DataFile
from tracelens.taught import Taught
from tracelens.threads import each

MOST_ROWS = 250_000  # spans linked at once: in 0.6 GB of memory, beside a collector's writer
TAIL_NANO = MINUTE_NANO  # before the last span of an hour came: traces that may go on; and after it, when they do


@dataclass(frozen=True, slots=True)
class Settled:
    """What was made of an hour of arrival."""

    hour: str
    spans: int  # that arrived in it
    traces: int
    late: int  # spans
    carried: int  # traces


@dataclass
class _Chunk:
    """Settled traces of a range of trace ids."""

    spans: pl.DataFrame
    late: pl.DataFrame  # start_unix_nano of each late span
    carried: pl.DataFrame  # CARRIED


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
        found = self.rows()
        if found is None:
            return None
        tables, late, carried = found
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

    def rows(self) -> tuple[dict[str, pl.DataFrame], pl.DataFrame, pl.DataFrame] | None:
        """Return (rows by table, late spans, traces that are carried over); None when told to stop."""
        ranges = self._ranges()
        evidence, judgement = None, None
        if len(ranges) > 1:
            # Names and callees are decided by the whole hour, which memory may not hold.
            evidence = merge_evidence([self._evidence(chunk) for chunk in self._chunks(ranges)])
            if self.stop():
                return None
            judgement = self._judgement(ranges, evidence)
        made: dict[str, list[pl.DataFrame]] = {"traces": [], "routes": [], "edges": [], "profiles": [], "facts": []}
        late, carried, n = [_late_of()], [CARRIED.to_frame()], 0
        known = []
        for chunk in self._chunks(ranges):
            forest = forests.link(chunk.spans)
            folded = calls(forest, self.taught, evidence)
            clocks = None if evidence is None else evidence.clocks
            named_by = f"{TAUGHT}{digest(self.taught)}"
            for name, part in rows_of(chunk.spans, forest, folded, judgement, named_by, clocks).items():
                made[name].append(part)
            late.append(chunk.late)
            carried.append(chunk.carried)
            known.append(folded.evidence)
            n += 1
        if n < len(ranges):
            return None
        made["facts"].append(drawn_facts(merge_evidence(known).draws, self.number * HOUR_NANO))
        tables = {name: pl.concat(rows) for name, rows in made.items()}
        tables["profiles"] = added([tables["profiles"]])
        return tables, pl.concat(late), pl.concat(carried)

    def _evidence(self, chunk: _Chunk) -> Evidence:
        forest = forests.link(chunk.spans)
        return replace(calls(forest, self.taught).evidence, clocks=ticks(forest))

    def _judgement(self, ranges: Sequence[tuple[bytes | None, bytes | None]], evidence: Evidence) -> Judgement:
        every, sends, sampled = [], [], False
        for chunk in self._chunks(ranges):
            forest = forests.link(chunk.spans)
            folded = calls(forest, self.taught, evidence)
            every.append(kinds(hops.unjudged(forest, folded)))
            sends.append(hops.sends(folded, forest))
            sampled |= bool((folded.sampling.weight > 1).any())
        return judge(merge_kinds(every), pl.concat(sends), sampled=sampled, cut=False)

    def _ranges(self) -> list[tuple[bytes | None, bytes | None]]:
        """Return ranges of trace ids that hold at most MOST_ROWS spans each, about."""
        rows = sum(file.rows for file in self.files)
        spans = self.rollups.store.scan_files(self.files)
        return list(pairwise([None, *cuts(spans, rows, MOST_ROWS), None]))

    def _chunks(self, ranges: Sequence[tuple[bytes | None, bytes | None]]) -> Iterator[_Chunk]:
        for low, high in ranges:
            if self.stop():
                return
            yield self._chunk(low, high)

    def _chunk(self, low: bytes | None, high: bytes | None) -> _Chunk:
        """Return what belongs to the hour of a range of trace ids."""
        store = self.rollups.store
        trace = pl.col("trace_id")
        inside = pl.lit(value=True) if low is None else trace >= low
        if high is not None:
            inside &= trace < high
        spans = with_left_out(store.scan_files(_in_range(self.files, low, high)).filter(inside).select(self.columns))
        mine = spans.collect()
        if self.is_decided:
            carried, late = self._decided(mine)
        else:
            carried = self._carried(mine, inside)
            late = self._late(mine.filter(~_among(carried["trace_id"])))
        out = _among(carried["trace_id"]) | _among(late)
        kept = mine.filter(~out)
        if len(self.came_over):
            older = store.scan_files(_in_range(self.before, low, high)).filter(inside & _among(self.came_over))
            kept = pl.concat([kept, with_left_out(older.select(self.columns)).collect()])
        return _Chunk(kept, _late_of(mine.filter(_among(late))), carried)

    def _decided(self, mine: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
        """Return what `_carried` and `_late` have found before."""
        parts = [part for part in self.rollups.carried.parts() if part.arrived == self.hour]
        carried = self.rollups.carried.read(parts).collect()
        ids = mine["trace_id"].unique()
        late = ids.filter(~ids.is_in(self.decided.implode()) & ~ids.is_in(carried["trace_id"].implode()))
        return carried, late

    def _carried(self, mine: pl.DataFrame, inside: pl.Expr) -> pl.DataFrame:
        """Return the traces that go on in the next hour."""
        came = pl.col("received_unix_nano").max()
        open_ = (
            mine.lazy()
            .group_by("trace_id")
            .agg(came=came, start_unix_nano=pl.col("start_time_unix_nano").min())
            .filter(pl.col("came") >= self.last_nano - TAIL_NANO)
            .filter(~_among(self.came_over))
            .collect()
        )
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


def _in_range(files: Sequence[DataFile], low: bytes | None, high: bytes | None) -> list[DataFile]:
    """Return the files that may hold trace ids in [low, high)."""
    return [
        file
        for file in files
        if file.traces is None
        or ((high is None or file.traces[0] < high.hex()) and (low is None or file.traces[1] >= low.hex()))
    ]


def _late_of(spans: pl.DataFrame | None = None) -> pl.DataFrame:
    if spans is None:
        return pl.DataFrame(schema={"start_unix_nano": pl.Int64()})
    return spans.select(start_unix_nano="start_time_unix_nano")
