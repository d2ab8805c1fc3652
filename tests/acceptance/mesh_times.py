"""Times of the mesh's calls, beside what apps and sidecars measured themselves; see `mesh_truth.py`.

Owns what is compared, and by how much the clocks of two programs may differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl

from tests.acceptance.mesh_truth import GRPC_METHOD, Run, app_records, callee_of, expected_route
from tracelens.analysis.hops import Level, requests
from tracelens.analysis.routes import routes


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
            logged.setdefault((line["workload"], callee_of(line["cluster"])), []).append(1_000 * line["total_us"])
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
    """Every call an app made: as long as its client span, to the nanosecond, and begun after the app read its clock.

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
            wrong.append(
                f"{instance} to {callee}: calls end {percentile(late, 90)} ns after the app's clocks say, at p90"
            )
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
