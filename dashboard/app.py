"""The script Streamlit runs for every visit: which pages there are, and what is drawn around them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import streamlit as st

from dashboard import bar, page, state
from dashboard.cache import lens as opened
from dashboard.page import Page
from dashboard.views import (
    board,
    compare,
    critical_path,
    findings,
    overview,
    problem,
    route,
    search,
    service_map,
    trace,
)
from tracelens.errors import TracelensError

View = Callable[[Page], None]
VIEWS: dict[str, View] = {
    "overview": overview.draw,
    "route": route.draw,
    "critical-path": critical_path.draw,
    "map": service_map.draw,
    "search": search.draw,
    "trace": trace.draw,
    "compare": compare.draw,
    "findings": findings.draw,
    "board": board.draw,
}
ASSETS = Path(__file__).parent / "assets"


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config(page_title="TraceLens", page_icon=str(ASSETS / "icon.png"), layout="wide")
    st.html(ASSETS / "shell.css")
    pages = {name: _page(name, view) for name, view in VIEWS.items()}
    st.session_state[page.PAGES_KEY] = pages
    st.navigation(list(pages.values()), position="hidden").run()


def _page(name: str, view: View) -> st.Page:
    def show() -> None:
        run(name, view)

    title = bar.NAMES[name]
    return st.Page(show, title=f"{title} · TraceLens", url_path=name, default=name == "overview")


def run(name: str, view: View) -> None:
    """Draw one page: the bar, and below it what moves when Live is on."""
    now_state = state.read(name)
    try:
        bar.draw(name, now_state)
        moves = page.is_live(now_state, opened(page.source()))
    except TracelensError as error:
        problem.draw(error)
        st.fragment(_look_again, run_every=page.LIVE_SECONDS)()
        return

    def body() -> None:
        page.left()
        if bar.carries(state.read(name)) != bar.carries(now_state):
            st.rerun()  # the bar stands outside of what is drawn again here
        try:
            view(page.open_page(name))
        except TracelensError as error:
            problem.draw(error)

    st.fragment(body, run_every=page.LIVE_SECONDS if moves else None)()


def _look_again() -> None:
    """Draw the page once its source can be read."""
    with suppress(TracelensError):
        opened(page.source())
        st.rerun()


main()
