"""The Lens: every question a person can ask, asked of a store or of a dump.

Owns nothing but the asking: one file a question, one method each. Command
line and dashboard ask here and nothing below.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager

from tracelens.analysis.bands import Band
from tracelens.analysis.explain import TYPICAL
from tracelens.analysis.rollups import HOUR_NANO, MINUTE_NANO
from tracelens.analysis.whatif import Change
from tracelens.lens import charts as _charts
from tracelens.lens import compare as _compare
from tracelens.lens import edges as _edges
from tracelens.lens import explain as _explain
from tracelens.lens import findings as _findings
from tracelens.lens import hops as _hops
from tracelens.lens import large as _large
from tracelens.lens import large_findings as _large_findings
from tracelens.lens import large_requests as _requests
from tracelens.lens import long_route as _long_route
from tracelens.lens import paths as _paths
from tracelens.lens import ranks as _ranks
from tracelens.lens import route as _route
from tracelens.lens import routes as _routes
from tracelens.lens import search as _search
from tracelens.lens import since as _since
from tracelens.lens import traces as _traces
from tracelens.lens import versions as _versions
from tracelens.lens import whatif as _whatif
from tracelens.lens.analysed import SETTLE_NANO, Analysed, Memory, Still
from tracelens.lens.charts import Chart, Charted
from tracelens.lens.compare import Comparison
from tracelens.lens.long import NO_KEYS, ROUTE_KEYS, Long, Longs, long_window
from tracelens.lens.parts import Parts
from tracelens.lens.paths import ALL, Walk
from tracelens.lens.pruned import Pruning
from tracelens.lens.question import Answer, Box, Explanation, Heatmap, Method, Question, SourceInfo, TraceAnswer
from tracelens.lens.ranks import Rank
from tracelens.lens.room import Room, free_memory
from tracelens.lens.routes import Route
from tracelens.lens.search import Found
from tracelens.lens.since import Since
from tracelens.lens.sources import Source, StoreSource, open_source
from tracelens.names import NOTHING
from tracelens.store import shelf as shelves
from tracelens.store.shelf import Shelf
from tracelens.taught import Taught

__all__ = [
    "ALL",
    "SETTLE_NANO",
    "Answer",
    "Band",
    "Box",
    "Change",
    "Chart",
    "Charted",
    "Comparison",
    "Explanation",
    "Found",
    "Heatmap",
    "Lens",
    "Method",
    "Question",
    "Rank",
    "Room",
    "Route",
    "Shelf",
    "Since",
    "SourceInfo",
    "TraceAnswer",
    "Walk",
    "free_memory",
]

TICK_NANO = 2_000_000_000  # how often a version changes while traces settle


class Lens:
    """Answers about one source. Safe to share between threads."""

    def __init__(self, source: Source, taught: Taught = NOTHING, room: Room | None = None) -> None:
        self.source = source
        self.taught = taught
        self.room = room or Room(memory=free_memory() // 2)
        self._memory: Memory | Still = Memory()
        self._longs = Longs()
        self._pruning = Pruning()
        self._shelves: dict[str, Shelf] = {}
        self._seen = ("", 0)  # the last version of the source, and when it was first seen

    @classmethod
    def open(
        cls,
        source: str,
        *,
        input_format: str | None = None,
        strict: bool = False,
        taught: Taught = NOTHING,
        room: Room | None = None,
    ) -> Lens:
        """Return the Lens on a store, a data directory, or a dump.

        taught: what the mesh's owner says of it. room: how much memory answers over many traces may take, half of what
        is free unless told; what is more goes by disk. Those about single calls (series, heatmaps, exemplars, traces)
        take what they need.
        Raises InputError, at the first question, when there is nothing that can be read.
        """
        return cls(open_source(source, input_format=input_format, strict=strict), taught, room)

    def ready(self) -> None:
        """Open a store, so that the first question need not. Raises StoreError when it cannot be read."""
        if isinstance(self.source, StoreSource):
            self.source.rollups.still()

    def still(self) -> Lens:
        """Return a Lens whose answers agree with each other: spans that come meanwhile are in none of them."""
        found = copy.copy(self)
        found._memory = Still(self._memory)
        found._longs = Longs(self._longs)
        return found

    def shelf(self, kind: str) -> Shelf:
        """Return what people keep beside the spans, boards or views; of a dump, as long as this Lens lives."""
        if kind not in self._shelves:
            source = self.source
            kept = shelves.shelf_of(source.path, kind) if isinstance(source, StoreSource) else shelves.Memory()
            self._shelves[kind] = kept
        return self._shelves[kind]

    def _parts(self, question: Question, *, skew: bool = True) -> AbstractContextManager[Parts | None]:
        return self.room.parts(self.source, question, self.taught, skew=skew)

    def _get(self, question: Question, *, skew: bool = True) -> Analysed:
        return self._memory.get(self.source, question, taught=self.taught, skew=skew)

    def _selected(self, question: Question, *, skew: bool = True) -> Analysed:
        """Return what answers about the calls that a question selects look at: they may be all that is read."""
        return self._memory.get(self._pruning.of(self.source, question), question, taught=self.taught, skew=skew)

    def _selected_parts(self, question: Question, *, skew: bool = True) -> AbstractContextManager[Parts | None]:
        return self.room.parts(self._pruning.of(self.source, question), question, self.taught, skew=skew)

    def version(self) -> str:
        """Return a text that changes when answers may: spans came, or traces settled meanwhile."""
        version = self.source.version()
        if not self.source.live:
            return version
        changed = self._changed_at(version)
        now = time.time_ns()
        tick = min(now, changed + SETTLE_NANO + TICK_NANO) // TICK_NANO
        return f"{version}.{tick}"

    def _changed_at(self, version: str) -> int:
        """Return when this Lens first saw a version of its source."""
        if self._seen[0] != version:
            self._seen = (version, time.time_ns())
        return self._seen[1]

    def now_range(self) -> tuple[int, int] | None:
        """Return (earliest start, latest end) of the source's spans; None when it has none."""
        return self.source.range()

    def _long(
        self, question: Question, keys: Collection[str] = ROUTE_KEYS, width_nano: int = MINUTE_NANO
    ) -> Long | None:
        """Return how to answer from rollups; None where spans are looked at. keys: what filters may ask for."""
        if not all(one.key in keys for one in question.conditions):
            return None

        def make() -> Long | None:
            return long_window(self.source, question, self._memory, self.taught, width_nano, self.room.memory)

        return self._longs.get(self.source.version(), (question, width_nano), make)

    def routes(self, question: Question) -> Answer:
        """Which routes are there, how fast, how often wrong."""
        if (rolled := self._long(question)) is not None:
            return rolled.routes()
        with self._selected_parts(question) as parts:
            return _routes.routes(self._selected(question), question) if parts is None else _large.routes(parts)

    def route_names(self, question: Question) -> Answer:
        """What named each route."""
        return _routes.route_names(self._selected(question), question)

    def versions(self, question: Question) -> Answer:
        """Which versions served each service's calls, and when."""
        return _versions.versions(self._selected(question), question)

    def summary(self, question: Question) -> Answer:
        """How all first calls of traces fare together."""
        if (rolled := self._long(question)) is not None:
            return rolled.summary()
        return _routes.summary(self._selected(question), question)

    def series(self, question: Question, route: Route | None, points: int) -> Answer:
        """How that went over time."""
        if (rolled := self._long(question)) is not None:
            return rolled.series(route, points)
        return _routes.series(self._selected(question), question, route, points)

    def overview(self, question: Question, points: int) -> tuple[Answer, Answer, Answer]:
        """Routes, summary and series of all, which is quicker than one after the other."""
        if (rolled := self._long(question)) is not None:
            return rolled.overview(points)
        return self.routes(question), self.summary(question), self.series(question, None, points)

    def since(self, question: Question, route: Route, points: int) -> Since | None:
        """When a route's p99 changed, told from so many stretches of time; None: it has not."""
        return _since.since(self.series(question, route, points), question, points)

    def chart(self, question: Question, asked: Chart, points: int) -> Charted:
        """One measure over time, a line a group."""
        if _charts.is_rolled(asked) and (rolled := self._long(question)) is not None:
            return _charts.chart_of_rollups(rolled, asked, points)
        question = asked.of(question)
        # What requests are is decided by all of the window together.
        given, get = (self._parts, self._get) if asked.of_hops else (self._selected_parts, self._selected)
        with given(question) as parts:
            if parts is not None:
                return _charts.chart_of_parts(parts, asked, points)
            return _charts.chart(get(question), question, asked, points)

    def heatmap(self, question: Question, route: Route, columns: int, rows: int) -> Heatmap:
        """A route's calls by start and duration."""
        if (rolled := self._long(question)) is not None:
            return _long_route.heatmap(rolled, route, columns, rows)
        return _route.heatmap(self._selected(question), question, route, columns, rows)

    def slow_tail(self, question: Question, route: Route, share: float = 0.1) -> Box:
        """The box over a route's slowest calls."""
        if (rolled := self._long(question)) is not None:
            return _long_route.slow_tail(rolled, route, share)
        return _route.slow_tail(self._selected(question), question, route, share)

    def contrast(self, question: Question, route: Route, box: Box) -> Answer:
        """What the calls in a box share that the route's others do not."""
        return _route.contrast(self.source, self._selected(question), question, route, box)

    def exemplars(self, question: Question, route: Route, box: Box, limit: int) -> Answer:
        """The slowest calls in a box."""
        if (rolled := self._long(question)) is not None:
            return _long_route.exemplars(rolled, route, box, limit)
        return _route.exemplars(self._selected(question), question, route, box, limit)

    def profile(
        self,
        question: Question,
        route: Route | None,
        bands: Sequence[Band] = (ALL,),
        *,
        walk: Walk | None = None,
        skew: bool = True,
    ) -> Answer:
        """Where the latency of a route's calls goes, or without a route that of whole traces."""
        walk = walk or Walk()
        if walk == Walk() and skew and (rolled := self._long(question, NO_KEYS, HOUR_NANO)) is not None:
            return rolled.profile(route, bands)
        with self._selected_parts(question, skew=skew) as parts:
            if parts is not None:
                return _large.profile(parts, route, bands, walk)
            return _paths.profile(self._selected(question, skew=skew), question, route, bands, walk)

    def shares(self, question: Question, route: Route | None, *, walk: Walk | None = None, skew: bool = True) -> Answer:
        """Percentiles of what each node of a profile takes, call by call: they do not add up."""
        walk = walk or Walk()
        with self._selected_parts(question, skew=skew) as parts:
            if parts is not None:
                return _large.shares(parts, route, walk)
            return _paths.shares(self._selected(question, skew=skew), question, route, walk)

    def sections(
        self, question: Question, route: Route | None, *, walk: Walk | None = None, skew: bool = True
    ) -> Answer:
        """The critical path of each call, section by section."""
        window = self._selected(question, skew=skew)
        return _paths.sections(window, question, route, walk or Walk())

    def explain(
        self,
        question: Question,
        route: Route | None,
        *,
        typical: Band = TYPICAL,
        slow: Band | None = None,
        walk: Walk | None = None,
        skew: bool = True,
    ) -> Explanation:
        """Why a route's slow calls are slow, or without a route whole traces."""
        walk = walk or Walk()
        with self._selected_parts(question, skew=skew) as parts:
            if parts is not None:
                return _large.explanation(parts, route, walk, typical, slow)
            window = self._selected(question, skew=skew)
            return _explain.explanation(self.source, window, question, route, walk, typical=typical, slow=slow)

    def what_if(
        self,
        question: Question,
        route: Route | None,
        changes: Sequence[Change],
        *,
        seed: int = 0,
        walk: Walk | None = None,
        skew: bool = True,
    ) -> Answer:
        """Percentiles after some changes, beside the measured ones, of a route or of each."""
        walk = walk or Walk()
        with self._selected_parts(question, skew=skew) as parts:
            if parts is not None:
                return _large.what_if(parts, route, changes, seed, walk)
            return _whatif.what_if(self._selected(question, skew=skew), question, route, changes, seed=seed, walk=walk)

    def fixes(
        self,
        question: Question,
        route: Route | None,
        scale: float = 0.5,
        *,
        walk: Walk | None = None,
        skew: bool = True,
    ) -> Answer:
        """What each single fix would win, the best first, of a route or of whole traces."""
        walk = walk or Walk()
        with self._selected_parts(question, skew=skew) as parts:
            if parts is not None:
                return _large.fixes(parts, route, scale, walk)
            return _whatif.fixes(self._selected(question, skew=skew), question, route, scale, walk=walk)

    def hops(self, question: Question) -> Answer:
        """Where the time of calls goes between callers and callees."""
        with self._parts(question) as parts:
            return _hops.hops(self._get(question), question) if parts is None else _requests.hops(parts)

    def edges(self, question: Question, *, gateways: bool = True) -> Answer:
        """Who calls whom. gateways: show gateways and waypoints, or join what is on their two sides."""
        if (rolled := self._long(question, NO_KEYS)) is not None:
            return rolled.edges(gateways=gateways)
        with self._parts(question) as parts:
            if parts is not None:
                return _requests.edges(parts, gateways=gateways)
            return _edges.edges(self._get(question), question, gateways=gateways)

    def layers(self, question: Question, callee: str, *, caller: str | None = None, route: str | None = None) -> Answer:
        """What the time of calls to a workload is made of, of all callers and routes unless told."""
        with self._parts(question) as parts:
            if parts is not None:
                return _requests.layers(parts, callee, caller, route)
            return _hops.layers(self._get(question), question, callee, caller, route)

    def coverage(self, question: Question) -> float | None:
        """The share of calls that have their callee's span, of those that should; None when none should."""
        if (rolled := self._long(question, NO_KEYS)) is not None:
            return rolled.coverage
        with self._parts(question) as parts:
            return _hops.coverage_of(self._get(question), question) if parts is None else _requests.coverage_of(parts)

    def clocks(self, question: Question) -> Answer:
        """By how much hosts' clocks differ."""
        with self._parts(question) as parts:
            return _findings.clocks(self._get(question), question) if parts is None else _requests.clocks(parts)

    def findings(self, question: Question) -> Answer:
        """What is wrong in known ways, and what it costs."""
        with self._parts(question) as parts:
            if parts is not None:
                return _large_findings.findings(parts)
            return _findings.findings(self._get(question), question)

    def compare(
        self,
        question: Question,
        other: Lens,
        against: Question,
        *,
        route: Route | None = None,
        walk: Walk | None = None,
        skew: bool = True,
    ) -> Comparison:
        """What differs in `other`, asked `against`, which may be this Lens asked something else."""
        with self._parts(question, skew=skew) as parts, other._parts(against, skew=skew) as others:
            a = self._side(question, parts, skew=skew)
            return _compare.compare(a, other._side(against, others, skew=skew), route, walk or Walk())

    def _side(self, question: Question, parts: Parts | None, *, skew: bool) -> _compare.Looked:
        if parts is not None:
            return _large.Side(parts)
        return _compare.InMemory(self._get(question, skew=skew), question)

    def traces(self, question: Question, slowest: int | None = None, limit: int = 100) -> Answer:
        """Traces that have a matching call."""
        if (rolled := self._long(question, NO_KEYS)) is not None:
            return rolled.traces(slowest, limit)
        return _traces.traces(self._selected(question), question, slowest, limit)

    def search(self, question: Question, shortest: int | None = None, longest: int | None = None) -> Found:
        """The slowest traces that have a matching call, open ones too, of those that take so long as a whole."""
        if (rolled := self._long(question, NO_KEYS)) is not None:
            return _search.search_long(rolled, shortest, longest)
        return _search.search(self._selected(question), question, shortest, longest)

    def rank(self, like: tuple[str, str, str], nano: int, at_nano: int) -> Rank | None:
        """Where a duration stands among spans like it, of traces in the hour of `at_nano`; None where they are many.

        like: service, operation and layer.
        """
        start, end = _ranks.around(at_nano)
        if self.source.weight(start, end) > _ranks.MOST_BYTES:
            return None
        return _ranks.rank(self._get(Question(start_nano=start, end_nano=end)), like, nano, start, end)

    def trace(self, trace_id: str, *, walk: Walk | None = None, skew: bool = True) -> TraceAnswer:
        """One trace in tree order with its critical path."""
        return _traces.trace(self.source, trace_id, walk or Walk(), taught=self.taught, skew=skew)
