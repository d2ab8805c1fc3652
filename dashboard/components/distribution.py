"""How long calls take on two sides, one outline over the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboard.components import mount
from tracelens.lens import Heatmap


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One side: its calls by duration, and its percentiles in nanoseconds."""

    name: str
    grid: Heatmap
    percentiles: Mapping[str, float | None]


def distribution(sides: Sequence[Spread], *, key: str, title: str, label: str) -> None:
    """Draw two sides, the earlier first. title, label: above it, and for those who cannot see it."""
    data = {
        "title": title,
        "label": label,
        "sides": [
            {
                "name": side.name,
                "calls": side.grid.calls,
                "low": side.grid.low_nano,
                "high": side.grid.high_nano,
                "counts": side.grid.counts.sum(axis=1).tolist(),
                "percentiles": dict(side.percentiles),
            }
            for side in sides
        ],
    }
    mount("distribution", data, key=key)
