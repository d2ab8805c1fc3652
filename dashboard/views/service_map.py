"""Map: who calls whom, how fast, how often wrong; and of one edge, where its time goes."""

from __future__ import annotations

import json
from math import log
from typing import Any

import polars as pl
import streamlit as st

from dashboard import page as pages
from dashboard import state
from dashboard.components.headline import Run, headline, run
from dashboard.components.map import service_map
from dashboard.components.table import Column, Row, table
from dashboard.format import calls_per_second, count, counted, duration, percent
from dashboard.hopbar import hop_bar
from dashboard.layout import layout
from dashboard.page import Page
from dashboard.queries import EdgePanel, Graph
from dashboard.stretches import Stretch
from dashboard.views import empty

PERCENTILES = {"p50": "p50", "p90": "p90", "p99": "p99"}
FAILING = 0.01  # of an edge's calls: enough to dash it
NO_EDGE = (
    "No call between two services has spans of both. A service calls another where its client span, or its proxy's, "
    "has the other's server span below it."
)
HOW = ": width is the rate, colour how slow, dashes are errors. Press one for its hops."
MISSING = {
    "missing_no_sidecar": "no sidecar writes spans for the callee",
    "missing_late": "spans that may still come",
    "missing_propagation": "headers lost on the way to the callee",
    "missing_sampling": "sampled away",
    "missing_unknown": "lost, nobody knows why",
}


def draw(page: Page) -> None:
    """Draw the page."""
    with_gateways = page.state.page.get("gateways") != "0"
    shown: Graph = page.ask("graph", with_gateways)
    edges = [row for row in shown.edges if row["caller"] is not None and row["callee"] is not None]
    if not shown.edges:
        empty.draw(page, shown.source, shown.method)
        return
    percentile = page.state.page.get("percentile", "p99")
    if percentile not in PERCENTILES:
        percentile = "p99"
    chosen = _chosen(page, edges, percentile)
    size = f"{counted(len(shown.services), 'service')}, {counted(len(edges), 'edge')}"
    link = headline(
        [run("Map", strong=True)],
        key="head",
        status=pages.status(page, shown.source, shown.method),
        sub=[run(f"{size}{HOW if edges else '.'}")],
        callout=_sentence(edges, percentile) or [run(NO_EDGE)],
    )
    pages.follow(page, link)
    _options(percentile, with_gateways=with_gateways)
    pressed = service_map(
        layout(((row["caller"], row["callee"]) for row in edges), shown.services),
        _drawn(edges, percentile, shown.length_nano),
        nodes=_under(shown),
        colors={name: page.color(name) for name in shown.services},
        chosen=None if chosen is None else _id(chosen),
        key="map",
        title="Who calls whom",
        note=f"{percentile} of calls, as the caller waited",
        label=f"Map of {size}. The table below says the same.",
    )
    if pressed is not None:
        state.write(edge=pressed)
        st.rerun()
    looked: Stretch = page.ask("stretch", None)
    if chosen is not None:
        _panel(page, chosen, looked)
    _clocks(page.ask_about(looked.narrow(page.question), "clocks"), looked.said(page.zone))


def _options(percentile: str, *, with_gateways: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.session_state["percentile"] = percentile
        st.segmented_control(
            "percentile",
            list(PERCENTILES),
            key="percentile",
            label_visibility="collapsed",
            on_change=lambda: state.write(percentile=st.session_state["percentile"] or percentile),
        )
        st.session_state["gateways"] = with_gateways
        st.toggle(
            "gateways",
            key="gateways",
            help="Show gateways and waypoints, or join callers and callees on their two sides.",
            on_change=lambda: state.write(gateways=None if st.session_state["gateways"] else "0", edge=None),
        )


def _id(row: dict[str, Any]) -> str:
    return json.dumps([row["caller"], row["callee"]])


def _chosen(page: Page, edges: list[dict[str, Any]], percentile: str) -> dict[str, Any] | None:
    """Return the edge of the URL, else the one that most time is spent on."""
    asked = page.state.page.get("edge")
    for row in edges:
        if _id(row) == asked:
            return row
    return max(edges, key=lambda row: row["calls"] * (row[f"{percentile}_nano"] or 0), default=None)


def _sentence(edges: list[dict[str, Any]], percentile: str) -> list[Run]:
    known = [row for row in edges if row[f"{percentile}_nano"] is not None]
    if not known:
        return []
    slow = max(known, key=lambda row: row[f"{percentile}_nano"])
    runs = [
        run("The slowest edge is "),
        run(f"{slow['caller']} → {slow['callee']}", strong=True),
        run(f", {percentile} "),
        run(duration(slow[f"{percentile}_nano"]), strong=True),
        run(f" over {count(slow['calls'])} calls."),
    ]
    wrong = max(edges, key=lambda row: row["error_rate"] or 0)
    if wrong["error_rate"] and wrong["error_rate"] >= FAILING:
        runs += [
            run(" Most errors: "),
            run(f"{wrong['caller']} → {wrong['callee']}", strong=True),
            run(f", {percent(wrong['error_rate'])}.", tone="bad"),
        ]
    return runs


def _drawn(edges: list[dict[str, Any]], percentile: str, length: int) -> list[dict[str, Any]]:
    """Return the edges as the component draws them: rates and durations on logarithmic scales of their own."""
    busiest = max((row["calls"] for row in edges), default=1)
    known = [row[f"{percentile}_nano"] for row in edges if row[f"{percentile}_nano"]]
    low, high = (min(known), max(known)) if known else (1, 1)
    drawn = []
    for row in edges:
        nano = row[f"{percentile}_nano"]
        failing = (row["error_rate"] or 0) >= FAILING
        errors = percent(row["error_rate"])
        said = [
            ("calls/s", calls_per_second(row["calls"], length)),
            ("errors", errors),
            *((name, duration(row[f"{name}_nano"])) for name in PERCENTILES),
            ("covered", percent(row["coverage"])),
        ]
        drawn.append(
            {
                "id": _id(row),
                "caller": row["caller"],
                "callee": row["callee"],
                "label": f"{duration(nano)}{f' · {errors}' if failing else ''}",
                "rate": log(1 + row["calls"]) / log(1 + busiest),
                "slow": log(nano / low) / log(high / low) if nano and high > low else 0.0,
                "failing": failing,
                "cells": said,
                "said": f"{row['caller']} calls {row['callee']}: " + ", ".join(f"{a} {b}" for a, b in said),
            }
        )
    return drawn


def _under(shown: Graph) -> dict[str, str]:
    """Return what stands below each service's name: how often it is called."""
    calls: dict[str, int] = {}
    for row in shown.edges:
        if row["callee"] is not None:
            calls[row["callee"]] = calls.get(row["callee"], 0) + row["calls"]
    return {name: f"{calls_per_second(n, shown.length_nano)} calls/s" for name, n in calls.items()}


def _panel(page: Page, edge: dict[str, Any], looked: Stretch) -> None:
    found: EdgePanel = page.ask_about(looked.narrow(page.question), "edge", edge["caller"], edge["callee"])
    length, said = looked.end_nano - looked.start_nano, looked.said(page.zone)
    left, right = st.columns([7, 5], gap="large")
    with left:
        table(
            [
                Column(label="route", kind="name"),
                Column(label="level", kind="number", minor=True),
                Column(label="calls/s", kind="number", minor=True),
                Column(label="n", kind="number"),
                Column(label="covered", kind="number", minor=True),
                Column(label="p50", kind="number", minor=True),
                Column(label="p90", kind="number", minor=True),
                Column(label="p99", kind="number", strong=True),
            ],
            [_hop(row, length) for row in found.hops],
            key="hops",
            label="Hops of the edge",
            title=f"{edge['caller']} → {edge['callee']}",
            term="hop",
            note=said or f"n {count(edge['n'])}",
            foot=_missing(edge),
            on_open=lambda route: pages.leave("route", page.params | {"service": edge["callee"], "route": route}),
            dense=True,
        )
    with right:
        hop_bar(
            found.layers,
            looked=said,
            key="layers",
            title="Where a call's time goes",
            nothing="No call of this edge has its callee's span.",
        )


def _hop(row: dict[str, Any], length: int) -> Row:
    return Row(
        id=row["route"] or "",
        cells=[
            {"color": None, "strong": "", "light": row["route"] or "–"},
            row["level"],
            calls_per_second(row["calls"], length),
            count(row["n"]),
            percent(row["coverage"]) if row["coverage"] is not None else "–",
            *(duration(row[f"{name}_nano"]) for name in PERCENTILES),
        ],
    )


def _missing(edge: dict[str, Any]) -> str | None:
    """Return why spans of the callee are not there, and whether the caller's traces hang together."""
    parts = [
        f"{count(edge[name])} calls without the callee's span: {why}." for name, why in MISSING.items() if edge[name]
    ]
    if edge["unlinked"]:
        parts.append(
            f"{count(edge['unlinked'])} calls begin traces of their own: {edge['caller']} passes no trace headers on."
        )
    return " ".join(parts) or None


def _clocks(rows: pl.DataFrame, looked: str | None) -> None:
    """Draw hosts whose clocks differ for certain. looked: at which spans, where not at all of the window."""
    apart = rows.filter(
        pl.col("offset_nano").is_not_null() & ((pl.col("low_nano") > 0) | (pl.col("high_nano") < 0))
    ).to_dicts()
    if not apart:
        return
    table(
        [
            Column(label="host", kind="text"),
            Column(label="other", kind="text"),
            Column(label="the other is ahead by", kind="number", strong=True),
            Column(label="at least", kind="number", minor=True),
            Column(label="at most", kind="number", minor=True),
            Column(label="n", kind="number"),
            Column(label="spans moved", kind="number", minor=True),
        ],
        [
            Row(
                id=json.dumps([row["host"], row["other"]]),
                cells=[
                    row["host"],
                    row["other"],
                    *(duration(row[name]) for name in ("offset_nano", "low_nano", "high_nano")),
                    count(row["n"]),
                    count(row["shifted"]),
                ],
            )
            for row in apart
        ],
        key="clocks",
        label="Hosts whose clocks differ",
        title="Clocks that differ",
        note=" · ".join(
            filter(None, ("estimated over many calls; each trace is put right by the least that fits", looked))
        ),
        dense=True,
    )
