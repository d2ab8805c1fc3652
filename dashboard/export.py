"""Taking answers away: tables as CSV, what a page says as Markdown.

Owns the button and the escaping. Text of spans stays text: no formula in a
table, no markup in Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl
import streamlit as st

from dashboard.components.headline import Run
from tracelens.report import document

SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~&$:@=^\"'])")


def csv_button(frame: pl.DataFrame, name: str) -> None:
    """Draw a button that downloads a frame, whole and with its own units. name: of the file, without its ending."""
    st.download_button(
        "CSV",
        lambda: document.table(frame),  # made when it is pressed
        file_name=f"tracelens-{name}.csv",
        mime="text/csv",
        key=f"csv_{name}",
        on_click="ignore",
        icon=":material/download:",
        type="tertiary",
        help="All rows and columns; times are nanoseconds.",
    )


def markdown(head: Sequence[Run], lines: Sequence[Sequence[Run]]) -> str:
    """Return what a page says as Markdown: its head, then a list. None of the text is markup."""
    return "\n".join([_line(head), "", *(f"- {line}" for line in map(_line, lines) if line)])


def inert(text: str) -> str:
    """Return text of which Markdown makes nothing, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _line(runs: Sequence[Run]) -> str:
    """Return runs as one line; links of the page lead nowhere outside it and are left out."""
    return "".join(_run(one) for one in runs if "link" not in one).strip()


def _run(one: Run) -> str:
    """Return a run with its markup escaped; spaces stay outside the stars, which are none inside them."""
    whole = str(one["text"])
    text = inert(whole)
    if one.get("strong") and text:
        text = f"**{text}**"
    lead, trail = (" " if whole[at].isspace() else "" for at in (0, -1)) if whole else ("", "")
    return f"{lead}{text}{trail}" if text else lead
