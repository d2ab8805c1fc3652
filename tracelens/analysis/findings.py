"""Findings: what is wrong with a mesh in known ways, with evidence and cost.

Owns the patterns and their thresholds. All are told from the requests of
`hops.py`; a pattern that those do not show for certain is not told.

    retries                 a request took more than one attempt; cost: failed attempts and the time between
    timeout_before_answer   the sender gave up while the callee was at work; cost: the time waited
    sidecar_heavy           proxies take a fifth of the calls' time or more; cost: that time
    n_plus_one              one call makes the same call again and again, one after the other;
                            cost: all of them but the longest
    serial_fan_out          one call makes calls of several kinds, one after the other; cost: all but the longest,
                            which is what could be won at most: whether one needs the other's answer is not seen
    unrouted                a proxy had no route for what was asked; cost unknown
    broken_propagation      a workload that is called makes calls that begin traces of their own: it passes no
                            headers on; cost unknown
    request_id_dropped      a workload's calls have another x-request-id than it was called with: Envoys sample them
                            anew, so that of sampled traces most end at it; cost unknown
    missing_spans           calls whose callee's span should be there and is not, with the reason; cost unknown
    clock_skew              two hosts' clocks differ for certain (`clocks.py`), and spans had to be moved; cost none
"""

from __future__ import annotations

from functools import reduce

import polars as pl

from tracelens.names import NO_ROUTE

FINDINGS = pl.Schema(
    {
        "kind": pl.String(),
        "service": pl.String(),
        "route": pl.String(),
        "traces": pl.Int64(),
        "cost_nano": pl.Int64(),  # over all these traces; null when it cannot be told
        "evidence": pl.String(),
        "exemplar_trace_id": pl.Binary(),  # the costliest, then the smallest id
    }
)
HEAVY_SHARE = 0.2  # of the calls' time
ENOUGH = 20  # calls, before a share is told
SAME_CALLS = 5  # by one call, of one kind
OTHER_CALLS = 3  # by one call, of different kinds
LEAST_SKEW_NANO = 100_000  # less is within what clocks and their readers do
OWN_TRACES = 0.5  # of a workload's calls that begin traces of their own

WHY = {
    "propagation": "it begins traces of its own, the headers are lost on the way to it",
    "sampling": "they were sampled away, which a request id or a flag that is passed on would prevent",
    "unknown": "they were lost, and nothing tells where",
}

WHOLE = ~pl.col("censored")
ROUTE = ("service", "route")


def findings(requests: pl.LazyFrame, clocks: pl.LazyFrame | None = None) -> pl.LazyFrame:
    """Return FINDINGS, the costliest first. requests: REQUESTS of `hops.py`; clocks: CLOCKS of `clocks.py`."""
    found = [
        _retries(requests),
        _timeouts(requests),
        _sidecar_heavy(requests),
        _repeated(requests),
        _serial(requests),
        _unrouted(requests),
        _broken_propagation(requests),
        _request_id_dropped(requests),
        _missing_spans(requests),
        *([] if clocks is None else [_clock_skew(clocks)]),
    ]
    rows = pl.concat([one.select(FINDINGS.names()).cast(FINDINGS) for one in found])
    return rows.sort(
        "cost_nano", "traces", "kind", *ROUTE, descending=[True, True, False, False, False], nulls_last=True
    )


def _retries(requests: pl.LazyFrame) -> pl.LazyFrame:
    cost = pl.col("attempts_nano").fill_null(0) + pl.col("backoff_nano").fill_null(0)
    every = requests.filter(WHOLE).with_columns(cost=cost, hit=pl.col("tries") > 1)
    return _told(
        every,
        "retries",
        ROUTE,
        _text(pl.col("hits"), " of ", pl.col("n"), " calls took more than one attempt, ", pl.col("tries"), " at most"),
        tries=pl.col("tries").max(),
    )


def _timeouts(requests: pl.LazyFrame) -> pl.LazyFrame:
    every = requests.with_columns(cost=pl.col("duration_nano"), hit=pl.col("timed_out") & pl.col("covered"))
    waited = pl.col("duration_nano").filter(pl.col("hit")).max() // 1_000_000
    return _told(
        every,
        "timeout_before_answer",
        ROUTE,
        _text(pl.col("hits"), " of ", pl.col("n"), " calls timed out at their sender, after ", pl.col("waited"), " ms"),
        waited=waited,
    )


def _sidecar_heavy(requests: pl.LazyFrame) -> pl.LazyFrame:
    proxies = ("egress_proxy_nano", "ingress_proxy_nano")
    told = pl.any_horizontal(pl.col(name).is_not_null() for name in proxies) & ~pl.col("by_gateway")
    cost = pl.sum_horizontal(proxies)
    every = requests.filter(WHOLE & told).with_columns(cost=cost, hit=pl.lit(value=True))
    percent = (100 * pl.col("cost").sum() // pl.col("duration_nano").sum().replace(0, None)).cast(pl.Int64)
    return _told(
        every,
        "sidecar_heavy",
        ROUTE,
        _text("proxies took ", pl.col("percent"), " % of the time of ", pl.col("n"), " calls"),
        percent=percent,
    ).filter((pl.col("percent") >= 100 * HEAVY_SHARE) & (pl.col("n") >= ENOUGH))


def _made(requests: pl.LazyFrame, by: tuple[str, ...]) -> pl.LazyFrame:
    """Return one row a call that makes others, `by` kind of these: how many, how long, and whether none overlap."""
    start, end = pl.col("start_unix_nano"), pl.col("start_unix_nano") + pl.col("duration_nano")
    parts = pl.col("duration_nano")
    return (
        requests.filter(WHOLE & pl.col("caller_call").is_not_null())
        .group_by("caller_call", *by)
        .agg(
            pl.col("caller").first(),
            pl.col("trace").first(),
            pl.col("trace_id").first(),
            kinds=pl.struct(ROUTE).n_unique(),
            made=pl.len(),
            cost=parts.sum() - parts.max(),
            # Of calls in order, each begins when the one before has ended.
            serial=(start.sort() >= end.sort_by(start).shift(1)).all(),
        )
    )


def _repeated(requests: pl.LazyFrame) -> pl.LazyFrame:
    every = _made(requests, ROUTE).with_columns(hit=(pl.col("made") >= SAME_CALLS) & pl.col("serial"))
    return _told(
        every,
        "n_plus_one",
        ("caller", *ROUTE),
        _text(
            pl.col("hits"), " of ", pl.col("n"), " calls of ", pl.col("caller"),
            " make this one over and over, one after the other, up to ", pl.col("made"), " times",
        ),
        made=pl.col("made").max(),
    )  # fmt: skip


def _serial(requests: pl.LazyFrame) -> pl.LazyFrame:
    different = pl.col("kinds") >= OTHER_CALLS
    every = _made(requests, ()).with_columns(hit=different & (pl.col("made") < 2 * pl.col("kinds")) & pl.col("serial"))
    callers = requests.filter("covered").select(*ROUTE, caller_call="span").unique("caller_call")
    return _told(
        every.join(callers, on="caller_call", how="left", validate="m:1"),
        "serial_fan_out",
        ROUTE,
        _text(
            pl.col("hits"), " of ", pl.col("n"), " calls that make others make up to ", pl.col("kinds"),
            " different ones, one after the other; beside each other they would take that much less at best",
        ),
        kinds=pl.col("kinds").filter(pl.col("hit")).max(),
    )  # fmt: skip


def _unrouted(requests: pl.LazyFrame) -> pl.LazyFrame:
    every = requests.with_columns(cost=pl.lit(None, pl.Int64), hit=pl.col("route") == NO_ROUTE)
    return _told(
        every,
        "unrouted",
        ("service",),
        _text(pl.col("hits"), " of ", pl.col("n"), " requests asked for what no route was configured for"),
        route=pl.lit(NO_ROUTE),
    )


def _broken_propagation(requests: pl.LazyFrame) -> pl.LazyFrame:
    taking = requests.filter(pl.col("covered")).select(caller="service").drop_nulls().unique()
    own = pl.col("caller_call").is_null()
    every = (
        requests.filter(pl.col("caller").is_not_null())
        .join(taking, on="caller", how="semi")
        .with_columns(cost=pl.lit(None, pl.Int64), hit=own)
        .drop("service", "route")
        .rename({"caller": "service"})
    )
    return _told(
        every,
        "broken_propagation",
        ("service",),
        _text(pl.col("hits"), " of the ", pl.col("n"), " calls it makes begin a trace of their own"),
        route=pl.lit(None, pl.String),
    ).filter(pl.col("hits") >= OWN_TRACES * pl.col("n"))


def _request_id_dropped(requests: pl.LazyFrame) -> pl.LazyFrame:
    every = (
        requests.filter(pl.col("new_request_id").is_not_null())
        .with_columns(cost=pl.lit(None, pl.Int64), hit=pl.col("new_request_id"))
        .drop("service", "route")
        .rename({"caller": "service"})
    )
    return _told(
        every,
        "request_id_dropped",
        ("service",),
        _text(
            pl.col("hits"), " of the ", pl.col("n"), " calls it makes have a new x-request-id: they are sampled anew"
        ),
        route=pl.lit(None, pl.String),
    ).filter(pl.col("hits") >= OWN_TRACES * pl.col("n"))


def _missing_spans(requests: pl.LazyFrame) -> pl.LazyFrame:
    # What may still come is no finding, nor is a callee outside the mesh: `edges` counts both.
    lost = pl.col("missing").is_in(["propagation", "sampling", "unknown"]).fill_null(value=False)
    every = requests.filter("expected").with_columns(
        cost=pl.lit(None, pl.Int64), hit=lost, why=pl.col("missing").cast(pl.String).fill_null("").replace(WHY)
    )
    commonest = pl.col("why").filter(pl.col("hit")).mode().sort().first()
    return _told(
        every,
        "missing_spans",
        ("caller", "service"),
        _text(
            pl.col("hits"), " of ", pl.col("n"), " calls of ", pl.col("caller").fill_null("callers nobody knows"),
            " have no span of it: ", pl.col("commonest"),
        ),
        route=pl.lit(None, pl.String),
        commonest=commonest,
    )  # fmt: skip


def _clock_skew(clocks: pl.LazyFrame) -> pl.LazyFrame:
    certain = (pl.col("low_nano") > LEAST_SKEW_NANO) | (pl.col("high_nano") < -LEAST_SKEW_NANO)
    ahead = pl.col("offset_nano") > 0
    doubt = (pl.col("high_nano") - pl.col("low_nano")) / 2
    return clocks.filter(pl.col("offset_nano").is_not_null() & certain).select(
        kind=pl.lit("clock_skew"),
        service=pl.when(ahead).then("other").otherwise("host"),
        route=pl.lit(None, pl.String),
        traces=pl.col("n"),
        cost_nano=pl.lit(None, pl.Int64),
        evidence=_text(
            "its clock is ", _milliseconds(pl.col("offset_nano").abs()), " ms ahead of ",
            pl.when(ahead).then("host").otherwise("other"), "'s, to ±", _milliseconds(doubt), " ms, by ", pl.col("n"),
            " calls; ", pl.col("shifted"), " spans were moved",
        ),
        exemplar_trace_id=pl.lit(None, pl.Binary),
    )  # fmt: skip


def _milliseconds(nano: pl.Expr) -> pl.Expr:
    return (nano / 1_000_000).round(2)


def _told(every: pl.LazyFrame, kind: str, by: tuple[str, ...], evidence: pl.Expr, **more: pl.Expr) -> pl.LazyFrame:
    """Return rows of a kind, for groups in which any is `hit`; cost, traces and exemplar are of those that are.

    more: what the evidence tells besides, per group.
    """
    hit = pl.col("hit")
    costliest = pl.col("trace_id").filter(hit).sort_by(pl.col("cost").filter(hit), descending=True, nulls_last=True)
    return (
        every.sort("trace_id")
        .group_by(by, maintain_order=True)
        .agg(
            n=pl.len(),
            hits=hit.sum(),
            traces=pl.col("trace").filter(hit).n_unique(),
            cost_nano=pl.when(pl.col("cost").is_not_null().any()).then(pl.col("cost").filter(hit).sum()),
            exemplar_trace_id=costliest.first(),
            **more,
        )
        .filter(pl.col("hits") > 0)
        .with_columns(kind=pl.lit(kind), evidence=evidence)
    )


def _text(*parts: str | pl.Expr) -> pl.Expr:
    """Return a sentence of words and columns."""
    pieces = [pl.lit(part) if isinstance(part, str) else part.cast(pl.String) for part in parts]
    return reduce(lambda text, piece: text + piece, pieces)
