"""Compare: what differs between two sides, route by route and node by node, and whether chance explains it.

Owns COMPARE: which changes are told, which of them are tested, and the verdict. The tests themselves are
`significance.py`'s; give it CALLS of two sides, and for nodes their profiles.

    p50, p90, p99   the duration at rank floor((n−1)·q). Tested by a permutation test of the ranks around the
                    percentile of both sides together; interval from the order statistics of each side (Woodruff
                    1952), joined (MOVER, Zou & Donner 2008)
    mean            Welch's test and interval, and the test of sides that are alike: the larger p-value counts
    error_rate      Fisher's exact test; Wilson's intervals, joined
    calls           a second: told, not tested, for how many come is their callers' doing
    node            time on the critical path per call, by exact sums: as the mean, of one call-path node

Calls of one trace depend on each other: variances are those of sums over traces. Aborted calls (`censored`) stay
out of durations. All but `calls` counts what was seen, whatever the rates that traces were sampled at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens.analysis import significance as tests
from tracelens.analysis.means import shared_out
from tracelens.analysis.routes import KEY, WHOLE
from tracelens.analysis.significance import I64, Sides, Sums
from tracelens.analysis.turns import turns_of
from tracelens.histogram import rank

COMPARE = pl.Schema(
    {
        "kind": pl.String(),  # route, or a node of one
        "service": pl.String(),  # of the route, as are namespace and route
        "namespace": pl.String(),
        "route": pl.String(),
        "path": pl.List(pl.String()),  # of a node, as in PROFILE; null for routes, as are layer, node and parent
        "layer": pl.String(),
        "node": pl.Int64(),
        "parent": pl.Int64(),
        "measure": pl.String(),  # MEASURES; of a node its mean
        "a": pl.Float64(),  # nanoseconds, calls a second, or a share of calls; null when the side has none
        "b": pl.Float64(),
        "n_a": pl.Int64(),  # calls seen that it rests on
        "n_b": pl.Int64(),
        "difference_nano": pl.Int64(),  # b − a, of durations; null for others, as are its bounds
        "low_nano": pl.Int64(),  # 95 % interval; null where so few calls give no bound
        "high_nano": pl.Int64(),
        "difference": pl.Float64(),  # b − a, of calls and error_rate, in their own unit; null for durations
        "low": pl.Float64(),
        "high": pl.Float64(),
        "design_effect": pl.Float64(),  # the variance over that of as many calls, each of a trace of its own
        "p_value": pl.Float64(),  # null when not tested
        "adjusted_p": pl.Float64(),  # Benjamini-Hochberg over all routes, or all nodes, of a measure
        "significant": pl.Boolean(),
        "note": pl.String(),  # why there is no verdict; or that it is new, or has vanished
    }
)

DURATIONS = ("mean", "p50", "p90", "p99")
MEASURES = ("calls", "error_rate", *DURATIONS)
PERCENTILES = {"p50": 50, "p90": 90, "p99": 99}
# Calls a side, and traces: with fewer less than three would lie above the percentile, and less than ten above p90.
LEAST = {"error_rate": 30, "mean": 30, "p50": 30, "p90": 100, "p99": 300}
LEAST_WITH_NODE = 10  # calls in which a node has time: five on one side and none on the other are chance, 1 in 16
LEVEL = 0.05
NEW, VANISHED = "new", "vanished"
UNTESTED = "told, not tested"
ONLY_ABORTED = "no whole call on one side"
METHOD = (
    "b - a, 95 % intervals: percentiles by order statistics (Woodruff, joined by MOVER), means by Welch, error rates "
    "by Wilson; p-values: percentiles by permutation of the ranks around them, means by Welch and by permutation "
    "(the larger), error rates by Fisher; variances of sums over traces; adjusted after Benjamini-Hochberg over all "
    "routes, measure by measure; significant: adjusted p at most 0.05, of enough calls; n seen, whatever was sampled"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side: its CALLS, and how many seconds they are of."""

    calls: pl.LazyFrame
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The calls of one route on one side."""

    calls: float  # requests they stand for
    error: npt.NDArray[np.bool_]
    trace: npt.NDArray[np.uint64]
    duration: I64  # of whole calls, ascending
    whole_trace: npt.NDArray[np.uint64]


_NOTHING = _Seen(
    calls=0.0,
    error=np.zeros(0, np.bool_),
    trace=np.zeros(0, np.uint64),
    duration=np.zeros(0, np.int64),
    whole_trace=np.zeros(0, np.uint64),
)


def routes(a: Side, b: Side) -> pl.DataFrame:
    """Return COMPARE rows of all routes of either side, one a measure, by name."""
    found: dict[tuple[str | None, ...], list[dict[str, Any]]] = {}
    for of_a, of_b in (map(_by_route, some) for some in turns_of([a.calls, b.calls], KEY)):
        for key in {*of_a, *of_b}:
            about = {"kind": "route", **dict(zip(KEY, key, strict=True))}
            one, other = of_a.get(key, _NOTHING), of_b.get(key, _NOTHING)
            rate = _told("calls", one.calls / a.seconds, other.calls / b.seconds, len(one.error), len(other.error))
            changes = (rate, _error_rate(one, other), *_durations(one, other))
            found[key] = [{**about, **change} for change in changes]
    return _judged(chain.from_iterable(found[key] for key in sorted(found, key=lambda key: [n or "" for n in key])))


def _by_route(calls: pl.LazyFrame) -> dict[tuple[str | None, ...], _Seen]:
    """Return what was seen of each route: (service, namespace, route)."""
    trace = pl.col("trace_id").hash()
    grouped = (
        calls.sort("duration_nano")
        .group_by(KEY)  # keeps the order within each
        .agg(
            calls=pl.col("weight").sum(),
            error="error",
            trace=trace,
            duration=pl.col("duration_nano").filter(WHOLE),
            whole_trace=trace.filter(WHOLE),
        )
        .collect()
    )
    arrays = ("error", "trace", "duration", "whole_trace")
    return {
        tuple(grouped[name][i] for name in KEY): _Seen(
            calls=grouped["calls"][i], **{name: grouped[name][i].to_numpy() for name in arrays}
        )
        for i in range(len(grouped))
    }


def _told(measure: str, a: float | None, b: float | None, n_a: int, n_b: int, note: str = UNTESTED) -> dict[str, Any]:
    """Return a change without a verdict. note: why, unless a side has no call."""
    absent = NEW if n_a == 0 else VANISHED if n_b == 0 else note
    a, b = a if n_a else None, b if n_b else None
    difference = None if a is None or b is None else b - a
    which = "difference_nano" if measure in DURATIONS else "difference"
    return {"measure": measure, "a": a, "b": b, "n_a": n_a, "n_b": n_b, which: difference, "note": absent}


def _tested(told: dict[str, Any], interval: tuple[float, float], p_value: float, effect: float) -> dict[str, Any]:
    """Return a change that is told, with its test."""
    low, high = (bound if math.isfinite(bound) else None for bound in interval)
    bounds: dict[str, Any] = {"low": low, "high": high}
    if told["measure"] in DURATIONS:
        bounds = {
            "low_nano": None if low is None else math.floor(low),
            "high_nano": None if high is None else math.ceil(high),
        }
    return {**told, **bounds, "p_value": p_value, "design_effect": effect, "note": None}


def _too_few(measure: str, calls: tuple[int, int], traces: tuple[int, int]) -> str | None:
    """Return why a measure is not tested; None when it is."""
    least = LEAST[measure]
    if min(calls) < least:
        return f"fewer than {least} calls a side"
    return f"fewer than {least} traces a side" if min(traces) < least else None


def _codes(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> I64:
    """Return traces as codes from 0."""
    return np.unique(np.concatenate([a, b]), return_inverse=True)[1].astype(np.int64)


def _error_rate(a: _Seen, b: _Seen) -> dict[str, Any]:
    n_a, n_b = len(a.error), len(b.error)
    hits_a, hits_b = int(a.error.sum()), int(b.error.sum())
    told = _told("error_rate", hits_a / max(n_a, 1), hits_b / max(n_b, 1), n_a, n_b)
    if min(n_a, n_b) == 0:
        return told
    sides = Sides(np.concatenate([a.error, b.error]).astype(np.int64), _codes(a.trace, b.trace), n_a)
    if note := _too_few("error_rate", (n_a, n_b), sides.traces):
        return {**told, "note": note}
    effect = sides.design_effect(sides.contrast(sides.values - sides.values.mean()))
    interval = tests.joined(
        hits_a / n_a,
        tests.share_interval(hits_a, n_a, effect),
        hits_b / n_b,
        tests.share_interval(hits_b, n_b, effect),
    )
    return _tested(told, interval, tests.share_test(hits_a, n_a, hits_b, n_b, effect), effect)


def _durations(a: _Seen, b: _Seen) -> list[dict[str, Any]]:
    n_a, n_b = len(a.duration), len(b.duration)
    told = [_told("mean", _mean(a.duration), _mean(b.duration), n_a, n_b)]
    for measure, percent in PERCENTILES.items():
        values = [int(side[rank(len(side), percent)]) if len(side) else None for side in (a.duration, b.duration)]
        told.append(_told(measure, values[0], values[1], n_a, n_b))
    if min(n_a, n_b) == 0:
        aborted = len(a.error) > 0 and len(b.error) > 0
        return [{**one, "note": ONLY_ABORTED} for one in told] if aborted else told
    sides = Sides(np.concatenate([a.duration, b.duration]), _codes(a.whole_trace, b.whole_trace), n_a)
    return [_of_duration(sides, one) for one in told]


def _mean(values: I64) -> int | None:
    """Return the mean, rounded down."""
    return int(values.sum()) // len(values) if len(values) else None


def _of_duration(sides: Sides, told: dict[str, Any]) -> dict[str, Any]:
    """Return a change of durations with its test, if there are enough calls."""
    measure = told["measure"]
    if note := _too_few(measure, (sides.n_a, sides.n_b), sides.traces):
        return {**told, "note": note}
    if measure == "mean":
        mean = tests.mean_change(sides)
        return _tested(told, mean.interval, mean.p_value, mean.effect)
    percent = PERCENTILES[measure]
    apart = sides.all_apart
    of_a = tests.percentile_interval(sides.a, None if apart else sides.trace[: sides.n_a], percent)
    of_b = tests.percentile_interval(sides.b, None if apart else sides.trace[sides.n_a :], percent)
    scores = tests.scores_around(sides.values, percent)
    p_value, effect = tests.score_test(sides, scores)
    return _tested(told, tests.joined(told["a"], of_a, told["b"], of_b), p_value, effect)


def _judged(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Return COMPARE: p-values adjusted for as many as were tested of the measure, and the verdict."""
    listed = list(rows)
    frame = pl.DataFrame([{name: row.get(name) for name in COMPARE} for row in listed], schema=COMPARE)
    adjusted = np.full(len(listed), np.nan)
    measures = frame["measure"].to_numpy()
    p_values = frame["p_value"].fill_null(np.nan).to_numpy()
    for measure in MEASURES:
        family = measures == measure
        adjusted[family] = tests.benjamini_hochberg(p_values[family])
    return frame.with_columns(adjusted_p=pl.Series(adjusted, nan_to_null=True)).with_columns(
        significant=(pl.col("adjusted_p") <= LEVEL).fill_null(value=False)
    )


def numbered(calls: pl.DataFrame, of: pl.DataFrame) -> pl.DataFrame:
    """Return the whole calls of routes, each with its route's number: the row of `of` that names it, as text."""
    keys = of.select(KEY).with_row_index("number").with_columns(pl.col("number").cast(pl.String))
    return calls.filter(WHOLE).join(keys, on=KEY, validate="m:1", nulls_equal=True)


def nodes(a: pl.DataFrame, b: pl.DataFrame, means: pl.DataFrame) -> pl.DataFrame:
    """Return COMPARE rows of the call-path nodes of some routes: those that changed most first, route by route.

    a, b: PROFILE_BUCKETS of the sides, in which a route is its number in `means`. means: COMPARE rows of the routes'
    means. The nodes' `a` sum to the route's, and so do `b` and `difference_nano`: in whole nanoseconds, shared out by
    the largest remainder. A node that a side does not have took 0 there.
    """
    of_a, of_b = _profiles(a), _profiles(b)
    rows: list[dict[str, Any]] = []
    for number, mean in enumerate(means.iter_rows(named=True)):
        found = _of_route(of_a.get(str(number), {}), of_b.get(str(number), {}), mean)
        rows += sorted(found, key=lambda row: (-abs(row["difference_nano"]), row["path"], row["node"]))
    return _judged(rows)


_Node = dict[str, Any]


def _profiles(buckets: pl.DataFrame) -> dict[str, dict[int, _Node]]:
    """Return the nodes of each route with their sums over all buckets, by node."""
    summed = (
        buckets.group_by("route", "node")
        .agg(
            pl.col("path", "layer", "parent").first(),
            pl.col("exclusive_nano", "squares_nano2", "traces", "entries").sum(),
        )
        .sort("route", "node")
    )
    found: dict[str, dict[int, _Node]] = {}
    for row in summed.iter_rows(named=True):
        found.setdefault(row["route"], {})[row["node"]] = row
    return found


def _of_route(a: dict[int, _Node], b: dict[int, _Node], mean: dict[str, Any]) -> list[dict[str, Any]]:
    n_a, n_b = (sum(node["entries"] for node in side.values()) for side in (a, b))
    if min(n_a, n_b) == 0:
        return []
    every = sorted({*a, *b})
    of_a, of_b = (shared_out([_sum(side, node) for node in every], n) for side, n in ((a, n_a), (b, n_b)))
    rows = []
    for node, share_a, share_b in zip(every, of_a, of_b, strict=True):
        known = a.get(node) or b[node]
        about = {name: mean[name] for name in KEY} | {name: known[name] for name in ("path", "layer", "node", "parent")}
        row = {"kind": "node", **about, **_told("mean", share_a, share_b, n_a, n_b)}
        few = sum(side[node]["traces"] for side in (a, b) if node in side) < LEAST_WITH_NODE
        if mean["p_value"] is None or few:
            row["note"] = f"in fewer than {LEAST_WITH_NODE} calls" if few else mean["note"]
        else:
            change = tests.mean_change_of_sums(_sums(a, node, n_a), _sums(b, node, n_b), mean["design_effect"])
            row = _tested(row, change.interval, change.p_value, change.effect)
        if node not in a or node not in b:
            row["note"] = NEW if node not in a else VANISHED
        rows.append(row)
    return rows


def _sum(side: dict[int, _Node], node: int) -> int:
    return int(side[node]["exclusive_nano"]) if node in side else 0


def _sums(side: dict[int, _Node], node: int, n: int) -> Sums:
    return Sums(n, _sum(side, node), int(side[node]["squares_nano2"]) if node in side else 0)


def ranked(of_routes: pl.DataFrame, of_nodes: pl.DataFrame) -> pl.DataFrame:
    """Return COMPARE rows of routes, each with its nodes behind it: the most significant changes first.

    First the routes with a significant change, by their least adjusted p-value; then those that are new or have
    vanished; then the others.
    """
    grew = (pl.col("b") / pl.col("a") - 1).abs().fill_nan(None)
    tested = pl.col("measure") != "calls"
    order = of_routes.group_by(KEY).agg(
        group=pl.when(pl.col("significant").any())
        .then(0)
        .when(pl.col("note").is_in([NEW, VANISHED]).any())
        .then(1)
        .otherwise(2),
        least=pl.col("adjusted_p").min(),
        then=pl.col("p_value").min(),
        most=grew.filter(tested).max(),
    )
    place = order.sort(
        "group",
        "least",
        "then",
        "most",
        *KEY,
        descending=[False, False, False, True, *(False for _ in KEY)],
        nulls_last=True,
    ).select(*KEY, place=pl.int_range(pl.len()))
    every = pl.concat([of_routes, of_nodes]).with_row_index("row")
    return every.join(place, on=KEY, validate="m:1", nulls_equal=True).sort("place", "row").select(COMPARE.names())
