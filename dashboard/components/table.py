"""A dense table with small drawings in its cells; rows that open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dashboard import terms
from dashboard.components import mount

Kind = Literal[
    "text", "number", "code", "name", "toned", "dots", "spark", "pair", "share", "value", "actions", "change"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its heading, what its cells are, whether a narrow screen does without it, and help on the pointer.

    help: where a heading says more than the glossary's word of that name.
    """

    label: str
    kind: Kind
    minor: bool = False
    strong: bool = False
    width: str | None = None  # CSS
    help: str | None = None

    def data(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "kind": self.kind,
            "minor": self.minor,
            "strong": self.strong,
            "width": self.width,
            "help": self.help or terms.help_of(self.label),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: a cell a column, and what it is called when it is opened."""

    id: str
    cells: Sequence[Any]
    chosen: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a whole: what it is, how much of it, and its colour."""

    text: str
    share: float
    color: str

    def data(self) -> dict[str, Any]:
        return {"text": self.text, "share": self.share, "color": self.color}


def table(
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    key: str,
    label: str,
    title: str | None = None,
    term: str | None = None,
    note: str | None = None,
    foot: str | None = None,
    nothing: str | None = None,
    on_open: Callable[[str], None] | None = None,
    on_act: Callable[[str, str], None] | None = None,
    hotkeys: bool = False,
    dense: bool = False,
    headless: bool = False,
    wide: bool = False,
    stack: Sequence[Part] = (),
) -> None:
    """Draw a table.

    label: for those who cannot see it. term: of the glossary, what the title is
    about. on_open: what a pressed row does, given its id. on_act: what a button
    in a cell does, given its event and the row's id. hotkeys: arrows, j, k and
    Enter work wherever the focus is; one table a page.
    wide: it has many columns, and gives the minor ones up earlier. stack: parts
    of a whole, drawn side by side above the rows.
    """
    data = {
        "columns": [column.data() for column in columns],
        "rows": [{"id": row.id, "cells": list(row.cells), "chosen": row.chosen, "quiet": row.quiet} for row in rows],
        "label": label,
        "title": title,
        "help": None if term is None else terms.TERMS[term],
        "note": note,
        "foot": foot,
        "nothing": nothing,
        "opens": on_open is not None,
        "hotkeys": hotkeys,
        "dense": dense,
        "headless": headless,
        "wide": wide,
        "stack": [part.data() for part in stack],
    }

    def heard(event: str, said: Any) -> None:
        if event == "open" and on_open is not None:
            on_open(said)
        elif event == "act" and on_act is not None:
            on_act(said["event"], said["id"])

    mount("table", data, key=key, events=("open", "act"), heard=heard)
