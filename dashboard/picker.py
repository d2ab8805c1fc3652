"""Which route a page is about: the URL says it, a box changes it."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import streamlit as st

from dashboard import state
from dashboard.page import Page
from tracelens.lens import Route


def route_picker(page: Page, routes: pl.DataFrame) -> Route:
    """Draw the box of a page about one route; return the URL's, else the first.

    routes: ROUTES rows, most impact first.
    """
    keys = _keys(routes)
    chosen = asked(page) or keys[0]
    _draw([*keys, chosen] if chosen not in keys else keys, chosen, {})
    return chosen


def scope_picker(page: Page, routes: pl.DataFrame, *, everything: str) -> Route | None:
    """Draw the box of a page about one route or all; return the URL's, else None, which is called `everything`."""
    keys: list[Route | None] = [None, *_keys(routes)]
    chosen = asked(page)
    _draw([*keys, chosen] if chosen not in keys else keys, chosen, {None: everything})
    return chosen


def asked(page: Page) -> Route | None:
    """Return the route in the URL."""
    service, route = page.state.page.get("service"), page.state.page.get("route")
    return (service, route) if service and route else None


def _keys(routes: pl.DataFrame) -> list[Route]:
    return [(service, route) for service, route in routes.select("service", "route").iter_rows()]


def _draw(keys: Sequence[Route | None], chosen: Route | None, names: dict[None, str]) -> None:
    labels = [names[None] if key is None else f"{key[0]} {key[1]}" for key in keys]
    st.session_state["picked"] = keys.index(chosen)
    st.selectbox(
        "route",
        range(len(keys)),
        format_func=labels.__getitem__,
        key="picked",
        label_visibility="collapsed",
        width=420,
        on_change=_picked,
        args=(keys,),
    )


def _picked(keys: Sequence[Route | None]) -> None:
    service, route = keys[st.session_state["picked"]] or (None, None)
    state.write(service=service, route=route, box=None, zoom=None)
