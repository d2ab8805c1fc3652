"""Forest: spans linked into traces, as arrays that kernels walk.

Owns the repairs that need a whole trace, in TRACE_REPAIRS' order: duplicates,
cycles, timeless spans, clock skew, clipping; and the choice of each trace's
primary root. Repairs that need one span only were made at decode. What a span
means (call, route, layer) and where time goes are asked of `calls` and
`analysis`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracelens import _link, _text, _windows, names, semconv, threads
from tracelens._duplicates import settle
from tracelens._link import I8, I32, I64, U64, Bool
from tracelens.columns import REPEATED, Arranged, Buffers, is_counting, number, over, over_rows
from tracelens.errors import SchemaError
from tracelens.repair import TRACE_MARK, TRACE_MARKS
from tracelens.spans import CONSUMER, MARK, PRODUCER, SERVER, SPAN_MARKS, attribute, check, empty, owned

R = TypeVar("R")
T = TypeVar("T", bound=np.generic)

MAX_SKEW_NANO = 1_000_000_000  # clocks of one mesh differ by less; beyond it the times mean something else
THREADS_FROM = 200_000  # spans; below this, sharing work out costs more than it saves
SKEW_BITS = np.array([TRACE_MARK[m] for m in ("skew_shifted", "skew_aligned", "skew_capped", "skew_moved")], np.int32)
FIRST_BITS = np.array([TRACE_MARK[m] for m in ("orphan", "cycle", "shared_split")], np.int32)
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
    ids: U64  # [n] span ids, as numbers that sort as bytes do
    told: Arranged  # `spans`, a column at a time

    @property
    def spans(self) -> pl.DataFrame:
        """What is left after duplicates were dropped; SPANS and attribute columns."""
        return self.told.frame

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
        _windows.count_bits(_ints(self.told.column("repairs").fill_null(0), np.int32), span)
        counts = dict(zip((*SPAN_MARKS, *TRACE_MARKS), (*span.tolist(), *trace.tolist()), strict=True))
        return {name: count for name, count in (counts | self.dropped).items() if count}


def link(spans: pl.DataFrame, *, skew: bool = True) -> Forest:
    """Link spans into a forest.

    spans: whole traces in the SPANS schema, in any order: the forest does not
    depend on it. skew: correct clock skew, by at most MAX_SKEW_NANO.
    Raises SchemaError when a column is missing or an id has a wrong length.
    """
    check(spans)
    told, offsets, order, linked, dropped = _linked(spans)
    n = len(order)
    parent, until, depth = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int32)
    position = np.empty(n, np.int64)
    over_traces(offsets, lambda a, b: _link.preorder(offsets, a, b, linked.up, position, parent, until, depth))
    order = order[position]
    columns = linked.take(position)
    blocking, marks, child_offsets = np.empty(n, np.bool_), np.empty(n, np.int32), np.zeros(n + 1, np.int64)
    told_of = columns.aside, columns.cut, columns.half, FIRST_BITS, blocking, marks, child_offsets[1:]
    over_traces(offsets, lambda a, b: _windows.begin(offsets, a, b, parent, *told_of))
    start, end, span, timed = columns.start, columns.end, columns.span, columns.timed
    told = told.ordered(order)

    shift = np.zeros(n, np.int64)
    crossing = _crossing(told, parent) if skew else np.zeros(n, np.int8)
    lo, hi = np.empty(n, np.int64), np.empty(n, np.int64)
    traces = len(offsets) - 1
    entry, n_roots, n_orphans = np.empty(traces, np.int64), np.zeros(traces, np.int32), np.zeros(traces, np.int32)
    np.cumsum(child_offsets, out=child_offsets)
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
        told=told,
        ids=span,
        trace_offsets=offsets,
        parent=parent,
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
        return _Sorted(*_taken(position, *(getattr(self, column.name) for column in fields(self))))


def _linked(spans: pl.DataFrame) -> tuple[Arranged, I64, I64, _Sorted, dict[str, int]]:
    """Return (spans, offsets per trace, row of each position, positions, what was dropped)."""
    spans, start, end, timed = _times(spans)
    told = Arranged(spans)
    told.look(*names.texts(spans.columns), most=REPEATED)
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
        ids, parents, known, halves = _taken(order, span, parent, referenced, half)
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
        service = told.codes("service_name")[order]
        find(offsets, order)

    kind, follows = _ints(spans["kind"].fill_null(0), np.int8), _bools(spans["follows_from"])
    start, end, timed, span, half, kind, aside = _taken(order, start, end, timed, span, half, kind, follows)
    aside = aside | ((kind == CONSUMER) & (kind[np.maximum(up, 0)] == PRODUCER) & (up >= 0))
    cut = np.zeros(len(order), np.bool_)
    over_traces(offsets, lambda a, b: _link.cut_cycles(offsets, a, b, start, span, timed, up, cut))
    if not timed.all():
        over_traces(offsets, lambda a, b: _link.lift_timeless(offsets, a, b, timed, up, aside))
    return told, offsets, order, _Sorted(start, end, timed, span, half, up, aside, cut), dropped


def _taken(order: I64, *arrays: Any) -> list[Any]:
    """Return arrays in another order; themselves when it is their own, as a compacted store has it."""
    if len(order) == len(arrays[0]) and is_counting(order):
        return list(arrays)
    return over(len(order), arrays, lambda array: np.take(array, order))


def _by_trace(spans: pl.DataFrame, seed: np.uint64) -> tuple[I64, I64]:
    """Return (offsets per trace, rows by trace), traces ascending by id."""
    ids = Buffers.of(spans["trace_id"])
    high, low = np.empty(len(spans), np.uint64), np.empty(len(spans), np.uint64)
    if any(over_rows(len(spans), partial(_text.read_trace_ids, ids.views, high, low))):
        raise SchemaError("column trace_id holds an id that has not 16 bytes. Decoders refuse such spans.")
    begun = over_rows(len(spans), lambda a, b: (a, _link.count_ordered(high, low, a, b)))
    if min(count for _, count in begun) >= 0:  # as a compacted store has them
        places = np.cumsum([0, *(count for _, count in begun)]).tolist()
        offsets = np.empty(places[-1] + 1, np.int64)
        offsets[-1] = len(spans)
        first_of = dict(zip((a for a, _ in begun), places, strict=False))
        over_rows(len(spans), lambda a, b: _link.bounds_ordered(high, low, a, b, first_of[a], offsets))
        return offsets, np.arange(len(spans))
    number, first = _link.number_traces(high, low, seed)
    place = np.arange(len(first))
    leading = high[first]
    if not (leading[:-1] < leading[1:]).all():  # a compacted store has them in order
        place[np.lexsort((low[first], leading))] = np.arange(len(first))
    return _link.group_rows(number, place, len(first))


def _ids(spans: pl.DataFrame) -> tuple[U64, U64, Bool]:
    """Return (span ids, parent ids, whether there is one), big-endian so that numbers sort as bytes do."""
    found = []
    for name in ("span_id", "parent_span_id"):
        column = Buffers.of(spans[name])
        ids, known = np.empty(len(spans), np.uint64), np.empty(len(spans), np.bool_)
        bad = any(over_rows(len(spans), partial(_text.read_ids, column.views, ids, known)))
        if bad or (name == "span_id" and not known.all()):
            raise SchemaError(f"column {name} holds an id that has not 8 bytes. Decoders refuse or mend such spans.")
        found.append((ids, known))
    (own, _), (parent, referenced) = found
    return own, parent, referenced


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


def _crossing(told: Arranged, parent: I64) -> I8:
    """Return 1 for each span whose clock may be another than its parent's.

    Two hosts are compared when both are told by the same attribute: different
    ones mean different clocks, equal ones the same. Where that tells nothing,
    a CLIENT and its SERVER are taken to be two machines. An app and its proxy,
    that is one pod or one workload with one proxy among the two, share a clock
    whatever their attributes say.
    """
    columns = told.columns
    hosts = [attribute(columns, (name,), "res") for name in semconv.HOST]
    inputs = [*names.proxy_inputs(columns), *names.workload_inputs(columns)]
    inputs += owned(columns, "res", (*semconv.HOST, *semconv.K8S_POD))
    number, some = told.distinct(inputs)
    found = some.select(
        level=pl.coalesce(*(pl.when(e.is_not_null()).then(i) for i, e in enumerate(hosts))).fill_null(-1).cast(pl.Int8),
        host=pl.coalesce(hosts),
        pod=attribute(columns, semconv.K8S_POD, "res"),
        proxy=names.is_proxy(columns),
    )
    level, proxy = _ints(found["level"], np.int8), _bools(found["proxy"])
    host, pod, workload = (codes(text)[0] for text in (found["host"], found["pod"], names.workloads(some)["workload"]))
    kinds, crossing = _ints(told.column("kind").fill_null(0), np.int8), np.zeros(len(parent), np.int8)
    each = number, level, host, pod, proxy, workload
    over_rows(len(parent), lambda a, b: _windows.find_crossings(parent, a, b, kinds, *each, crossing))
    return crossing


def over_traces(offsets: I64, work: Callable[[int, int], R]) -> list[R]:
    """Call work(first, last) for ranges of traces that hold about equally many spans.

    On the caller's thread when there is little to do, else on as many threads
    as there are processors: `work` is expected to run kernels.
    """
    traces, n = len(offsets) - 1, int(offsets[-1])
    ranges = threads.processors() if n >= THREADS_FROM else 1
    cuts = np.searchsorted(offsets, np.linspace(0, n, ranges + 1)[1:-1].astype(np.int64))
    return threads.each(work, list(pairwise([0, *cuts.tolist(), traces])))


def codes(text: pl.Series) -> tuple[I32, pl.Series]:
    """Return (a dense code per value, -1 for null; the values by code)."""
    found = number(text.cast(pl.String))
    assert found is not None  # it is not given up without a limit
    assert found.texts is not None  # nor is it cut
    return found.number, found.texts


def _ints(series: pl.Series, dtype: type[T]) -> NDArray[T]:
    """Return a writable, contiguous array: kernels are compiled for one kind only."""
    return _own(series.to_numpy(), dtype)


def _own(values: NDArray[Any], dtype: type[T]) -> NDArray[T]:
    fits = values.dtype == dtype and values.flags.writeable and values.flags.c_contiguous
    return values if fits else np.array(values, dtype)


def _bools(series: pl.Series) -> Bool:
    """Return a writable array; null is False."""
    return _own(series.fill_null(value=False).to_numpy(), np.bool_)


def _per_trace(flags: Bool, offsets: I64) -> I32:
    """Return how many rows of each trace are flagged."""
    if not flags.any():
        return np.zeros(len(offsets) - 1, np.int32)
    return np.diff(np.concatenate([[0], np.cumsum(flags)])[offsets]).astype(np.int32)


def warm() -> Forest:
    """Compile every kernel of the forest, or load it from the cache: a program does so before it is ready.

    Returns the forest it linked, of two spans, for the kernels that need one.
    """
    two = (  # not in their order: columns are moved
        empty()
        .clear(2)
        .with_columns(
            trace_id=pl.lit(bytes(16)),
            span_id=pl.Series([bytes(7) + b"\2", bytes(7) + b"\1"]),
            parent_span_id=pl.Series([bytes(7) + b"\1", None], dtype=pl.Binary),
            repairs=pl.Series([MARK["no_time"], 0], dtype=pl.Int32),
            kind=pl.lit(SERVER, pl.Int8),
            name=pl.lit(""),
            service_name=pl.lit(""),
        )
    )
    linked = link(two)
    linked.repairs()
    linked.told.select(*linked.told.columns)
    return linked
