"""Hops: where the time of a call goes between its caller and its callee.

Owns the layers of a call, their levels, and the percentiles per caller,
callee and route. Which spans belong together is decided by parent ids only, in
`calls.py` and in the kernels of `_hops.py`; printing is elsewhere.

Of a call X→Y there may be, from the outside in: C, the client span of X's app;
E, the span of X's proxy; R, one span an attempt; I, the span of Y's proxy; A,
the server span of Y's app. A call lasts as long as its outermost span, and each
moment of it is in one layer:

    client            C − E
    egress_proxy      E − from the first attempt's begin to the last one's end
    attempts          attempts before the last, which were in vain
    backoff           between attempts
    network_queueing  the last attempt − I: the network, and waiting on both ends
    ingress_proxy     I − A
    app               A (else I) − downstream
    downstream        calls that Y makes and waits for

The level says what the spans allowed. L0, proxies only: what E and I leave
between them is one number, network_queueing. L1, a span per attempt: egress
proxy apart. L2, Envoy's phases in place of attempts: pure proxy time, because
waiting for a connection is no part of it. L3, the app's spans: ingress proxy
and app apart. Without proxies network_queueing is C − A. A layer that cannot be
told is null, and its time is in the one next to it.

A span is cut to the one around it. Two hosts' clocks are never subtracted: only
lengths are. A call whose callee's span is missing has no network time: it
counts against `coverage`, unless the proxy says that it reached nobody.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracelens import forest as forests
from tracelens import sampling, semconv
from tracelens._fold import APP_CLIENT, ATTEMPT, GATEWAY, OUTBOUND, PROXY
from tracelens._link import I8, I64, Bool
from tracelens.analysis import _hops
from tracelens.analysis._attributes import new_request_id, refused, resent, to_database
from tracelens.analysis._callees import peers
from tracelens.analysis.coverage import COVERAGE, MISSING, coverage
from tracelens.analysis.kinds import RAW, SENDS, Judgement, judge, judged, kinds
from tracelens.analysis.routes import counts, estimate, mean, ranked
from tracelens.calls import CALLS, Calls
from tracelens.calls import calls as fold
from tracelens.forest import Forest, over_traces
from tracelens.repair import TRACE_MARK
from tracelens.spans import PRODUCER, owned, whole

Level = Literal["L0", "L1", "L2", "L3"]
LEVELS: tuple[Level, ...] = ("L0", "L1", "L2", "L3")
# By the kernel's numbers.
LAYERS = (
    "client",
    "egress_proxy",
    "network_queueing",
    "ingress_proxy",
    "app",
    "downstream",
    "attempts",
    "backoff",
)
LAYER_COLUMNS = tuple(f"{layer}_nano" for layer in LAYERS)

# One row a request that a workload sends or takes. Columns named as in CALLS are the caller's view of it.
REQUESTS = pl.Schema(
    {
        **CALLS,  # service, namespace and route are the callee's; start and duration the outermost span's
        "top": pl.Int64(),  # the outermost span
        "caller_call": pl.Int64(),  # entry span of the call that made this one; null at the edge
        "sender": pl.Int64(),  # span of the proxy that sent it; null without one
        "by_gateway": pl.Boolean(),  # the callee is a gateway or waypoint, which passes it on
        "covered": pl.Boolean(),  # the callee wrote a span
        "expected": pl.Boolean(),  # and should have: false where the proxy says that the request reached nobody
        "level": pl.String(),
        "tries": pl.Int64(),  # attempts seen
        "attempts": pl.List(pl.Int64()),  # their spans by start, where there are several; else null
        "resent": pl.Boolean(),  # its sender says that it sent it before, in a request of its own
        "new_request_id": pl.Boolean(),  # the caller was called with another x-request-id; null where one is not known
        **dict.fromkeys(LAYER_COLUMNS, pl.Int64()),  # null: not told by the spans
        **MISSING,
    }
)

PARTS = ("mean_nano", "p50_nano", "p90_nano", "p99_nano")
HOPS = pl.Schema(
    {
        "caller": pl.String(),  # null: nobody that wrote a span
        "callee": pl.String(),  # null: a call to nobody known
        "route": pl.String(),
        "level": pl.String(),
        "n": pl.Int64(),  # calls seen
        "calls": pl.Int64(),  # requests they stand for
        **COVERAGE,
        "censored": pl.Int64(),  # the client went away: in no duration below
        "timed_out": pl.Int64(),
        "retried": pl.Int64(),  # calls of more than one attempt
        **dict.fromkeys(PARTS, pl.Int64()),  # of whole calls
        **{f"{layer}_{part}": pl.Int64() for layer in LAYERS for part in PARTS},  # of calls that tell the layer
    }
)

UNJUDGED = pl.Schema({**{name: kind for name, kind in REQUESTS.items() if name not in MISSING}, **RAW})
KEY = ("caller", "callee", "route", "level")
WHOLE = pl.col("censored").not_()
EVENT = r'"timeUnixNano":"?(\d+)"?,"name":"{name}"|"name":"{name}","timeUnixNano":"?(\d+)'


def requests(
    forest: Forest, calls: Calls, *, most: Level = "L3", cut: bool = False, judgement: Judgement | None = None
) -> pl.DataFrame:
    """Return REQUESTS: one row a call with its layers, which add up to its duration exactly.

    most: the highest level to use; spans and phases that a higher one needs are left aside.
    cut: the data ends by chance (see `coverage.py`). judgement: what more requests than these decide.
    Of a call whose callee's span is missing, layers beyond the caller's side are null.
    """
    found = unjudged(forest, calls, most=most)
    if judgement is None:
        sampled = bool((calls.sampling.weight > 1).any())
        judgement = judge(kinds(found), sends(calls, forest), sampled=sampled, cut=cut)
    return judged(found, judgement)


def sends(calls: Calls, forest: Forest) -> pl.DataFrame:
    """Return SENDS."""
    sent = np.flatnonzero((calls.role == PROXY) & (calls.direction == OUTBOUND))
    told = pl.DataFrame({"workload": calls.service.gather(sent), "alone": forest.parent[sent] < 0})
    return told.group_by("workload").agg(every=pl.len(), alone=pl.col("alone").sum()).cast(SENDS)


def unjudged(forest: Forest, calls: Calls, *, most: Level = "L3") -> pl.DataFrame:
    """Return requests as each tells by itself: of REQUESTS but MISSING, and of RAW."""
    n = len(forest.parent)
    stage, near, branches = np.zeros(n, np.int8), np.empty(n, np.int64), np.zeros(n, np.int64)
    message = _flags(forest.told.column("kind") == PRODUCER)
    is_entry = _entries(calls)
    _hops.find_stages(
        forest.parent, calls.role, calls.direction, is_entry, message, forest.blocking, stage, near, branches
    )
    unplaced = (forest.marks & TRACE_MARK["skew_capped"]) != 0
    sent, held = _phases(forest) if LEVELS.index(most) >= 2 else (np.zeros(n, np.int64), np.full(n, -1, np.int64))
    attempt_of = np.full(n, -1, np.int64)

    def work(first: int, last: int) -> tuple[I64, I64, I64, I64, Bool, I8, I64, I64]:
        return _hops.book(
            forest.trace_offsets,
            first,
            last,
            forest.start,
            forest.end,
            forest.until,
            calls.role,
            calls.direction,
            is_entry,
            forest.blocking,
            stage,
            near,
            branches,
            unplaced,
            sent,
            held,
            attempt_of,
            LEVELS.index(most),
        )

    parts = over_traces(forest.trace_offsets, work)
    top, side, sender, entry, reached, level, tries, layers = (np.concatenate(c) for c in zip(*parts, strict=True))
    told = _table(forest, calls, top, side, sender, entry, reached, level, tries, layers)
    return _with_attempts(told, forest, attempt_of).select(UNJUDGED.names()).cast(UNJUDGED)


def hops(table: pl.LazyFrame, *, weighted: bool = False) -> pl.LazyFrame:
    """Return HOPS: one row per caller, callee, route and level, by time spent.

    table: REQUESTS, explained by `coverage.py`. weighted: they stand for different numbers of requests.
    """
    return by_time(summed(table, weighted=weighted))


def summed(table: pl.LazyFrame, *, weighted: bool = False) -> pl.LazyFrame:
    """Return HOPS in no order, with what was spent.

    Percentiles are of each layer by itself, at rank floor((n−1)·q), over the calls that tell it: only means add up.
    """
    told: dict[str, pl.Expr] = {}
    for prefix in ("", *(f"{layer}_" for layer in LAYERS)):
        value = pl.col(f"{prefix}nano" if prefix else "duration_nano")
        kept = WHOLE & value.is_not_null()
        values, weights = value.filter(kept), pl.col("weight").filter(kept) if weighted else None
        told[f"{prefix}mean_nano"] = mean(values, weights)
        told |= {f"{prefix}p{percent}_nano": ranked(values, percent, weights) for percent in (50, 90, 99)}
    return (
        table.rename({"service": "callee"})
        .group_by(KEY)
        .agg(
            **counts(),
            **coverage(),
            censored=estimate(pl.col("censored")),
            timed_out=estimate(pl.col("timed_out")),
            retried=estimate(pl.col("tries") > 1),
            spent=(pl.col("duration_nano") * pl.col("weight")).filter(WHOLE).sum(),
            **told,
        )
    )


def by_time(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return HOPS in their order. rows: as `summed` has them."""
    return (
        rows.sort("spent", *KEY, descending=[True, False, False, False, False], nulls_last=True)
        .select(HOPS.names())
        .cast(HOPS)
    )


def warm() -> None:
    """Compile the kernels, or load them from the cache."""
    sampling.warm()
    forest = forests.warm()
    requests(forest, fold(forest))


def _entries(calls: Calls) -> Bool:
    """Return which spans take a request: not those that are a call only because their trace has no other."""
    first = calls.call == np.arange(len(calls.call))
    sends = (
        (calls.role == APP_CLIENT) | (calls.role == ATTEMPT) | ((calls.role == PROXY) & (calls.direction == OUTBOUND))
    )
    entry: Bool = first & ~sends
    return entry


def _phases(forest: Forest) -> tuple[I64, I64]:
    """Return (nanoseconds until a proxy passed the request on, from then until the answer had come; -1 unknown)."""
    told = forest.told
    keys = owned(told.columns, "attr", (*semconv.ENVOY_SENT_US, *semconv.ENVOY_HELD_US))
    spans = told.select("start_time_unix_nano", "events", *keys)
    sent = whole(keys, semconv.ENVOY_SENT_US) * 1_000
    held = whole(keys, semconv.ENVOY_HELD_US) * 1_000
    found = spans.select(pl.int_range(pl.len()).alias("row"), sent=sent, held=held)
    if spans["events"].null_count() < len(spans):
        # Events are read for spans that have the two, as text: OTLP JSON writes keys in one order or the other.
        begin, end = (_moment(names[0]) for names in (semconv.ENVOY_SENT_EVENT, semconv.ENVOY_ANSWERED_EVENT))
        start = pl.col("start_time_unix_nano")
        seen = spans.select(sent=begin - start, held=end - begin)
        found = found.with_columns(pl.coalesce("sent", seen["sent"]), pl.coalesce("held", seen["held"]))
    good = (pl.col("sent") >= 0) & (pl.col("held") >= 0)
    filled = found.select(pl.when(good).then("sent").fill_null(0), pl.when(good).then("held").fill_null(-1))
    return _ints(filled["sent"]), _ints(filled["held"])


def _moment(name: str) -> pl.Expr:
    """Return the time of an event of the column `events`, nanoseconds; null without it."""
    pattern = EVENT.replace("{name}", name)
    return pl.coalesce(pl.col("events").str.extract(pattern, group).cast(pl.Int64, strict=False) for group in (1, 2))


def _table(
    forest: Forest,
    calls: Calls,
    top: I64,
    side: I64,
    sender: I64,
    entry: I64,
    reached: Bool,
    level: I8,
    tries: I64,
    layers: I64,
) -> pl.DataFrame:
    """Return REQUESTS in the order of `top`."""
    above = np.where(side >= 0, side, forest.parent[np.maximum(entry, 0)])
    caller_call = np.where(above >= 0, calls.call[above], -1)
    caller_row = np.where(caller_call >= 0, caller_call, above)
    judge = np.where(sender >= 0, sender, np.where(entry >= 0, entry, top))
    outcome = calls.outcome[judge]
    to_nobody = refused(forest, sender, reached) | to_database(forest, side, reached)
    of_callee = np.maximum(entry, 0)
    in_table = np.searchsorted(calls.table["span"].to_numpy(), of_callee)
    by_gateway = (entry >= 0) & (calls.role[of_callee] == PROXY) & (calls.direction[of_callee] == GATEWAY)
    layers[~reached & ~to_nobody, _hops.NETWORK] = _hops.UNKNOWN_NANO
    sent = side >= 0
    return pl.DataFrame(
        {
            "span": np.where(entry >= 0, entry, np.maximum(caller_row, 0)),
            "trace": forest.trace_of(top),
            "trace_id": forest.told.gather(["trace_id"], top)["trace_id"],
            "service": _labels(calls.service, entry),
            "namespace": _labels(calls.table["namespace"], np.where(entry >= 0, in_table, -1)),
            "route": _labels(calls.operation, entry),
            "caller": _labels(calls.service, caller_row),
            "start_unix_nano": forest.start[top],
            "duration_nano": forest.end[top] - forest.start[top],
            "error": outcome["error"],
            "censored": outcome["censored"],
            "timed_out": outcome["timed_out"],
            "is_root": above < 0,
            "echo": _echoes(calls, side, entry),
            "weight": calls.sampling.weight[forest.trace_of(top)],
            "top": top,
            "caller_call": _nullable(caller_call),
            "sender": _nullable(sender),
            "by_gateway": by_gateway,
            "covered": reached,
            "expected": reached | ~to_nobody,
            "level": pl.Series(LEVELS, dtype=pl.String).gather(pl.Series(level, dtype=pl.UInt32)),
            "tries": tries,
            "resent": resent(forest, side),
            "new_request_id": new_request_id(forest, sender, caller_call),
            **{name: _nullable(layers[:, k]) for k, name in enumerate(LAYER_COLUMNS)},
            "peer": peers(forest, np.maximum(side, 0)),
            "asked": calls.operation.gather(np.maximum(side, 0)),
            "sent": sent,
            "unseen": entry < 0,
            "bare": sent & (entry < 0) & (sender < 0),
        }
    )


def _with_attempts(found: pl.DataFrame, forest: Forest, attempt_of: I64) -> pl.DataFrame:
    """Return `found`, rows of REQUESTS, with their attempts. attempt_of: the top span of each attempt's request."""
    rows = np.flatnonzero(attempt_of >= 0)
    each = pl.DataFrame(
        {"top": attempt_of[rows], "attempts": rows, "start": forest.start[rows], "end": forest.end[rows]}
    )
    lists = (
        each.sort("top", "start", "end", "attempts")
        .group_by("top", maintain_order=True)
        .agg("attempts")
        .cast({"top": pl.Int64})
    )
    several = found.lazy().join(lists.lazy(), on="top", how="left", validate="m:1", maintain_order="left")
    # A gateway's span is the top of what it takes, too.
    return several.with_columns(pl.when(pl.col("tries") > 1).then("attempts")).collect()


def _echoes(calls: Calls, side: I64, entry: I64) -> Bool:
    """Return which requests an app takes that were told already, in another trace: by its sidecar; see `calls.py`.

    Those that an app says it makes are told by `kinds.py`.
    """
    echo: Bool = np.zeros(len(calls.call), np.bool_)
    echo[calls.table.filter("echo")["span"].to_numpy()] = True
    found: Bool = (entry >= 0) & echo[np.maximum(entry, 0)] & (side < 0)
    return found


def _labels(labels: pl.Series, rows: I64) -> pl.Series:
    """Return the label of each of `rows`, null for -1."""
    return labels.gather(pl.Series(rows).set(pl.Series(rows < 0), None))


def _nullable(numbers: I64) -> pl.Series:
    """Return integers, null for -1."""
    return pl.Series(numbers).set(pl.Series(numbers < 0), None)


def _ints(series: pl.Series) -> I64:
    """Return a writable, contiguous array: kernels are compiled for one kind only."""
    return np.array(series.to_numpy(), np.int64)


def _flags(series: pl.Series) -> NDArray[np.bool_]:
    return np.array(series.fill_null(value=False).to_numpy(), np.bool_)
