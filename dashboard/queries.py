"""What the pages ask: a Lens and a Question in, plain values out.

Owns joining the Lens's answers into what one page shows. It knows nothing of
Streamlit and nothing below the Lens; words and colours are the views'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from dashboard.courses import Course, course
from dashboard.profiles import PathNode, Reason, Why, change_of, tree, why
from dashboard.stretches import Stretch, bounds, stretch
from tracelens.lens import (
    ALL,
    Answer,
    Band,
    Box,
    Change,
    Chart,
    Charted,
    Comparison,
    Found,
    Heatmap,
    Lens,
    Method,
    Question,
    Rank,
    Route,
    Since,
    SourceInfo,
    TraceAnswer,
)
from tracelens.lens.charts import is_rolled

__all__ = ["QUERIES", "Overview", "PathNode", "Paths", "Reason", "RoutePage", "Slow", "Why"]

POINTS = 48  # of a sparkline: two pixels each
LINE_POINTS = (12, 60)  # of the lines over the heatmap: fewest and most
LINE_CALLS = 80  # a point should stand for, or its p99 is one call's luck
GRID = (120, 44)  # columns and rows of the heatmap
EXEMPLARS = 8
TYPICAL: Band = (0.0, 50.0)
FEW = 1_000  # calls; with fewer the slowest 1 % are a handful and say little


@dataclass(frozen=True, slots=True)
class Overview:
    """How everything fares."""

    summary: Mapping[str, Any]  # of the first calls of traces
    course: Course  # of the same
    routes: list[dict[str, Any]]  # ROUTES rows, most impact first
    courses: Mapping[Route, Course]
    source: SourceInfo
    method: Method
    length_nano: int  # of the window


@dataclass(frozen=True, slots=True)
class Slow:
    """One route's slow band against its typical one."""

    band: Band
    why: Why


@dataclass(frozen=True, slots=True)
class RoutePage:
    """A route without its box."""

    row: Mapping[str, Any] | None  # of ROUTES; None when it has no call
    grid: Heatmap
    course: Course
    tail: Box
    slow: Slow
    since: Since | None  # when its p99 changed
    source: SourceInfo
    method: Method
    length_nano: int


@dataclass(frozen=True, slots=True)
class Paths:
    """Critical paths summed: a tree with the root first."""

    nodes: list[PathNode]
    entries: int
    source: SourceInfo
    method: Method
    change: list[int] | None = None  # of each node, what its own time a call is beyond another band's


@dataclass(frozen=True, slots=True)
class Graph:
    """Who calls whom."""

    edges: list[dict[str, Any]]  # EDGES rows, the busiest first
    services: list[str]
    source: SourceInfo
    method: Method
    length_nano: int  # of the window


@dataclass(frozen=True, slots=True)
class EdgePanel:
    """One edge."""

    hops: list[dict[str, Any]]  # HOPS rows
    layers: pl.DataFrame  # LAYERS


def overview(lens: Lens, question: Question) -> Overview:
    """Return the numbers of the first page."""
    routes, summary, series = lens.overview(question, POINTS)
    start, end = bounds(question, routes.source)
    last = routes.source.end_unix_nano
    parts = series.rows.partition_by("service", "route", as_dict=True, maintain_order=True)
    courses = {key: course(rows, start, end, POINTS, last) for key, rows in parts.items()}
    nothing = course(series.rows.head(0), start, end, POINTS, last)
    return Overview(
        summary=summary.rows.row(0, named=True),
        course=courses.pop((None, None), nothing),
        routes=routes.rows.to_dicts(),
        courses={(str(key[0]), str(key[1])): value for key, value in courses.items()},
        source=routes.source,
        method=routes.method,
        length_nano=end - start,
    )


def earlier(lens: Lens, question: Question) -> tuple[dict[str, Any], dict[Route, dict[str, Any]]] | None:
    """Return summary and routes of the window before; None when the data does not reach back over all of it."""
    if question.start_nano is None or question.end_nano is None:
        return None
    begin = 2 * question.start_nano - question.end_nano
    reach = lens.now_range()
    if reach is None or reach[0] > begin:
        return None
    before = replace(question, start_nano=begin, end_nano=question.start_nano)
    rows = lens.routes(before).rows.to_dicts()
    return lens.summary(before).rows.row(0, named=True), {(row["service"], row["route"]): row for row in rows}


def since(lens: Lens, question: Question, key: Route) -> Since | None:
    """Return when a route's p99 changed, as the sparklines could show it."""
    return lens.since(question, key, POINTS)


def slow(lens: Lens, question: Question, route: Route, calls: int) -> Slow:
    """Return why the slowest 1 % of a route's calls are slow; of few calls, the slowest 10 %."""
    band: Band = (99.0, 100.0) if calls >= FEW else (90.0, 100.0)
    return Slow(band, why(lens.profile(question, route, (TYPICAL, band)).rows, TYPICAL, band))


def route(lens: Lens, question: Question, key: Route) -> RoutePage:
    """Return one route: grid, lines, slow tail and why it is slow."""
    answer = lens.routes(question)
    found = answer.rows.filter((pl.col("service") == key[0]) & (pl.col("route") == key[1]))
    row = found.row(0, named=True) if len(found) else None
    start, end = bounds(question, answer.source)
    points = min(max((row["n"] if row else 0) // LINE_CALLS, LINE_POINTS[0]), LINE_POINTS[1])
    series = lens.series(question, key, points).rows
    return RoutePage(
        row=row,
        grid=lens.heatmap(question, key, *GRID),
        course=course(series, start, end, points, answer.source.end_unix_nano),
        tail=lens.slow_tail(question, key),
        slow=slow(lens, question, key, row["n"] if row else 0),
        since=lens.since(question, key, points),
        source=answer.source,
        method=answer.method,
        length_nano=end - start,
    )


def graph(lens: Lens, question: Question, gateways: bool) -> Graph:
    """Return the service graph."""
    answer = lens.edges(question, gateways=gateways)
    start, end = bounds(question, answer.source)
    rows = answer.rows.to_dicts()
    names = {name for row in rows for name in (row["caller"], row["callee"]) if name is not None}
    return Graph(rows, sorted(names), answer.source, answer.method, end - start)


def clocks(lens: Lens, question: Question) -> pl.DataFrame:
    """Return by how much hosts' clocks differ."""
    return lens.clocks(question).rows


def edge(lens: Lens, question: Question, caller: str, callee: str) -> EdgePanel:
    """Return the hops of one edge and what its calls' time is made of."""
    hops = lens.hops(question).rows.filter((pl.col("caller") == caller) & (pl.col("callee") == callee))
    return EdgePanel(hops.to_dicts(), lens.layers(question, callee, caller=caller).rows)


def layers(lens: Lens, question: Question, key: Route) -> pl.DataFrame:
    """Return what the time of a route's calls is made of, from caller to callee."""
    return lens.layers(question, key[0], route=key[1]).rows


def coverage(lens: Lens, question: Question) -> float | None:
    """Return the share of calls that have their callee's span, of those that should."""
    return lens.coverage(question)


def contrast(lens: Lens, question: Question, key: Route, box: tuple[int, int, int, int]) -> pl.DataFrame:
    """Return what the calls in a box share that the others do not."""
    return lens.contrast(question, key, to_box(box)).rows


def exemplars(lens: Lens, question: Question, key: Route, box: tuple[int, int, int, int]) -> pl.DataFrame:
    """Return the slowest calls in a box."""
    return lens.exemplars(question, key, to_box(box), EXEMPLARS).rows


def paths(lens: Lens, question: Question, key: Route | None, band: Band, minus: Band | None = None) -> Paths:
    """Return the critical paths of a route's calls in a band of latency, or of whole traces without a route.

    minus: another band, beyond which the change of each node is told.
    """
    answer = lens.profile(question, key, (band,) if minus is None else (band, minus))
    name = ("", "all traces") if key is None else key
    rows = answer.rows.filter(pl.col("band") == f"{band[0]:g}-{band[1]:g}")
    nodes, entries = tree(rows, name)
    if minus is None:
        return Paths(nodes, entries, answer.source, answer.method)
    others, other_entries = tree(answer.rows.filter(pl.col("band") == f"{minus[0]:g}-{minus[1]:g}"), name)
    change = change_of(nodes, entries, others, other_entries)
    return Paths(nodes, entries, answer.source, answer.method, change)


def fixes(lens: Lens, question: Question, key: Route | None, scale: float) -> Answer:
    """Return what scaling the own time of each node would win, the best first."""
    return lens.fixes(question, key, scale)


def what_if(
    lens: Lens, question: Question, key: Route | None, fix: tuple[str, str, str] | None, scale: float, sidecars: bool
) -> Mapping[str, Any] | None:
    """Return the WHAT_IF row of a route, or of whole traces; None when no call is whole.

    fix: service, operation and layer of what is scaled. sidecars: they stay.
    """
    changes = [] if fix is None else [Change(service=fix[0], operation=fix[1], layer=fix[2], scale=scale)]
    if not sidecars:
        changes.append(Change(layer="sidecar", scale=0.0))
    rows = lens.what_if(question, key, changes).rows
    asked = rows.filter(pl.col("service").is_null()) if key is None else rows
    return asked.row(0, named=True) if len(asked) else None


def routes(lens: Lens, question: Question) -> Answer:
    """Return the routes, most impact first."""
    return lens.routes(question)


def services(lens: Lens, question: Question) -> list[str]:
    """Return the names of the services that have calls."""
    return lens.routes(question).rows["service"].unique().sort().to_list()


def traces(lens: Lens, question: Question) -> Answer:
    """Return the slowest traces."""
    return lens.traces(question, slowest=12)


def search(lens: Lens, question: Question, shortest: int | None, longest: int | None) -> Found:
    """Return the slowest traces that match and take so long as a whole, open ones too."""
    return lens.search(question, shortest, longest)


def findings(lens: Lens, question: Question) -> Answer:
    """Return what is wrong in known ways, that with most time on critical paths first."""
    return lens.findings(question)


def versions(lens: Lens, question: Question) -> pl.DataFrame:
    """Return which versions served each service's calls, the latest first."""
    return lens.versions(question).rows


def compare(
    lens: Lens, question: Question, start: int | None, end: int | None, where: tuple[str, ...], key: Route | None
) -> Comparison:
    """Return what differs in `question` from the side of that window and filter, of one route or all."""
    a = Question(start_nano=start, end_nano=end, where=where)
    return lens.compare(a, lens, question, route=key)


def spread(
    lens: Lens,
    question: Question,
    start: int | None,
    end: int | None,
    where: tuple[str, ...],
    key: Route,
    steps: int,
) -> tuple[Heatmap, Heatmap]:
    """Return how long a route's calls take on both sides, each in so many steps, over all its time."""
    a = Question(start_nano=start, end_nano=end, where=where)
    return lens.heatmap(a, key, 1, steps), lens.heatmap(question, key, 1, steps)


def chart(
    lens: Lens, question: Question, measure: str, by: str, where: str, points: int
) -> tuple[Charted, Stretch | None]:
    """Return a chart of one measure over time; where: its own filter, beside the bar's.

    With it comes what of a long window it was made of, where rollups do not tell what it shows.
    """
    narrowed = replace(question, where=(*question.where, where)) if where else question
    asked = Chart(measure=measure, by=by)
    if is_rolled(asked) and lens.routes(narrowed).method.percentile != "exact":
        return lens.chart(narrowed, asked, points), None
    looked = stretch(lens, narrowed, None)
    return lens.chart(looked.narrow(narrowed), asked, points), looked


def trace(lens: Lens, question: Question, trace_id: str) -> TraceAnswer:
    """Return one trace. Raises InputError when it is not there, UsageError when that is no trace id."""
    del question  # a trace is itself in every window
    return lens.trace(trace_id)


def rank(lens: Lens, question: Question, like: tuple[str, str, str], nano: int, at_nano: int) -> Rank | None:
    """Return where a span stands among those like it; None where they are very many."""
    del question  # it is asked of the traces around it
    return lens.rank(like, nano, at_nano)


def to_box(box: tuple[int, int, int, int]) -> Box:
    start, end, low, high = box
    return Box(start_nano=start, end_nano=end, low_nano=low, high_nano=high)


QUERIES: dict[str, Callable[..., Any]] = {
    "overview": overview,
    "earlier": earlier,
    "since": since,
    "slow": slow,
    "route": route,
    "graph": graph,
    "clocks": clocks,
    "edge": edge,
    "stretch": stretch,
    "layers": layers,
    "coverage": coverage,
    "contrast": contrast,
    "exemplars": exemplars,
    "paths": paths,
    "fixes": fixes,
    "what_if": what_if,
    "routes": routes,
    "services": services,
    "traces": traces,
    "search": search,
    "findings": findings,
    "versions": versions,
    "compare": compare,
    "spread": spread,
    "chart": chart,
    "trace": trace,
    "rank": rank,
}

BANDS: dict[str, Band] = {
    "all": ALL,
    "0-50": TYPICAL,
    "50-90": (50.0, 90.0),
    "90-99": (90.0, 99.0),
    "99-100": (99.0, 100.0),
    "90-100": (90.0, 100.0),
}
