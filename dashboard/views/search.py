"""Search: the slowest traces that match, open ones too; a pasted trace id opens at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import polars as pl
import streamlit as st

from dashboard import page as pages
from dashboard import state
from dashboard.components.headline import Run, headline, run
from dashboard.components.table import Column, Row, table
from dashboard.export import csv_button
from dashboard.format import count, duration
from dashboard.page import Page
from dashboard.picker import asked, scope_picker
from dashboard.views import empty
from tracelens.errors import UsageError
from tracelens.lens import Answer, Found, Question
from tracelens.lens.where import nanoseconds, trace_id

RANGE = {"shortest": ("at least", "200ms"), "longest": ("at most", "2s")}  # what each is called, and an example
RANGE_HELP = "How long the whole trace takes. A number and ns, us, ms, s or m; the filter's duration is that of a call."


def draw(page: Page) -> None:
    """Draw the page."""
    known: Answer = page.ask("routes")
    _ask(page, known)
    wanted = page.state.page.get("id")
    if wanted is not None:
        _linked(page, known, trace_id(wanted).hex())
        return
    limits = [nanoseconds(text) if text else None for text in map(page.state.page.get, RANGE)]
    found: Found = page.ask_about(_question(page), "search", *limits)
    if found.rows.is_empty():
        _nothing(page, found)
        return
    link = headline(
        [run("Search", strong=True)],
        key="head",
        status=pages.status(page, found.source, found.method),
        sub=_sub(found),
    )
    pages.follow(page, link)
    first, last = (state.to_datetime(at, page.zone).date() for at in _reach(found))
    dated = first != last
    longest = max(found.rows["duration_nano"][0], 1)
    table(
        [
            Column(label="trace", kind="name"),
            Column(label="id", kind="code", minor=True),
            Column(label="start", kind="number", minor=True),
            Column(label="spans", kind="number", minor=True),
            Column(label="services", kind="number", minor=True),
            Column(label="errors", kind="toned", help="calls of the trace that failed"),
            Column(label="", kind="toned"),
            Column(label="", kind="share", width="14%", minor=True),
            Column(label="duration", kind="number", strong=True, help="of the whole trace: its first call"),
        ],
        [_row(page, row, longest, dated=dated) for row in found.rows.iter_rows(named=True)],
        key="found",
        label="Traces, slowest first",
        on_open=partial(pages.open_trace, page),
        hotkeys=True,
        dense=True,
    )
    csv_button(found.rows, "traces")


def _question(page: Page) -> Question:
    """Return the bar's question, of the route in the URL only."""
    key = asked(page)
    if key is None:
        return page.question
    only = f"service={state.quoted(key[0])} route={state.quoted(key[1])}"
    return replace(page.question, where=(*page.question.where, only))


def _ask(page: Page, known: Answer) -> None:
    """Draw the fields: a trace id, a route, how long."""
    with st.container(key="search", horizontal=True, vertical_alignment="center", gap="small"):
        st.session_state["sought"] = page.state.page.get("id", "")
        st.text_input(
            "trace id",
            key="sought",
            placeholder="paste a trace id",
            label_visibility="collapsed",
            icon=":material/search:",
            width=360,
            on_change=_sought,
            args=(page,),
        )
        scope_picker(page, known.rows, everything="all routes")
        for name, (label, example) in RANGE.items():
            st.session_state[name] = page.state.page.get(name, "")
            st.markdown(label, width="content", help=RANGE_HELP if name == "shortest" else None)
            st.text_input(
                label,
                key=name,
                placeholder=example,
                label_visibility="collapsed",
                width=84,
                on_change=_limited,
                args=(name,),
            )


def _sought(page: Page) -> None:
    """Open the trace of a pasted id; what is none stays in the field, and the page says so."""
    text = st.session_state["sought"].strip()
    try:
        opens = trace_id(text).hex() if text else None
    except UsageError:
        state.write(id=text)
        return
    state.write(id=None)
    if opens is not None:
        pages.open_trace(page, opens)


def _limited(name: str) -> None:
    state.write(**{name: st.session_state[name].strip() or None})


def _linked(page: Page, known: Answer, wanted: str) -> None:
    """Draw the way to the trace that a link names."""
    link = headline(
        [run("Search", strong=True)],
        key="head",
        status=pages.status(page, known.source, known.method),
        callout=[run("The link names a trace: "), run(f"open {wanted} →", link=pages.link_to("trace", trace=wanted))],
    )
    pages.follow(page, link)


def _sub(found: Found) -> list[Run]:
    shown = len(found.rows)
    plural = "s" * (found.traces != 1)
    if shown < found.traces:
        runs = [run(f"The slowest {count(shown)} of {count(found.traces)} traces that match. Filters find the others.")]
    else:
        runs = [run(f"{count(found.traces)} trace{plural}, slowest first.")]
    still = int(found.rows["open"].sum())
    if still:
        runs.append(run(f" {count(still)} still open: spans may come, and they are in no percentile yet."))
    return runs


def _row(page: Page, row: Mapping[str, Any], longest: int, *, dated: bool) -> Row:
    return Row(
        id=row["trace_id"].hex(),
        cells=[
            {"color": page.color(row["service"]), "strong": row["service"], "light": row["route"] or ""},
            row["trace_id"].hex()[-16:],
            _start(page, row["start_unix_nano"], dated=dated),
            count(row["spans"]),
            count(row["services"]),
            {"text": count(row["errors"]) if row["errors"] else "–", "tone": "bad" if row["errors"] else "muted"},
            _mark(row),
            {"share": row["duration_nano"] / longest, "tone": "calm"},
            duration(row["duration_nano"]),
        ],
        quiet=row["open"],
    )


def _reach(found: Found) -> tuple[int, int]:
    """Return when the first and the last of the traces start."""
    first, last = found.rows.select(first=pl.col("start_unix_nano").min(), last=pl.col("start_unix_nano").max()).row(0)
    return first, last


def _start(page: Page, unix_nano: int, *, dated: bool) -> str:
    """Return a moment on the viewer's clock, with its day where the rows are of several."""
    time = page.clock(unix_nano, milliseconds=True)
    return f"{state.to_datetime(unix_nano, page.zone):%Y-%m-%d} {time}" if dated else time


def _mark(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what one should know before trusting a trace's duration."""
    if row["open"]:
        return {"text": "open", "tone": "strong", "title": "spans may still come"}
    if not row["complete"]:
        return {"text": "incomplete", "tone": "muted", "title": "a span's parent is missing, or there are two roots"}
    return {"text": "", "tone": "muted"}


def _nothing(page: Page, found: Found) -> None:
    """Draw why no trace is found; what the page's own fields left out is theirs to give back."""
    own = [name for name in ("service", "route", *RANGE) if page.state.page.get(name)]
    if not own:
        empty.draw(page, found.source, found.method)
        return
    headline(
        [run("Nothing to show", strong=True)],
        key="head",
        status=pages.status(page, found.source, found.method),
        callout=[
            run("No trace of this window matches.", strong=True),
            run(" Its route, its duration or the filter leave none: take one of them away."),
        ],
    )
    with st.container(horizontal=True):
        st.button("Any route and duration", on_click=_forget, args=(own,))


def _forget(names: list[str]) -> None:
    state.write(**dict.fromkeys(names))
