"""Trace: one request, its tree, its critical path, and what was mended."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import streamlit as st

from dashboard import page as pages
from dashboard import state
from dashboard.components.headline import Run, headline, run
from dashboard.components.table import Column, Row, table
from dashboard.components.waterfall import waterfall
from dashboard.export import markdown
from dashboard.folding import folded
from dashboard.format import count, counted, duration, layer_name, layer_suffix, percent
from dashboard.page import Page
from dashboard.palette import service_colors
from dashboard.views import empty
from tracelens.lens import Answer, Method, Rank, TraceAnswer

STANDS_OUT = 0.3  # of the trace: enough to be named
FEW_PEERS = 10  # of fewer a rank tells nothing
COPIED = 5  # spans that the Markdown names
MARKS = {
    "orphan": "its parent never arrived",
    "cycle": "its ancestors led back to it: the link to its parent was cut",
    "shared_split": "client and server came with one id: taken apart",
    "skew_shifted": "its clock was off: moved into its parent",
    "skew_aligned": "longer than its parent and earlier: moved to the parent's start",
    "skew_capped": "would have to be moved by more than a clock may be wrong: left where it is",
    "skew_moved": "moved along with an ancestor on the same clock",
    "clip_before": "starts before its parent: only the part inside counts",
    "clip_after": "ends after its parent: only the part inside counts",
    "outside": "has no time inside its parent: off the path",
    "neg_duration": "ended before it started: taken as no length",
    "no_time": "came without times",
    "bad_utf8": "held text that was not UTF-8",
    "no_service": "names no service",
}


def draw(page: Page) -> None:
    """Draw the trace of the URL, or a way to one."""
    _ask(page)
    trace_id = page.state.page.get("trace")
    if trace_id is None:
        _choose(page)
        return
    answer: TraceAnswer = page.ask("trace", trace_id)
    carried = bool(answer.rows["carries"].any())
    fold = carried and page.state.page.get("proxies") == "0"
    drawn = folded(answer) if fold else answer
    rows = drawn.rows
    title = [run(rows["service"][0], strong=True), run(f" {rows['operation'][0]}")]
    sub = _sub(page, answer, shown=len(rows))
    most = _most(drawn)
    asked = page.state.page.get("span") or (None if most is None else most["span_id"].hex())
    link = headline(
        title,
        key="head",
        status=pages.status(page, answer.source, Method()),
        sub=sub,
        callout=_sentence(page, drawn, most, asked),
        tone="warn",
        copy=markdown(title, [sub, *_longest(answer)]),
    )
    pages.follow(page, link)
    waterfall(
        drawn,
        # Not the window's: a linked trace opens without reading anything but itself.
        colors=service_colors(rows["service"].unique()),
        chosen=asked,
        only=page.state.page.get("only") == "1",
        proxies=fold if carried else None,
        key="waterfall",
        label=f"Waterfall of {counted(len(rows), 'span')}. The table below says the same.",
        heard=_heard,
    )
    _panel(page, drawn, asked)


def _heard(event: str, said: Any) -> None:
    """Keep what was chosen in the waterfall: a span, or one of its switches."""
    on = {"only": "1", "proxies": "0"}
    state.write(**{event: said if event == "span" else on[event] if said else None})


def _ask(page: Page) -> None:
    """Draw the field a trace id is pasted into."""
    st.session_state["trace_id"] = page.state.page.get("trace", "")
    st.text_input(
        "trace id",
        key="trace_id",
        placeholder="paste a trace id",
        label_visibility="collapsed",
        icon=":material/search:",
        width=420,
        on_change=_asked,
    )


def _asked() -> None:
    state.write(trace=st.session_state["trace_id"].strip() or None, span=None, only=None)


def _sub(page: Page, answer: TraceAnswer, *, shown: int) -> list[Run]:
    rows = answer.rows
    begin, end = rows["start_unix_nano"][0], rows["end_unix_nano"][0]
    errors = int(rows["error"].sum())
    whole = answer.source.complete_traces == 1
    runs = [
        run(f"{rows['trace_id'][0].hex()} · {page.clock(begin, milliseconds=True)} · "),
        run(duration(end - begin), strong=True),
        run(f" · {counted(len(rows), 'span')} · {counted(rows['service'].n_unique(), 'service')}"),
        *([run(f" · proxies folded: {count(shown)} rows")] if shown < len(rows) else []),
        run(" · complete" if whole else " · incomplete", tone=None if whole else "bad"),
    ]
    if errors:
        runs.append(run(f" · {counted(errors, 'error')}", tone="bad"))
    repairs = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in sorted(answer.source.repairs.items()))
    if repairs:
        runs.append(run(f" · mended: {repairs}"))
    return runs


def _most(answer: TraceAnswer) -> dict[str, Any] | None:
    """Return the row of the span that most of the critical path is in; None when none stands out."""
    rows = answer.rows
    total = rows["end_unix_nano"][0] - rows["start_unix_nano"][0]
    first = rows.sort("on_path_nano", "row", descending=[True, False]).row(0, named=True)
    return first if first["on_path_nano"] > STANDS_OUT * max(total, 1) else None


def _sentence(page: Page, answer: TraceAnswer, most: dict[str, Any] | None, asked: str | None) -> list[Run] | None:
    """Return where most of the trace's time went, with the way there when another span is looked at."""
    if most is None:
        return None
    rows = answer.rows
    total = max(rows["end_unix_nano"][0] - rows["start_unix_nano"][0], 1)
    name = f"{most['service']} {most['operation']}{layer_suffix(most['layer'])}"
    runs = [
        run(duration(most["on_path_nano"]), strong=True),
        run(" of it, "),
        run(percent(most["on_path_nano"] / total), strong=True),
        run(f", is one span: {'a failed ' if most['error'] else ''}"),
        run(name, strong=True),
        run("."),
    ]
    span = most["span_id"].hex()
    if asked != span:
        own = {name: value for name, value in page.state.page.items() if name != "span"}
        runs += [run(" "), run("Show it →", link=pages.link_to("trace", **own, span=span))]
    return runs


def _longest(answer: TraceAnswer) -> list[list[Run]]:
    """Return the spans with most time on the critical path, a line each."""
    rows = answer.rows
    total = max(rows["end_unix_nano"][0] - rows["start_unix_nano"][0], 1)
    most = rows.filter(pl.col("on_path_nano") > 0).sort("on_path_nano", "row", descending=[True, False]).head(COPIED)
    return [
        [
            run(f"{row['service']} {row['operation']}", strong=True),
            run(f" {duration(row['on_path_nano'])} on the critical path, {percent(row['on_path_nano'] / total)}"),
            run(", failed" if row["error"] else ""),
        ]
        for row in most.iter_rows(named=True)
    ]


def _choose(page: Page) -> None:
    """Draw the slowest traces of the window, to open one."""
    found: Answer = page.ask("traces")
    if found.rows.is_empty():
        empty.draw(page, found.source, found.method)
        return
    link = headline(
        [run("Trace", strong=True)],
        key="head",
        status=pages.status(page, found.source, found.method),
        sub=[run("Paste a trace id above, or open one of the slowest of this window.")],
    )
    pages.follow(page, link)
    table(
        [
            Column(label="trace", kind="name"),
            Column(label="id", kind="code", minor=True),
            Column(label="start", kind="number", minor=True),
            Column(label="spans", kind="number"),
            Column(label="services", kind="number", minor=True),
            Column(label="errors", kind="toned", minor=True),
            Column(label="duration", kind="number", strong=True),
        ],
        [_choice(page, row) for row in found.rows.iter_rows(named=True)],
        key="slowest",
        label="Slowest traces",
        title="Slowest traces",
        on_open=lambda opened: state.write(trace=opened),
        hotkeys=True,
    )


def _choice(page: Page, row: dict[str, Any]) -> Row:
    return Row(
        id=row["trace_id"].hex(),
        cells=[
            {"color": page.color(row["service"]), "strong": row["service"], "light": row["route"] or ""},
            row["trace_id"].hex()[-16:],
            page.clock(row["start_unix_nano"], milliseconds=True),
            count(row["spans"]),
            count(row["services"]),
            {"text": count(row["errors"]) if row["errors"] else "–", "tone": "bad" if row["errors"] else "muted"},
            duration(row["duration_nano"]),
        ],
    )


def _panel(page: Page, answer: TraceAnswer, asked: str | None) -> None:
    """Draw what is known about the chosen span."""
    rows = answer.rows
    ids = [value.hex() for value in rows["span_id"]]
    if asked not in ids:
        return
    span = rows.row(ids.index(asked), named=True)
    total = rows["end_unix_nano"][0] - rows["start_unix_nano"][0]
    facts = _ranked(page, span) + _facts(page, span, rows["start_unix_nano"][0], max(total, 1))
    attributes = json.loads(span["attributes"])
    left, right = st.columns([5, 7], gap="large")
    columns = [Column(label="", kind="text"), Column(label="", kind="value", width="62%")]
    with left:
        table(
            columns,
            [Row(id=name, cells=[name, text]) for name, text in facts],
            key="facts",
            label="The span",
            title=f"{span['service']} {span['operation']}",
            note=asked,
            headless=True,
            dense=True,
        )
    with right:
        table(
            columns,
            [Row(id=name, cells=[name, _text(value)]) for name, value in sorted(attributes.items())],
            key="attributes",
            label="Attributes of the span",
            title="Attributes",
            note=count(len(attributes)),
            headless=True,
            dense=True,
            nothing="The span has no attribute.",
        )


def _ranked(page: Page, span: dict[str, Any]) -> list[tuple[str, str]]:
    """Return how the span's length compares with that of its peers."""
    length = span["end_unix_nano"] - span["start_unix_nano"]
    like = (span["service"], span["operation"], span["layer"])
    found: Rank | None = page.ask("rank", like, length, span["start_unix_nano"])
    if found is None or found.n < FEW_PEERS:
        return []
    share = percent(found.shorter / found.n)
    window = f"{page.clock(found.start_nano)} – {page.clock(found.end_nano)}"
    return [("among its peers", f"takes longer than {share} of {count(found.n)} ({window})")]


def _facts(page: Page, span: dict[str, Any], begin: int, total: int) -> list[tuple[str, str]]:
    length = span["end_unix_nano"] - span["start_unix_nano"]
    on_path = f"{duration(span['on_path_nano'])} of {duration(length)}"
    clock = page.clock(span["start_unix_nano"], milliseconds=True)
    facts = [
        ("on the critical path", f"{on_path}, {percent(span['on_path_nano'] / total)} of the trace"),
        ("starts at", f"{duration(span['start_unix_nano'] - begin)} ({clock})"),
        ("layer and kind", f"{layer_name(span['layer'])}, {span['kind'].lower()}"),
    ]
    if span["skew_nano"]:
        facts.append(("clock moved by", duration(span["skew_nano"])))
    facts += [(name.replace("_", " "), MARKS.get(name, "mended by the decoder")) for name in span["marks"]]
    return facts


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
