"""Findings: what is wrong in known ways, where, what it costs, and a trace that shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl
import streamlit as st

from dashboard import page as pages
from dashboard import state
from dashboard.components.findings import Shown
from dashboard.components.findings import findings as draw_findings
from dashboard.components.headline import Run, headline, run
from dashboard.components.table import Column, Row, table
from dashboard.export import csv_button
from dashboard.format import compact, count, duration, split
from dashboard.kinds import KINDS, kind
from dashboard.page import Page
from dashboard.stretches import Stretch
from dashboard.views import empty
from tracelens.lens import Answer, TraceAnswer

ORDERS = {"path": "time on critical paths", "p99": "time of slow traces"}
ORDER_HELP = (
    "Time on critical paths: the part of the cost that set the latency of traces, summed over them. Time of slow "
    "traces: that part a trace, of the traces at or above p99 of their route; of few traces, p90."
)
Finding = Mapping[str, Any]  # a FINDINGS row


def draw(page: Page) -> None:
    """Draw the page."""
    looked: Stretch = page.ask("stretch", None)
    known: Answer = page.ask_about(looked.narrow(page.question), "findings")
    if not known.source.spans or page.ask("routes").rows.is_empty():
        empty.draw(page, known.source, known.method)
        return
    order = page.state.page.get("order", "path")
    if order not in ORDERS:
        order = "path"
    rows = known.rows.sort(f"{order}_nano", descending=True, nulls_last=True, maintain_order=True).to_dicts()
    link = headline(
        [run("Findings", strong=True)],
        key="head",
        status=pages.status(page, known.source, known.method),
        sub=[run(_sub(known, rows, order, looked.said(page.zone)))],
        callout=_sentence(rows),
        tone="warn" if any(_costs(row) for row in rows) else "calm",
    )
    pages.follow(page, link)
    if rows:
        _order(order)
        largest = max((row[f"{order}_nano"] or 0 for row in rows), default=0) or 1
        act = draw_findings(
            [_shown(page, row, order, largest) for row in rows],
            key="findings",
            label=f"Findings by {ORDERS[order]}",
        )
        if act:
            _follow(page, act["event"], json.loads(act["id"]))
        csv_button(known.rows, "findings")
    _absent({row["kind"] for row in rows})


def _order(order: str) -> None:
    st.session_state["order"] = order
    st.segmented_control(
        "order",
        list(ORDERS),
        format_func=ORDERS.__getitem__,
        key="order",
        label_visibility="collapsed",
        help=ORDER_HELP,
        required=True,
        on_change=lambda: state.write(order=None if st.session_state["order"] == "path" else "p99"),
    )


def _sub(known: Answer, rows: list[dict[str, Any]], order: str, said: str | None) -> str:
    """Return how much was found where. said: which spans were looked at, when those are not all."""
    found = f"{count(len(rows))} finding{'s' * (len(rows) != 1)}"
    if rows:
        found += f" in {compact(known.source.traces)} traces, by {ORDERS[order]}"
    return found if said is None else f"{found}. Of a long window the newest stretch is looked at, {said}."


def _costs(row: Finding) -> bool:
    return bool(row["path_nano"])


def _name(row: Finding) -> str:
    return " ".join(text for text in (row["service"], row["route"]) if text)


def _sentence(rows: list[dict[str, Any]]) -> list[Run]:
    """Return which finding costs most, by what the page is ordered by."""
    if not rows:
        return [run("Nothing is wrong in the ways that TraceLens knows; what it looked for is below.")]
    top = rows[0]
    runs = [run(kind(top["kind"]).name, strong=True), run(" of "), run(_name(top), strong=True)]
    if not _costs(top):
        return [*runs, run(f": {top['evidence']}. No finding has time on a critical path.")]
    runs += [
        run(" cost most: "),
        run(duration(top["path_nano"]), strong=True),
        run(f" of the critical paths of {count(top['traces'])} traces"),
    ]
    if top["p99_nano"] is not None:
        runs += [run(", "), run(duration(top["p99_nano"]), strong=True), run(f" {_of_slow(top)}")]
    return [*runs, run(".")]


def _of_slow(row: Finding) -> str:
    """Return which traces `p99_nano` is about."""
    begin = " ".join(text for text in (row["entry_service"], row["entry_route"]) if text)
    return f"a trace of the slowest {row['slow_percent']} % of {begin} (n {count(row['slow_traces'])})"


def _shown(page: Page, row: Finding, order: str, largest: int) -> Shown:
    told = kind(row["kind"])
    nano = row[f"{order}_nano"]
    value, unit = ("", "cost unknown") if nano is None else split(duration(nano))
    total = f"on the critical paths of {count(row['traces'])} traces"
    slow = None if row["p99_nano"] is None else _of_slow(row)
    if order == "path":
        about = total if nano is not None else f"in {count(row['traces'])} traces"
        more = f"{duration(row['p99_nano'])} {slow}" if slow else ""
    else:
        about = slow or "too few traces to tell"
        more = f"{duration(row['path_nano'])} {total}" if row["path_nano"] is not None else ""
    if row["cost_nano"] is not None and row["cost_nano"] != row["path_nano"]:
        more = "; ".join(part for part in (more, f"{duration(row['cost_nano'])} with what was off the path") if part)
    return Shown(
        id=json.dumps(_key(row)),
        what=told.name,
        help=told.means,
        color=page.color(row["service"] or ""),
        service=row["service"] or "",
        route=row["route"] or "",
        evidence=f"{row['evidence']}.",
        advice=told.advice,
        value=value,
        unit=unit,
        about=about,
        more=more,
        share=(nano or 0) / largest,
        links=_links(row),
    )


def _key(row: Finding) -> list[str | None]:
    trace_id = row["exemplar_trace_id"]
    return [
        row["service"],
        row["route"],
        trace_id.hex() if trace_id else None,
        row["entry_service"],
        row["entry_route"],
    ]


def _links(row: Finding) -> list[dict[str, str]]:
    links = [{"event": "trace", "text": "the trace it cost most →"}] if row["exemplar_trace_id"] else []
    if row["service"] and row["route"]:
        links += [{"event": "route", "text": "its route →"}, {"event": "search", "text": "traces of the route →"}]
    elif row["entry_service"] and row["entry_route"]:
        links.append({"event": "entry", "text": "the route its traces begin at →"})
    return links


def _follow(page: Page, event: str, key: list[str | None]) -> None:
    service, route, trace_id, *entry = key
    if event == "trace" and trace_id is not None:
        span = span_of(page.ask("trace", trace_id), service, route)
        pages.go("trace", page.params | {"trace": trace_id} | ({"span": span} if span else {}))
    elif event in ("route", "search") and service and route:
        pages.go(event, page.params | {"service": service, "route": route})
    elif event == "entry" and all(entry):
        pages.go("route", page.params | dict(zip(("service", "route"), map(str, entry), strict=True)))


def span_of(answer: TraceAnswer, service: str | None, route: str | None) -> str | None:
    """Return the span to highlight in a finding's trace: of its service where that is known, and of its route if any.

    Of several the one with most time on the critical path, then the longest.
    """
    length = pl.col("end_unix_nano") - pl.col("start_unix_nano")
    of_route = (pl.col("operation") == route).fill_null(value=False)
    known = of_route if service is None else pl.col("service") == service
    found = (
        answer.rows.filter(known)
        .sort(of_route, "on_path_nano", length, "span_id", descending=[True, True, True, False])
        .head(1)
    )
    return found["span_id"][0].hex() if len(found) else None


def _absent(present: set[str]) -> None:
    """Draw what was looked for and is not there."""
    rows = [Row(id=name, quiet=True, cells=[one.name, one.means]) for name, one in KINDS.items() if name not in present]
    if not rows:
        return
    table(
        [Column(label="", kind="value", width="26%"), Column(label="", kind="value")],
        rows,
        key="absent",
        label="Looked for and not found",
        title="Looked for and not found",
        note=f"{len(rows)} of {len(KINDS)} ways to be wrong",
        headless=True,
        dense=True,
    )
