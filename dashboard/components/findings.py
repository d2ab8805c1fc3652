"""Findings, one below the other: what, where and why, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from dashboard.components import mount


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One finding. help: what its kind means. value, unit: its cost, no value where that is unknown. share: 0 to 1."""

    id: str
    what: str
    help: str
    color: str
    service: str
    route: str
    evidence: str
    advice: str
    value: str
    unit: str
    about: str
    more: str
    share: float
    links: Sequence[dict[str, str]] = field(default=())  # event and text; the first is what Enter does


def findings(shown: Sequence[Shown], *, key: str, label: str) -> dict[str, str]:
    """Draw findings; return "event" and "id" of the link that was pressed since the last run."""
    data = {"label": label, "findings": [asdict(one) for one in shown]}
    act: dict[str, str] | None = mount("findings", data, key=key, events=("act",)).act
    return act or {}
