"""Overview: one sentence that says what is wrong, four numbers, the routes by impact."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from math import log
from typing import Any

from dashboard import page as pages
from dashboard.components.headline import headline, run
from dashboard.components.table import Column, Row, table
from dashboard.components.tiles import Tile, tiles
from dashboard.export import csv_button
from dashboard.findings import finding
from dashboard.format import Tone, calls_per_second, change, count, counted, duration, percent, points, split
from dashboard.page import Page
from dashboard.queries import Overview
from dashboard.state import ALL, CUSTOM, WINDOWS
from dashboard.terms import P99
from dashboard.views import empty

PERCENTILES = ("p50", "p90", "p99")
COUNTED_SPANS = 50_000  # of a window: findings of 95,600 spans take 170 ms, all else of the page half of that
MOST_ROUTES = 200  # drawn; more are found with the filter

Earlier = tuple[dict[str, Any], dict[tuple[str, str], dict[str, Any]]]


def draw(page: Page) -> None:
    """Draw the page."""
    shown: Overview = page.ask("overview")
    if not shown.routes:
        empty.draw(page, shown.source, shown.method)
        return
    before: Earlier | None = page.ask("earlier")
    found = finding(page, shown, before[1] if before else None)
    services = len({row["service"] for row in shown.routes})
    link = headline(
        [run("Overview", strong=True)],
        key="head",
        status=pages.status(page, shown.source, shown.method),
        sub=[
            run(f"{counted(services, 'service')}, {counted(len(shown.routes), 'route')}, "),
            run("by impact: time above their own p50 · "),
            run("what changed →", link=pages.link_to("compare", against="before" if before else "half")),
            run(" · "),
            run(_findings(page, shown), link=pages.link_to("findings")),
        ],
        callout=found.runs,
        tone=found.tone,
    )
    pages.follow(page, link)
    tiles(_tiles(page, shown, before), key="tiles")
    table(
        _columns(page),
        [_row(page, row, shown, before) for row in shown.routes[:MOST_ROUTES]],
        key="routes",
        label="Routes by impact",
        foot=_foot(shown),
        on_open=partial(_open, page),
        hotkeys=True,
        wide=True,
    )
    csv_button(page.ask("routes").rows, "routes")


def _open(page: Page, row: str) -> None:
    service, route = json.loads(row)
    pages.leave("route", page.params | {"service": service, "route": route})


def _findings(page: Page, shown: Overview) -> str:
    """Return the words that lead to the findings: how many there are, where counting them is cheap."""
    if shown.source.spans > COUNTED_SPANS:
        return "findings →"
    return f"{counted(len(page.ask('findings').rows), 'finding')} →"


def _against(page: Page, before: Earlier | None) -> str:
    """Return what a change is against, or why there is none."""
    if before is None:
        return "no earlier data"
    if page.window in WINDOWS:
        words = {"1h": "hour", "24h": "day", "7d": "7 days", "30d": "30 days"}
        return f"against the {words.get(page.window, page.window)} before"
    return "against the window before"


def _tiles(page: Page, shown: Overview, before: Earlier | None) -> list[Tile]:
    now = shown.summary
    then = before[0] if before and before[0]["calls"] else None
    against = _against(page, before if then else None)
    made = [
        _tile(
            name,
            f"n {count(now['n'])}",
            duration(now[f"{name}_nano"]),
            change(now[f"{name}_nano"], then[f"{name}_nano"]) if then else None,
            against,
            getattr(shown.course, name),
        )
        for name in PERCENTILES
    ]
    wrong = f"{count(now['errors'])} of {count(now['calls'])}"
    changed = points(now["error_rate"], then["error_rate"]) if then else None
    return [*made, _tile("errors", wrong, percent(now["error_rate"]), changed, against, shown.course.error_rate)]


def _tile(
    label: str,
    n: str,
    text: str,
    changed: tuple[str, Tone] | None,
    against: str,
    series: Sequence[float | None],
) -> Tile:
    value, unit = split(text)
    difference, tone = changed or (None, None)
    return Tile(label=label, n=n, value=value, unit=unit, change=difference, tone=tone, against=against, series=series)


def _columns(page: Page) -> list[Column]:
    span = "" if page.window in (ALL, CUSTOM) else f", {page.window}"
    return [
        Column(label="route", kind="name"),
        Column(label="calls/s", kind="number", minor=True),
        Column(label="n", kind="number", minor=True),
        Column(label="errors", kind="toned"),
        Column(label="p50", kind="number", minor=True),
        Column(label="p90", kind="number", minor=True),
        Column(label="p99", kind="number", strong=True),
        Column(label="p50 · p90 · p99, log", kind="dots", minor=True, width="19%"),
        Column(label=f"p99{span}", kind="spark", minor=True, help=P99),
        Column(label="change", kind="toned", minor=True),
    ]


def _row(page: Page, row: Mapping[str, Any], shown: Overview, before: Earlier | None) -> Row:
    key = (row["service"], row["route"])
    then = before[1].get(key) if before else None
    changed = change(row["p99_nano"], then["p99_nano"]) if then else None
    wrong = row["error_rate"]
    course = shown.courses.get(key)
    low, high = _scale(shown)
    return Row(
        id=json.dumps(key),  # not its place: live data reorders rows under the pointer
        cells=[
            {"color": page.color(row["service"]), "strong": row["service"], "light": row["route"]},
            calls_per_second(row["calls"], shown.length_nano),
            count(row["n"]),
            {"text": percent(wrong) if wrong else "–", "tone": "bad" if wrong >= 0.01 else "muted"},
            duration(row["p50_nano"]),
            duration(row["p90_nano"]),
            duration(row["p99_nano"]),
            None if row["p50_nano"] is None else {name: _place(row[f"{name}_nano"], low, high) for name in PERCENTILES},
            {"values": course.p99 if course else [], "kind": "p99"},
            {"text": changed[0], "tone": changed[1]} if changed else {"text": "–", "tone": "muted"},
        ],
    )


def _scale(shown: Overview) -> tuple[float, float]:
    """Return the durations at the ends of the tracks: the same for all routes, so that dots compare."""
    known = [row for row in shown.routes[:MOST_ROUTES] if row["p50_nano"] is not None]
    low = min((max(row["p50_nano"], 1) for row in known), default=1)
    high = max((row["p99_nano"] for row in known), default=1)
    return low * 0.8, max(high * 1.15, low * 2)


def _place(nano: int, low: float, high: float) -> float:
    return log(max(nano, 1) / low) / log(high / low)


def _foot(shown: Overview) -> str | None:
    hidden = len(shown.routes) - MOST_ROUTES
    parts = [f"{count(hidden)} more routes: narrow them down with the filter."] if hidden > 0 else []
    censored = sum(row["censored"] for row in shown.routes)
    if censored:
        parts.append(f"{count(censored)} calls whose client went away are counted and stay out of the percentiles.")
    return " ".join(parts) or None
