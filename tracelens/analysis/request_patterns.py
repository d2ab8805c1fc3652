"""Patterns that requests show: what callers and proxies do with them.

Owns thresholds and evidence of what is told from REQUESTS of `hops.py` alone;
a pattern that those do not show for certain is not told. Patterns of what lies
between and beyond requests are `path_patterns.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from tracelens.analysis.hits import HIT, NOBODY, ROUTE, Pattern, count, milliseconds, text
from tracelens.analysis.routes import ranked
from tracelens.names import NO_ROUTE

HEAVY_SHARE = 0.2  # of the calls' time
ENOUGH = 20  # calls, before a share is told
SAME_CALLS = 5  # by one call, of one kind
MANY_CALLS = 10  # by one call, to one callee
OWN_TRACES = 0.5  # of a workload's calls that begin traces of their own
PAUSES = 20  # before a retry, before it is told that they do not differ
STEP_SHARE = 0.1  # of a pause: full jitter differs by more than all of it, the ±20 % of gRPC by a third
STEP_NANO = 500_000  # less is what timers differ by

WHY = {
    "propagation": "it begins traces of its own, the headers are lost on the way to it",
    "sampling": "they were sampled away, which a request id or a flag that is passed on would prevent",
    "unknown": "they were lost, and nothing tells where",
}

AFTER = ("caller", *ROUTE)  # whose attempts are compared
TIMED = pl.col("timed") & (pl.col("pause_nano") >= 0)
WHOLE = ~pl.col("censored")
N, HITS = pl.col("n"), pl.col("hits")
UNKNOWN = pl.lit(None, pl.String)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all requests together tell: where a part of them is looked at, it is told."""

    taking: pl.Series  # workloads that tell of calls that they take
    pauses: pl.DataFrame  # (caller, service, route, number of the attempt) -> spread, typical, like


def shared(requests: pl.LazyFrame, attempts: pl.LazyFrame) -> Shared:
    """Return what is told by all of LOOKED's requests and attempts."""
    taking = requests.filter("covered").select("service").drop_nulls().unique()
    pause = pl.col("pause_nano")
    # Each attempt has a pause of its own where they grow.
    pauses = (
        attempts.filter(TIMED)
        .group_by(*AFTER, "number")
        .agg(spread=ranked(pause, 90) - ranked(pause, 10), typical=ranked(pause, 50), like=pl.len())
    )
    told, found = pl.collect_all([taking, pauses], engine="streaming")
    return Shared(told["service"], found)


def patterns(looked: Mapping[str, pl.LazyFrame], known: Shared) -> list[Pattern]:
    """Return what requests show. looked: LOOKED of `looked.py`."""
    every = looked["requests"]
    return [
        _retries(looked["tried"]),
        _lock_step(looked["attempts"], known.pauses),
        _timeouts(every),
        _sidecar_heavy(every),
        _repeated(looked["of_kind"]),
        _chatty(looked["to_callee"]),
        _unrouted(every),
        _broken_propagation(every, known.taking),
        _request_id_dropped(every),
        _missing_spans(every),
    ]


def _retries(tried: pl.LazyFrame) -> Pattern:
    every = tried.filter(WHOLE).with_columns(
        cost="retried_nano", path="retried_path_nano", hit=pl.col("tries") > 1, row="top"
    )
    return Pattern(
        kind="retries",
        every=every,
        by=ROUTE,
        more={"tries": pl.col("tries").max()},
        evidence=text(
            count(HITS), " of ", count(N), " calls took more than one attempt, ", count(pl.col("tries")), " at most"
        ),
    )


def _lock_step(attempts: pl.LazyFrame, pauses: pl.DataFrame) -> Pattern:
    hit = (pl.col("like") >= PAUSES) & (
        pl.col("spread") <= pl.max_horizontal(STEP_NANO, STEP_SHARE * pl.col("typical"))
    )
    every = (
        attempts.filter(TIMED)
        .with_columns(cost="pause_nano", path="pause_path_nano", until=pl.col("row") + 1)
        .join(pauses.lazy(), on=[*AFTER, "number"], validate="m:1", nulls_equal=True)
        .with_columns(hit=hit)
    )
    first = pl.col("number") == pl.col("number").filter(HIT).min()
    return Pattern(
        kind="lock_step_retries",
        every=every,
        by=AFTER,
        more={name: pl.col(name).filter(first).first() for name in ("typical", "spread")},
        evidence=text(
            count(HITS), " of ", count(N), " retries by ", NOBODY, " come ", milliseconds(pl.col("typical")),
            " ms after the attempt before, 8 of 10 within ", milliseconds(pl.col("spread")),
            " ms of each other: who failed together comes again together",
        ),
    )  # fmt: skip


def _timeouts(requests: pl.LazyFrame) -> Pattern:
    waited = pl.col("duration_nano").filter(HIT).max() // 1_000_000
    return Pattern(
        kind="timeout_before_answer",
        every=requests.with_columns(
            cost="duration_nano", path="path_nano", hit=pl.col("timed_out") & pl.col("covered"), row="top"
        ),
        by=ROUTE,
        more={"waited": waited},
        evidence=text(
            count(HITS), " of ", count(N), " calls timed out at their sender, after ", pl.col("waited"), " ms"
        ),
    )


def _sidecar_heavy(requests: pl.LazyFrame) -> Pattern:
    proxies = ("egress_proxy_nano", "ingress_proxy_nano")
    told = pl.any_horizontal(pl.col(name).is_not_null() for name in proxies) & ~pl.col("by_gateway")
    every = requests.filter(WHOLE & told).with_columns(
        cost=pl.sum_horizontal(proxies), path="proxies_path_nano", hit=pl.lit(value=True), row="top",
        until=pl.col("top") + 1,
    )  # fmt: skip
    percent = (100 * pl.col("cost").sum() // pl.col("duration_nano").sum().replace(0, None)).cast(pl.Int64)
    return Pattern(
        kind="sidecar_heavy",
        every=every,
        by=ROUTE,
        more={"percent": percent},
        kept=(pl.col("percent") >= 100 * HEAVY_SHARE) & (N >= ENOUGH),
        evidence=text("proxies took ", pl.col("percent"), " % of the time of ", count(N), " calls"),
    )


def _repeated(of_kind: pl.LazyFrame) -> Pattern:
    return Pattern(
        kind="n_plus_one",
        every=of_kind.with_columns(hit=(pl.col("made") >= SAME_CALLS) & pl.col("serial")),
        by=("caller", *ROUTE),
        more={"made": pl.col("made").max()},
        evidence=text(
            count(HITS), " of ", count(N), " calls of ", NOBODY, " make this one over and over, one after the other, ",
            "up to ", count(pl.col("made")), " times",
        ),
    )  # fmt: skip


def _chatty(to_callee: pl.LazyFrame) -> Pattern:
    every = to_callee.with_columns(hit=pl.col("made") >= MANY_CALLS, cost="path_beyond", path="path_beyond")
    return Pattern(
        kind="chatty_edge",
        every=every.filter(pl.col("service").is_not_null()).drop("route"),
        by=("service", "maker", "maker_route"),
        more={"mean": pl.col("made").mean(), "p90": ranked(pl.col("made"), 90), "route": UNKNOWN},
        kept=pl.max_horizontal("mean", "p90") >= MANY_CALLS,
        evidence=text(
            "each call of ", pl.col("maker"), " ", pl.col("maker_route"), " that calls it does so ",
            pl.col("mean").round(1), " times in the mean, ", pl.col("p90"), " at p90, n ", count(N),
        ),
    )  # fmt: skip


def _unrouted(requests: pl.LazyFrame) -> Pattern:
    return Pattern(
        kind="unrouted",
        every=requests.with_columns(hit=pl.col("route") == NO_ROUTE),
        by=("service",),
        more={"route": pl.lit(NO_ROUTE)},
        evidence=text(count(HITS), " of ", count(N), " requests asked for what no route was configured for"),
        costs=False,
    )


def _of_callers(requests: pl.LazyFrame) -> pl.LazyFrame:
    """Return requests as their caller's."""
    return requests.drop(ROUTE).rename({"caller": "service"})


def _broken_propagation(requests: pl.LazyFrame, taking: pl.Series) -> Pattern:
    known = requests.filter(pl.col("caller").is_in(taking.implode()).fill_null(value=False))
    return Pattern(
        kind="broken_propagation",
        every=_of_callers(known).with_columns(hit=pl.col("caller_call").is_null()),
        by=("service",),
        more={"route": UNKNOWN},
        kept=HITS >= OWN_TRACES * N,
        evidence=text(count(HITS), " of the ", count(N), " calls it makes begin a trace of their own"),
        costs=False,
    )


def _request_id_dropped(requests: pl.LazyFrame) -> Pattern:
    known = requests.filter(pl.col("new_request_id").is_not_null())
    return Pattern(
        kind="request_id_dropped",
        every=_of_callers(known).with_columns(hit="new_request_id"),
        by=("service",),
        more={"route": UNKNOWN},
        kept=HITS >= OWN_TRACES * N,
        evidence=text(
            count(HITS), " of the ", count(N), " calls it makes have a new x-request-id: they are sampled anew"
        ),
        costs=False,
    )


def _missing_spans(requests: pl.LazyFrame) -> Pattern:
    # What may still come is no finding, nor is a callee outside the mesh: `edges` counts both.
    lost = pl.col("missing").is_in(list(WHY)).fill_null(value=False)
    why = pl.col("missing").cast(pl.String).fill_null("").replace(WHY)
    return Pattern(
        kind="missing_spans",
        every=requests.filter("expected").with_columns(hit=lost, why=why),
        by=("caller", "service"),
        more={"route": UNKNOWN, "commonest": pl.col("why").filter(HIT).mode().sort().first()},
        evidence=text(
            count(HITS), " of ", count(N), " calls of ", NOBODY, " have no span of it: ", pl.col("commonest")
        ),
        costs=False,
    )
