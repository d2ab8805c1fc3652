"""Generated systems with one planted cause of their tail each, and the spans they would write.

A system is a tree of operations of several services; a request walks it, every
operation working for a while before, between and after what it calls, one
after the other or side by side. A cause makes some requests slow at one place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from tracelens.spans import CLIENT, SERVER, SPANS

SERVICES = ("shop", "cart", "catalog", "pay", "stock", "mail", "search", "user")
VALUES = {"region": ("eu", "us", "asia"), "tenant": tuple("abcdefgh"), "build": ("41", "42"), "tier": ("free", "paid")}
ZONES = ("zone-a", "zone-b", "zone-c")
MICROSECOND = 1_000
SLOW_SHARE = 0.03  # of requests that the cause hits


@dataclass
class Operation:
    """A node of the tree."""

    service: str
    name: str
    work_us: float  # median of each stretch of own work
    beside: bool = False  # what it calls, it calls at once
    calls: list[Operation] = field(default_factory=list)


@dataclass(frozen=True)
class Planted:
    """A system's spans, and what makes its tail."""

    kind: str
    spans: pl.DataFrame
    service: str  # of the node that is slow
    operation: str
    attribute: str | None = None  # the value that slow calls share, when there is one
    value: str | None = None


class System:
    """Draws requests of one system."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.root = Operation("shop", "POST /order", 300)
        nodes = [self.root]
        for number in range(int(self.rng.integers(6, 11))):
            above = nodes[int(self.rng.integers(0, len(nodes)))]
            node = Operation(
                str(self.rng.choice(SERVICES[1:])),
                f"GET /{'abcdefghijkl'[number]}",
                float(self.rng.uniform(100, 1_500)),
                beside=bool(self.rng.random() < 0.3),
            )
            above.calls.append(node)
            nodes.append(node)
        self.nodes = nodes
        self.rows: list[dict[str, Any]] = []
        self.trace = 0
        self.span = 0

    def emit(self, name: str, service: str, parent: int | None, start: int, **more: Any) -> dict[str, Any]:
        """Add a span that begins; its end is set later."""
        self.span += 1
        row = {
            "trace": self.trace,
            "span": self.span,
            "above": parent,
            "name": name,
            "service_name": service,
            "start_time_unix_nano": start,
            "kind": SERVER,
            **more,
        }
        self.rows.append(row)
        return row

    def work(self, median_us: float) -> int:
        """Draw a stretch of work, nanoseconds."""
        return int(median_us * MICROSECOND * self.rng.lognormal(0, 0.3))

    def run(self, node: Operation, parent: int | None, start: int, cause: Cause) -> int:
        """Run an operation; return when it ends."""
        row = self.emit(node.name, node.service, parent, start)
        for key, values in VALUES.items():
            row[f"attr:{key}"] = values[int(self.rng.integers(0, len(values)))]
        row["res:cloud.availability_zone"] = ZONES[int(self.rng.integers(0, 2))]
        at = start + self.work(node.work_us) + cause.extra(self, node, row)
        latest = at
        for child in node.calls:
            begins = at if node.beside else latest + self.work(node.work_us / 3)
            latest = max(latest, cause.call(self, child, row["span"], begins))
        end = latest + self.work(node.work_us)
        row["end_time_unix_nano"] = end
        return end


@dataclass
class Cause:
    """What is planted at a node; the base does nothing."""

    node: Operation
    length_us: float
    hit: bool = False  # this request

    def extra(self, system: System, node: Operation, row: dict[str, Any]) -> int:
        """Return how much longer a node works for itself."""
        del system, node, row
        return 0

    def call(self, system: System, child: Operation, parent: int, start: int) -> int:
        """Call a child; return when it has answered."""
        return system.run(child, parent, start, self)


class Lock(Cause):
    """Some requests wait for somebody else's; nothing says so."""

    def extra(self, system: System, node: Operation, row: dict[str, Any]) -> int:
        del row
        return int(system.rng.exponential(self.length_us) * MICROSECOND) if self.hit and node is self.node else 0


class Value(Cause):
    """One tenant's requests take long at a node."""

    def extra(self, system: System, node: Operation, row: dict[str, Any]) -> int:
        if node is not self.node or not self.hit:
            return 0
        row["attr:tenant"] = "whale"
        return system.work(self.length_us)


class Zone(Cause):
    """A node's instances in one zone, to which few requests go, are slow."""

    def extra(self, system: System, node: Operation, row: dict[str, Any]) -> int:
        if node is not self.node or not self.hit:
            return 0
        row["res:cloud.availability_zone"] = ZONES[2]
        return system.work(self.length_us)


class Repeated(Cause):
    """A child is asked again and again, one after the other."""

    def call(self, system: System, child: Operation, parent: int, start: int) -> int:
        end = system.run(child, parent, start, self)
        if child is self.node and self.hit:
            single = max(end - start, 1)
            for _ in range(max(3, int(self.length_us * MICROSECOND / single))):
                end = system.run(child, parent, end + system.work(20), self)
        return end


class Retry(Cause):
    """A first attempt hangs and is given up; the second one is marked."""

    def call(self, system: System, child: Operation, parent: int, start: int) -> int:
        if child is not self.node:
            return system.run(child, parent, start, self)
        client = f"call {child.name}"
        if self.hit:
            lost = system.emit(client, "shop", parent, start, kind=CLIENT)
            start += system.work(self.length_us)
            lost["end_time_unix_nano"] = start
        attempt = system.emit(client, "shop", parent, start, kind=CLIENT)
        if self.hit:
            attempt["attr:retry.count"] = "1"
        end = system.run(child, attempt["span"], start + 10 * MICROSECOND, self)
        attempt["end_time_unix_nano"] = end + 10 * MICROSECOND
        return end + 10 * MICROSECOND


CAUSES: dict[str, Callable[..., Cause]] = {
    "value": Value,
    "lock": Lock,
    "repeated": Repeated,
    "retry": Retry,
    "zone": Zone,
}


def planted(kind: str, seed: int, requests: int = 3_000) -> Planted:
    """Return a system with a cause of a kind somewhere below its entry."""
    system = System(seed)
    node = system.nodes[int(system.rng.integers(1, len(system.nodes)))]
    typical = sum(2.5 * each.work_us for each in system.nodes)
    cause = CAUSES[kind](node, typical * float(system.rng.uniform(1, 3)))
    for number in range(requests):
        system.trace = number + 1
        cause.hit = bool(system.rng.random() < SLOW_SHARE)
        system.run(system.root, None, 1_700_000_000_000_000_000 + number * 10_000_000, cause)
    marked = {
        "value": ("tenant", "whale"),
        "zone": ("cloud.availability_zone", ZONES[2]),
        "retry": ("retry.count", "1"),
    }
    service, operation = ("shop", f"call {node.name}") if kind == "retry" else (node.service, node.name)
    return Planted(kind, _spans(system.rows), service, operation, *marked.get(kind, (None, None)))


def _spans(rows: list[dict[str, Any]]) -> pl.DataFrame:
    drawn = pl.DataFrame(rows, infer_schema_length=None)
    ids = drawn.select(
        trace_id=pl.Series([number.to_bytes(16, "big") for number in drawn["trace"]]),
        span_id=pl.Series([number.to_bytes(8, "big") for number in drawn["span"]]),
        parent_span_id=pl.Series(
            [None if n is None else n.to_bytes(8, "big") for n in drawn["above"]], dtype=pl.Binary
        ),
        status_code=pl.repeat(0, len(drawn), dtype=pl.Int8),
        repairs=pl.repeat(0, len(drawn), dtype=pl.Int32),
    )
    full = pl.concat([drawn.drop("trace", "span", "above").cast({"kind": pl.Int8}), ids], how="horizontal")
    missing = [pl.lit(None, kind).alias(name) for name, kind in SPANS.items() if name not in full.columns]
    full = full.with_columns(missing)
    return full.select(*SPANS.names(), *(name for name in full.columns if name not in SPANS))
