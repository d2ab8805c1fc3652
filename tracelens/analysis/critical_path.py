"""Critical path: the sections of spans that set a trace's latency.

Owns the walk and its tie rules: from an entry's end backwards, always into the
child that finished last, so that each moment is booked to the one span that
was being waited for. Linking, repairs and windows are the forest's; sums over
many traces are `profile.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from tracelens import forest as forests
from tracelens._link import I32, I64, Bool
from tracelens.analysis import _walk
from tracelens.columns import over, over_rows
from tracelens.forest import Forest, over_traces
from tracelens.learned import CLOCKS, ticking

Tolerance = Literal["auto"] | int

FINE_NANO = 10_000  # two processes on one machine stamp the same moment this far apart
COARSE_NANO = 1_000_000  # clocks of some SDKs tick in milliseconds
LATE_PERCENT = 1  # of the parent's length: what ends later than that was not waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """Stretches of time on critical paths, each booked to one span.

    Per entry ascending by start: disjoint, without a gap, from the entry's
    start to its end. An entry of no length has none.
    """

    entries: I64  # [k] rows of the forest where walks began
    entry_index: I32  # [s] index into `entries`, ascending
    span: I64  # [s] row of the forest
    start: I64  # [s] nanoseconds, the forest's (corrected) time
    end: I64  # [s]

    def __len__(self) -> int:
        return len(self.span)

    @property
    def offsets(self) -> I64:
        """[k+1] sections of entry j are those from offsets[j] to offsets[j+1]."""
        return np.searchsorted(self.entry_index, np.arange(len(self.entries) + 1))


def sections(
    forest: Forest,
    entries: I64 | None = None,
    *,
    tolerance: Tolerance = "auto",
    asynchronous: bool = False,
    clocks: pl.DataFrame | None = None,
) -> Sections:
    """Return the critical path from each entry, in the entry's own interval.

    entries: rows of the forest, in any number and nested as they may be; by
    default each trace's primary root.
    tolerance: by how many nanoseconds two siblings may overlap and still count
    as one after the other. "auto" is max(10 µs, the clock's granularity) but
    at most 1 % of the parent's window; a service ticks in milliseconds when
    99 % of its starts are whole ones, and of two siblings the coarser counts.
    asynchronous: nobody waits for a child that ends later than its parent by
    more than 1 % of the parent's length (or the tolerance, if that is more).
    clocks: CLOCKS of more traces than these, to tell by which services tick.
    Source: last-finishing-child walk (Zhang et al., CRISP, ATC '22), with the
    overlap taken once and ties by span id.
    """
    begin = forest.entry if entries is None else entries
    begin = np.array(begin, np.int64)  # writable: kernels are compiled for one kind only
    if ((begin < 0) | (begin >= len(forest.parent))).any():
        raise IndexError(f"an entry lies beyond the forest's {len(forest.parent)} rows")  # the kernel does not look
    rules = waiting(forest, tolerance=tolerance, asynchronous=asynchronous, clocks=clocks)
    deepest = int(forest.depth.max(initial=0))
    sizes = np.concatenate([[0], np.cumsum(forest.until[begin] - begin)])

    def work(first: int, last: int) -> tuple[I32, I64, I64, I64]:
        found = _walk.walk(
            begin,
            first,
            last,
            forest.start,
            forest.end,
            forest.lo,
            forest.hi,
            forest.ids,
            rules.waited,
            forest.until,
            forest.child_offsets,
            forest.children,
            rules.coarse,
            rules.fine,
            rules.rough,
            rules.hundredth,
            deepest,
        )
        entry, _, start, end = found
        broken = _walk.first_broken(entry, start, end, begin, first, last, forest.start, forest.end)
        if broken >= 0:  # a bug, never the data's fault
            raise AssertionError(f"critical path: the sections of entry {broken} do not tile its interval")
        return found

    parts = over_traces(sizes, work)
    entry, span, start, end = over(len(forest.ids), list(zip(*parts, strict=True)), np.concatenate)
    return Sections(entries=begin, entry_index=entry, span=span, start=start, end=end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Who waits for whom, and by how much siblings may overlap and still be one after the other."""

    waited: Bool  # [n] the parent waits for the span
    coarse: Bool  # [n] its service's clock ticks in milliseconds
    fine: int  # nanoseconds of overlap between two fine clocks
    rough: int  # and where one of the two is coarse
    hundredth: bool  # but at most 1 % of the parent's window


def waiting(
    forest: Forest, *, tolerance: Tolerance = "auto", asynchronous: bool = False, clocks: pl.DataFrame | None = None
) -> Waiting:
    """Return what `sections` goes by; parameters as there."""
    fixed = None if tolerance == "auto" else tolerance
    coarse = np.zeros(len(forest.parent), np.bool_)
    if fixed is None:
        coarse = _coarse(forest, ticks(forest) if clocks is None else clocks)
    fine, rough = (FINE_NANO, COARSE_NANO) if fixed is None else (fixed, fixed)
    return Waiting(
        waited=forest.blocking & ~_late(forest, fixed or 0) if asynchronous else forest.blocking,
        coarse=coarse,
        fine=fine,
        rough=rough,
        hundredth=fixed is None,
    )


def exclusive(forest: Forest, found: Sections) -> I64:
    """Return the nanoseconds of sections each span of the forest has, over all entries together."""
    total = np.zeros(len(forest.parent), np.int64)
    _walk.add_times(found.span, found.start, found.end, total)
    return total


def outliving(forest: Forest) -> I64:
    """Return by how many nanoseconds each span outlives a parent that waits for it; 0 for all others."""
    above = np.maximum(forest.parent, 0)
    late = np.where(forest.blocking & (forest.parent >= 0), forest.end - forest.end[above], 0)
    return np.maximum(late, 0)


def outliving_share(forest: Forest) -> float:
    """Return the share of children's time that lies after the end of a parent that should have waited."""
    waited = forest.blocking & (forest.parent >= 0)
    total = int((forest.end - forest.start)[waited].sum())
    return int(np.minimum(outliving(forest), forest.end - forest.start).sum()) / total if total else 0.0


def _late(forest: Forest, least: int) -> Bool:
    above = np.maximum(forest.parent, 0)
    hundredth = (forest.end - forest.start)[above] // (100 // LATE_PERCENT)
    late: Bool = outliving(forest) > np.maximum(least, hundredth)
    return late


def ticks(forest: Forest) -> pl.DataFrame:
    """Return the counts of CLOCKS."""
    code = forest.told.codes("service_name")
    size = int(code.max(initial=-1)) + 2  # the last is for those without a service

    def work(first: int, last: int) -> I64:
        counts = np.zeros((size, 2), np.int64)
        _walk.count_whole(code, forest.start, forest.skew, COARSE_NANO, first, last, counts)
        return counts

    counts = np.sum(over_rows(len(code), work), axis=0)
    some = np.flatnonzero(counts[:, 0])
    named = forest.told.named("service_name", some)
    return pl.DataFrame({"service": named, "spans": counts[some, 0], "whole": counts[some, 1]}, schema=CLOCKS)


def _coarse(forest: Forest, clocks: pl.DataFrame) -> Bool:
    """Return which spans come from a service whose clock ticks in milliseconds."""
    services = ticking(clocks)
    if services.is_empty():
        return np.zeros(len(forest.start), np.bool_)
    found = forest.told.column("service_name").is_in(services.implode()).fill_null(value=False)
    return np.array(found.to_numpy(), np.bool_)


def warm() -> tuple[Forest, Sections]:
    """Compile the walk and what it needs, or load it from the cache. Returns what it walked."""
    forest = forests.warm()
    found = sections(forest)
    exclusive(forest, found)
    return forest, found
