"""Forest: spans linked into traces, as arrays that kernels walk.

Owns the repairs that need a whole trace, in TRACE_REPAIRS' order: duplicates,
cycles, timeless spans, clock skew, clipping; and the choice of each trace's
primary root. Repairs that need one span only were made at decode. What a span
means (call, route, layer) and where time goes are asked of `calls` and
`analysis`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracelens import _link, _windows, names, semconv
from tracelens._duplicates import settle
from tracelens._link import I8, I32, I64, U64, Bool
from tracelens.errors import SchemaError
from tracelens.repair import TRACE_MARK, TRACE_MARKS
from tracelens.spans import CLIENT, CONSUMER, MARK, PRODUCER, SERVER, SPAN_MARKS, attribute, check, empty

R = TypeVar("R")
T = TypeVar("T", bound=np.generic)

MAX_SKEW_NANO = 1_000_000_000  # clocks of one mesh differ by less; beyond it the times mean something else
THREADS_FROM = 200_000  # spans; below this, starting threads costs more than they save
SKEW_BITS = np.array([TRACE_MARK[m] for m in ("skew_shifted", "skew_aligned", "skew_capped", "skew_moved")], np.int32)
CLIP_BITS = np.array([TRACE_MARK[m] for m in ("clip_before", "clip_after", "outside")], np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Traces in ascending order of trace id; spans of a trace in preorder.

    n spans in T traces. Row i of `spans` is span i of every array. Preorder:
    a parent stands before its children (siblings by received start, then span
    id), so the subtree of row i is exactly the rows i … until[i].

    Times are nanoseconds after skew correction: `spans` keeps what was
    received, and start[i] - skew[i] is that. A span without any time
    (`no_time`) has no children and a length of 0 at the start of its parent,
    its nearest timed ancestor.
    """

    spans: pl.DataFrame  # what is left after duplicates were dropped; SPANS and attribute columns
    trace_offsets: I64  # [T+1] spans of trace t are rows trace_offsets[t] … trace_offsets[t+1]
    parent: I64  # [n] row of the parent; -1 for roots, orphans and cuts of cycles
    until: I64  # [n] one past the last row of the subtree
    depth: I32  # [n] 0 where parent is -1
    start: I64  # [n]
    end: I64  # [n] never before start
    lo: I64  # [n] window: the interval cut to the parent's window. Own interval where nobody waits for the span
    hi: I64  # [n] equal to lo when nothing is left
    blocking: Bool  # [n] the parent waits for this span; True where parent is -1
    child_offsets: I64  # [n+1] children of row i are children[child_offsets[i] : child_offsets[i+1]]
    children: I64  # [m] rows; per parent by window end descending, window start, span id; blocking or not
    entry: I64  # [T] row of the primary root
    marks: I32  # [n] bits of TRACE_MARKS
    skew: I64  # [n] by how much the span was shifted; 0 mostly
    complete: Bool  # [T] has a root, and every parent referred to is there
    n_roots: I32  # [T] spans without a parent reference
    n_orphans: I32  # [T] spans whose parent is absent, cuts of cycles included
    n_cycles: I32  # [T]
    dropped: dict[str, int]  # spans left out: dup_identical, dup_conflict

    @property
    def traces(self) -> int:
        """How many traces there are."""
        return len(self.entry)

    def trace_of(self, rows: I64) -> I64:
        """Return the trace each of `rows` belongs to."""
        return np.searchsorted(self.trace_offsets, rows, side="right") - 1

    def repairs(self) -> dict[str, int]:
        """Return how often each repair was made, those at decode and dropped duplicates included.

        Only what happened: a name that is absent stands for 0.
        """
        trace = np.zeros(len(TRACE_MARKS), np.int64)
        _windows.count_bits(self.marks, trace)
        span = np.zeros(len(SPAN_MARKS), np.int64)
        _windows.count_bits(_ints(self.spans["repairs"].fill_null(0), np.int32), span)
        counts = dict(zip((*SPAN_MARKS, *TRACE_MARKS), (*span.tolist(), *trace.tolist()), strict=True))
        return {name: count for name, count in (counts | self.dropped).items() if count}


def link(spans: pl.DataFrame, *, skew: bool = True) -> Forest:
    """Link spans into a forest.

    spans: whole traces in the SPANS schema, in any order: the forest does not
    depend on it. skew: correct clock skew, by at most MAX_SKEW_NANO.
    Raises SchemaError when a column is missing or an id has a wrong length.
    """
    check(spans)
    frame, offsets, order, linked, dropped = _linked(spans)
    n = len(order)
    parent, until, depth = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int32)
    position = np.empty(n, np.int64)
    over_traces(offsets, lambda a, b: _link.preorder(offsets, a, b, linked.up, position, parent, until, depth))
    order = order[position]
    columns = linked.take(position)
    blocking = ~columns.aside | (parent < 0)
    start, end, span, timed = columns.start, columns.end, columns.span, columns.timed
    marks = np.where(parent == _link.ORPHAN, np.int32(TRACE_MARK["orphan"]), np.int32(0))
    marks |= np.where(columns.cut, np.int32(TRACE_MARK["cycle"]), np.int32(0))
    marks |= np.where(columns.half > 0, np.int32(TRACE_MARK["shared_split"]), np.int32(0))
    if n != frame.height or not np.array_equal(order, np.arange(n)):
        frame = frame.rechunk()[order]  # from one chunk a gather takes a tenth of the time

    shift = np.zeros(n, np.int64)
    crossing = _crossing(frame, parent) if skew else np.zeros(n, np.int8)
    lo, hi = np.empty(n, np.int64), np.empty(n, np.int64)
    traces = len(offsets) - 1
    entry, n_roots, n_orphans = np.empty(traces, np.int64), np.zeros(traces, np.int32), np.zeros(traces, np.int32)
    child_offsets = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(parent[parent >= 0], minlength=n), out=child_offsets[1:])
    children = np.empty(int(child_offsets[-1]), np.int64)

    def finish(a: int, b: int) -> None:
        clock = crossing, MAX_SKEW_NANO, SKEW_BITS
        _windows.settle_times(offsets, a, b, parent, timed, blocking, *clock, start, end, shift, marks)
        _windows.cut_windows(offsets, a, b, parent, blocking, CLIP_BITS, start, end, lo, hi, marks)
        _windows.order_children(offsets, a, b, parent, start, end, span, lo, hi, child_offsets, children)
        _windows.find_roots(offsets, a, b, parent, timed, start, end, span, entry, n_roots, n_orphans)

    over_traces(offsets, finish)
    n_cycles = _per_trace(columns.cut, offsets)
    return Forest(
        spans=frame,
        trace_offsets=offsets,
        parent=np.maximum(parent, -1),
        until=until,
        depth=depth,
        start=start,
        end=end,
        lo=lo,
        hi=hi,
        blocking=blocking,
        child_offsets=child_offsets,
        children=children,
        entry=entry,
        marks=marks,
        skew=shift,
        complete=(n_roots > 0) & (n_orphans == 0),
        n_roots=n_roots,
        n_orphans=n_orphans,
        n_cycles=n_cycles,
        dropped=dropped,
    )


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Spans by (trace, start, span id), before their final order."""

    start: I64
    end: I64
    timed: Bool
    span: U64
    half: I8  # of a shared span: 1 client, 2 server; else 0
    up: I64  # position of the parent, _link.ROOT or _link.ORPHAN
    aside: Bool  # the parent does not wait for it
    cut: Bool  # a cycle was cut here

    def take(self, position: I64) -> _Sorted:
        """Return all columns at `position`; `up` keeps its meaning of positions before."""
        return _Sorted(
            self.start[position],
            self.end[position],
            self.timed[position],
            self.span[position],
            self.half[position],
            self.up[position],
            self.aside[position],
            self.cut[position],
        )


def _linked(spans: pl.DataFrame) -> tuple[pl.DataFrame, I64, I64, _Sorted, dict[str, int]]:
    """Return (spans, offsets per trace, row of each position, positions, what was dropped)."""
    spans, start, end, timed = _times(spans)
    span, parent, referenced = _ids(spans)
    seed = np.uint64(secrets.randbits(64))
    offsets, order = _by_trace(spans, seed)
    over_traces(offsets, lambda a, b: _link.sort_traces(offsets, a, b, order, start, span))

    n = len(order)
    half = np.zeros(spans.height, np.int8)
    service = np.zeros(n, np.int32)
    doubled = np.zeros(n, np.bool_)
    up = np.empty(n, np.int64)

    def find(offsets: I64, order: I64) -> int:
        ids, parents, known, halves = span[order], parent[order], referenced[order], half[order]
        found = over_traces(
            offsets,
            lambda a, b: _link.find_parents(offsets, a, b, ids, parents, known, halves, service, seed, up, doubled),
        )
        return sum(found)

    dropped: dict[str, int] = {}
    if find(offsets, order):
        where = np.flatnonzero(doubled)
        trace = np.searchsorted(offsets, where, side="right") - 1
        keep, half, dropped = settle(spans, order[where], trace, span[order[where]])
        kept = keep[order]
        offsets = np.concatenate([[0], np.cumsum(kept)])[offsets]
        order = order[kept]
        up = np.empty(len(order), np.int64)
        service = codes(spans["service_name"])[0][order]
        find(offsets, order)

    timed = timed[order]
    kind = _ints(spans["kind"].fill_null(0), np.int8)[order]
    aside = _bools(spans["follows_from"])[order]
    aside |= (kind == CONSUMER) & (kind[np.maximum(up, 0)] == PRODUCER) & (up >= 0)
    cut = np.zeros(len(order), np.bool_)
    start, end, span = start[order], end[order], span[order]
    over_traces(offsets, lambda a, b: _link.cut_cycles(offsets, a, b, start, span, timed, up, cut))
    if not timed.all():
        over_traces(offsets, lambda a, b: _link.lift_timeless(offsets, a, b, timed, up, aside))
    return spans, offsets, order, _Sorted(start, end, timed, span, half[order], up, aside, cut), dropped


def _by_trace(spans: pl.DataFrame, seed: np.uint64) -> tuple[I64, I64]:
    """Return (offsets per trace, rows by trace), traces ascending by id."""
    trace_id = pl.col("trace_id")
    if spans.select(((trace_id.bin.size() != 16) | trace_id.is_null()).any()).item():
        raise SchemaError("column trace_id holds an id that has not 16 bytes. Decoders refuse such spans.")
    halves = spans.select(
        high=trace_id.bin.slice(0, 8).bin.reinterpret(dtype=pl.UInt64, endianness="big"),
        low=trace_id.bin.slice(8, 8).bin.reinterpret(dtype=pl.UInt64, endianness="big"),
    )
    high, low = _ints(halves["high"], np.uint64), _ints(halves["low"], np.uint64)
    number, first = _link.number_traces(high, low, seed)
    place = np.arange(len(first))
    leading = high[first]
    if not (leading[:-1] < leading[1:]).all():  # a compacted store has them in order
        place[np.lexsort((low[first], leading))] = np.arange(len(first))
    return _link.group_rows(number, place, len(first))


def _ids(spans: pl.DataFrame) -> tuple[U64, U64, Bool]:
    """Return (span ids, parent ids, whether there is one), big-endian so that numbers sort as bytes do."""
    for name in ("span_id", "parent_span_id"):
        size = pl.col(name).bin.size()
        if spans.select((size != 8).any() | (pl.col(name).is_null().any() & pl.lit(name == "span_id"))).item():
            raise SchemaError(f"column {name} holds an id that has not 8 bytes. Decoders refuse or mend such spans.")
    parent = spans["parent_span_id"]
    number = pl.all().bin.reinterpret(dtype=pl.UInt64, endianness="big")
    ids = spans.select("span_id", pl.col("parent_span_id").fill_null(bytes(8))).select(number)
    return (
        _ints(ids["span_id"], np.uint64),
        _ints(ids["parent_span_id"], np.uint64),
        np.array(parent.is_not_null().to_numpy(), np.bool_),
    )


def _times(spans: pl.DataFrame) -> tuple[pl.DataFrame, I64, I64, Bool]:
    """Return (spans, start, end, whether a span has a time); what the decoders had to mend is mended here too."""
    start, end = spans["start_time_unix_nano"], spans["end_time_unix_nano"]
    timed = (_ints(spans["repairs"].fill_null(0), np.int32) & MARK["no_time"]) == 0
    if start.null_count() or end.null_count():
        timed &= np.array((start.is_not_null() | end.is_not_null()).to_numpy(), np.bool_)
        start, end = start.fill_null(end).fill_null(0), end.fill_null(start).fill_null(0)
    begins, ends = _ints(start, np.int64), _ints(end, np.int64)
    negative = ends < begins
    if negative.any():
        ends = np.maximum(begins, ends)
        mark = pl.col("repairs").fill_null(0) | (pl.Series(negative).cast(pl.Int32) * MARK["neg_duration"])
        spans = spans.with_columns(repairs=mark.cast(pl.Int32))
    return spans, begins, ends, timed


def _crossing(spans: pl.DataFrame, parent: I64) -> I8:
    """Return 1 for each span whose clock may be another than its parent's.

    Two hosts are compared when both are told by the same attribute: different
    ones mean different clocks, equal ones the same. Where that tells nothing,
    a CLIENT and its SERVER are taken to be two machines. An app and its proxy,
    that is one pod or one workload with one proxy among the two, share a clock
    whatever their attributes say.
    """
    columns = spans.columns
    above = np.maximum(parent, 0)
    kind = _ints(spans["kind"].fill_null(0), np.int8)
    crossing: Bool = (parent >= 0) & (kind[above] == CLIENT) & (kind == SERVER)
    told = [attribute(columns, (name,), "res") for name in semconv.HOST]
    hosts = spans.select(
        level=pl.coalesce(*(pl.when(e.is_not_null()).then(i) for i, e in enumerate(told))).fill_null(-1).cast(pl.Int8),
        host=pl.coalesce(told),
        pod=attribute(columns, semconv.K8S_POD, "res"),
        proxy=names.is_proxy(columns),
    )
    level = _ints(hosts["level"], np.int8)
    if hosts["host"].null_count() < len(hosts):
        host = codes(hosts["host"])[0]
        known = (level >= 0) & (level == level[above]) & (parent >= 0)
        crossing = np.where(known, host != host[above], crossing)
    if hosts["pod"].null_count() < len(hosts):
        pod = codes(hosts["pod"])[0]
        crossing &= (pod < 0) | (pod != pod[above])
    proxy = _bools(hosts["proxy"])
    if proxy.any():
        workload = names.codes(names.workloads(spans)["workload"])
        crossing &= (proxy == proxy[above]) | (workload != workload[above])
    return crossing.astype(np.int8)


def over_traces(offsets: I64, work: Callable[[int, int], R]) -> list[R]:
    """Call work(first, last) for ranges of traces that hold about equally many spans.

    On the caller's thread when there is little to do, else on as many threads
    as there are processors: `work` is expected to run kernels.
    """
    traces, n = len(offsets) - 1, int(offsets[-1])
    threads = os.cpu_count() or 1
    if n < THREADS_FROM or threads == 1:
        return [work(0, traces)]
    cuts = np.searchsorted(offsets, np.linspace(0, n, threads + 1)[1:-1].astype(np.int64))
    edges = [0, *cuts.tolist(), traces]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, edges[:-1], edges[1:]))


def codes(text: pl.Series) -> tuple[I32, pl.Series]:
    """Return (a dense code per value, -1 for null; the values by code)."""
    arrow = text.cast(pl.String).rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    encoded = arrow.dictionary_encode()
    numbers = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.array(numbers, np.int32), pl.Series(text.name, encoded.dictionary, dtype=pl.String)


def _ints(series: pl.Series, dtype: type[T]) -> NDArray[T]:
    """Return a writable, contiguous array: kernels are compiled for one kind only."""
    return np.array(series.to_numpy(), dtype)


def _bools(series: pl.Series) -> Bool:
    """Return a writable array; null is False."""
    return np.array(series.fill_null(value=False).to_numpy(), np.bool_)


def _per_trace(flags: Bool, offsets: I64) -> I32:
    """Return how many rows of each trace are flagged."""
    return np.diff(np.concatenate([[0], np.cumsum(flags)])[offsets]).astype(np.int32)


def warm() -> Forest:
    """Compile every kernel of the forest, or load it from the cache: a program does so before it is ready.

    Returns the forest it linked, of two spans, for the kernels that need one.
    """
    two = (
        empty()
        .clear(2)
        .with_columns(
            trace_id=pl.lit(bytes(16)),
            span_id=pl.Series([bytes(7) + b"\1", bytes(7) + b"\2"]),
            parent_span_id=pl.Series([None, bytes(7) + b"\1"], dtype=pl.Binary),
            repairs=pl.Series([0, MARK["no_time"]], dtype=pl.Int32),
            kind=pl.lit(SERVER, pl.Int8),
            name=pl.lit(""),
            service_name=pl.lit(""),
        )
    )
    linked = link(two)
    linked.repairs()
    return linked
