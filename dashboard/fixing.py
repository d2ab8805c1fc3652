"""What a fix would win: the panel below the flame graph.

Owns which fix is looked at, and its projected percentiles beside the measured
ones. Projections are the Lens's; they are of all calls of the route, whatever
band the flame graph shows.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import streamlit as st

from dashboard import state
from dashboard.components.table import Column, Row, table
from dashboard.format import change, count, duration, layer_suffix
from dashboard.page import Page
from tracelens.lens import Answer, Route

SCALES = {"0": "gone", "25": "a quarter", "50": "half", "75": "three quarters"}
USUAL = "50"
SHOWN = 8
CHEAP_SPANS = 300_000  # of a window: so many are projected without being asked, in about a second
Fix = tuple[str, str, str]  # service, operation, layer


def panel(page: Page, key: Route | None, spans: int) -> None:
    """Draw the panel. spans: of the window, which say what it costs."""
    if spans > CHEAP_SPANS and page.state.page.get("work") != "1":
        st.button(
            "What would fixing something win?",
            on_click=_work,
            help=f"Worked out from each of {count(spans)} spans: it takes a while.",
        )
        return
    scale = page.state.page.get("scale", USUAL)
    scale = scale if scale in SCALES else USUAL
    without = page.state.page.get("sidecars") == "0"
    found: Answer = page.ask("fixes", key, int(scale) / 100)
    chosen = _chosen(page)
    _controls(scale, without=without)
    _projected(page, key, chosen, scale, without=without)
    _fixes(page, found, chosen, scale)


def _chosen(page: Page) -> Fix | None:
    """Return the fix in the URL; None when it names none."""
    try:
        said = json.loads(page.state.page.get("fix", ""))
    except ValueError:
        return None
    if isinstance(said, list) and len(said) == 3 and all(isinstance(part, str) for part in said):
        return said[0], said[1], said[2]
    return None


def _controls(scale: str, *, without: bool) -> None:
    with st.container(key="fixing", horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**What a fix would win**", width="content")
        st.session_state["scale"] = scale
        st.segmented_control(
            "what is left of its own time",
            list(SCALES),
            format_func=SCALES.__getitem__,
            key="scale",
            label_visibility="collapsed",
            required=True,
            on_change=_scaled,
        )
        st.session_state["without"] = without
        st.toggle("without sidecars", key="without", on_change=_without)


def _projected(page: Page, key: Route | None, chosen: Fix | None, scale: str, *, without: bool) -> None:
    """Draw the percentiles that the changes together would give."""
    if chosen is None and not without:
        return
    row: dict[str, Any] | None = page.ask("what_if", key, chosen, int(scale) / 100, not without)
    if row is None:
        return
    what = [] if chosen is None else [f"{chosen[0]} {chosen[1]}{layer_suffix(chosen[2])} {SCALES[scale]}"]
    table(
        [
            Column(label="", kind="text"),
            Column(label="measured", kind="number"),
            Column(label="projected", kind="number", strong=True),
            Column(label="change", kind="toned"),
        ],
        [
            Row(
                id=name,
                cells=[name, duration(row[f"{name}_nano"]), duration(row[f"projected_{name}_nano"]), _won(row, name)],
            )
            for name in ("p50", "p90", "p99", "mean")
        ],
        key="projected",
        label="Percentiles with the change, beside those without",
        title=" and ".join([*what, *(["no sidecars"] if without else [])]),
        note=f"n {count(row['calls'])}, {count(row['changed'])} of them change",
        foot=f"p99: 95 % within {_interval(row, '')} measured, {_interval(row, 'projected_')} projected. Queues that "
        "would be shorter, too, are not counted.",
        dense=True,
    )


def _won(row: dict[str, Any], name: str) -> dict[str, str]:
    text, tone = change(row[f"projected_{name}_nano"], row[f"{name}_nano"]) or ("–", "muted")
    return {"text": text, "tone": tone}


def _interval(row: dict[str, Any], prefix: str) -> str:
    return f"{duration(row[f'{prefix}p99_low_nano'])} – {duration(row[f'{prefix}p99_high_nano'])}"


def _fixes(page: Page, found: Answer, chosen: Fix | None, scale: str) -> None:
    rows = found.rows.head(SHOWN)
    table(
        [
            Column(label="operation", kind="name"),
            Column(label="calls", kind="number", minor=True, help="calls in which it has time on the critical path"),
            Column(label="p50", kind="number", minor=True),
            Column(label="p90", kind="number", minor=True),
            Column(label="p99", kind="number", strong=True),
        ],
        [
            Row(
                id=json.dumps([row["service"], row["operation"], row["layer"]]),
                cells=[
                    {
                        "color": page.color(row["service"]),
                        "strong": row["service"],
                        "light": f"{row['operation']}{layer_suffix(row['layer'])}",
                    },
                    count(row["traces"]),
                    *(_less(row[f"{name}_nano"]) for name in ("p50", "p90", "p99")),
                ],
                chosen=chosen == (row["service"], row["operation"], row["layer"]),
            )
            for row in rows.iter_rows(named=True)
        ],
        key="fixes",
        label="What single fixes would win, the best first",
        title=f"Single fixes: own time {SCALES[scale]}",
        note="of all calls, whatever the band",
        nothing="No operation has time on a critical path.",
        on_open=partial(_choose, chosen),
        dense=True,
    )


def _choose(chosen: tuple[str, str, str] | None, row: str) -> None:
    """Look at a fix; at the one looked at, no more."""
    again = chosen is not None and json.loads(row) == list(chosen)
    state.write(fix=None if again else row)


def _less(nano: int | None) -> str:
    if nano is None:
        return "–"
    return f"{'−' if nano > 0 else '+' if nano < 0 else '±'}{duration(abs(nano))}"


def _work() -> None:
    state.write(work="1")


def _scaled() -> None:
    scale = st.session_state["scale"]
    state.write(scale=None if scale == USUAL else scale)


def _without() -> None:
    state.write(sidecars="0" if st.session_state["without"] else None)
