"""Long windows of a store: answered from rollups, and from spans where there are none yet.

Owns the choice and the seam. A trace is either in the rollups or among the
spans of hours that are not settled, never in both, so that what is counted of
the two is added up. Windows are those of whole minutes; of profiles, whole hours.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import polars as pl

from tracelens.analysis import rollups
from tracelens.analysis.bands import Band
from tracelens.analysis.edges import without_gateways
from tracelens.analysis.profile import cut
from tracelens.analysis.rollups import HOUR_NANO, MINUTE_NANO
from tracelens.analysis.settled import profile_cells
from tracelens.analysis.stretches import Part, series, stretches
from tracelens.lens.analysed import Analysed, Memory, Still
from tracelens.lens.long_profile import sums
from tracelens.lens.question import Answer, Method, Question, SourceInfo
from tracelens.lens.routes import Route, is_route
from tracelens.lens.sources import Loaded, Source, StoreSource
from tracelens.lens.traces import LISTED, MAX_ROWS, listed
from tracelens.lens.where import of_call
from tracelens.needed import is_needed
from tracelens.sampling import TOLD_BY, UNKNOWN
from tracelens.settle import Draft, Left, Rollups, digest, known_traces, name_of, newest, taught_by
from tracelens.store.rollups import Rollup
from tracelens.taught import Taught
from tracelens.threads import Soon, each
from tracelens.weighing import SPAN_BYTES

EXACT_SPANS = 500_000  # in a window: so many are looked at one by one, in less than a second
ROUTE_KEYS = ("service", "namespace", "route", "status")  # what filters may ask of a cell of routes
NO_KEYS: tuple[str, ...] = ()  # of edges and profiles
REMEMBERED = 4
LOOK_SECONDS = 60.0  # between two looks whether files are needed yet: those that are not are left for ten minutes
MAX_NANO = (1 << 63) - 1
TOGETHER = 100_000  # cells that are looked at together: they stay in the processor's cache
FINE = 6  # hours: stretches of a series that are shorter are made of minutes


@dataclass
class Unsettled(StoreSource):
    """The spans of a store that neither a rollup nor a draft has, without those that came late."""

    left: Left = field(kw_only=True)

    def __post_init__(self) -> None:
        self.__dict__["store"] = self.left.rollups.store  # open already
        draft = self.left.draft
        self.part = f"after {self.left.settled} {'' if draft is None else draft.path}"

    def version(self) -> str:
        return f"{super().version()} {self.part}"

    def weight(self, start_nano: int | None, end_nano: int | None) -> int:
        del start_nano, end_nano
        return SPAN_BYTES * self.left.rows

    def load(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Loaded:
        """Return whole traces: the window is that of their calls, and of the late spans that are counted."""
        rollups, draft = self.left.rollups, self.left.draft
        spans, passed = self.left.spans([name for name in rollups.store.columns() if is_needed(name, keys)])
        late = known_traces(rollups, spans, last=name_of(self.left.settled))
        is_late = pl.col("trace_id").is_in(late.implode())
        came = pl.concat([spans.filter(is_late)["start_time_unix_nano"], self.left.late(passed)])
        return Loaded(
            spans.filter(~is_late),
            late=int(came.is_between(start_nano or 0, end_nano or MAX_NANO, closed="left").sum()),
            learned=None if draft is None else draft.evidence,
        )


@dataclass
class Long:
    """A question about a long window, and what it is answered from."""

    question: Question  # its window open at no end, and of whole minutes
    rollups: Rollups  # as they were then: hours may be settled meanwhile, and days put in one file
    source: StoreSource
    begun: Soon[Analysed]  # `tail`, which may be under way
    last: str  # the hour of arrival that was the last to be settled
    draft: Draft | None = None  # of what came after that
    _looked: float = field(default_factory=time.monotonic, init=False, repr=False)
    _cells: dict[int, pl.DataFrame] = field(default_factory=dict, init=False, repr=False)
    # Of first calls of traces and of routes, by the number of stretches.
    _series: dict[int, tuple[pl.DataFrame, pl.DataFrame]] = field(default_factory=dict, init=False, repr=False)
    _sums: dict[Route | None, pl.DataFrame] = field(default_factory=dict, init=False, repr=False)  # of profiles

    @property
    def tail(self) -> Analysed:
        """What is not settled."""
        return self.begun.get()

    @cached_property
    def weighted(self) -> bool:
        """Whether traces stand for different numbers of requests."""
        weights = set(self._facts.filter(what=rollups.TRACES)["weight"])
        return len(weights | set(self.tail.calls.sampling.weight.tolist())) > 1

    @property
    def method(self) -> Method:
        """How numbers are computed."""
        rate = self.info.sampling_rate
        return Method(percentile="log-bucket", relative_error=0.01, sampled=rate is not None and rate < 1)

    def is_over(self) -> bool:
        """Whether a trace that was open then is settled now, or files that are read may be removed before long."""
        settles = self.tail.next_settle_nano
        if settles is not None and settles <= time.time_ns():
            return True
        if time.monotonic() < self._looked + LOOK_SECONDS:
            return False
        self._looked = time.monotonic()
        return not self.source.rollups.have(self.rollups)

    def routes(self) -> Answer:
        """Return ROUTES rows, most impact first."""
        rows = rollups.routes(self.added_up, weighted=self.weighted)
        return Answer(rows=rows, source=self.info, method=self.method)

    def summary(self) -> Answer:
        """Return one row over the first calls of traces."""
        rows = rollups.summary(self.added_up, weighted=self.weighted)
        return Answer(rows=rows, source=self.info, method=self.method)

    def series(self, route: Route | None, points: int) -> Answer:
        """Return SERIES rows of one route, or of every route and (service null) of all first calls of traces."""
        start, end = self.bounds
        wide = HOUR_NANO if (end - start) // points >= FINE * HOUR_NANO else MINUTE_NANO
        if points not in self._series:
            found = stretches(self._some_cells(wide, TOGETHER), start, end, points)
            self._series[points] = series(found, weighted=self.weighted)
        roots, each = self._series[points]
        rows = pl.concat([roots, each]) if route is None else each.filter(is_route(route))
        return Answer(rows=rows, source=self.info, method=self.method)

    def edges(self, *, gateways: bool) -> Answer:
        """Return EDGES rows, the busiest first."""
        rows = rollups.edges(self._edges, gateways=gateways, weighted=self.weighted)
        return Answer(rows=rows, source=replace(self.info, coverage=self.coverage), method=self.method)

    def profile(self, route: Route | None, bands: Sequence[Band]) -> Answer:
        """Return PROFILE rows: bands are cut between log buckets, so that they are off by 2 % of latency at most."""
        if route not in self._sums:
            self._sums[route] = sums(self.rollups.profiles, self.bounds, self.last, self._fresh_profiles, route)
        return Answer(rows=cut(self._sums[route], bands), source=self.info, method=self.method)

    def traces(self, slowest: int | None, limit: int) -> Answer:
        """Return one row a trace that begins in the window, newest first, or the `slowest` ones."""
        start, end = self.bounds
        inside = pl.col("start_unix_nano").is_between(start, end, closed="left")
        fresh = listed(self.tail).filter(~pl.col("open") & inside).drop("open")
        every = pl.concat([self.settled_traces().select(LISTED), fresh])
        key = "start_unix_nano" if slowest is None else "duration_nano"
        count = min(limit if slowest is None else slowest, MAX_ROWS)
        rows = every.sort(key, "trace_id", descending=[True, False]).head(count).collect()
        return Answer(rows=rows, source=self.info, method=self.method)

    def settled_traces(self) -> pl.LazyFrame:
        """Return TRACE_ROWS of the traces that begin in the window and of which no span is looked at."""
        start, end = self.bounds
        kept = self.rollups.traces.scan(start, end, last=self.last)
        if self.draft is None:
            return kept
        began = pl.col("start_unix_nano")
        some = [part for part in self.draft.traces if part.last_nano >= start and part.first_nano < end]
        return pl.concat([kept, self.rollups.drafted.read(some).filter(began >= start, began < end)])

    @cached_property
    def coverage(self) -> float | None:
        """The share of calls that have their callee's span, of those that should; None when none should."""
        fresh = self._requests.select(pl.col("covered") & pl.col("expected"), "expected").sum().row(0)
        covered, expected = map(sum, zip(rollups.covered(self._scan("edges", HOUR_NANO)), fresh, strict=True))
        return covered / expected if expected else None

    @property
    def bounds(self) -> tuple[int, int]:
        """The window, nanoseconds."""
        start, end = self.question.start_nano, self.question.end_nano
        assert start is not None
        assert end is not None
        return start, end

    def overview(self, points: int) -> tuple[Answer, Answer, Answer]:
        """Return routes, summary and series, which are worked out side by side."""

        def coverage() -> object:
            return None if self.question.conditions else self.coverage  # is asked for with them, and kept

        needed = [(lambda: self.series(None, points),), (coverage,), (lambda: self.added_up,)]
        series, *_ = each(lambda ask: ask(), needed)
        routes, summary = each(lambda ask: ask(), [(self.routes,), (self.summary,)])
        return routes, summary, series

    @cached_property
    def added_up(self) -> pl.LazyFrame:
        """ROUTE_CELLS that the question is about, all at the start of the window, so that they are few."""
        found = stretches(self._some_cells(HOUR_NANO, TOGETHER), *self.bounds, 1, whole=True)
        return found.cells().lazy()

    def cells(self, wide: int) -> pl.LazyFrame:
        """Return ROUTE_CELLS that the question is about. wide: an hour where cells may be that wide, or a minute."""
        if wide not in self._cells:
            self._cells[wide] = pl.concat([part() for part in self._some_cells(wide)]).collect()
        return self._cells[wide].lazy()

    def _some_cells(self, wide: int, most: int = MAX_NANO) -> list[Part]:
        """Return the same in parts of some `most` rows, not read yet; the tail, which may be under way, comes last."""

        def fresh() -> pl.LazyFrame:
            return rollups.route_cells(self.tail.selected(self.question).lazy(), MINUTE_NANO)

        def asked(part: Part) -> pl.LazyFrame:
            cells = part()
            for condition in self.question.conditions:
                cells = cells.filter(of_call(condition))
            return cells

        return [partial(asked, part) for part in (*self._scans("routes", wide, most), fresh)]

    @cached_property
    def _fresh_profiles(self) -> pl.DataFrame:
        table = self.tail.selected(self.question)
        spans = self.tail.calls.table.join(table.select("span"), on="span", how="semi")
        cells = profile_cells(self.tail.forest, replace(self.tail.calls, table=spans))
        drafted = [] if self.draft is None else [self._drafted(self.draft, "profiles")]
        return pl.concat([cells.lazy(), *drafted]).collect()

    @property
    def _requests(self) -> pl.DataFrame:
        """REQUESTS of what is not settled."""
        return self.tail.about(self.question, self.tail.requests)

    @cached_property
    def _edges(self) -> pl.LazyFrame:
        table = self._requests
        fresh = rollups.edge_cells(table, without_gateways(table), MINUTE_NANO)
        return pl.concat([self._scan("edges", HOUR_NANO), fresh.lazy()]).collect().lazy()

    @cached_property
    def _facts(self) -> pl.DataFrame:
        return self._scan("facts", HOUR_NANO).collect()

    def _scan(self, name: str, wide: int) -> pl.LazyFrame:
        return pl.concat([scan() for scan in self._scans(name, wide)])

    def _scans(self, name: str, wide: int, most: int = MAX_NANO) -> list[Part]:
        """Return the cells of the window: of hours where they are whole and may be as wide, else of minutes.

        most: rows of each part, about.
        """
        tables: dict[str, Rollup] = getattr(self.rollups, name)
        start, end = self.bounds
        first, last = -(-start // HOUR_NANO) * HOUR_NANO, end // HOUR_NANO * HOUR_NANO
        ranges = [("minutes", start, end)]
        if wide == HOUR_NANO and first < last:
            ranges = [("minutes", start, first), ("hours", first, last), ("minutes", last, end)]
        scans = [
            scan
            for level, begin, until in ranges
            if begin < until
            for scan in tables[level].scans(begin, until, last=self.last, most=most)
        ]
        found: list[Part] = [partial(pl.LazyFrame.lazy, scan) for scan in scans]
        return found if self.draft is None else [*found, partial(self._drafted, self.draft, name)]

    def _drafted(self, draft: Draft, name: str) -> pl.LazyFrame:
        """Return the rows of the window that the draft has."""
        start, end = self.bounds
        began = pl.col("start_unix_nano")
        return draft.table(name).filter(began >= start, began < end)

    @cached_property
    def info(self) -> SourceInfo:
        """What the answer was computed from."""
        start, end = self.bounds
        counted = dict(self._facts.group_by("what").agg(pl.col("n").sum()).rows())
        tail, forest = self.tail.info, self.tail.forest
        begin, sizes = forest.trace_offsets[:-1], np.diff(forest.trace_offsets)
        # What is not settled is all read, wherever the window is.
        first_start = np.minimum.reduceat(forest.start, begin) if len(begin) else begin
        inside = (first_start >= start) & (first_start < end)
        marks = {what.removeprefix(rollups.REPAIR): n for what, n in counted.items() if what.startswith(rollups.REPAIR)}
        repairs = {mark: marks.get(mark, 0) + tail.repairs.get(mark, 0) for mark in sorted({*marks, *tail.repairs})}
        told = self._facts.filter(pl.col("what").str.starts_with(rollups.TOLD))
        sampling = self.tail.calls.sampling
        by = {what.removeprefix(rollups.TOLD) for what in told["what"]} | set(sampling.sources)
        known = sampling.told_by != UNKNOWN
        rated = told.filter(pl.col("what") != f"{rollups.TOLD}{TOLD_BY[UNKNOWN]}")
        kept = int(rated["n"].sum()) + int(known.sum())
        weight = float((rated["n"] * rated["weight"]).sum()) + float(sampling.weight[known].sum())
        first, last = self.source.range() or (start, end)
        return replace(
            tail,
            files=self.source.describe().files,
            spans=counted.get(rollups.SPANS, 0) + int(sizes[inside].sum()),
            traces=counted.get(rollups.TRACES, 0) + int(inside.sum()),
            complete_traces=counted.get(rollups.COMPLETE, 0) + int(forest.complete[inside].sum()),
            start_unix_nano=max(first, start),
            end_unix_nano=min(last, end),
            repairs=repairs,
            late_spans=counted.get(rollups.LATE, 0) + tail.late_spans + self._uncounted(),
            sampling_rate=kept / weight if kept else None,
            sampling_told_by=tuple(name for name in TOLD_BY if name in by),
        )

    def _uncounted(self) -> int:
        """Return how many spans came into hours of arrival after they were settled."""
        arrived = self._facts.filter(what=rollups.ARRIVED)
        seen = {name_of(start // HOUR_NANO): n for start, n in arrived.select("start_unix_nano", "n").rows()}
        there: dict[str, int] = {}
        for file in self.rollups.store.files():
            if file.hour in seen:
                there[file.hour] = there.get(file.hour, 0) + file.rows
        return sum(max(rows - seen[hour], 0) for hour, rows in there.items())


class Longs:
    """The last few long windows: several questions are asked of one. Safe to share between threads."""

    def __init__(self, above: Longs | None = None) -> None:
        """above: a memory that is asked first and once; what it says stays, whatever comes meanwhile."""
        self._above = above
        self._kept: dict[Hashable, Long | None] = {}
        self._lock = threading.Lock()

    def get(self, version: str, key: Hashable, make: Callable[[], Long | None]) -> Long | None:
        """Return what was made of a question at a version of the source."""
        with self._lock:
            place = (version, key) if self._above is None else key
            kept = self._kept.get(place)
            if place not in self._kept or (self._above is None and kept is not None and kept.is_over()):
                self._kept[place] = make() if self._above is None else self._above.get(version, key, make)
            found = self._kept[place] = self._kept.pop(place)
            if self._above is None:
                for oldest in [*self._kept][:-REMEMBERED]:
                    del self._kept[oldest]
            return found


def long_window(
    source: Source,
    question: Question,
    memory: Memory | Still,
    taught: Taught,
    width_nano: int = MINUTE_NANO,
    most_bytes: int | None = None,
) -> Long | None:
    """Return how to answer a question from rollups; None where spans are to be looked at one by one.

    width_nano: what its window is widened to whole ones of. most_bytes: of memory for the spans that are not settled.
    """
    if not isinstance(source, StoreSource):
        return None
    if source.rows(question.start_nano, question.end_nano) <= EXACT_SPANS:
        return None
    tables = source.rollups.still()
    settled = tables.settled()
    draft = newest(tables, settled, taught)
    span = source.range()
    if span is None or (settled < 0 and draft is None):
        return None
    start = span[0] if question.start_nano is None else question.start_nano
    end = span[1] + 1 if question.end_nano is None else question.end_nano
    start, end = start // width_nano * width_nano, -(-end // width_nano) * width_nano
    if not taught_by(tables, start, end) <= {digest(taught)}:
        return None
    aligned = replace(question, start_nano=start, end_nano=end)
    unsettled = Unsettled(source.path, left=Left(tables, settled, draft))
    if most_bytes is not None and unsettled.weight(None, None) > most_bytes:
        return None
    tail = Soon(lambda: memory.get(unsettled, aligned, taught=taught))
    return Long(aligned, tables, source, tail, name_of(settled), draft)
