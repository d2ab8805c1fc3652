"""The widgets that say which two sides are compared; the URL remembers them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl
import streamlit as st

from dashboard import page as pages
from dashboard import sides, state
from dashboard.page import Page
from dashboard.sides import Sides, Version
from dashboard.stretches import Stretch

FILTERS = {
    "a": "A, for example res.cloud.availability_zone=eu-a",
    "b": "B, for example res.cloud.availability_zone=eu-b",
}
ONE_VERSION = (
    "No service served this window in two versions. Choose a longer window, and set service.version where spans are "
    "made: OTEL_RESOURCE_ATTRIBUTES=service.version=1.4.2."
)
ONE_LATELY = (
    "No service ran in two versions in the newest stretch, and of a long window that is where versions are looked for. "
    "Choose a shorter window around a deployment."
)
NO_FILTER = "Write a filter for each side above; an empty side is all calls. The filter of the bar holds for both."


def ask(page: Page, reach: tuple[int, int]) -> Sides | str:
    """Draw the widgets; return the sides, or why there are none yet. reach: of the data."""
    with st.container(key="sides", horizontal=True, vertical_alignment="center", gap="small"):
        chosen = sides.by(page.state.page)
        st.session_state["by"] = chosen
        st.segmented_control(
            "by",
            list(sides.BY),
            format_func=sides.BY.__getitem__,
            key="by",
            label_visibility="collapsed",
            required=True,
            on_change=_by_changed,
        )
        if chosen == "version":
            return _versions(page)
        return _filters(page) if chosen == "filter" else _windows(page, reach)


def _by_changed() -> None:
    by = st.session_state["by"]
    gone = dict.fromkeys(("against", "a_start", "a_end", "of", "a", "b", "zoom"))
    state.write(**gone, by=None if by == "window" else by)


def _windows(page: Page, reach: tuple[int, int]) -> Sides:
    chosen = sides.against(page.state.page, page.question)
    bounded = page.question.start_nano is not None and page.question.end_nano is not None
    found = sides.windows(page.question, chosen, reach, page.state.page)
    st.session_state["against"] = chosen
    st.selectbox(
        "against",
        list(sides.AGAINST) if bounded else ["half", "own"],
        format_func=lambda name: f"against {sides.AGAINST[name]}" if name != "half" else sides.AGAINST[name],
        key="against",
        label_visibility="collapsed",
        width=290,
        on_change=lambda: state.write(against=st.session_state["against"], a_start=None, a_end=None),
    )
    if chosen == "own":
        for name, nano in (("a_start", found.a.start_nano), ("a_end", found.a.end_nano)):
            # The widget knows minutes without a zone; it shows the viewer's clock.
            shown = state.to_datetime(nano or reach[0], page.zone).replace(tzinfo=None, microsecond=0)
            st.session_state[name] = shown
            st.datetime_input(
                name,
                key=name,
                label_visibility="collapsed",
                width=210,
                step=60,
                on_change=_bound_changed,
                args=(name,),
            )
    return found


def _bound_changed(name: str) -> None:
    moment = st.session_state[name]
    if isinstance(moment, datetime):
        state.write(**{name: moment.replace(tzinfo=pages.zone()).isoformat()})


def _versions(page: Page) -> Sides | str:
    looked: Stretch = page.ask("stretch", None)
    rows: pl.DataFrame = page.ask_about(looked.narrow(page.question), "versions")
    known = sides.several(rows)
    if not known:
        said = looked.said(page.zone)
        return ONE_VERSION if said is None else f"{ONE_LATELY} {said}."
    service = page.state.page.get("of", "")
    if service not in known:
        service = next(iter(known))
    a, b = sides.chosen_versions(known[service], page.state.page)
    st.session_state["of"] = service
    st.selectbox(
        "service",
        list(known),
        key="of",
        label_visibility="collapsed",
        width=200,
        on_change=lambda: state.write(of=st.session_state["of"], a=None, b=None, zoom=None),
    )
    for name, one in (("a", a), ("b", b)):
        _version(name, one, known[service])
    return sides.versions(page.question, a, b)


def _version(name: str, one: Version, some: Sequence[Version]) -> None:
    labels = {each.version: f"{name.upper()}: {each.version} (n {each.calls:,})" for each in some}
    st.session_state[f"version_{name}"] = one.version
    st.selectbox(
        f"version {name.upper()}",
        list(labels),
        format_func=labels.__getitem__,
        key=f"version_{name}",
        label_visibility="collapsed",
        width=230,
        on_change=_version_changed,
        args=(name,),
    )


def _version_changed(name: str) -> None:
    state.write(**{"of": st.session_state["of"], name: st.session_state[f"version_{name}"]})


def _filters(page: Page) -> Sides | str:
    found = {name: page.state.page.get(name, "") for name in FILTERS}
    for name, placeholder in FILTERS.items():
        st.session_state[f"filter_{name}"] = found[name]
        st.text_input(
            f"filter {name.upper()}",
            key=f"filter_{name}",
            placeholder=placeholder,
            label_visibility="collapsed",
            icon=":material/filter_alt:",
            width=400,
            on_change=_filter_changed,
            args=(name,),
        )
    return sides.filters(page.question, found["a"], found["b"]) if any(found.values()) else NO_FILTER


def _filter_changed(name: str) -> None:
    state.write(**{name: st.session_state[f"filter_{name}"].strip() or None})
