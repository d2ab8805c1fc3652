"""Two hundred services, made up: fans and chains, long names, calls that lead back. And one service alone.

Owns the numbers of the tests of crowded pages. One seed, one answer.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from tests.builders import frame, span_id
from tracelens.spans import CLIENT, SERVER, STATUS_ERROR

MS = 1_000_000
LAYERS = (3, 12, 30, 60, 50, 25, 12, 5, 2, 1)  # services by how far they are from the outside
WORDS = (
    "cart", "catalog", "pricing", "payment", "ledger", "search", "ranking", "profile", "session", "inventory",
    "shipping", "tax", "invoice", "email", "push", "audit", "fraud", "quota", "feature-flags", "recommendation",
)  # fmt: skip
LONG = "eu-west-1-production-team-platform-customer-entitlement-reconciliation-worker"
CALLS = 5  # of a service to others, at most, in one trace


def names() -> list[list[str]]:
    """Return the services by layer. One of them has a very long name."""
    made = [
        [f"{WORDS[(at * 7 + depth) % len(WORDS)]}-{depth}{at:02d}" for at in range(n)] for depth, n in enumerate(LAYERS)
    ]
    made[3][0] = LONG
    return made


def edges(seed: int = 3) -> dict[str, list[str]]:
    """Return whom each service calls: each has a caller, many have two, few call back up."""
    random = np.random.default_rng(seed)
    layers = names()
    callees: dict[str, list[str]] = {name: [] for layer in layers for name in layer}
    for above, layer in pairwise(layers):
        for at, name in enumerate(layer):
            # One caller calls a third of a layer: a fan.
            first = above[0] if at % 3 == 0 else above[int(random.integers(len(above)))]
            callees[first].append(name)
            other = above[int(random.integers(len(above)))]
            if random.random() < 0.4 and name not in callees[other]:
                callees[other].append(name)
    callees[layers[4][0]].append(layers[2][0])
    return callees


def spans(count: int, start_nano: int, length_nano: int, *, seed: int = 3) -> pl.DataFrame:
    """Return the spans of that many traces; together they have all edges when there are a few hundred."""
    random = np.random.default_rng(seed)
    callees = edges(seed)
    turns = dict.fromkeys(callees, 0)  # whose turn it is to be called
    begin = names()[0]
    rows: list[dict[str, Any]] = []
    for number in range(count):
        at = start_nano + length_nano * number // count
        _serve(rows, random, callees, turns, begin[number % len(begin)], number + 1, None, at, 0, [0])
    return frame(rows)


def _serve(
    rows: list[dict[str, Any]],
    random: np.random.Generator,
    callees: dict[str, list[str]],
    turns: dict[str, int],
    service: str,
    trace: int,
    parent: bytes | None,
    at: int,
    depth: int,
    made: list[int],
) -> int:
    """Add the spans of one call and of the calls below it; return when it ends."""
    own = _add(rows, trace, made, service, f"GET /{service.rsplit('-', 1)[0]}/{{id}}", SERVER, parent, at)
    now = at + int(random.lognormal(0, 0.4) * MS)
    known = callees[service]
    for _ in range(min(CALLS if depth < 3 else 2, len(known)) if depth < len(LAYERS) + 2 else 0):
        callee = known[turns[service] % len(known)]
        turns[service] += 1
        client = _add(rows, trace, made, service, f"call {callee}", CLIENT, own["span_id"], now)
        now = _serve(rows, random, callees, turns, callee, trace, client["span_id"], now + MS // 5, depth + 1, made)
        client["end_time_unix_nano"] = now + MS // 5
        if made[0] > 120:  # spans of a trace
            break
    own["end_time_unix_nano"] = now + int(random.lognormal(0, 0.6) * MS)
    if random.random() < 0.01:
        own["status_code"] = STATUS_ERROR
    return int(own["end_time_unix_nano"])


def _add(
    rows: list[dict[str, Any]],
    trace: int,
    made: list[int],
    service: str,
    name: str,
    kind: int,
    parent: bytes | None,
    at: int,
) -> dict[str, Any]:
    made[0] += 1
    row = {
        "trace_id": trace.to_bytes(16, "big"),
        "span_id": span_id(made[0]),
        "parent_span_id": parent,
        "name": name,
        "kind": kind,
        "service_name": service,
        "start_time_unix_nano": at,
        "end_time_unix_nano": at,
        "attr:http.route": name.partition(" ")[2] if kind == SERVER else None,
        "attr:http.request.method": "GET" if kind == SERVER else None,
    }
    rows.append(row)
    return row


def alone(count: int, start_nano: int, length_nano: int) -> pl.DataFrame:
    """Return calls of one service that calls nobody."""
    random = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        at = start_nano + length_nano * number // count
        row = _add(rows, number + 1, [0], "web", "GET /", SERVER, None, at)
        row["end_time_unix_nano"] = at + int(random.lognormal(2, 0.5) * MS)
    return frame(rows)
