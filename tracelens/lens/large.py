"""Answers about more spans than memory holds: the same as memory would have given, by parts.

Owns adding parts up. Percentiles and bands are exact: durations of all calls
are put in order, and only traces whose latency bucket a bound divides are
looked at a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens import histogram
from tracelens.analysis import fixes as fixing
from tracelens.analysis import routes as analysis
from tracelens.analysis import whatif
from tracelens.analysis.bands import EVERYTHING, Band, cuts_of
from tracelens.analysis.critical_path import sections
from tracelens.analysis.explain import SLOW_GROUP, TYPICAL_GROUP, bounds, explain, groups, slow_band
from tracelens.analysis.labels import NODE
from tracelens.analysis.profile import accumulate, cut_groups, merge
from tracelens.analysis.shares import SHARES, in_order, times
from tracelens.analysis.shares import shares as percentiles_of
from tracelens.analysis.turns import turns
from tracelens.analysis.whatif import Change
from tracelens.calls import CALLS
from tracelens.learned import Evidence
from tracelens.lens.analysed import Analysed
from tracelens.lens.compare import profile_of, seconds
from tracelens.lens.explain import explained, facts_of, looked_at
from tracelens.lens.parts import Parts
from tracelens.lens.paths import Walk, entries
from tracelens.lens.question import Answer, Explanation
from tracelens.lens.ranked import RANKED, Ranked
from tracelens.lens.routes import Route, is_route
from tracelens.lens.whatif import ROUTE

Rows = npt.NDArray[np.int64]

ROWS_HELD = 500_000  # of sums, before they are added up
NEEDED = [name for name in CALLS.names() if name not in ("span", "trace", "caller", "echo", "start_unix_nano")]


def routes(parts: Parts) -> Answer:
    """Return ROUTES rows, most impact first."""
    files = parts.gathered("routes", lambda window, _: {"calls": window.selected(parts.question).select(NEEDED)})
    calls = pl.scan_parquet(files["calls"])
    rows = [
        analysis.routes(some, weighted=parts.weighted).collect(engine="streaming")
        for some in turns(calls, analysis.KEY)
    ]
    found = pl.concat(rows) if rows else analysis.ROUTES.to_frame()
    return Answer(rows=analysis.by_impact(found), source=parts.info(), method=parts.method())


def profile(parts: Parts, route: Route | None, bands: Sequence[Band], walk: Walk) -> Answer:
    """Return PROFILE rows of a route, or of first calls of traces."""
    sums = _sums(parts, *_profiled(parts, route, walk), bands, walk)
    return Answer(rows=cut_groups(sums, bands), source=parts.info())


def explanation(parts: Parts, route: Route | None, walk: Walk, typical: Band, slow: Band | None) -> Explanation:
    """Return why the slow band of a route is slow."""
    every, files = _profiled(parts, route, walk)
    slow = slow_band(len(every)) if slow is None else slow
    bands = (typical, slow)
    sums = _sums(parts, every, files, bands, walk)
    of_band = [bounds(band, bands) for band in bands]
    grouped = [
        sums.filter(pl.col("bucket").is_between(low, high, closed="left")).with_columns(bucket=pl.lit(group, pl.Int32))
        for (low, high), group in zip(of_band, (TYPICAL_GROUP, SLOW_GROUP), strict=True)
    ]
    rows, totals = explain(pl.concat(grouped), typical, slow)
    of_call = groups(len(every), typical, slow)
    tail, rest = looked_at(np.flatnonzero(of_call == SLOW_GROUP), np.flatnonzero(of_call != SLOW_GROUP))
    ranks, place = np.unique(np.concatenate([tail, rest]), return_inverse=True)
    chosen = every.at(ranks)[place]
    full = parts.source.whole(chosen["trace_id"].unique(), parts.question.start_nano, parts.question.end_nano)
    window = parts.of(full)
    begins = _rows_of(window, chosen)
    return explained(
        facts_of(full, window, begins[: len(tail)], begins[len(tail) :]),
        rows,
        totals,
        (len(tail), len(rest)),
        parts.info(),
        parts.method(),
    )


def shares(parts: Parts, route: Route | None, walk: Walk) -> Answer:
    """Return SHARES rows of a route, or of first calls of traces."""
    every, sums = _profiled(parts, route, walk)
    named = cut_groups(_sums(parts, every, sums, EVERYTHING, walk), EVERYTHING)

    def work(window: Analysed, learned: Evidence) -> dict[str, pl.DataFrame]:
        start = entries(window, parts.question, route)
        found = sections(
            window.forest, start, tolerance=walk.tolerance, asynchronous=walk.asynchronous, clocks=learned.clocks
        )
        return {"times": times(window.forest, found, window.calls)}

    files = parts.gathered(f"shares {route!r} {walk!r}", work)
    rows = [
        percentiles_of(some, named, len(every)).drop_nulls("traces").collect(engine="streaming")
        for some in turns(pl.scan_parquet(files["times"]), ("node",))
    ]
    return Answer(rows=in_order(pl.concat(rows)) if rows else SHARES.to_frame(), source=parts.info())


def what_if(parts: Parts, route: Route | None, changes: Sequence[Change], seed: int, walk: Walk) -> Answer:
    """Return WHAT_IF rows: one route's, or of every route and of all first calls of traces."""

    def work(window: Analysed, learned: Evidence) -> dict[str, pl.DataFrame]:
        table = window.selected(parts.question).filter(pl.col("censored").not_())
        if route is not None:
            table = table.filter(is_route(route))
        begin = table["span"].to_numpy()
        told = table.select("service", "route", "is_root").with_columns(
            measured=pl.Series((window.forest.end - window.forest.start)[begin], dtype=pl.Int64),
            projected=pl.Series(
                whatif.project(
                    window.forest,
                    window.calls,
                    begin,
                    changes,
                    seed=seed,
                    tolerance=walk.tolerance,
                    asynchronous=walk.asynchronous,
                    clocks=learned.clocks,
                ),
                dtype=pl.Int64,
            ),
        )
        return {"times": told}

    files = parts.gathered(f"what-if {route!r} {list(changes)!r} {seed} {walk!r}", work)
    times = pl.scan_parquet(files["times"])
    found = [whatif.compared(some).collect(engine="streaming") for some in turns(times, ROUTE)]
    if route is None:
        together = times.filter("is_root").with_columns(pl.lit(None, pl.String).alias(name) for name in ROUTE)
        found.append(whatif.compared(together).collect(engine="streaming"))
    rows = pl.concat(found) if found else whatif.WHAT_IF.to_frame()
    return Answer(rows=whatif.by_change(rows), source=parts.info(), method=parts.method())


def fixes(parts: Parts, route: Route | None, scale: float, walk: Walk) -> Answer:
    """Return FIXES rows, those that win most of p99 first."""

    def work(window: Analysed, learned: Evidence) -> dict[str, pl.DataFrame]:
        start = entries(window, parts.question, route)
        tolerance, asynchronous, clocks = walk.tolerance, walk.asynchronous, learned.clocks
        found = sections(window.forest, start, tolerance=tolerance, asynchronous=asynchronous, clocks=clocks)
        return {
            "measured": _told(window, start).select("duration_nano"),
            "wins": fixing.wins(
                window.forest,
                found,
                window.calls,
                scale,
                tolerance=tolerance,
                asynchronous=asynchronous,
                clocks=clocks,
            ),
        }

    files = parts.gathered(f"fixes {route!r} {scale} {walk!r}", work)
    measured = np.sort(pl.read_parquet(files["measured"])["duration_nano"].to_numpy())
    rows = [
        fixing.ranked(some.collect(engine="streaming"), measured)
        for some in turns(pl.scan_parquet(files["wins"]), NODE)
    ]
    found = pl.concat(rows) if rows else fixing.FIXES.to_frame()
    return Answer(rows=fixing.best_first(found), source=parts.info(), method=parts.method())


class Side:
    """A side of a comparison whose spans are on disk."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._calls = parts.gathered(
            "calls", lambda window, _: {"calls": window.selected(parts.question).select(*NEEDED, "trace")}
        )
        self.info, self.method, self.weighted = parts.info(), parts.method(), parts.weighted
        self.seconds = seconds(parts.question, self.info)

    def calls(self) -> pl.LazyFrame:
        """Return CALLS that the side is about, without those columns that a comparison does not look at."""
        return pl.scan_parquet(self._calls["calls"])

    def profile(self, means: pl.DataFrame, walk: Walk) -> pl.DataFrame:
        """Return PROFILE_BUCKETS of the routes of `means`, by number, all calls in one bucket."""
        question = self._parts.question

        def work(window: Analysed, learned: Evidence) -> dict[str, pl.DataFrame]:
            return {"sums": profile_of(window, window.selected(question), means, walk, learned.clocks)}

        routes_ = means.select(analysis.KEY).rows()
        files = self._parts.gathered(f"nodes {routes_!r} {walk!r}", work)
        return merge([pl.read_parquet(file) for file in files["sums"]])


def _profiled(parts: Parts, route: Route | None, walk: Walk) -> tuple[Ranked, list[Path]]:
    """Return (all entries of a route, the files of their sums by bucket of latency, one a unit)."""

    def work(window: Analysed, learned: Evidence) -> dict[str, pl.DataFrame]:
        start = entries(window, parts.question, route)
        return {"entries": _told(window, start), "sums": _summed(window, start, walk, learned, None)}

    files = parts.gathered(f"profile {route!r} {walk!r}", work)
    return Ranked(files["entries"]), files["sums"]


def _sums(parts: Parts, every: Ranked, files: Sequence[Path], bands: Sequence[Band], walk: Walk) -> pl.DataFrame:
    """Return PROFILE_BUCKETS whose buckets are groups of the bands, of what `_profiled` has."""
    groups_ = every.groups(cuts_of(bands))
    divided = pl.col("bucket").is_in(groups_.divided)
    sums = Sums()
    for file in files:
        whole = pl.read_parquet(file).filter(~divided)
        sums.add(whole.with_columns(bucket=groups_.of_bucket().cast(pl.Int32)))
    for unit, file in zip(parts.buckets.units(), every.files, strict=True):
        some = pl.scan_parquet(file).filter(histogram.bucket(pl.col("duration_nano")).is_in(groups_.divided))
        again = some.with_columns(group=groups_.of_call()).filter(pl.col("group") >= 0).collect()
        if len(again):
            window = parts.again(unit, again["trace_id"].unique())
            group = np.array(again["group"].to_numpy(), np.int64)
            sums.add(_summed(window, _rows_of(window, again), walk, parts.learned or Evidence(), group))
    return sums.total()


class Sums:
    """PROFILE_BUCKETS added up, some at a time."""

    def __init__(self) -> None:
        self._held: list[pl.DataFrame] = []
        self._most = ROWS_HELD

    def add(self, part: pl.DataFrame) -> None:
        """Add a part; rows of negative groups are in no band."""
        self._held.append(merge([part.filter(pl.col("bucket") >= 0)]))
        if sum(map(len, self._held)) > self._most:
            self._held = [self.total()]
            self._most = max(ROWS_HELD, 2 * len(self._held[0]))  # or each part would be added to all of it

    def total(self) -> pl.DataFrame:
        """Return the sum."""
        return merge(self._held)


def _summed(window: Analysed, start: Rows, walk: Walk, learned: Evidence, group: Rows | None) -> pl.DataFrame:
    """Return PROFILE_BUCKETS of some entries."""
    forest, labels = window.forest, window.calls
    return accumulate(
        forest,
        sections(forest, start, tolerance=walk.tolerance, asynchronous=walk.asynchronous, clocks=learned.clocks),
        entries=start,
        route=None,
        service=labels.service,
        operation=labels.operation,
        layer=labels.layer,
        group=group,
    )


def _told(window: Analysed, start: Rows) -> pl.DataFrame:
    """Return one row an entry: trace_id, place in its trace, duration_nano."""
    forest = window.forest
    trace = forest.trace_of(start)
    return pl.DataFrame(
        {
            "trace_id": forest.spans["trace_id"].gather(start),
            "place": start - forest.trace_offsets[trace],
            "duration_nano": forest.end[start] - forest.start[start],
        },
        schema=RANKED,
    )


def _rows_of(window: Analysed, told: pl.DataFrame) -> Rows:
    """Return the rows of the forest where entries told by trace_id and place begin."""
    forest = window.forest
    first = pl.DataFrame(
        {"trace_id": forest.spans["trace_id"].gather(forest.trace_offsets[:-1]), "first": forest.trace_offsets[:-1]}
    )
    found = told.join(first, on="trace_id", how="left", validate="m:1", maintain_order="left")
    return np.array((found["first"] + found["place"]).to_numpy(), np.int64)
