"""Compare: what differs between two windows, versions or filters, and whether chance explains it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard import changes, sides, state
from dashboard import page as pages
from dashboard.changes import RouteChange
from dashboard.components.distribution import Spread, distribution
from dashboard.components.flame import flame
from dashboard.components.headline import Run, headline, run
from dashboard.components.table import Column, Row, table
from dashboard.export import csv_button
from dashboard.format import compact, count, duration, layer_suffix
from dashboard.page import Page
from dashboard.picker import asked
from dashboard.sidepicker import ask
from dashboard.sides import Sides
from dashboard.views import empty
from tracelens.lens import Answer, Comparison, Heatmap, Question
from tracelens.lens.compare import rose

MINUTE = 60_000_000_000  # nanoseconds; of shorter windows the milliseconds are told
MOST_SPANS = 250_000  # of a side: both are looked at as quickly as one stretch of another page
MOST_ROUTES = 200  # drawn; more are found with the filter
NODES = 12
STEPS = 240  # of an outline before it is smoothed
CHANGE = "by how much the percentile of B is above that of A; the numbers behind it are on the pointer"
SURE = (
    "the p-value, adjusted for as many routes as were tested (Benjamini-Hochberg): at most 0.05 is beyond chance. "
    "It does not say why: windows also differ by load and time of day"
)
INTERVAL = "holds the true change in 95 of 100 such comparisons; … where the calls are too few for a bound"
VERDICT = (
    "Coloured: beyond chance, its p-value adjusted for the number of routes at most 0.05. The dot is the change, the "
    "bar its 95 % interval, the line no change; the scale is of ratios, the same everywhere, and wider near the line."
)


def draw(page: Page) -> None:
    """Draw the page."""
    reach = page.lens.now_range()
    if reach is None:
        known: Answer = page.ask("routes")
        empty.draw(page, known.source, known.method)
        return
    told = ask(page, reach)
    if isinstance(told, str):
        _advise(page, told)
        return
    told, said = _newest(page, told)
    found: Comparison = page.ask_about(told.b, "compare", *sides.arguments(told.a), None)
    shown = list(changes.routes(found.rows))
    if not any(one.measures["calls"]["n_a"] for one in shown) or not any(one.measures["calls"]["n_b"] for one in shown):
        _one_sided(page, told, found, reach, shown)
        return
    chosen = _chosen(page, shown)
    link = headline(
        [run("Compare", strong=True)],
        key="head",
        status=pages.status(page, found.b, found.method),
        sub=[*_sub(page, told, shown), *said],
        callout=_sentence(shown),
        tone=_tone(shown),
    )
    pages.follow(page, link)
    table(
        _columns(),
        [_row(page, one, changes.edge(shown), chosen=one is chosen) for one in shown[:MOST_ROUTES]],
        key="routes",
        label="Routes, the surest changes first",
        foot=_foot(shown, found),
        on_open=_open,
        hotkeys=True,
        wide=True,
    )
    csv_button(found.rows, "comparison")
    _panel(page, told, chosen)


def _newest(page: Page, told: Sides) -> tuple[Sides, list[Run]]:
    """Return the newest stretch of each side, and words for it; all of them where they are not long."""
    a, b = (page.ask_about(side, "stretch", None, MOST_SPANS) for side in (told.a, told.b))
    if a.whole and b.whole:
        return told, []
    spans = f"{compact(a.of_spans)} and {compact(b.of_spans)} spans"
    newest = [run(f". Of long sides, {spans}, the newest stretch is compared")]
    return replace(told, a=a.narrow(told.a), b=b.narrow(told.b)), newest


def _open(row: str) -> None:
    service, route = json.loads(row)
    state.write(service=service, route=route, zoom=None)


def _chosen(page: Page, shown: Sequence[RouteChange]) -> RouteChange:
    """Return the route of the URL, else the one that changed most surely."""
    key = asked(page)
    return next((one for one in shown if one.key == key), shown[0])


def _advise(page: Page, text: str) -> None:
    """Draw why there are no two sides, and the way to them."""
    known: Answer = page.ask("routes")
    link = headline(
        [run("Compare", strong=True)],
        key="head",
        status=pages.status(page, known.source, known.method),
        callout=[run(text)],
    )
    pages.follow(page, link)


def _one_sided(
    page: Page, told: Sides, found: Comparison, reach: tuple[int, int], shown: Sequence[RouteChange]
) -> None:
    """Draw which side has no call, and where the data lies."""
    if not shown and told.a.where == told.b.where:
        empty.draw(page, found.b, found.method)
        return
    name = told.b_name if any(one.measures["calls"]["n_a"] for one in shown) else told.a_name
    first, last = (f"{state.to_datetime(nano, page.zone):%Y-%m-%d %H:%M:%S}" for nano in reach)
    link = headline(
        [run("Compare", strong=True)],
        key="head",
        status=pages.status(page, found.b, found.method),
        sub=_sub(page, told, shown),
        callout=[
            run(f"{name} has no call: there is nothing to compare with.", strong=True),
            run(f" The data reaches from {first} to {last}. "),
            run("Compare the first half of it with the second →", link=pages.link_to("compare", against="half")),
        ],
    )
    pages.follow(page, link)


def _sub(page: Page, told: Sides, shown: Sequence[RouteChange]) -> list[Run]:
    """Return what the sides are."""
    runs = []
    for mark, side, name in (("A", told.a, told.a_name), ("B", told.b, told.b_name)):
        n = sum(one.measures["calls"][f"n_{mark.lower()}"] for one in shown)
        said = _said(page, side, "" if name == mark else name)
        runs += [run(mark, strong=True), run(f" {said} (n {count(n)})")]
        runs += [run(" · ")] if mark == "A" else []
    return runs


def _said(page: Page, side: Question, name: str) -> str:
    """Return a side in words: its name, its window, its filter."""
    day = "%Y-%m-%d "
    if side.start_nano is None or side.end_nano is None:
        window = "all data" if side.start_nano is None and side.end_nano is None else "an open window"
    else:
        first, last = (state.to_datetime(nano, page.zone) for nano in (side.start_nano, side.end_nano))
        dated = "" if first.date() == last.date() else f"{last:{day}}"
        exact = side.end_nano - side.start_nano < MINUTE
        begin, end = (page.clock(nano, milliseconds=exact) for nano in (side.start_nano, side.end_nano))
        window = f"{first:{day}}{begin} – {dated}{end}"
    where = " ".join(side.where)
    return ", ".join(part for part in (name, window, "" if name else where) if part)


def _sentence(shown: Sequence[RouteChange]) -> list[Run]:
    """Return what changed beyond chance, the surest and largest first."""
    sure = [one for one in shown if any(row["significant"] for row in one.measures.values())]
    tested = [one for one in shown if any(row["p_value"] is not None for row in one.measures.values())]
    if not sure:
        if not tested:
            return [run("No route has calls enough on both sides for a verdict. Choose longer windows.")]
        where = f"any of {count(len(tested))} routes" if len(tested) > 1 else "the one route"
        return [run(f"No change beyond chance on {where} with calls enough to tell.")]
    runs = [
        run(f"{count(len(sure))} of {count(len(tested))} route{'s' * (len(tested) != 1)}", strong=True),
        run(" changed beyond chance. Most surely "),
        run(f"{sure[0].service} {sure[0].route}", strong=True),
        run(": "),
    ]
    rows = [row for row in sure[0].measures.values() if row["significant"]]
    top = max(rows, key=lambda row: (row["difference_nano"] is not None, abs(rose(dict(row)))))
    measure = top["measure"]
    runs += [
        run(f"{changes.NAMES.get(measure, measure)} "),
        run("rose by " if rose(dict(top)) > 0 else "fell by "),
        run(changes.difference(top).lstrip("+−"), strong=True),
        run(f" to {changes.value(measure, top['b'])} (95 % within {changes.interval(top)})."),
    ]
    return runs


def _tone(shown: Sequence[RouteChange]) -> str:
    """Return how grave it is: a neutral nothing where no verdict could be given."""
    verdicts = {one.verdict for one in shown}
    if any(tone == "slower" for _, tone in verdicts):
        return "warn"
    return "" if all(word == changes.TOO_FEW for word, _ in verdicts) else "calm"


def _columns() -> list[Column]:
    return [
        Column(label="route", kind="name"),
        Column(label="n A", kind="number", minor=True),
        Column(label="n B", kind="number", minor=True),
        Column(label="errors", kind="toned", minor=True, help="by how many points of all calls the error rate rose"),
        Column(label="p50, B − A", kind="change", minor=True, width="17%", help=CHANGE),
        Column(label="p90, B − A", kind="change", minor=True, width="17%", help=CHANGE),
        Column(label="p99, B − A", kind="change", width="17%", help=CHANGE),
        Column(label="verdict", kind="toned", minor=True, help=SURE),
    ]


def _row(page: Page, one: RouteChange, edge: float, *, chosen: bool) -> Row:
    calls, errors = one.measures["calls"], one.measures["error_rate"]
    verdict, tone = one.verdict
    return Row(
        id=json.dumps(one.key),
        chosen=chosen,
        cells=[
            {"color": page.color(one.service), "strong": one.service, "light": one.route},
            count(calls["n_a"]),
            count(calls["n_b"]),
            {"text": changes.difference(errors), "tone": changes.tone(errors), "title": changes.said(errors)},
            *(_change(one.measures[name], edge) for name in changes.PERCENTILES),
            {"text": verdict, "tone": tone},
        ],
    )


def _change(row: changes.Row, edge: float) -> dict[str, Any]:
    found = changes.place(row, edge)
    return {
        "text": changes.difference(row),
        "tone": changes.tone(row),
        "title": changes.said(row),
        "low": found and found.low,
        "at": found and found.at,
        "high": found and found.high,
    }


def _foot(shown: Sequence[RouteChange], found: Comparison) -> str:
    hidden = len(shown) - MOST_ROUTES
    parts = [f"{count(hidden)} more routes: narrow them down with the filter."] if hidden > 0 else []
    if found.weighted:
        parts.append("Traces stand for different numbers of requests; what was seen is compared.")
    return " ".join([*parts, VERDICT])


def _panel(page: Page, told: Sides, chosen: RouteChange) -> None:
    """Draw one route: its calls by duration on both sides, its measures, and its paths."""
    found: Comparison = page.ask_about(told.b, "compare", *sides.arguments(told.a), chosen.key)
    left, right = st.columns(2, gap="large")
    with left:
        _spread(page, told, chosen)
    with right:
        _measures(chosen)
        target = st.session_state[pages.PAGES_KEY]["route"]
        params = page.params | {"service": chosen.service, "route": chosen.route}
        st.page_link(target, label="The route in this window →", query_params=params)
    nodes = found.rows.filter(kind="node")
    made, change, sure = changes.difference_tree(nodes)
    if not made or not made[0].inclusive_nano:
        return
    zoomed = flame(
        made,
        1,
        colors={},
        change=change,
        sure=sure,
        zoom=page.state.page.get("zoom", ""),
        key="flame",
        title="Where on the critical path",
        note=f"width: {told.b_name}, mean {duration(made[0].inclusive_nano)} a call · orange: slower than "
        f"{told.a_name}, blue: faster, pale: within chance",
        label=f"Critical paths of {chosen.service} {chosen.route} and their change. The table below says the same.",
    )
    if zoomed is not None:
        state.write(zoom=zoomed if zoomed != made[0].key else None)
        st.rerun()
    _nodes(nodes.to_dicts())


def _spread(page: Page, told: Sides, chosen: RouteChange) -> None:
    grids: tuple[Heatmap, Heatmap] = page.ask_about(told.b, "spread", *sides.arguments(told.a), chosen.key, STEPS)
    distribution(
        [
            Spread(
                name=name,
                grid=grid,
                percentiles={one: chosen.measures[one][letter] for one in changes.PERCENTILES},
            )
            for name, grid, letter in zip((told.a_name, told.b_name), grids, "ab", strict=True)
        ],
        key="spread",
        title=f"{chosen.service} {chosen.route}",
        label=f"Calls of {chosen.service} {chosen.route} by duration on both sides. The table below says the same.",
    )


def _measures(chosen: RouteChange) -> None:
    rows = [chosen.measures[name] for name in changes.MEASURES if name in chosen.measures]
    table(
        [
            Column(label="", kind="value"),
            Column(label="A", kind="number", minor=True),
            Column(label="B", kind="number"),
            Column(label="B − A", kind="toned"),
            Column(label="95 % interval", kind="number", help=INTERVAL),
            Column(label="adjusted p", kind="number", minor=True, help=SURE),
        ],
        [
            Row(
                id=row["measure"],
                cells=[
                    changes.NAMES.get(row["measure"], row["measure"]),
                    changes.value(row["measure"], row["a"]),
                    changes.value(row["measure"], row["b"]),
                    {
                        "text": changes.difference(row),
                        "tone": changes.tone(row),
                        "title": changes.said(row),
                    },
                    changes.interval(row),
                    changes.probability(row["adjusted_p"]),
                ],
            )
            for row in rows
        ],
        key="measures",
        label="Measures of the route on both sides",
        title="What changed",
        term="beyond chance",
        note=f"n {count(rows[0]['n_a'])} and {count(rows[0]['n_b'])}",
        foot=_notes(rows),
        dense=True,
    )


def _notes(rows: Sequence[changes.Row]) -> str | None:
    """Return why measures have no verdict."""
    by_note: dict[str, list[str]] = {}
    for row in rows:
        measure = str(row["measure"])
        if row["note"]:
            by_note.setdefault(row["note"], []).append(changes.NAMES.get(measure, measure))
    return "; ".join(f"{', '.join(names)}: {note}" for note, names in by_note.items()) + "." if by_note else None


def _nodes(rows: Sequence[dict[str, Any]]) -> None:
    shown = sorted(rows, key=lambda row: -abs(row["difference_nano"] or 0))[:NODES]
    widest = max((abs(row["difference_nano"] or 0) for row in shown), default=0) or 1
    table(
        [
            Column(label="call path node", kind="name"),
            Column(label="", kind="share", width="16%", minor=True),
            Column(label="own time, A", kind="number", minor=True),
            Column(label="own time, B", kind="number", minor=True),
            Column(label="B − A", kind="toned", strong=True),
            Column(label="95 % interval", kind="number", minor=True, help=INTERVAL),
        ],
        [
            Row(
                id=str(row["node"]),
                cells=[
                    {"color": None, "strong": row["path"][-1], "light": _under(row)},
                    {"share": abs(row["difference_nano"] or 0) / widest, "tone": changes.tone(row)},
                    changes.value("mean", row["a"]),
                    changes.value("mean", row["b"]),
                    {"text": changes.difference(row), "tone": changes.tone(row), "title": changes.said(row)},
                    changes.interval(row),
                ],
            )
            for row in shown
        ],
        key="nodes",
        label="Call-path nodes by how much their own time a call changed",
        title="Nodes that changed most",
        term="call path node",
        note="own time on the critical path, mean a call; differences sum to the mean's",
        dense=True,
    )


def _under(row: dict[str, Any]) -> str:
    above = f"under {row['path'][-2]}" if len(row["path"]) > 1 else "the route itself"
    return f"{layer_suffix(row['layer']).removeprefix(' · ')} {above}".strip()
