"""Critical path: where the latency of many traces goes, as a flame graph."""

from __future__ import annotations

import streamlit as st

from dashboard import page as pages
from dashboard import state
from dashboard.components.flame import flame
from dashboard.components.headline import Run, headline, run
from dashboard.components.table import Column, Row, table
from dashboard.format import count, duration, layer_name, percent
from dashboard.page import Page
from dashboard.picker import scope_picker
from dashboard.queries import BANDS, PathNode, Paths
from dashboard.views import empty
from tracelens.lens import Answer

BAND_NAMES = {
    "all": "all calls",
    "0-50": "typical, 0–50 %",
    "50-90": "50–90 %",
    "90-99": "90–99 %",
    "99-100": "slowest 1 %",
    "90-100": "slowest 10 %",  # what the route page compares when there are few calls
}
HEAVIEST = 12  # rows of the table; the flame's twin has all


def draw(page: Page) -> None:
    """Draw the page."""
    known: Answer = page.ask("routes")
    if known.rows.is_empty():
        empty.draw(page, known.source, known.method)
        return
    band = page.state.page.get("band", "all")
    if band not in BANDS:
        band = "all"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        key = scope_picker(page, known.rows, everything="all routes, whole traces")
        _band(band)
    shown: Paths = page.ask("paths", key, BANDS[band])
    about = f"What set the latency of {count(shown.entries)} calls, {BAND_NAMES[band]}. Width is time on the path."
    link = headline(
        [run(key[0], strong=True), run(f" {key[1]}")] if key else [run("Whole traces", strong=True)],
        key="head",
        status=pages.status(page, shown.source, shown.method),
        sub=[run(about)],
        callout=_sentence(shown),
    )
    pages.follow(page, link)
    if not shown.nodes:
        return
    zoomed = flame(
        shown.nodes,
        shown.entries,
        colors={node.service: page.color(node.service) for node in shown.nodes if node.service},
        zoom=page.state.page.get("zoom", ""),
        key="flame",
        title="Time on the critical path",
        note=f"mean {duration(shown.nodes[0].inclusive_nano / shown.entries)} a call · click zooms, Esc goes back",
        label=f"Flame graph of {count(shown.entries)} critical paths. The table below says the same.",
    )
    if zoomed is not None:
        state.write(zoom=zoomed if zoomed != shown.nodes[0].key else None)
        st.rerun()
    _heaviest(page, shown)


def _band(band: str) -> None:
    st.session_state["band"] = band
    st.segmented_control(
        "band",
        [name for name in BANDS if name != "90-100" or band == name],
        format_func=BAND_NAMES.__getitem__,
        key="band",
        label_visibility="collapsed",
        required=True,
        on_change=_band_changed,
    )


def _band_changed() -> None:
    band = st.session_state["band"]
    state.write(band=None if band == "all" else band)


def _sentence(shown: Paths) -> list[Run]:
    total = sum(node.exclusive_nano for node in shown.nodes)
    if not total:
        return [run("No call lies in this band.")]
    top = heaviest(shown.nodes)[0]
    own = duration(top.exclusive_nano / shown.entries)
    return [
        run(percent(top.exclusive_nano / total), strong=True),
        run(" of the time on the path is "),
        run(f"{top.service} {top.operation}", strong=True),
        run(f": {own} a call, in {count(top.calls)} of {count(shown.entries)} calls."),
    ]


def heaviest(nodes: list[PathNode]) -> list[PathNode]:
    """Return the nodes with most time of their own, first the most."""
    return sorted(nodes, key=lambda node: (-node.exclusive_nano, node.key))


def _heaviest(page: Page, shown: Paths) -> None:
    total = sum(node.exclusive_nano for node in shown.nodes) or 1
    rows = [
        Row(
            id=node.key,
            cells=[
                {"color": page.color(node.service), "strong": node.service, "light": node.operation},
                layer_name(node.layer),
                {"share": node.exclusive_nano / total},
                percent(node.exclusive_nano / total),
                duration(node.exclusive_nano / shown.entries),
                count(node.calls),
            ],
        )
        for node in heaviest(shown.nodes)[:HEAVIEST]
        if node.exclusive_nano
    ]
    table(
        [
            Column(label="operation", kind="name"),
            Column(label="layer", kind="text", minor=True),
            Column(label="own time on the path", kind="share", width="24%", minor=True),
            Column(label="share", kind="number"),
            Column(label="a call", kind="number", strong=True),
            Column(label="calls", kind="number", minor=True),
        ],
        rows,
        key="heaviest",
        label="Call-path nodes with most time of their own",
        title="Heaviest nodes",
        term="own",
        note=f"n {count(shown.entries)}",
        dense=True,
    )
