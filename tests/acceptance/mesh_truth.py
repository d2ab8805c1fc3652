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

import numpy as np
import polars as pl

from tracelens._fold import ATTEMPT, GATEWAY, INBOUND, OUTBOUND, PROXY
from tracelens.analysis.hops import LAYER_COLUMNS, Level, requests
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
            yield line["workload"], _callee(line["cluster"])


def _callee(cluster: str) -> str:
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


def percentile(values: Iterable[int], percent: int) -> int:
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) * percent // 100]


def is_near(ours: int, truth: float, share: float = 0.01, least: int = 200_000) -> bool:
    return abs(ours - truth) <= max(share * truth, least)


# Ends that cut calls short, and retries, of which an app sees each attempt: their times are not one call's.
CUT_SHORT = ("/slow", "/slowish", "/abort", "/flaky", GRPC_METHOD)


def call_times(run: Run) -> list[str]:
    """Calls and the apps' own time beside what the apps and their sidecars measured.

    A call as the app's client span tells it is shorter than what the app's own clock says: that one runs while the
    span is made and sent off, too. It is longer than what the sidecar logged. So it lies between the two, at every
    percentile; call by call `client_spans` compares it exactly.

    An app's own clock stops when its answer is written, its span ends before: so what it measured lies between
    the app's layer, and that with the proxy before it.
    """
    wrong = []
    measured: dict[tuple[str, str], list[int]] = {}
    own: dict[str, list[int]] = {}
    for record in app_records(run):
        for call in _calls_made(record):
            measured.setdefault((record["svc"], call["to"]), []).append(call["dur_ns"])
        if record["route"] not in CUT_SHORT and record["svc"] != "pricing":
            own.setdefault(record["svc"], []).append(_own_time(record))
    logged: dict[tuple[str, str], list[int]] = {}
    for line in run.lines:
        if line["direction"] == "outbound" and line["path"] != f"/{GRPC_METHOD}":
            logged.setdefault((line["workload"], _callee(line["cluster"])), []).append(1_000 * line["total_us"])
    whole = run.requests.filter(~pl.col("censored") & (pl.col("route") != GRPC_METHOD))
    for (caller, callee), durations in measured.items():
        ours = whole.filter((pl.col("caller") == caller) & (pl.col("service") == callee))["duration_nano"].to_list()
        by_proxy = logged.get((caller, callee), [])
        if not len(ours) == len(by_proxy) == len(durations):
            told = f"{len(ours)} calls, the app made {len(durations)}, its proxy logged {len(by_proxy)}"
            wrong.append(f"{caller} to {callee}: {told}")
            continue
        if len(ours) < 30:
            continue
        for percent, (share, least) in ((50, (0.01, 200_000)), (90, (0.03, 400_000))):
            found, inside, outside = (percentile(values, percent) for values in (ours, by_proxy, durations))
            if not inside - max(share * inside, least) <= found <= outside:
                told = f"{found} ns, the app measured {outside}, its proxy {inside}"
                wrong.append(f"{caller} to {callee} p{percent}: {told}")
    steady = whole.filter(~pl.col("route").is_in([f"GET {route}" for route in CUT_SHORT]))
    for workload, durations in own.items():
        ours = steady.filter((pl.col("service") == workload) & pl.col("app_nano").is_not_null())
        app, truth = percentile(ours["app_nano"].to_list(), 50), percentile(durations, 50)
        outside = percentile((ours["app_nano"] + ours["ingress_proxy_nano"].fill_null(0)).to_list(), 50)
        slack = max(200_000, truth // 100)
        if not app - slack <= truth <= outside + slack:
            wrong.append(f"app time of {workload} p50: {app} ns, with its proxy {outside}, the app measured {truth}")
    return wrong


def client_spans(run: Run) -> list[str]:
    """Every call an app made: as long as its client span, to the nanosecond, and that begun after the app's clock was read.

    An app is one thread, so that its calls and their spans begin in the same
    order. Where a call ends is judged pair by pair: the app knows it by its
    steady clock only, which it reads after the wall's, and by as much too
    early as another program had the processor between the two.
    """
    wrong = []
    measured: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for record in app_records(run):
        for call in _calls_made(record):
            key = record["instance"], call["to"]
            measured.setdefault(key, []).append((call["start_ns"], call["start_ns"] + call["dur_ns"]))
    sent = run.spans.filter(pl.col("attr:url.full").is_not_null() & (pl.col("service_name") != "pricing")).select(
        "span_id",
        instance="res:service.instance.id",
        callee=pl.col("attr:server.address").str.extract(r"^([a-z]+)"),
        begin=pl.col("start_time_unix_nano").cast(pl.Int64),
        end=pl.col("end_time_unix_nano").cast(pl.Int64),
    )
    ids = run.forest.spans["span_id"].gather(run.requests["top"])
    ours = run.requests.select("duration_nano", span_id=ids)
    spans = sent.join(ours.join(sent, on="span_id", how="semi"), on="span_id", how="left", validate="1:1")
    for (instance, callee), begun in measured.items():
        of_app = spans.filter((pl.col("instance") == instance) & (pl.col("callee") == callee)).sort("begin")
        if len(of_app) != len(begun):
            wrong.append(f"{instance} to {callee}: {len(of_app)} client spans, the app made {len(begun)} calls")
            continue
        late = []
        for (begin, end), span in zip(sorted(begun), of_app.iter_rows(named=True), strict=True):
            late.append(span["end"] - end)
            if span["duration_nano"] != span["end"] - span["begin"]:
                told = f"{span['duration_nano']} ns, its span {span['end'] - span['begin']}"
                wrong.append(f"a call of {instance} to {callee}: {told}")
            if not begin <= span["begin"] <= span["end"]:
                told = f"{span['begin'] - begin} ns after the app's clock, and is {span['end'] - span['begin']} ns long"
                wrong.append(f"a call of {instance} to {callee} begins {told}")
        if percentile(late, 90) > TWO_CLOCKS:
            wrong.append(f"{instance} to {callee}: calls end {percentile(late, 90)} ns after the app's clocks say, at p90")
    return wrong


# The wall's clock and the steady one go apart by so much in a call.
TWO_CLOCKS = 50_000


def _calls_made(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the HTTP calls of one request that an app served, of apps that say what they serve them for."""
    for call in record["calls"]:
        if call["path"] != f"/{GRPC_METHOD}" and call["status"] and record["svc"] != "pricing":
            yield call


def _own_time(record: dict[str, Any]) -> int:
    """Return an app's time less the union of its calls."""
    waited, reached = 0, 0
    for begin, end in sorted((call["start_ns"], call["start_ns"] + call["dur_ns"]) for call in record["calls"]):
        waited += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return max(0, int(record["dur_ns"]) - waited)


def gateway_times(run: Run) -> list[str]:
    """Percentiles of the gateway's routes beside its access log."""
    wrong = []
    logged = [line for line in run.logged.values() if line["direction"] == "gateway" and line["code"]]
    of_gateway = routes(run.calls.table.filter(pl.col("service") == "gateway").lazy()).collect()
    for row in of_gateway.iter_rows(named=True):
        truth = [1_000 * line["total_us"] for line in logged if expected_route(run, line) == row["route"]]
        if row["n"] - row["censored"] != len(truth):
            wrong.append(f"gateway {row['route']}: {row['n'] - row['censored']} whole calls, not {len(truth)}")
            continue
        for percent in (50, 90, 99):
            if truth and not is_near(row[f"p{percent}_nano"], percentile(truth, percent)):
                found = row[f"p{percent}_nano"]
                wrong.append(f"gateway {row['route']} p{percent}: {found} ns, not {percentile(truth, percent)}")
    return wrong


def phases(run: Run) -> list[str]:
    """The sending proxy's own time at L2 beside the microseconds of its access log, request by request."""
    wrong = []
    of_sender = run.requests.filter(pl.col("sender").is_not_null() & (pl.col("tries") == 1) & ~pl.col("censored"))
    ids = run.forest.spans["span_id"].bin.encode("hex").gather(of_sender["sender"])
    apart = []
    for span, ours, level in zip(ids, of_sender["egress_proxy_nano"], of_sender["level"], strict=True):
        line = run.logged[span]
        if line["attempts"] != 1 or None in (line["us_tx_beg_us"], line["us_rx_end_us"]) or ours is None:
            continue
        if level not in ("L2", "L3"):
            wrong.append(f"{span} is at {level} though its proxy tells phases")
        apart.append(abs(ours - 1_000 * (line["us_tx_beg_us"] + line["total_us"] - line["us_rx_end_us"])))
    if not apart:
        return ["no request tells its phases"]
    if np.median(apart) > 100_000:
        wrong.append(f"egress proxy at L2: {np.median(apart):.0f} ns from the access log at the median")
    return wrong


def levels(run: Run) -> list[str]:
    """The egress proxy at L1 and L2, and network + queueing at L1 and L3, of the same calls."""
    wanted: tuple[Level, ...] = ("L1", "L2", "L3")
    at = {most: requests(run.forest, run.calls, most=most) for most in wanted}
    told = pl.col("covered") & (pl.col("tries") == 1) & pl.col("sender").is_not_null()
    wrong = []
    for layer, one, other in (("egress_proxy_nano", "L1", "L2"), ("network_queueing_nano", "L1", "L3")):
        a, b = (at[most].filter(told).sort("sender").select("sender", layer) for most in (one, other))
        both = a.join(b, on="sender", suffix="_other", validate="1:1").drop_nulls()
        apart = (both[layer] - both[f"{layer}_other"]).abs().median()
        if len(both) < len(a) // 2 or not isinstance(apart, float) or apart > 100_000:
            wrong.append(f"{layer} at {one} and {other}: {apart} ns apart at the median of {len(both)} calls")
    return wrong
