"""A shop's traffic, made up: enough routes, a slow tail with a cause, and failures.

Owns the numbers of the dashboard's tests. One seed, one answer. In the second
half of the time catalog 2.3.1 runs and some of its queries are retried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from tests.builders import frame, span_id
from tracelens.spans import CLIENT, INTERNAL, SERVER, STATUS_ERROR
from tracelens.store import Store

MS = 1_000_000
Where = TypeVar("Where", Path, str)
RETRIED = 0.05  # share of catalog's queries in the second half


@dataclass
class Making:
    """One trace while it is made: its spans so far."""

    trace_id: bytes
    late: bool
    random: np.random.Generator
    received: int
    rows: list[dict[str, Any]] = field(default_factory=list)

    def span(
        self, service: str, name: str, kind: int, start: float, parent: bytes | None, **attributes: Any
    ) -> dict[str, Any]:
        row = {
            "trace_id": self.trace_id,
            "span_id": span_id(len(self.rows) + 1),
            "parent_span_id": parent,
            "name": name,
            "kind": kind,
            "service_name": service,
            "start_time_unix_nano": int(start),
            "end_time_unix_nano": int(start),
            "received_unix_nano": self.received,
            "res:service.version": "2.3.1" if service == "catalog" and self.late else "2.3.0",
            **attributes,
        }
        self.rows.append(row)
        return row

    def work(self, milliseconds: float) -> float:
        """Return how long something took, in nanoseconds: log-normal about a median."""
        return float(milliseconds * MS * self.random.lognormal(0.0, 0.28))

    def serve(self, service: str, route: str, start: float, parent: bytes | None) -> tuple[dict[str, Any], bytes]:
        method, _, path = route.partition(" ")
        named = {"attr:http.request.method": method, "attr:http.route": path}
        row = self.span(service, route, SERVER, start, parent, **named)
        return row, row["span_id"]

    def ask(self, caller: str, start: float, parent: bytes, callee: str, route: str, take: Any) -> float:
        """Call another service; return when the answer came."""
        client = self.span(caller, route, CLIENT, start, parent)
        server, own = self.serve(callee, route, start + self.work(0.25), client["span_id"])
        server["end_time_unix_nano"] = int(take(own, server["start_time_unix_nano"]))
        end = server["end_time_unix_nano"] + self.work(0.25)
        client["end_time_unix_nano"] = int(end)
        return float(end)


def _query(making: Making, median: float) -> Any:
    def take(own: bytes, start: float) -> float:
        return start + making.work(median)

    return take


def _catalog(making: Making) -> Any:
    def take(own: bytes, start: float) -> float:
        lookup = making.span("catalog", "cache lookup", INTERNAL, start, own)
        at = start + making.work(0.8)
        lookup["end_time_unix_nano"] = int(at)
        retried = making.late and making.random.random() < RETRIED
        for attempt in range(3 if retried else 1):
            at = making.ask("catalog", at, own, "db", "POST /query", _query(making, 110.0 if retried else 6.0))
            if retried and attempt < 2:
                making.rows[-1]["status_code"] = STATUS_ERROR
            at += making.work(0.2)
        if retried:
            making.rows[0]["attr:retry.count"] = "2"
        return at

    return take


def _cart(making: Making) -> Any:
    def take(own: bytes, start: float) -> float:
        return making.ask(
            "cart", start + making.work(1.2), own, "db", "POST /query", _query(making, 4.0)
        ) + making.work(0.6)

    return take


def _product(making: Making, own: bytes, start: float) -> float:
    at = start + making.work(2.5)
    catalog = making.ask("frontend", at, own, "catalog", "GET /items/{id}", _catalog(making))
    cart = making.ask("frontend", at + making.work(0.3), own, "cart", "GET /carts/{user}", _cart(making))
    pricing = making.ask("frontend", max(catalog, cart), own, "pricing", "GET /price/{id}", _query(making, 7.0))
    render = making.span("frontend", "render", INTERNAL, pricing, own)
    end = pricing + making.work(2.0)
    render["end_time_unix_nano"] = int(end)
    return end


def _checkout(making: Making, own: bytes, start: float) -> float:
    at = making.ask("frontend", start + making.work(3.0), own, "cart", "GET /carts/{user}", _cart(making))
    return making.ask("frontend", at, own, "payment", "POST /charge", _query(making, 24.0)) + making.work(2.0)


def _flaky(making: Making, own: bytes, start: float) -> float:
    if making.random.random() < 0.08:
        making.rows[0]["status_code"] = STATUS_ERROR
        making.rows[0]["attr:http.response.status_code#int"] = 503
    return start + making.work(16.0)


PAGES = (("GET /product/{id}", _product, 0.7), ("POST /checkout", _checkout, 0.2), ("GET /flaky", _flaky, 0.1))


def traces(count: int, start_nano: int, length_nano: int, *, seed: int = 7) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each trace; they start evenly jittered over the time."""
    random = np.random.default_rng(seed)
    at = np.sort(random.uniform(0, length_nano, count)).astype(np.int64) + start_nano
    chosen = random.choice(len(PAGES), count, p=[share for *_, share in PAGES])
    agents = np.array(["curl/8.5", "Mozilla/5.0", "okhttp/4.12"])[random.integers(0, 3, count)]
    for number in range(count):
        start = int(at[number])
        making = Making(
            trace_id=(seed * 1_000_000 + number + 1).to_bytes(16, "big"),
            late=start > start_nano + length_nano // 2,
            random=random,
            received=start + 5_000 * MS,
        )
        route, take, _ = PAGES[chosen[number]]
        root, own = making.serve("frontend", route, start, None)
        root["attr:user_agent.original"] = str(agents[number])
        root["res:cloud.availability_zone"] = f"eu-{'abc'[number % 3]}"
        root["end_time_unix_nano"] = int(take(making, own, start))
        yield making.rows


def spans(count: int, start_nano: int, length_nano: int, *, seed: int = 7) -> pl.DataFrame:
    """Return the spans of that many traces."""
    return frame(row for rows in traces(count, start_nano, length_nano, seed=seed) for row in rows)


def store(path: Where, *frames: pl.DataFrame) -> Where:
    """Put spans into a new store, one commit a frame."""
    made = Store.open(path, create=True)
    for number, one in enumerate(frames, 1):
        made.append(one, {"shop": number})
    return path
