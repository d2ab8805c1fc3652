"""A comparison in words and places: what changed on each route, how surely, and where on its path.

Owns reading COMPARE rows; every number is the Lens's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import copysign, log
from typing import Any

import polars as pl

from dashboard.format import calls_per_second, duration, percent
from dashboard.profiles import PathNode
from tracelens.lens.compare import KEY, NEW, VANISHED

PERCENTILES = ("p50", "p90", "p99")
DURATIONS = (*PERCENTILES, "mean")
MEASURES = (*DURATIONS, "error_rate", "calls")
NAMES = {"error_rate": "errors", "calls": "calls/s"}
TOO_FEW = "too few calls"
SECOND = 1_000_000_000
EDGE = log(16)  # a change to sixteen times or a sixteenth stands at the edge, and so does any larger one
LEAST_EDGE = log(1.2)  # of small changes the edge is a fifth: noise is not drawn as drama

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a change and its interval are drawn, 0 to 1; no change is in the middle."""

    low: float | None
    at: float
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChange:
    """The measures of one route."""

    service: str
    route: str
    measures: Mapping[str, Row]

    @property
    def key(self) -> tuple[str, str]:
        return self.service, self.route

    @property
    def verdict(self) -> tuple[str, str]:
        """What to say of the route, and in which tone."""
        notes = {row["note"] for row in self.measures.values()}
        for note in (NEW, VANISHED):
            if note in notes:
                return note, "strong"
        sure = [row for name, row in self.measures.items() if row["significant"] and name != "calls"]
        if not sure:
            tested = any(row["p_value"] is not None for row in self.measures.values())
            return ("no change", "muted") if tested else (TOO_FEW, "muted")
        words = [word for word, rows in _directions(sure).items() if rows]
        return ", ".join(words), "faster" if words in (["faster"], ["fewer errors"]) else "slower"


def _directions(sure: Sequence[Row]) -> dict[str, list[Row]]:
    times = [row for row in sure if row["measure"] in DURATIONS]
    errors = [row for row in sure if row["measure"] == "error_rate"]
    return {
        "slower": [row for row in times if row["difference_nano"] > 0],
        "faster": [row for row in times if row["difference_nano"] < 0],
        "more errors": [row for row in errors if row["difference"] > 0],
        "fewer errors": [row for row in errors if row["difference"] < 0],
    }


def routes(rows: pl.DataFrame) -> Iterator[RouteChange]:
    """Yield the routes of COMPARE rows in their order: the surest changes first."""
    for _, part in rows.filter(kind="route").group_by(KEY, maintain_order=True):
        measures = {row["measure"]: row for row in part.iter_rows(named=True)}
        first = part.row(0, named=True)
        yield RouteChange(service=first["service"] or "", route=first["route"] or "", measures=measures)


def edge(shown: Sequence[RouteChange]) -> float:
    """Return the change at the edge of the drawing, as a logarithm: the same for all rows and percentiles."""
    pairs = [row for one in shown for row in map(one.measures.get, PERCENTILES) if row and _whole(row)]
    most = max((abs(_log(row["a"], row["b"])) for row in pairs), default=0.0)
    return min(max(1.1 * most, LEAST_EDGE), EDGE)


def _whole(row: Row) -> bool:
    return bool(row["a"]) and bool(row["b"])


def _log(a: float, b: float) -> float:
    return log(max(b, 1) / max(a, 1))


def place(row: Row, widest: float) -> Place | None:
    """Return where a change of a duration is drawn; None when it has but one side."""
    if not _whole(row):
        return None

    def at(nano: float) -> float:
        size = _log(row["a"], row["a"] + nano) / widest
        # The root: beside a change to ten times, one of a few percent has a place of its own.
        return 0.5 + copysign(min(abs(size), 1.0) ** 0.5, size) / 2

    bounds = row["low_nano"], row["high_nano"]
    low, high = (None if bound is None else at(bound) for bound in bounds)
    known = low is not None or high is not None
    return Place(
        low=(0.0 if low is None else low) if known else None,
        at=at(row["difference_nano"]),
        high=(1.0 if high is None else high) if known else None,
    )


def value(measure: str, number: float | None) -> str:
    """Return a measure's number with its unit."""
    if number is None:
        return "–"
    if measure in DURATIONS:
        return duration(number)
    return percent(number) if measure == "error_rate" else calls_per_second(round(number * 1_000), 1_000 * SECOND)


def difference(row: Row) -> str:
    """Return by how much a measure changed, signed."""
    return signed(row["measure"], row["difference_nano"] if row["measure"] in DURATIONS else row["difference"])


def signed(measure: str, number: float | None) -> str:
    """Return a change with its sign and unit: errors in points."""
    if number is None:
        return "–"
    size = f"{100 * abs(number):.1f} pt" if measure == "error_rate" else value(measure, abs(number))
    sign = "−" if number < 0 else "+"
    return f"{sign if any(digit in size for digit in '123456789') else '±'}{size}"


def interval(row: Row) -> str:
    """Return the 95 % interval of a change; `–` when there is none, `…` for a bound that the calls are too few for."""
    unit = "_nano" if row["measure"] in DURATIONS else ""
    bounds = [row[f"low{unit}"], row[f"high{unit}"]]
    if bounds == [None, None]:
        return "–"
    low, high = ("…" if bound is None else signed(row["measure"], bound) for bound in bounds)
    return f"{low} to {high}"


def tone(row: Row) -> str:
    """Return the look of a change: only one beyond chance has a colour."""
    if not row["significant"]:
        return "muted"
    number = row["difference_nano"] if row["measure"] in DURATIONS else row["difference"]
    return "slower" if number > 0 else "faster"


def said(row: Row) -> str:
    """Return a change in one sentence."""
    measure = row["measure"]
    parts = [f"{NAMES.get(measure, measure)} {value(measure, row['a'])} → {value(measure, row['b'])}"]
    if interval(row) != "–":
        parts.append(f"95 % within {interval(row)}")
    parts.append(f"n {row['n_a']:,} and {row['n_b']:,}")
    parts.append(row["note"] or f"adjusted p {probability(row['adjusted_p'])}")
    return ", ".join(parts)


def probability(number: float | None) -> str:
    """Return a p-value with two digits."""
    if number is None:
        return "–"
    return "<0.0001" if number < 0.0001 else f"{number:.2g}"


def difference_tree(rows: pl.DataFrame) -> tuple[list[PathNode], list[int], list[bool]]:
    """Return a route's call paths as side B has them, by how much each node's own time changed, and if beyond chance.

    rows: COMPARE nodes of one route; means a call. The root is first and parents come before children. A node that
    only A has takes no time.
    """
    ordered = rows.sort(pl.col("path").list.len(), "node").to_dicts()
    known = {row["node"] for row in ordered}
    index: dict[int, int] = {}
    tops = [row for row in ordered if row["parent"] not in known]
    own: list[int] = []
    nodes: list[tuple[str, int, str, str]] = []
    if len(tops) > 1:
        nodes.append(("", -1, "all paths", ""))
        own.append(0)
    offset = len(nodes)
    for row in ordered:
        index[row["node"]] = len(nodes)
        parent = index.get(row["parent"], 0 if offset else -1)
        nodes.append((f"{row['node'] & (1 << 64) - 1:016x}", parent, row["path"][-1], row["layer"]))
        own.append(round(row["b"] or 0))
    whole = list(own)
    for at in range(len(nodes) - 1, 0, -1):
        whole[max(nodes[at][1], 0)] += whole[at]
    made = [
        PathNode(key, parent, "", label, layer, whole[at], own[at], 0)
        for at, (key, parent, label, layer) in enumerate(nodes)
    ]
    change = [row["difference_nano"] or 0 for row in ordered]
    return made, [0] * offset + change, [False] * offset + [row["significant"] for row in ordered]
