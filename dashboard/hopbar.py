"""The hop bar: what a call's time is made of, as parts of a whole and as figures."""

from __future__ import annotations

from typing import Any

import polars as pl

from dashboard.components.table import Column, Part, Row, table
from dashboard.format import count, duration, layer_name, percent
from dashboard.palette import LAYERS
from dashboard.terms import help_of


def hop_bar(rows: pl.DataFrame, *, key: str, title: str, nothing: str, looked: str | None = None) -> None:
    """Draw LAYERS rows of one route or edge. looked: at which spans, where not at all of the window."""
    shown = rows.filter((pl.col("share") > 0) | (pl.col("p99_nano") > 0)).to_dicts()
    n = max((row["n"] for row in shown), default=0)
    table(
        [
            Column(label="layer", kind="name"),
            Column(label="share", kind="number"),
            Column(label="mean", kind="number", strong=True),
            Column(label="p50", kind="number", minor=True),
            Column(label="p99", kind="number"),
        ],
        [_row(row, n) for row in shown],
        key=key,
        label=title,
        title=title,
        term="hop bar",
        note=" · ".join(part for part in (_note(shown, n), looked) if part),
        stack=[
            Part(
                text=f"{layer_name(row['layer'])} {percent(row['share'])}",
                share=row["share"],
                color=LAYERS[row["layer"]],
            )
            for row in shown
            if row["share"] > 0
        ],
        foot=f"Means sum to {duration(sum(row['mean_nano'] for row in shown))} a call." if shown else None,
        nothing=nothing,
        dense=True,
    )


def _row(row: dict[str, Any], n: int) -> Row:
    name = layer_name(row["layer"])
    light = "" if row["n"] == n else f"told by {count(row['n'])}"
    return Row(
        id=row["layer"],
        cells=[
            {"color": LAYERS[row["layer"]], "strong": name, "light": light, "help": help_of(name)},
            percent(row["share"]),
            duration(row["mean_nano"]),
            duration(row["p50_nano"]),
            duration(row["p99_nano"]),
        ],
    )


def _note(shown: list[dict[str, Any]], n: int) -> str | None:
    levels = sorted({level for row in shown for level in row["level"].split()})
    return f"n {count(n)}, level {' '.join(levels)}" if shown else None
