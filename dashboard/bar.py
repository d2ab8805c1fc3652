"""The top of every page: where one is, the window, the filter, Live.

Owns the widgets. They are set from the URL before they are drawn, and write to
it when they are touched; nothing else remembers them.
"""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from dashboard import clock, page, saved, state, terms
from dashboard.cache import lens as opened
from dashboard.state import CUSTOM, WINDOW_NAMES, State
from tracelens.lens import Lens

NAMES = {
    "overview": "Overview",
    "route": "Route",
    "critical-path": "Critical path",
    "map": "Map",
    "search": "Search",
    "trace": "Trace",
    "compare": "Compare",
    "findings": "Findings",
    "board": "Board",
}
EXAMPLE = "service=cart status=error duration>200ms attr.user_agent~curl"

KEYS = """
| key | does |
| --- | --- |
| `/` | to the filter; on Search to the trace id |
| `?` | these keys, and what the words mean |
| `j` `k`, arrows | next, previous row; to a node below, above, beside |
| `Enter` | open, zoom, choose |
| `[` `]` | fold, unfold; zoom out, in |
| `p` | only the critical path of a trace |
| arrows on the heatmap | move the box; with Shift, its far corner |
| `Esc` | drop the box, the zoom |
"""


def draw(name: str, now_state: State) -> None:
    """Draw the bar of a page."""
    lens = opened(page.source())
    with st.container(key="bar", horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**TraceLens**", width="content")
        for other, label in NAMES.items():
            target = st.session_state[page.PAGES_KEY][other]
            st.page_link(
                target, label=f"**{label}**" if other == name else label, query_params=_carried(now_state, name, other)
            )
        saved.popover(name)
        with (
            st.container(key="keys", width="content"),
            st.popover("", icon=":material/keyboard:", type="tertiary", help="keys and words"),
        ):
            st.markdown(f"{KEYS}\n\n{terms.glossary()}")
    with st.container(key="ask", horizontal=True, vertical_alignment="center", gap="small"):
        _window(now_state, lens)
        _where(now_state)
        _live(now_state, lens)


def _carried(now_state: State, name: str, other: str) -> dict[str, str]:
    """Return what a link to another page takes along: the bar, and the route where both pages have one."""
    takes = name != other and {"service", "route"} <= set(state.PAGES[other])
    return carries(now_state) if takes else state.to_params(now_state)


def carries(now_state: State) -> dict[str, str]:
    """Return what of a page's state the bar shows, or its links take along."""
    route = {key: now_state.page[key] for key in ("service", "route") if key in now_state.page}
    return state.to_params(now_state) | route


def _window(now_state: State, lens: Lens) -> None:
    reach = lens.now_range()
    now = clock.now_of(lens.source.live, reach)
    st.session_state["window"] = clock.chosen_window(now_state, live=lens.source.live, reach=reach, now_nano=now)
    st.selectbox(
        "window",
        list(WINDOW_NAMES),
        format_func=WINDOW_NAMES.__getitem__,
        key="window",
        label_visibility="collapsed",
        width=130,
        on_change=_window_changed,
    )
    if st.session_state["window"] == CUSTOM:
        zone = page.zone()
        first, last = reach or (now - clock.FRESH_NANO, now)
        bounds = {"start": now_state.start_nano or first, "end": now_state.end_nano or last + 1_000_000_000}
        for bound, nano in bounds.items():
            # The widget knows minutes without a zone; it shows the viewer's clock.
            st.session_state[bound] = state.to_datetime(nano, zone).replace(tzinfo=None, microsecond=0)
            st.datetime_input(
                bound,
                key=bound,
                label_visibility="collapsed",
                width=210,
                step=60,
                on_change=_bound_changed,
                args=(bound,),
            )


def _window_changed() -> None:
    chosen = st.session_state["window"]
    page.refresh()
    state.write(window=chosen, start=None, end=None, box=None)


def _bound_changed(bound: str) -> None:
    moment = st.session_state[bound]
    if isinstance(moment, datetime):
        state.write(**{"window": CUSTOM, bound: moment.replace(tzinfo=page.zone()).isoformat(), "box": None})


def _where(now_state: State) -> None:
    st.session_state["where"] = now_state.where
    st.text_input(
        "filter",
        key="where",
        placeholder=EXAMPLE,
        label_visibility="collapsed",
        icon=":material/filter_alt:",
        width="stretch",
        on_change=_where_changed,
    )


def _where_changed() -> None:
    state.write(where=st.session_state["where"].strip() or None, box=None)


def _live(now_state: State, lens: Lens) -> None:
    if not lens.source.live:
        return
    st.session_state["live"] = page.is_live(now_state, lens)
    st.toggle("Live", key="live", on_change=_live_changed)


def _live_changed() -> None:
    page.refresh()
    state.write(live="1" if st.session_state["live"] else "0")
