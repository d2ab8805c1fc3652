"""What is made of traces that are settled, a range of their ids at a time.

Owns that memory holds the spans of one range only, and that names and callees
are decided by the evidence of all of them nevertheless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import polars as pl

from tracelens import forest as forests
from tracelens.analysis import hops
from tracelens.analysis.critical_path import ticks
from tracelens.analysis.kinds import Judgement, judge, kinds
from tracelens.analysis.kinds import merge as merge_kinds
from tracelens.analysis.rollups import MINUTE_NANO, TAUGHT, added
from tracelens.analysis.settled import rows_of
from tracelens.calls import calls
from tracelens.learned import Evidence, merge
from tracelens.settle.tables import CARRIED, digest
from tracelens.store.compact import cuts
from tracelens.store.files import DataFile
from tracelens.taught import Taught

MOST_ROWS = 250_000  # spans linked at once: in 0.6 GB of memory, beside a collector's writer
TAIL_NANO = MINUTE_NANO  # before the last span came: traces that may go on

Range = tuple[bytes | None, bytes | None]  # trace ids in [low, high); None is an open end


@dataclass(frozen=True, slots=True)
class Chunk:
    """Traces of a range of ids."""

    spans: pl.DataFrame  # of those that are settled
    late: pl.DataFrame  # start_unix_nano of each late span
    carried: pl.DataFrame  # CARRIED: traces that go on


@dataclass(frozen=True, slots=True)
class Made:
    """Rollup rows of traces, and what was not made into any."""

    tables: dict[str, pl.DataFrame]  # traces, routes, edges, profiles, facts; of minutes, profiles of hours
    late: pl.DataFrame
    carried: pl.DataFrame
    evidence: Evidence  # of all


def made_of(
    ranges: Sequence[Range],
    chunk: Callable[[Range], Chunk],
    taught: Taught,
    stop: Callable[[], bool] = lambda: False,
    before: Evidence | None = None,
) -> Made | None:
    """Return the rows of the settled traces of some ranges; None when told to stop.

    before: the evidence of traces that came earlier, which counts as well.
    """
    maker = _Maker(ranges, chunk, taught, stop)
    evidence, judgement = before, None
    if len(ranges) > 1 or before is not None:
        # Names and callees are decided by all traces, which memory may not hold.
        known = [] if before is None else [before]
        evidence = merge([*known, *(maker.evidence(part) for part in maker.chunks())])
        if stop():
            return None
        judgement = maker.judgement(evidence)
    made: dict[str, list[pl.DataFrame]] = {"traces": [], "routes": [], "edges": [], "profiles": [], "facts": []}
    late, carried, own, n = [late_of()], [CARRIED.to_frame()], [], 0
    for part in maker.chunks():
        forest = forests.link(part.spans)
        folded = calls(forest, taught, evidence)
        clocks = None if evidence is None else evidence.clocks
        named_by = f"{TAUGHT}{digest(taught)}"
        for name, rows in rows_of(part.spans, forest, folded, judgement, named_by, clocks).items():
            made[name].append(rows)
        late.append(part.late)
        carried.append(part.carried)
        own.append(replace(folded.evidence, clocks=ticks(forest)))
        n += 1
    if n < len(ranges):
        return None
    tables = {name: pl.concat(rows) for name, rows in made.items()}
    tables["profiles"] = added([tables["profiles"]])
    return Made(tables, pl.concat(late), pl.concat(carried), evidence or merge(own))


@dataclass(frozen=True, slots=True)
class _Maker:
    ranges: Sequence[Range]
    chunk: Callable[[Range], Chunk]
    taught: Taught
    stop: Callable[[], bool]

    def chunks(self) -> Iterator[Chunk]:
        for part in self.ranges:
            if self.stop():
                return
            yield self.chunk(part)

    def evidence(self, part: Chunk) -> Evidence:
        forest = forests.link(part.spans)
        return replace(calls(forest, self.taught).evidence, clocks=ticks(forest))

    def judgement(self, evidence: Evidence) -> Judgement:
        every, sends, sampled = [], [], False
        for part in self.chunks():
            forest = forests.link(part.spans)
            folded = calls(forest, self.taught, evidence)
            every.append(kinds(hops.unjudged(forest, folded)))
            sends.append(hops.sends(folded, forest))
            sampled |= bool((folded.sampling.weight > 1).any())
        return judge(merge_kinds(every), pl.concat(sends), sampled=sampled, cut=False)


def ranges_of(spans: pl.LazyFrame, rows: int) -> list[Range]:
    """Return ranges of trace ids that hold at most MOST_ROWS of so many spans each, about."""
    return list(pairwise([None, *cuts(spans, rows, MOST_ROWS), None]))


def within(part: Range) -> pl.Expr:
    """Whether a trace id is in a range."""
    low, high = part
    trace = pl.col("trace_id")
    inside = pl.lit(value=True) if low is None else trace >= low
    return inside if high is None else inside & (trace < high)


def in_range(files: Sequence[DataFile], part: Range) -> list[DataFile]:
    """Return the files that may hold trace ids of a range."""
    low, high = part
    return [
        file
        for file in files
        if file.traces is None
        or ((high is None or file.traces[0] < high.hex()) and (low is None or file.traces[1] >= low.hex()))
    ]


def going_on(spans: pl.DataFrame, last_nano: int) -> pl.DataFrame:
    """Return CARRIED rows of traces of which a span came in the last minute before a moment."""
    came = pl.col("received_unix_nano").max()
    traces = spans.lazy().group_by("trace_id").agg(came=came, start_unix_nano=pl.col("start_time_unix_nano").min())
    return traces.filter(pl.col("came") >= last_nano - TAIL_NANO).select(CARRIED.names()).collect()


def late_of(spans: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return (start_unix_nano) of late spans."""
    if spans is None:
        return pl.DataFrame(schema={"start_unix_nano": pl.Int64()})
    return spans.select(start_unix_nano="start_time_unix_nano")
