"""Saved views: pages as somebody left them, by name, for everybody who looks at the store.

Owns the list in the bar, and the fields that add to it.
"""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from dashboard import boards, page, shelves, state
from dashboard.boards import View
from dashboard.export import inert
from tracelens.errors import TracelensError

SAID = "views_said"  # in the session: what went wrong with the last change
FLEETING = ("live", "edit")  # whether a page moves is its reader's business, and a form is somebody's own


def popover(name: str) -> None:
    """Draw the list of saved views, and the field that keeps this one. name: of the page."""
    kept = shelves.views_of(page.source())
    with (
        st.container(key="views", width="content"),
        st.popover("", icon=":material/bookmark:", type="tertiary", help="saved views"),
    ):
        views, unread = kept.views()
        for file, view in sorted(views.items(), key=lambda one: one[1].title.casefold()):
            with st.container(horizontal=True, vertical_alignment="center", key=f"view_{file}"):
                target = st.session_state[page.PAGES_KEY][view.page]
                st.page_link(target, label=inert(view.title), query_params=dict(view.params), width="stretch")
                st.button(
                    "",
                    icon=":material/delete:",
                    type="tertiary",
                    key=f"forget_{file}",
                    help="delete this view",
                    on_click=_forget,
                    args=(kept, file),
                )
        if unread:
            st.caption(f"Not readable here: {inert(', '.join(unread))}. They stay as they are.")
        if not views:
            st.caption("No view is saved yet. One is this page with its window, filter and selection.")
        st.text_input(
            "name of this view", key="view_title", max_chars=boards.MOST_TITLE, placeholder="checkout, last hour"
        )
        st.button("Save this view", key="save_view", on_click=_save, args=(kept, name))
        said = st.session_state.get(SAID)
        if said:
            st.caption(f":red[{inert(said)}]")
        elif not kept.keeps:
            st.caption("A dump keeps none: they are there until the dashboard ends.")


def _params(name: str) -> Mapping[str, str]:
    """Return what the address says now: a selection does not draw the bar again."""
    now_state = state.read(name)
    params = state.to_params(now_state) | dict(now_state.page)
    return {name: value for name, value in params.items() if name not in FLEETING}


def _save(kept: shelves.Views, name: str) -> None:
    st.session_state.pop(SAID, None)
    try:
        kept.save(View(title=st.session_state["view_title"].strip(), page=name, params=_params(name)))
    except TracelensError as error:
        st.session_state[SAID] = str(error)
        return
    st.session_state["view_title"] = ""


def _forget(kept: shelves.Views, file: str) -> None:
    st.session_state.pop(SAID, None)
    try:
        kept.remove(file)
    except TracelensError as error:
        st.session_state[SAID] = str(error)
