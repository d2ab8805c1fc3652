"""What a run of the mesh in ../shared did, by its access logs and its apps' own clocks, and what we make of it.

Owns the comparison: each function returns the differences as sentences, none
when all is right. Envoy's access log has the id of each span, so that every
span of a proxy is looked up, not counted.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from tracelens._fold import ATTEMPT, GATEWAY, INBOUND, OUTBOUND, PROXY
from tracelens.analysis.hops import LAYER_COLUMNS, requests
from tracelens.analysis.routes import routes
from tracelens.calls import Calls, calls
from tracelens.forest import Forest, link

DIRECTIONS = {INBOUND: "inbound", OUTBOUND: "outbound", GATEWAY: "gateway"}
# What the callee names its requests, by the first segment of the path, once templated and once by its app.
BY_PATH = {
    "product": ("/product/{id}", "/product/{id}"),
    "cart": ("/cart/{id}", "/cart/{user}"),
    "price": ("/price/{id}", "/price/{id}"),
    "grpc": ("/grpc/{id}", "/grpc/{user}"),
    "missing": ("/missing/{id}", "/*"),
    "items": ("/items/{id}", "/items/{id}"),
    "carts": ("/carts/{id}", "/carts/{user}"),
    "quote": ("/quote/{id}", "/quote/{id}"),
}
GRPC_METHOD = "shop.Cart/Get"
# Of --style template: what the caller's decorators name, where that is more than a wildcard.
DECORATED = {"items": "GET /items/{id}", "flaky": "GET /flaky", "faulty": "GET /faulty", "slow": "GET /slow"}


@dataclass(frozen=True)
class Run:
    """One run: what was sent, and what became of its spans."""

    workdir: Path
    sent: dict[str, Any]
    spans: pl.DataFrame
    options: tuple[str, ...] = ()
    lines: list[dict[str, Any]] = field(init=False)  # of the access logs, and whose each is
    logged: dict[str, dict[str, Any]] = field(init=False)  # the same by span id, of spans that were kept
    forest: Forest = field(init=False)
    calls: Calls = field(init=False)
    requests: pl.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        forest = link(self.spans)
        folded = calls(forest)
        object.__setattr__(self, "lines", list(_access_logs(self.workdir)))
        object.__setattr__(self, "logged", _by_span(self.lines, forest.spans))
        object.__setattr__(self, "forest", forest)
        object.__setattr__(self, "calls", folded)
        object.__setattr__(self, "requests", requests(forest, folded))

    @property
    def style(self) -> str:
        return str(self.sent["style"])

    @property
    def has_apps(self) -> bool:
        return bool(self.sent["app_spans"])


def _access_logs(workdir: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(workdir.glob("*.access.jsonl")):
        workload = path.name.split(".")[0].rsplit("-", 1)[0]
        direction = "gateway" if workload == "gateway" else "outbound" if ".egress." in path.name else "inbound"
        for line in path.read_text().splitlines():
            yield {**json.loads(line), "workload": workload, "direction": direction}


def _by_span(lines: list[dict[str, Any]], spans: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the line of each span; of Zipkin's spans, whose ids no log has, one of those that say the same."""
    if all(line.get("span_id") for line in lines):
        return {line["span_id"]: line for line in lines}
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for line in lines:
        key = line["trace_id"], line["workload"], line["method"], line["path"], line["cluster"]
        alike.setdefault(key, []).append(line)
    told = spans.filter(pl.col("attr:node_id").is_not_null()).select(
        pl.col("trace_id").bin.encode("hex"),
        pl.col("attr:node_id").str.extract(r"~([a-z]+)-[0-9]+\.shop~"),
        "attr:http.method",
        pl.col("attr:http.url").str.extract(r"^[a-z]+://[^/]+(/.*)$"),
        "attr:upstream_cluster",
        span=pl.col("span_id").bin.encode("hex"),
    )
    return {row[-1]: alike[row[:-1]].pop() for row in told.iter_rows() if alike.get(row[:-1])}


def app_records(run: Run) -> Iterator[dict[str, Any]]:
    """Yield what the apps wrote down of each request they served."""
    for path in sorted(run.workdir.glob("*.truth.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if "svc" in record:
                yield record


def expected_route(run: Run, line: dict[str, Any]) -> str:
    """Return what a request is to be called, from its line in an access log."""
    path = line["path"].split("?")[0]
    first = path.split("/")[1]
    workload = line["workload"]
    if path == f"/{GRPC_METHOD}":
        return GRPC_METHOD
    by_template, by_app = BY_PATH.get(first, (path, path))
    if line["direction"] == "inbound" and run.has_apps and workload != "pricing":
        return f"{line['method']} {by_app}"
    by_gateway = by_app if first != "missing" else "/missing"
    if run.style == "template":
        if workload in ("gateway", "frontend") and line["direction"] != "outbound":
            # The gateway's decorator is its route's name, and the sidecar behind it takes that over.
            return f"{line['method']} {by_gateway}"
        if first in DECORATED:
            return DECORATED[first]
        if first == "boo":
            return "ghost"
    if run.style == "operation" and workload == "gateway":
        return f"{line['method']} {line['method']} {by_gateway}"
    if run.style == "operation" and line["direction"] == "outbound" and first in ("items", "flaky", "faulty", "slow"):
        return f"{line['method']} {first}"
    return f"{line['method']} {by_template}"


def labels(run: Run) -> list[str]:
    """Compare workload, direction and route of every span of a proxy, and the workload of every app's."""
    told = run.forest.spans.select(
        "name", "service_name", "kind", span=pl.col("span_id").bin.encode("hex")
    ).with_columns(
        workload=run.calls.service,
        operation=run.calls.operation,
        role=pl.Series(run.calls.role),
        direction=pl.Series(run.calls.direction),
        up=pl.Series(run.forest.parent),
    )
    rows = told.to_dicts()
    wrong: Counter[str] = Counter()
    seen = 0
    for row in rows:
        line = run.logged.get(row["span"])
        if row["role"] == ATTEMPT:
            above = run.logged.get(rows[row["up"]]["span"]) if row["up"] >= 0 else None
            if above is None or row["workload"] != above["workload"]:
                wrong[f"attempt {row['name']} of {above and above['workload']} is {row['workload']}'s"] += 1
            continue
        if row["role"] != PROXY:
            if line is not None:
                wrong[f"{row['name']} of {line['workload']} is no proxy's: role {row['role']}"] += 1
            elif row["workload"] != row["service_name"]:
                wrong[f"app span {row['name']} of {row['service_name']} is {row['workload']}'s"] += 1
            continue
        if line is None:
            wrong[f"proxy span {row['name']} of {row['workload']} is in no access log"] += 1
            continue
        seen += 1
        is_told = (row["workload"], DIRECTIONS.get(row["direction"]), row["operation"])
        is_true = (line["workload"], line["direction"], expected_route(run, line))
        if is_told != is_true:
            wrong[f"{row['name']} {line['path'].split('?')[0]}: {is_told}, not {is_true}"] += 1
    if run.sent.get("traces_expected") and seen != len(run.lines):
        wrong[f"{len(run.lines)} lines in access logs, {seen} spans of proxies"] += 1
    return [f"{text} ({n}x)" for text, n in wrong.most_common()]


def counts(run: Run) -> list[str]:
    """Compare calls per workload and route, and per edge, with the access logs.

    Where traces were sampled, what was kept is counted exactly, and what it stands for as exactly as it can be.
    """
    wrong = []
    sampled = run.sent.get("traces_expected") is None
    kept = set(run.spans["span_id"].bin.encode("hex"))
    lines = [line for span, line in run.logged.items() if not sampled or span in kept]
    ours = routes(run.calls.table.filter(~pl.col("echo")).lazy()).collect()
    found = {(service, route): n for service, route, n in ours.select("service", "route", "n").rows()}
    wrong += _differences("route", _routes(run, lines), found)
    if sampled:
        stands_for = {(service, route): n for service, route, n in ours.select("service", "route", "calls").rows()}
        for key, truth in _routes(run, run.lines).items():
            rate = run.calls.sampling.rate or 1
            if abs(stands_for.get(key, 0) - truth) > 5 * (truth * (1 - rate) / rate) ** 0.5 + 5 / rate:
                wrong.append(f"route {key}: estimated {stands_for.get(key, 0)} calls of {truth}")
    edges = {
        (caller, callee): calls
        for caller, callee, calls in run.requests.group_by("caller", "service").len().iter_rows()
    }
    return wrong + _differences("edge", Counter(_edges(lines)), edges)


def _routes(run: Run, lines: Iterable[dict[str, Any]]) -> Counter[tuple[str, str]]:
    taken = [line for line in lines if line["direction"] in ("inbound", "gateway")]
    return Counter((line["workload"], expected_route(run, line)) for line in taken)


def _edges(lines: Iterable[dict[str, Any]]) -> Iterator[tuple[str | None, str]]:
    for line in lines:
        if line["direction"] == "gateway":
            yield None, "gateway"
        if line["direction"] in ("gateway", "outbound"):
            yield line["workload"], callee_of(line["cluster"])


def callee_of(cluster: str) -> str:
    found = re.search(r"([a-z]+)(?:_grpc|\.shop\..*)?$", cluster)
    assert found is not None
    return found[1]


def _differences(what: str, truth: Counter[Any], found: dict[Any, int]) -> list[str]:
    keys = sorted({*truth, *found}, key=str)
    return [f"{what} {key}: {found.get(key, 0)}, not {truth[key]}" for key in keys if found.get(key, 0) != truth[key]]


def sums(run: Run) -> list[str]:
    """Every request whose callee wrote a span: its layers add up to its duration."""
    total = pl.sum_horizontal(pl.col(name).fill_null(0) for name in LAYER_COLUMNS)
    apart = run.requests.filter(pl.col("covered") & (total != pl.col("duration_nano")))
    return [f"layers of {len(apart)} requests do not add up"] if len(apart) else []


def coverage(run: Run) -> list[str]:
    """Only what reached nobody is without a callee's span; of the rest the reason is told, and is sampling.

    Where the app drops what it is called with, and its sidecar kept nothing, its own traces are all there is to see.
    """
    missing = run.requests.filter(pl.col("expected") & ~pl.col("covered"))
    if "--no-request-id" in run.options:
        missing = missing.filter(pl.col("service") != "ghost")  # nobody is there to write spans
        dropped = (pl.col("service") == "pricing") & (pl.col("missing") == "propagation")
        missing = missing.filter((pl.col("missing") != "sampling") & ~dropped)
    told = missing.group_by("caller", "service", "route", "missing").len()
    return [f"no span of the callee: {row}" for row in told.rows()]
