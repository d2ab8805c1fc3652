"""A few large numbers with their course and their change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from dashboard import terms
from dashboard.components import mount


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One number. change and tone: against the window before; against: what that is, or why there is none."""

    label: str  # p50, p90, p99 or errors; it sets the colour
    n: str
    value: str
    unit: str
    change: str | None
    tone: str | None
    against: str
    series: Sequence[float | None]


def tiles(shown: Sequence[Tile], *, key: str) -> None:
    """Draw the tiles in a row."""
    mount("tiles", {"tiles": [asdict(tile) | {"help": terms.help_of(tile.label)} for tile in shown]}, key=key)
