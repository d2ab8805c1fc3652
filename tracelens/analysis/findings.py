"""Findings: what is wrong with a mesh in known ways, with evidence and cost.

Owns the list, its order, and the columns that all share. The patterns and
their thresholds are in `request_patterns.py`, `path_patterns.py` and
`serial.py`; `docs/findings.md` says what to do about each.

    retries                 a request took more than one attempt; cost: failed attempts and the time between
    lock_step_retries       retries that come after a pause without jitter; cost: the pauses
    timeout_before_answer   the sender gave up while the callee was at work; cost: the time waited
    sidecar_heavy           proxies take a fifth of the calls' time or more; cost: that time
    n_plus_one              one call makes the same call again and again, one after the other;
                            cost: all of them but the longest
    chatty_edge             one call makes ten calls or more to one callee, however;
                            cost: their time on the critical path but that of the longest there
    serial_fan_out          one call makes calls of several kinds, one after the other; cost: all but the longest,
                            which is what could be won at most: whether one needs the other's answer is not seen
    uninstrumented_gap      time that no span tells of: calls to where nobody writes spans, or own time around calls
                            that is a fifth of its traces' critical paths or more; cost: that time
    outside_parent          children begin before or end after their parent; cost: their time outside it
    unrouted                a proxy had no route for what was asked; cost unknown
    broken_propagation      a workload that is called makes calls that begin traces of their own: it passes no
                            headers on; cost unknown
    request_id_dropped      a workload's calls have another x-request-id than it was called with: Envoys sample them
                            anew, so that of sampled traces most end at it; cost unknown
    missing_spans           calls whose callee's span should be there and is not, with the reason; cost unknown
    clock_skew              two hosts' clocks differ for certain (`clocks.py`), and spans had to be moved; cost none
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tracelens._link import Bool
from tracelens.analysis import critical_path, hits, path_patterns, request_patterns, serial
from tracelens.analysis.hits import ROUTE, Pattern, milliseconds, text
from tracelens.analysis.hops import requests as all_requests
from tracelens.analysis.looked import look
from tracelens.analysis.on_path import begun, routes_begun
from tracelens.calls import Calls
from tracelens.calls import calls as fold
from tracelens.forest import Forest

FINDINGS = pl.Schema(
    {
        "kind": pl.String(),
        "service": pl.String(),
        "route": pl.String(),
        "traces": pl.Int64(),
        "cost_nano": pl.Int64(),  # over all these traces; null when it cannot be told
        "path_nano": pl.Int64(),  # of the cost, on the critical paths of these traces, each from its primary root
        # Path time a trace in the slow band of the traces that begin at the same route, those without the pattern
        # among them: at or above p99 if these are 30 or more, else at or above p90; null when they are fewer. Of
        # serial_fan_out by how much `what-if --parallel` lowers that percentile.
        "p99_nano": pl.Int64(),
        "evidence": pl.String(),
        "exemplar_trace_id": pl.Binary(),  # most of the path time, then of the cost, then the smallest id
        "entry_service": pl.String(),  # the route that traces begin at which p99_nano is about:
        "entry_route": pl.String(),  # the one with most of the path time
        "slow_percent": pl.Int64(),  # 1 or 10: the slow band; null with p99_nano
        "slow_traces": pl.Int64(),  # in it
    }
)
LEAST_SKEW_NANO = 100_000  # less is within what clocks and their readers do
ORDER = ("path_nano", "cost_nano", "traces", "kind", *ROUTE, "evidence")


def findings(
    forest: Forest,
    calls: Calls,
    requests: pl.DataFrame,
    *,
    clocks: pl.DataFrame | None = None,
    spans: Bool | None = None,
    whole: Bool | None = None,
) -> pl.DataFrame:
    """Return FINDINGS, those with most time on critical paths first.

    requests: REQUESTS of `hops.py` that are asked about, in their order; spans: which spans are, all unless told.
    whole: which traces count for p99_nano, all unless told. clocks: CLOCKS of `clocks.py`.
    """
    asked = np.ones(len(forest.parent), np.bool_) if spans is None else spans
    counted = np.ones(forest.traces, np.bool_) if whole is None else whole
    tables = {name: table.lazy() for name, table in look(forest, calls, requests, asked=asked, counted=counted).items()}
    rows = found([tables], tables)
    won = {row["index"]: serial.won(row, *serial.timed(row, forest, calls, counted)) for row in serial.asked(rows)}
    return listed(rows, won, clocks)


def found(parts: Sequence[Mapping[str, pl.LazyFrame]], every: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
    """Return findings, the costliest first, as FINDINGS and `AT` have them.

    parts: LOOKED of `looked.py` of some traces each; every: of all together. What a serial fan-out wins of p99 is not
    projected yet.
    """
    known = request_patterns.shared(every["requests"], every["attempts"])
    told, groups = hits.told(_patterns(every, known))
    routes = routes_begun(every["traces"])
    sums, slow = hits.added(
        [hits.summed(_patterns(part, known), groups, begun(part["traces"].collect(), routes)) for part in parts]
    )
    return (
        told.lazy()
        .join(sums.lazy(), on="finding", validate="1:1")
        .join(slow.lazy(), on="finding", how="left", validate="1:1")
        .join(routes.lazy(), on="begin", how="left", validate="m:1")
        .with_columns(p99_nano=pl.col("slow_nano") // pl.col("slow_traces"))
        .rename({"trace_id": "exemplar_trace_id"})
        .sort(ORDER, descending=[True] * 3 + [False] * 4, nulls_last=True)
        .collect()
    )


def _patterns(looked: Mapping[str, pl.LazyFrame], known: request_patterns.Shared) -> list[Pattern]:
    return [
        *request_patterns.patterns(looked, known),
        serial.serial_fan_out(looked["fan_out"]),
        *path_patterns.patterns(looked),
    ]


def listed(rows: pl.DataFrame, won: Mapping[int, int], clocks: pl.DataFrame | None) -> pl.DataFrame:
    """Return FINDINGS. rows: as `found` has them; won: of serial fan-outs, by row; clocks: CLOCKS of `clocks.py`."""
    projected = pl.Series([won.get(index) for index in range(len(rows))], dtype=pl.Int64)
    p99 = pl.when(kind=serial.KIND).then(projected).otherwise("p99_nano")
    costs = pl.col("p99_nano").is_not_null()
    shown = rows.with_columns(p99_nano=p99).with_columns(
        pl.when(costs).then(name).alias(name) for name in ("slow_percent", "slow_traces")
    )
    every = [shown, *([] if clocks is None else [_clock_skew(clocks)])]
    return pl.concat([one.select(FINDINGS.names()).cast(FINDINGS) for one in every]).sort(
        ORDER, descending=[True] * 3 + [False] * 4, nulls_last=True
    )


def _clock_skew(clocks: pl.DataFrame) -> pl.DataFrame:
    certain = (pl.col("low_nano") > LEAST_SKEW_NANO) | (pl.col("high_nano") < -LEAST_SKEW_NANO)
    ahead = pl.col("offset_nano") > 0
    doubt = (pl.col("high_nano") - pl.col("low_nano")) / 2
    unknown = {name: pl.lit(None, kind) for name, kind in FINDINGS.items()}
    return clocks.filter(pl.col("offset_nano").is_not_null() & certain).select(
        **unknown
        | {
            "kind": pl.lit("clock_skew"),
            "service": pl.when(ahead).then("other").otherwise("host"),
            "traces": pl.col("n"),
            "evidence": text(
                "its clock is ", milliseconds(pl.col("offset_nano").abs()), " ms ahead of ",
                pl.when(ahead).then("host").otherwise("other"), "'s, to ±", milliseconds(doubt), " ms, by ",
                pl.col("n"), " calls; ", pl.col("shifted"), " spans were moved",
            ),
        }
    )  # fmt: skip


def warm() -> None:
    """Compile the kernels, or load them from the cache."""
    forest, _ = critical_path.warm()
    folded = fold(forest)
    findings(forest, folded, all_requests(forest, folded))
