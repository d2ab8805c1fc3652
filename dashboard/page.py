"""What every page stands on: its state, its question, and the moment it shows.

Owns holding that moment still or letting it move on (Live), the words about
freshness, and the way from a page to another.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from dashboard import cache, clock, state
from dashboard.clock import Moment
from dashboard.components.headline import Run, run
from dashboard.format import clock as clock_time
from dashboard.format import compact, count, percent
from dashboard.palette import service_colors
from dashboard.state import State
from tracelens.errors import UsageError
from tracelens.lens import Lens, Method, Question, SourceInfo

SOURCE = "TRACELENS_SOURCE"  # environment: what `python -m dashboard --source` was given
LIVE_SECONDS = 5.0
LIVE_SHARE = 10  # a live page computes for a tenth of the time at most
PAGES_KEY = "pages"  # in the session: the pages by name, to go to
LEAVES = "leaves"  # in the session: the page that was just asked for, with its parameters


@dataclass(frozen=True)
class Page:
    """One page while it is drawn."""

    name: str
    state: State
    source: str
    lens: Lens
    window: str
    question: Question
    moment: Moment
    live: bool  # moves on by itself
    paused: bool  # would, but a selection stands
    zone: tzinfo

    def ask(self, query: str, *arguments: Any) -> Any:
        """Return what a query of `queries.py` answers to this page's question."""
        return self.ask_about(self.question, query, *arguments)

    def ask_about(self, question: Question, query: str, *arguments: Any) -> Any:
        """The same of another question."""
        begin = time.monotonic()
        found = cache.answer(query, self.source, self.moment.version, question, *arguments)
        st.session_state["cost"] = max(st.session_state.get("cost", 0.0), time.monotonic() - begin)
        return found

    @cached_property
    def colors(self) -> dict[str, str]:
        """The colour of each service of the window, filtered or not."""
        return service_colors(self.ask_about(replace(self.question, where=()), "services"))

    def color(self, service: str) -> str:
        return self.colors.get(service) or service_colors([service])[service]

    @property
    def params(self) -> dict[str, str]:
        """The bar's parameters, as links to other pages carry them."""
        return state.to_params(self.state)

    def clock(self, unix_nano: int, *, milliseconds: bool = False) -> str:
        return clock_time(unix_nano, self.zone, milliseconds=milliseconds)


def source() -> str:
    """Return what the dashboard shows. Raises UsageError when nobody said."""
    found = os.environ.get(SOURCE)
    if not found:
        raise UsageError("no source was given. Start with: python -m dashboard --source PATH")
    return found


def is_live(page_state: State, lens: Lens) -> bool:
    """Whether a page moves on by itself: as the URL says, else when spans are still coming."""
    if not lens.source.live:
        return False
    if page_state.live is not None:
        return page_state.live
    reach = lens.now_range()
    return reach is None or time.time_ns() - reach[1] < clock.FRESH_NANO


def open_page(name: str) -> Page:
    """Return the page of that name, as the URL and the clock have it.

    Raises UsageError when its filter cannot be read, InputError when its source cannot.
    """
    path = source()
    lens = cache.lens(path)
    now_state = state.parse(st.query_params.to_dict(), name)
    live = is_live(now_state, lens)
    paused = live and bool({"box", "edit"} & now_state.page.keys())
    moment = _moment(lens, now_state, moves=live and not paused)
    window = clock.chosen_window(now_state, live=lens.source.live, reach=lens.now_range(), now_nano=moment.now_nano)
    return Page(
        name=name,
        state=now_state,
        source=path,
        lens=lens,
        window=window,
        question=clock.question(now_state, window, moment.now_nano, live=lens.source.live),
        moment=moment,
        live=live,
        paused=paused,
        zone=zone(),
    )


def _moment(lens: Lens, now_state: State, *, moves: bool) -> Moment:
    """Return the moment a page shows: the one it showed before, unless it moves or another window was asked for."""
    kept: tuple[str | None, Moment] | None = st.session_state.get("moment")
    due = max(LIVE_SECONDS * 0.8, LIVE_SHARE * st.session_state.get("cost", 0.0)) * 1e9
    if kept is not None and kept[0] == now_state.window:
        still = not moves or time.time_ns() - kept[1].now_nano < due
        if still and (lens.source.live or kept[1].version == lens.version()):
            return kept[1]
    st.session_state["cost"] = 0.0
    moment = Moment(lens.version(), clock.now_of(lens.source.live, lens.now_range()))
    st.session_state["moment"] = (now_state.window, moment)
    return moment


def refresh() -> None:
    """Let the page look at the data as it is now."""
    st.session_state.pop("moment", None)


def zone() -> tzinfo:
    """Return the viewer's time zone; UTC when the browser did not say."""
    name = st.context.timezone
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def status(page: Page, info: SourceInfo, method: Method) -> dict[str, Any]:
    """Return the words about freshness that stand on every page."""
    kind = "paused" if page.paused else "live" if page.live else "still"
    as_of = page.clock(page.moment.now_nano if page.lens.source.live else info.end_unix_nano or page.moment.now_nano)
    runs: list[Run] = []
    if page.paused:
        why = "a box is selected" if "box" in page.state.page else "a chart is changed"
        runs.append(run(f"paused while {why} ·"))
    elif page.live:
        runs.append(run("live ·"))
    runs.append(run(f"data as of {as_of} · {compact(info.spans)} spans ·"))
    if info.open_traces:
        runs.append(run(f"{count(info.open_traces)} trace{'s' * (info.open_traces != 1)} still open ·"))
    if info.sampling_rate is not None:
        runs.append(run(f"sampled {percent(info.sampling_rate)} ·"))
    covered: float | None = page.ask("coverage") if page.name != "trace" else None
    if covered is not None:
        runs.append(run(f"coverage {percent(covered)} ·"))
    exact = method.percentile == "exact"
    runs.append(run("exact" if exact else f"sketch ±{100 * method.relative_error:.0f} %"))
    if page.lens.source.live and not page.live:
        runs += [run("·"), run("refresh", link="refresh")]
    return {"state": kind, "runs": runs}


def go(name: str, params: Mapping[str, str]) -> None:
    """Leave for another page; Back returns."""
    st.switch_page(st.session_state[PAGES_KEY][name], query_params=dict(params))


def leave(name: str, params: Mapping[str, str]) -> None:
    """Leave for another page as soon as this one would be drawn again; for what happens before that."""
    st.session_state[LEAVES] = (name, dict(params))


def open_trace(page: Page, trace_id: str) -> None:
    leave("trace", page.params | {"trace": trace_id})


def left() -> None:
    """Go where somebody asked to go, without drawing the page that is left once more."""
    wanted: tuple[str, dict[str, str]] | None = st.session_state.pop(LEAVES, None)
    if wanted is not None:
        go(*wanted)


def follow(page: Page, link: str | None) -> None:
    """Do what a pressed link of a headline says: `refresh`, or a page and its parameters as `link_to` writes them."""
    if link is None:
        return
    if link == "refresh":
        refresh()
        st.rerun()
    name, _, query = link.partition("?")
    go(name, page.params | dict(parse_qsl(query)))


def link_to(name: str, **params: str) -> str:
    """Return a link for a headline."""
    return f"{name}?{urlencode(params)}" if params else name
