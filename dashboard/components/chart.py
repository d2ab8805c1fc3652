"""A chart of one measure over time: lines, their numbers, a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dashboard import terms
from dashboard.components import mount

Unit = Literal["duration", "share", "rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One group. values, counts: a stretch of time each; total, n: of the whole window; over: above the threshold."""

    name: str
    color: str
    dash: int  # which pattern it is drawn in: colours alone do not tell lines apart
    values: Sequence[float | None]
    counts: Sequence[int]
    total: float | None
    n: int
    over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A button: what `chart` returns, its text, and what it does in words."""

    event: str
    text: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What is drawn."""

    title: str
    label: str  # for those who cannot see it
    by: str  # what lines are
    measure: str
    counted: str  # what n counts
    unit: Unit
    start_ms: float
    width_ms: float
    points: int
    lines: Sequence[Line]
    threshold: float | None
    limit: str  # the threshold in words
    alert: str | None
    tone: str  # of the alert
    more: str | None  # what is not drawn
    actions: Sequence[Action]


def chart(drawing: Drawing, *, key: str) -> str | None:
    """Draw a chart; return the event of the button pressed since the last run."""
    data: dict[str, Any] = asdict(drawing) | {"terms": terms.some(drawing.measure, drawing.counted)}
    pressed: str | None = mount("chart", data, key=key, events=("act",)).act
    return pressed
