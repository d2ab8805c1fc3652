"""What findings look at, of some traces: tables of which each row is told by its trace alone.

Owns which tables there are. What is a pattern among them is said by
`request_patterns.py`, `path_patterns.py` and `serial.py`, for all traces
together: rows of some traces can be put behind those of others.

    requests    REQUESTS of `on_path.measured`
    tried       those of `attempts.tried`
    attempts    ATTEMPTS, with caller, service and route
    of_kind     MADE of each call and kind of request; to_callee: and callee
    fan_out     calls that make others, of `serial.fan_out`
    own_time    spans that make calls, of `path_patterns.own_time`
    outside     spans below others, of `path_patterns.outside`
    traces      of `on_path.whole_traces`
"""

from __future__ import annotations

from typing import TypeVar

import polars as pl

from tracelens._link import Bool
from tracelens.analysis.attempts import attempts, tried
from tracelens.analysis.hits import ROUTE
from tracelens.analysis.made import by_call, made
from tracelens.analysis.on_path import measured, on_path, whole_traces
from tracelens.analysis.path_patterns import outside, own_time
from tracelens.analysis.serial import fan_out
from tracelens.calls import Calls
from tracelens.forest import Forest

AnyFrame = TypeVar("AnyFrame", pl.DataFrame, pl.LazyFrame)

NUMBERS = ("trace", "row", "until", "top")  # of traces and rows of the forest

REQUESTS = (
    "trace",
    "caller",
    *ROUTE,
    "duration_nano",
    "censored",
    "timed_out",
    "top",
    "until",
    "caller_call",
    "by_gateway",
    "covered",
    "expected",
    "missing",
    "new_request_id",
    "client_nano",
    "egress_proxy_nano",
    "ingress_proxy_nano",
    "attempts_nano",
    "backoff_nano",
    "path_nano",
    "proxies_path_nano",
)
TRIED = ("trace", "caller", *ROUTE, "censored", "tries", "retried_nano", "retried_path_nano", "top", "until")


def look(
    forest: Forest,
    calls: Calls,
    requests: pl.DataFrame,
    *,
    asked: Bool,
    counted: Bool,
    clocks: pl.DataFrame | None = None,
) -> dict[str, pl.DataFrame]:
    """Return the tables by name.

    requests: REQUESTS of `hops.py` that are asked about, in their order; asked: which spans are. counted: which traces
    count for p99. clocks: see `critical_path.sections`.
    """
    path = on_path(forest, clocks)
    known = measured(requests, calls, path)
    again = attempts(known, calls, path)
    making = by_call(known)
    of_kind = made(making, calls, "kind")
    of_whom = known.select("request", "caller", *ROUTE)
    return {
        "requests": known.select(REQUESTS),
        "tried": tried(known, again).select(TRIED),
        "attempts": again.join(of_whom, on="request", validate="m:1", maintain_order="left"),
        "of_kind": of_kind,
        "to_callee": made(making, calls, "callee"),
        "fan_out": fan_out(made(making, calls), of_kind, forest, calls),
        "own_time": own_time(known, calls, path, asked),
        "outside": outside(calls, path, asked, clocks),
        "traces": whole_traces(forest, calls, counted),
    }


def behind(table: AnyFrame, first: int) -> AnyFrame:
    """Return a table whose traces and rows are numbered from `first`."""
    there = [name for name in NUMBERS if name in table.collect_schema()]
    return table.with_columns(pl.col(name) + first for name in there)
