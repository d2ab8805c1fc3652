"""Rows: what one proof found, and their table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One promise put to the test."""

    promise: str
    anchor: str  # where it is written down
    tried: str
    times: int
    lost: int = 0  # acknowledged, and not in the store
    twice: int = 0  # spans the store has more than once
    broken: tuple[str, ...] = ()  # whatever else was not as promised
    told: str = ""  # figures worth reading

    @property
    def holds(self) -> bool:
        """Whether the promise was kept every time."""
        return self.times > 0 and not (self.lost or self.twice or self.broken)


def show(rows: Iterable[Row], console: Console) -> None:
    """Print one line a row."""
    table = Table("promise", "anchor", "tried", "times", "lost", "twice", "result", "seen", show_lines=True)
    for row in rows:
        result = "holds" if row.holds else "; ".join(("BROKEN", *row.broken))
        cells = (row.promise, row.anchor, row.tried, *(f"{n:,}" for n in (row.times, row.lost, row.twice)))
        table.add_row(*cells, result, row.told)
    console.print(table)
