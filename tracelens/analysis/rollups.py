"""Rollups: calls counted by time, route and log bucket, from which long windows are answered.

Owns the cells and the answers made of them. Cells add up in any order; which
traces they are of, and where they are kept, is `settle.py`'s. A percentile is
that of the bucket at its rank: at most 1 % off. Counts, sums and means of calls
that were not sampled are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from tracelens import histogram
from tracelens.analysis.coverage import COVERAGE, REASONS
from tracelens.analysis.edges import EDGES, busiest
from tracelens.analysis.profile import PROFILE_BUCKETS, merge
from tracelens.analysis.routes import KEY, ROUTES, Z95, by_impact
from tracelens.learned import DRAWS

MINUTE_NANO = 60_000_000_000
HOUR_NANO = 60 * MINUTE_NANO

# A cell has the start of its minute or hour, what is counted apart, and sums.
ROUTE_CELLS = pl.Schema(
    {
        "start_unix_nano": pl.Int64(),
        "service": pl.String(),
        "namespace": pl.String(),
        "route": pl.String(),
        "is_root": pl.Boolean(),
        "error": pl.Boolean(),
        "censored": pl.Boolean(),
        "timed_out": pl.Boolean(),
        "bucket": pl.Int32(),  # of the duration; null of censored calls, whose duration is unknown
        "n": pl.Int64(),
        "weight": pl.Float64(),  # requests they stand for
        "sum_nano": pl.Int64(),
        "weighted_nano": pl.Float64(),  # sum of duration times weight
        "max_nano": pl.Int64(),
        "trace_id": pl.Binary(),  # of the longest; of several the smallest
    }
)
ROUTE_PARTS = ("service", "namespace", "route", "is_root", "error", "censored", "timed_out", "bucket")
EDGE_CELLS = pl.Schema(
    {
        "start_unix_nano": pl.Int64(),
        "gateways": pl.Boolean(),  # false: callers and callees on the two sides of a gateway are joined
        "caller": pl.String(),
        "callee": pl.String(),
        "error": pl.Boolean(),
        "censored": pl.Boolean(),
        "bucket": pl.Int32(),
        "n": pl.Int64(),
        "weight": pl.Float64(),
        "sum_nano": pl.Int64(),
        "weighted_nano": pl.Float64(),
        "max_nano": pl.Int64(),
        "expected": pl.Int64(),  # of n, should have the callee's span
        "covered": pl.Int64(),  # of those, have it
        "unlinked": pl.Int64(),
        **{f"missing_{reason}": pl.Int64() for reason in REASONS},
    }
)
# PROFILE_BUCKETS of calls that begin in an hour.
PROFILE_CELLS = pl.Schema(
    {
        "start_unix_nano": pl.Int64(),
        "entry_service": pl.String(),  # whose calls they are, as is the route; null: first calls of traces
        "entry_route": pl.String(),
        **{name: kind for name, kind in PROFILE_BUCKETS.items() if name != "route"},
    }
)
PROFILE_PARTS = ("start_unix_nano", "entry_service", "entry_route", "bucket", "node")
# What else is known of the traces that began in a minute or hour, by name.
FACTS = pl.Schema(
    {
        "start_unix_nano": pl.Int64(),
        "what": pl.String(),  # one of the names below, or one of the beginnings and more
        "weight": pl.Float64(),  # requests that each stands for, where that differs
        "n": pl.Int64(),
    }
)
TRACES, COMPLETE, SPANS, LATE, ARRIVED = "traces", "complete traces", "spans", "late spans", "arrived"
TOLD, REPAIR, TAUGHT = "told:", "repair:", "taught:"
# Traces whose request ids were drawn by chance, by the workload they begin at; weight: the greatest id. At the hour
# they came.
DRAWN = "drawn:"
FACT_PARTS = ("what", "weight")
# One row a trace that is settled: what a search shows, and which traces come late if spans of them still do.
TRACE_ROWS = pl.Schema(
    {
        "trace_id": pl.Binary(),
        "service": pl.String(),  # of its first call, as is the route
        "route": pl.String(),
        "start_unix_nano": pl.Int64(),  # of its entry, as is the duration
        "duration_nano": pl.Int64(),
        "spans": pl.Int64(),
        "services": pl.Int64(),
        "errors": pl.Int64(),  # calls that failed
        "complete": pl.Boolean(),
        "end_unix_nano": pl.Int64(),  # of its last span
        "arrived": pl.Int64(),  # spans as they came, duplicates too
    }
)
EDGE_PARTS = ("gateways", "caller", "callee", "error", "censored", "bucket")
WHOLE = pl.col("bucket").is_not_null()
EXEMPLAR = pl.col("trace_id").sort_by("max_nano", "trace_id", descending=[True, False]).first()


def floor(time_nano: pl.Expr, width_nano: int) -> pl.Expr:
    """Return the start of the minute or hour that a time is in."""
    return time_nano - time_nano % width_nano  # of Int64 it is never negative


def route_cells(calls: pl.LazyFrame, width_nano: int) -> pl.LazyFrame:
    """Return ROUTE_CELLS of CALLS."""
    whole = pl.col("censored").not_()
    duration = pl.when(whole).then("duration_nano")
    told = calls.select(
        floor(pl.col("start_unix_nano"), width_nano),
        *(name for name in ROUTE_PARTS if name != "bucket"),
        "weight",
        "trace_id",
        bucket=histogram.bucket(duration),
        duration=duration,
    )
    return (
        told.group_by("start_unix_nano", *ROUTE_PARTS)
        .agg(
            n=pl.len().cast(pl.Int64),
            weight=pl.col("weight").sum(),
            sum_nano=pl.col("duration").sum(),
            weighted_nano=(pl.col("duration") * pl.col("weight")).sum(),
            max_nano=pl.col("duration").max(),
            trace_id=pl.col("trace_id").sort_by("duration", "trace_id", descending=[True, False]).first(),
        )
        .select(ROUTE_CELLS.names())
        .cast(ROUTE_CELLS)
    )


def edge_cells(requests: pl.DataFrame, joined: pl.DataFrame, width_nano: int) -> pl.DataFrame:
    """Return EDGE_CELLS of REQUESTS, and of the same with what is on two sides of a gateway joined."""
    return pl.concat([_edge_cells(requests, width_nano, True), _edge_cells(joined, width_nano, False)])


def _edge_cells(table: pl.DataFrame, width_nano: int, gateways: bool) -> pl.DataFrame:
    duration = pl.when(pl.col("censored").not_()).then("duration_nano")
    told = table.lazy().select(
        floor(pl.col("start_unix_nano"), width_nano),
        "caller",
        "error",
        "censored",
        "weight",
        "expected",
        "unlinked",
        gateways=pl.lit(gateways),
        callee="service",
        bucket=histogram.bucket(duration),
        duration=duration,
        covered=pl.col("covered") & pl.col("expected"),
        **{f"missing_{reason}": pl.col("missing") == reason for reason in REASONS},
    )
    counted = ("expected", "covered", "unlinked", *(f"missing_{reason}" for reason in REASONS))
    cells = told.group_by("start_unix_nano", *EDGE_PARTS).agg(
        pl.col(counted).sum(),
        n=pl.len().cast(pl.Int64),
        weight=pl.col("weight").sum(),
        sum_nano=pl.col("duration").sum(),
        weighted_nano=(pl.col("duration") * pl.col("weight")).sum(),
        max_nano=pl.col("duration").max(),
    )
    return cells.select(EDGE_CELLS.names()).cast(EDGE_CELLS).collect()


def added(cells: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return PROFILE_CELLS of several parts, added up."""
    every = pl.concat([PROFILE_CELLS.to_frame(), *cells])
    entry = pl.struct("start_unix_nano", "entry_service", "entry_route")
    numbered = every.with_columns(route=entry.rank("dense").cast(pl.String))
    of_entry = numbered.select("route", *PROFILE_PARTS[:3]).unique()
    merged = merge([numbered.select(PROFILE_BUCKETS.names())])
    named = merged.join(of_entry, on="route", validate="m:1")
    return named.select(PROFILE_CELLS.names()).sort(PROFILE_PARTS)


def drawn_facts(draws: pl.DataFrame, hour_nano: int) -> pl.DataFrame:
    """Return FACTS that tell DRAWS of an hour of arrival."""
    what = pl.concat_str(pl.lit(DRAWN), pl.col("begins"))
    told = draws.drop_nulls("begins").select(
        start_unix_nano=pl.lit(hour_nano), what=what, weight="greatest", n="traces"
    )
    return told.cast(FACTS)


def draws_of(facts: pl.DataFrame) -> pl.DataFrame:
    """Return the DRAWS that FACTS tell, of all their hours together."""
    told = facts.filter(pl.col("what").str.starts_with(DRAWN))
    return (
        told.group_by(begins=pl.col("what").str.strip_prefix(DRAWN))
        .agg(traces=pl.col("n").sum(), greatest=pl.col("weight").max())
        .cast(DRAWS)
        .sort("begins")
    )


def coarser(cells: pl.LazyFrame, width_nano: int, parts: Sequence[str] = ROUTE_PARTS) -> pl.LazyFrame:
    """Return cells of minutes added up to wider ones, or cells of the same width to one of each kind."""
    names = cells.collect_schema().names()
    how = {"max_nano": pl.col("max_nano").max(), "trace_id": EXEMPLAR}
    sums = [name for name in names if name not in ("start_unix_nano", *parts)]
    return (
        cells.with_columns(floor(pl.col("start_unix_nano"), width_nano))
        .group_by("start_unix_nano", *parts)
        .agg(how.get(name, pl.col(name).sum()) for name in sums)
        .select(names)
    )


def routes(cells: pl.LazyFrame, *, weighted: bool = False) -> pl.DataFrame:
    """Return ROUTES of cells, most impact first. weighted: calls stand for different numbers of requests."""
    by_bucket = _by_bucket(cells, KEY)
    counted = cells.group_by(KEY).agg(**_counts(), timed_out=_estimate(pl.col("timed_out")))
    places = _places(weighted=weighted)
    p50 = histogram.estimate(pl.col("bucket").get(places[50], null_on_oob=True))
    above = pl.col("bucket") > pl.col("bucket").get(places[50], null_on_oob=True)
    told = (
        by_bucket.group_by(KEY, maintain_order=True)
        .agg(
            **_percentiles(places),
            mean_nano=_mean(weighted=weighted),
            max_nano=pl.col("max_nano").max(),
            p99_low_nano=_at(_rank_place(_interval(-1))),
            p99_high_nano=_at(_rank_place(_interval(1))),
            bucket=pl.col("bucket").get(places[99], null_on_oob=True),
            impact_nano=((pl.col("weighted_nano") - pl.col("weight") * p50) * above)
            .sum()
            .clip(0)
            .round()
            .cast(pl.Int64),
        )
        .collect()
    )
    at_p99 = pl.col("bucket").is_in(told["bucket"].drop_nulls().unique().implode())  # names are looked at last
    exemplars = (
        cells.filter(at_p99)
        .join(told.lazy().select(*KEY, "bucket"), on=[*KEY, "bucket"], how="semi", nulls_equal=True)
        .group_by(KEY)
        .agg(exemplar_trace_id=EXEMPLAR)
    )
    for more in (told.lazy(), exemplars):
        counted = counted.join(more, on=KEY, how="left", validate="1:1", nulls_equal=True)
    found = counted.with_columns(
        error_rate=pl.col("errors") / pl.col("calls"), impact_nano=pl.col("impact_nano").fill_null(0)
    )
    return by_impact(found.select(ROUTES.names()).cast(ROUTES).collect())


def summary(cells: pl.LazyFrame, *, weighted: bool = False) -> pl.DataFrame:
    """Return one row over the first calls of traces: n, calls, errors, error_rate, p50, p90, p99."""
    roots = cells.filter("is_root")
    counted = roots.select(**_counts())
    told = _by_bucket(roots, ()).select(**_percentiles(_places(weighted=weighted)))
    rate = pl.when(pl.col("calls") > 0).then(pl.col("errors") / pl.col("calls"))
    every = pl.concat([counted, told], how="horizontal").with_columns(error_rate=rate).collect()
    return every.select("n", "calls", "errors", "p50_nano", "p90_nano", "p99_nano", "censored", "error_rate")


def measured(cells: pl.LazyFrame, keys: Sequence[str], *, weighted: bool = False) -> pl.LazyFrame:
    """Return a row for each group of cells: its keys, counts, percentiles and mean."""
    counted = cells.group_by(keys).agg(**_counts())
    times = _timed(_by_bucket(cells, keys), keys, weighted=weighted, mean_nano=_mean(weighted=weighted))
    return counted.join(times, on=keys, how="left", validate="1:1", nulls_equal=True)


def _timed(by_bucket: pl.LazyFrame, keys: Sequence[str], *, weighted: bool, **more: pl.Expr) -> pl.LazyFrame:
    """Return keys, percentiles and more of many groups: they are looked up when all are made, in half the time."""
    places = {f"place_{percent}": place for percent, place in _places(weighted=weighted).items()}
    told = by_bucket.group_by(keys, maintain_order=True).agg("bucket", "max_nano", **places, **more)

    def at(percent: int) -> pl.Expr:
        place = pl.col(f"place_{percent}")
        found = histogram.estimate(pl.col("bucket").list.get(place, null_on_oob=True)).round().cast(pl.Int64)
        return pl.min_horizontal(found, pl.col("max_nano").list.get(place, null_on_oob=True))

    return told.select(*keys, *more, **{f"p{percent}_nano": at(percent) for percent in (50, 90, 99)})


def edges(cells: pl.LazyFrame, *, gateways: bool, weighted: bool = False) -> pl.DataFrame:
    """Return EDGES of cells, the busiest first."""
    shown = cells.filter(pl.col("gateways") == gateways)
    keys = ("caller", "callee")
    covered, expected = pl.col("covered").sum(), pl.col("expected").sum()
    missing = [name for name in COVERAGE if name != "coverage"]
    counted = shown.group_by(keys).agg(
        **_counts(), coverage=pl.when(expected > 0).then(covered / expected), **_sums(*missing, "unlinked")
    )
    told = _timed(_by_bucket(shown, keys), keys, weighted=weighted)
    found = counted.join(told, on=keys, how="left", validate="1:1", nulls_equal=True)
    rate = pl.col("errors") / pl.col("calls")
    return busiest(found.with_columns(error_rate=rate).select(EDGES.names()).cast(EDGES)).collect()


def covered(cells: pl.LazyFrame) -> tuple[int, int]:
    """Return how many calls have their callee's span, of those that should, and how many should."""
    found, expected = cells.filter("gateways").select(pl.col("covered", "expected").sum()).collect().row(0)
    return found, expected


def _by_bucket(cells: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
    """Return whole calls by key and bucket, buckets in order."""
    return (
        cells.filter(WHOLE)
        .group_by(*keys, "bucket")
        .agg(pl.col("n", "weight", "sum_nano", "weighted_nano").sum(), pl.col("max_nano").max())
        .sort("bucket")
    )


def _sums(*names: str) -> dict[str, pl.Expr]:
    return {name: pl.col(name).sum() for name in names}


def _counts() -> dict[str, pl.Expr]:
    return {
        "n": pl.col("n").sum(),
        "calls": pl.col("weight").sum().round().cast(pl.Int64),
        "errors": _estimate(pl.col("error")),
        "censored": _estimate(pl.col("censored")),
    }


def _estimate(condition: pl.Expr) -> pl.Expr:
    return (condition * pl.col("weight")).sum().round().cast(pl.Int64)


def _rank_place(rank: pl.Expr) -> pl.Expr:
    """Return the place, among the buckets of a group in order, of the call at a rank."""
    return (pl.col("n").cum_sum() <= rank).sum().clip(0)


def _places(*, weighted: bool) -> dict[int, pl.Expr]:
    """Return the place of the bucket of each percentile, by the rules of `routes.py`."""
    if not weighted:
        return {percent: _rank_place((pl.col("n").sum() - 1) * percent // 100) for percent in (50, 90, 99)}
    weight = pl.col("weight")
    last = (weight / pl.col("n")).last()  # of one call: those of a bucket weigh about alike
    reached = {percent: (weight.sum() - last) * (percent / 100) * (1 + 1e-9) for percent in (50, 90, 99)}
    most = pl.len().cast(pl.Int64) - 1
    return {
        percent: pl.min_horizontal((weight.cum_sum() <= bound).sum().cast(pl.Int64), most).clip(0)
        for percent, bound in reached.items()
    }


def _interval(side: int) -> pl.Expr:
    """Return the rank of the lower (-1) or upper (1) end of the 95 % interval of p99."""
    n = pl.col("n").sum().cast(pl.Float64)
    middle, half = (n - 1) * 0.99, Z95 * (n * 0.99 * 0.01).sqrt()
    rank = (middle - half).floor() if side < 0 else pl.min_horizontal((middle + half).ceil(), n - 1)
    return rank.clip(0).cast(pl.Int64)


def _at(place: pl.Expr) -> pl.Expr:
    """Return what the bucket at a place stands for: no more than the longest call in it."""
    found = histogram.estimate(pl.col("bucket").get(place, null_on_oob=True)).round().cast(pl.Int64)
    return pl.min_horizontal(found, pl.col("max_nano").get(place, null_on_oob=True))


def _percentiles(places: dict[int, pl.Expr]) -> dict[str, pl.Expr]:
    return {f"p{percent}_nano": _at(place) for percent, place in places.items()}


def _mean(*, weighted: bool) -> pl.Expr:
    if weighted:
        return (pl.col("weighted_nano").sum() / pl.col("weight").sum()).floor().cast(pl.Int64, strict=False)
    return pl.col("sum_nano").sum() // pl.col("n").sum().replace(0, None)
