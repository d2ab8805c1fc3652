"""Route: when its calls were slow, what the slow ones share, and where their time went."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import polars as pl
import streamlit as st

from dashboard import page as pages
from dashboard import since, state
from dashboard.components.headline import Run, headline, run
from dashboard.components.heatmap import heatmap
from dashboard.components.table import Column, Row, table
from dashboard.deploys import Deploy, deploys
from dashboard.export import csv_button, markdown
from dashboard.format import calls_per_second, count, duration, layer_suffix, percent, whole_percent
from dashboard.hopbar import hop_bar
from dashboard.page import Page
from dashboard.picker import route_picker
from dashboard.queries import Reason, RoutePage, Slow
from dashboard.stretches import Stretch
from dashboard.views import empty
from tracelens.lens import Answer, Box

STATUS = {"error": "error", "timed_out": "timeout"}  # attributes that the filter knows as a status
REASONS = 6  # shown before they are summed up
ATTRIBUTES = 12
VERSIONED_SPANS = 500_000
MOST_DEPLOYS = 12  # drawn: of more, lines tell nothing
STANDS_OUT = 0.3  # of the difference: enough to be named as the reason


def draw(page: Page) -> None:
    """Draw the page of the route in the URL, else of the one with most impact."""
    known: Answer = page.ask("routes")
    if known.rows.is_empty():
        empty.draw(page, known.source, known.method)
        return
    key = route_picker(page, known.rows)
    shown: RoutePage = page.ask("route", key)
    drawn = state.parse_box(page.state.page.get("box"))
    box = drawn or shown.tail
    newest: Stretch = page.ask("stretch", None)
    looked: Stretch = newest if drawn is None or newest.whole else page.ask("stretch", drawn.end_nano)
    contrast: pl.DataFrame = page.ask_about(looked.narrow(page.question), "contrast", key, _cells(box))
    title, sub = [run(key[0], strong=True), run(f" {key[1]}")], _sub(shown)
    came = _deploys(page, key, shown)
    when = since.sentence(page, shown.since, came, key, _bounds(shown))
    callout = [*when, *_sentence(shown.slow), *_shared(page, contrast, looked, chosen=drawn is not None)]
    link = headline(
        title,
        key="head",
        status=pages.status(page, shown.source, shown.method),
        sub=sub,
        callout=callout,
        tone="warn",
        copy=markdown(title, [sub, callout, *map(_reason, shown.slow.why.reasons[:REASONS])]),
    )
    pages.follow(page, link)
    if shown.row is None:
        return
    name = f"Latency of {key[0]} {key[1]} over time: {count(shown.grid.calls)} calls. The table below says the same."
    left, right = st.columns([7, 5], gap="large")
    with left:
        heatmap(
            shown.grid,
            shown.course,
            box,
            key="heatmap",
            title="Latency",
            label=name,
            chosen=drawn is not None,
            on_box=partial(_choose, key),
            marks=[(one.at_nano, f"{one.service} {one.version}") for one in came],
        )
        _contrast(page, key, contrast, looked, chosen=drawn is not None)
        csv_button(contrast, "attributes")
    with right:
        _reasons(page, key, shown.slow)
        hop_bar(
            page.ask_about(newest.narrow(page.question), "layers", key),
            looked=newest.said(page.zone),
            key="layers",
            title="Where a call's time goes",
            nothing="No call has spans of both its caller and its callee.",
        )
        _exemplars(page, key, box, chosen=drawn is not None)


def _choose(key: tuple[str, str], box: Box | None) -> None:
    state.write(service=key[0], route=key[1], box=state.box_text(box) if box else None)


def _bounds(shown: RoutePage) -> tuple[int, int]:
    """Return the moments between which the page looks."""
    return shown.grid.start_nano, shown.grid.end_nano


def _deploys(page: Page, key: tuple[str, str], shown: RoutePage) -> list[Deploy]:
    """Return the deployments of the services on the route's critical paths; of very many spans they are not looked for.

    What a service's version is stands in no rollup.
    """
    if shown.source.spans > VERSIONED_SPANS:
        return []
    services = {key[0], *(one.service for one in shown.slow.why.reasons)}
    return deploys(page.ask("versions"), services, *_bounds(shown))[:MOST_DEPLOYS]


def _cells(box: Box) -> tuple[int, int, int, int]:
    return box.start_nano, box.end_nano, box.low_nano, box.high_nano


def _sub(shown: RoutePage) -> list[Run]:
    row = shown.row
    if row is None:
        return [run("no call in this window")]
    interval = f" (95 % within {duration(row['p99_low_nano'])} – {duration(row['p99_high_nano'])}, n {count(row['n'])})"
    return [
        run(f"{calls_per_second(row['calls'], shown.length_nano)} calls/s · p50 {duration(row['p50_nano'])} · "),
        run(f"p90 {duration(row['p90_nano'])} · p99 "),
        run(duration(row["p99_nano"]), strong=True, tone="p99"),
        run(f"{interval} · errors {percent(row['error_rate'])}"),
    ]


def _sentence(slow: Slow) -> list[Run]:
    """Return why the slow calls are slow, as far as one operation tells."""
    why = slow.why
    share = f"{100 - slow.band[0]:g} %"
    if not why.reasons or why.difference_nano <= 0:
        return [run(f"The slowest {share} do not differ from the typical call on any path. ")]
    top = why.reasons[0]
    runs = [
        run(f"The slowest {share} take "),
        run(duration(why.difference_nano), strong=True),
        run(" more than the typical call. "),
    ]
    name = run(f"{top.service} {top.operation}{layer_suffix(top.layer)}", strong=True)
    if top.share >= STANDS_OUT:
        runs += [run(whole_percent(top.share), strong=True), run(" of that is one operation: "), name, run(". ")]
    elif top.difference_nano > 0:
        runs += [run("No single operation stands out; the most, "), run(whole_percent(top.share)), run(", is "), name]
        runs.append(run(". "))
    return runs


def _shared(page: Page, contrast: pl.DataFrame, looked: Stretch, *, chosen: bool) -> list[Run]:
    """Return the attribute that most sets the selected calls apart, when it does so clearly."""
    if contrast.is_empty():
        return []
    top = contrast.row(0, named=True)
    if top["selected"] - top["rest"] < 0.3:
        return []
    who = "the selected calls" if chosen else "the slowest 10 %"
    return [
        run("" if looked.whole else f"From {looked.when(page.zone)}, "),
        run(f"{percent(top['selected'])} of {who} have "),
        run(f"{plain_name(top['attribute'])}={top['value']}", strong=True),
        run(f", {percent(top['rest'])} of the rest."),
    ]


def plain_name(column: str) -> str:
    """Return an attribute's name as the filter language has it: `attr.http.method`, `res.k8s.pod.name`."""
    owner, mark, rest = column.partition(":")
    if not mark:
        return column
    key, kind, name = rest.rpartition("#")
    return f"{owner}.{key if kind and name in ('int', 'double', 'bool', 'json') else rest}"


def _contrast(page: Page, key: tuple[str, str], rows: pl.DataFrame, looked: Stretch, *, chosen: bool) -> None:
    shown = [_affirmed(row) for row in rows.head(ATTRIBUTES).to_dicts()]
    selected = _selected(rows)
    actions = [
        {"event": "include", "text": "only", "label": "keep only calls with this value"},
        {"event": "exclude", "text": "without", "label": "leave out calls with this value"},
    ]
    table(
        [
            Column(label="attribute", kind="text"),
            Column(label="value", kind="text"),
            Column(label="selected · rest", kind="pair", width="22%"),
            Column(label="selected", kind="number"),
            Column(label="rest", kind="number", minor=True),
            Column(label="lift", kind="number", minor=True, strong=True),
            Column(label="", kind="actions", minor=True),
        ],
        [
            Row(
                id=json.dumps([row["attribute"], row["value"]]),
                cells=[
                    plain_name(row["attribute"]),
                    row["value"],
                    {
                        "selected": row["selected"],
                        "rest": row["rest"],
                        "title": f"{count(row['selected_calls'])} selected, {count(row['rest_calls'])} of the rest",
                    },
                    percent(row["selected"]),
                    percent(row["rest"]),
                    _lift(row),
                    actions if _filterable(row["attribute"]) else [],
                ],
            )
            for row in shown
        ],
        key="contrast",
        label="Attributes that set the selected calls apart",
        title=f"{selected} selected against the rest",
        term="baseline",
        note=" · ".join(filter(None, ("the box drawn" if chosen else "the slowest 10 %", looked.said(page.zone)))),
        nothing="No attribute of the selected calls differs from the rest.",
        on_act=partial(_narrow, page, key),
        dense=True,
    )


def _narrow(page: Page, key: tuple[str, str], event: str, row: str) -> None:
    """Keep the calls with a row's value, or leave them out."""
    name, value = _condition(*json.loads(row))
    where = state.with_condition(page.state.where, name, "=" if event == "include" else "!=", value)
    state.write(service=key[0], route=key[1], where=where, box=None)


def _selected(rows: pl.DataFrame) -> str:
    """Return how many calls are selected, from the row that tells it best."""
    if rows.is_empty():
        return "Calls"
    row = rows.filter(pl.col("selected") > 0).sort("selected_calls", descending=True).head(1)
    return count(round(row["selected_calls"][0] / row["selected"][0])) if len(row) else "Calls"


def _lift(row: Mapping[str, Any]) -> str:
    if row["lift"] is None:
        return "only here"
    lift = row["lift"]
    return f"×{lift:.1f}" if lift >= 1.05 or lift <= 0.95 else "–"


def _affirmed(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a yes-or-no attribute as how often it is so: `error` 47 %, not `error=false` 53 %."""
    if row["attribute"] not in STATUS or row["value"] != "false":
        return row
    selected, rest = 1 - row["selected"], 1 - row["rest"]
    calls = {
        name: round(row[name] / share * (1 - share)) if share else 0
        for name, share in (("selected_calls", row["selected"]), ("rest_calls", row["rest"]))
    }
    return (
        row | calls | {"value": "true", "selected": selected, "rest": rest, "lift": selected / rest if rest else None}
    )


def _condition(attribute: str, value: str) -> tuple[str, str]:
    """Return key and value of the filter that keeps what a row shows."""
    return ("status", STATUS[attribute]) if attribute in STATUS else (plain_name(attribute), value)


def _filterable(attribute: str) -> bool:
    known = attribute == "caller" or attribute in STATUS or attribute.startswith(("attr:", "res:"))
    return known and state.askable(attribute)


def _reasons(page: Page, key: tuple[str, str], slow: Slow) -> None:
    why = slow.why
    shown, rest = why.reasons[:REASONS], why.reasons[REASONS:]
    widest = max((abs(one.difference_nano) for one in shown), default=1.0) or 1.0
    rows = [
        Row(
            id=str(at),
            cells=[
                {
                    "color": page.color(one.service),
                    "strong": one.service,
                    "light": f"{one.operation}{layer_suffix(one.layer)}",
                },
                {
                    "share": abs(one.difference_nano) / widest,
                    "tone": "slower" if one.difference_nano >= 0 else "faster",
                },
                _signed(one.difference_nano),
                whole_percent(one.share),
            ],
        )
        for at, one in enumerate(shown)
    ]
    if rest:
        left = sum(one.difference_nano for one in rest)
        share = whole_percent(sum(one.share for one in rest))
        rows.append(Row(id="rest", quiet=True, cells=[_plain(f"{len(rest)} more"), None, _signed(left), share]))
    low, high = slow.band
    table(
        [
            Column(label="on the critical path", kind="name"),
            Column(label="", kind="share", width="22%"),
            Column(label="slow − typical", kind="number", strong=True),
            Column(label="share", kind="number"),
        ],
        rows,
        key="reasons",
        label="What a slow call has on its critical path beyond a typical one",
        title="Why the slow calls are slow",
        term="tail attribution",
        note=f"slowest {high - low:g} % (n {count(why.slow_calls)}) against 0–50 % (n {count(why.typical_calls)})",
        foot=f"Sums to {_signed(why.difference_nano)} a call." if rows else None,
        nothing="Too few calls to compare.",
        dense=True,
    )
    target = st.session_state[pages.PAGES_KEY]["critical-path"]
    params = page.params | {"service": key[0], "route": key[1], "band": f"{low:g}-{high:g}"}
    st.page_link(target, label="The whole critical path →", query_params=params)


def _reason(one: Reason) -> list[Run]:
    """Return a reason as a line of text."""
    name = f"{one.service} {one.operation}{layer_suffix(one.layer)}"
    return [
        run(name, strong=True),
        run(f" {_signed(one.difference_nano)}, {whole_percent(one.share)} of the difference"),
    ]


def _plain(text: str) -> dict[str, Any]:
    return {"strong": "", "light": text}


def _tone(nano: float) -> str:
    return "slower" if nano >= 0 else "faster"


def _signed(nano: float) -> str:
    return f"{'−' if nano < 0 else '+'}{duration(abs(nano))}"


def _exemplars(page: Page, key: tuple[str, str], box: Box, *, chosen: bool) -> None:
    rows: pl.DataFrame = page.ask("exemplars", key, _cells(box))
    table(
        [
            Column(label="trace", kind="code"),
            Column(label="start", kind="number"),
            Column(label="", kind="toned"),
            Column(label="duration", kind="number", strong=True),
        ],
        [
            Row(
                id=row["trace_id"].hex(),
                cells=[
                    row["trace_id"].hex()[-16:],
                    page.clock(row["start_unix_nano"], milliseconds=True),
                    {"text": "⚠ error" if row["error"] else "", "tone": "bad"},
                    duration(row["duration_nano"]),
                ],
            )
            for row in rows.iter_rows(named=True)
        ],
        key="exemplars",
        label="Traces to look at",
        title="Traces to look at",
        note="slowest in the box" if chosen else "the slowest",
        nothing="No call lies in the box.",
        on_open=partial(pages.open_trace, page),
        hotkeys=True,
        dense=True,
    )
