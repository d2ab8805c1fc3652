"""Critical path: where the latency of many traces goes, as a flame graph."""

from __future__ import annotations

import streamlit as st

from dashboard import page as pages
from dashboard import state
from dashboard.components.flame import flame
from dashboard.components.headline import Run, headline, run
from dashboard.components.table import Column, Row, table
from dashboard.export import inert
from dashboard.fixing import panel
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
NOTHING = "none"  # in the box of differences
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
    minus = page.state.page.get("minus")
    minus = minus if minus in BANDS and minus != band else None
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        key = scope_picker(page, known.rows, everything="all routes, whole traces")
        _band(band)
        _minus(band, minus)
    shown: Paths = page.ask("paths", key, BANDS[band], BANDS[minus] if minus else None)
    about = f"What set the latency of {count(shown.entries)} calls, {BAND_NAMES[band]}. Width is time on the path."
    if minus:
        about += f" Orange takes longer than in {BAND_NAMES[minus]}, blue less."
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
        change=shown.change,
        sure=[True] * len(shown.change or ()),  # two bands differ by what was measured: nothing is estimated
    )
    if zoomed is not None:
        state.write(zoom=zoomed if zoomed != shown.nodes[0].key else None)
        st.rerun()
    left, right = st.columns([6, 6], gap="large")
    with left:
        _heaviest(page, shown)
        _only(page, shown)
    with right:
        panel(page, key, shown.source.spans)


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


def _minus(band: str, minus: str | None) -> None:
    """Draw which band the shown one is coloured by its difference to."""
    st.session_state["minus"] = minus or NOTHING
    st.selectbox(
        "against",
        [NOTHING, *(name for name in BANDS if name != band)],
        format_func=lambda name: "no difference" if name == NOTHING else f"− {BAND_NAMES[name]}",
        key="minus",
        label_visibility="collapsed",
        width=220,
        on_change=_minus_changed,
    )


def _minus_changed() -> None:
    minus = st.session_state["minus"]
    state.write(minus=None if minus == NOTHING else minus)


def _signed(nano: int) -> dict[str, str]:
    """Return a change of the time of a call, in the flame's colours."""
    sign = "+" if nano > 0 else "−" if nano < 0 else "±"
    return {"text": f"{sign}{duration(abs(nano))}", "tone": "slower" if nano > 0 else "faster" if nano < 0 else "muted"}


def _only(page: Page, shown: Paths) -> None:
    """Draw the way from the node that is zoomed to, to the calls it works in."""
    zoom = page.state.page.get("zoom")
    node = next((node for node in shown.nodes if node.key == zoom), None)
    if node is None or not node.service:
        return
    where = state.with_condition(page.state.where, "service", "=", node.service)
    st.button(f"Only calls of {inert(node.service)}", on_click=_filter, args=(where,))


def _filter(where: str) -> None:
    state.write(where=where, service=None, route=None, zoom=None)


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
    change = None if shown.change is None else dict(zip((node.key for node in shown.nodes), shown.change, strict=True))
    ordered = heaviest(shown.nodes)
    if change is not None:
        ordered.sort(key=lambda node: -abs(change[node.key]))
    rows = [
        Row(
            id=node.key,
            cells=[
                {"color": page.color(node.service), "strong": node.service, "light": node.operation},
                layer_name(node.layer),
                {"share": node.exclusive_nano / total},
                percent(node.exclusive_nano / total),
                duration(node.exclusive_nano / shown.entries),
                *([] if change is None else [_signed(change[node.key])]),
                count(node.calls),
            ],
        )
        for node in ordered[:HEAVIEST]
        if node.exclusive_nano
    ]
    table(
        [
            Column(label="operation", kind="name"),
            Column(label="layer", kind="text", minor=True),
            Column(label="own time on the path", kind="share", width="24%", minor=True),
            Column(label="share", kind="number"),
            Column(label="a call", kind="number", strong=True),
            *([] if change is None else [Column(label="change", kind="toned")]),
            Column(label="calls", kind="number", minor=True),
        ],
        rows,
        key="heaviest",
        label="Call-path nodes with most time of their own",
        title="Heaviest nodes" if change is None else "Nodes that differ most",
        term="own",
        note=f"n {count(shown.entries)}",
        dense=True,
    )
