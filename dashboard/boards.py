"""Boards: charts that people choose, and views they save. As TOML, one file each.

Owns what a chart, a board and a saved view say, and reading and writing them.
Where they lie is the store's shelf; how they are drawn is the views'.

    title = "Checkout"

    [[charts]]
    title = "p99 by version"
    measure = "p99"
    by = "version"
    where = "service=checkout"
    threshold = "250ms"
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import tomli_w

from dashboard.state import PAGES, SHARED
from tracelens.errors import InputError, TracelensError, UsageError
from tracelens.lens import Chart, Question
from tracelens.lens.charts import RATES, SHARES
from tracelens.lens.where import nanoseconds

MOST_CHARTS = 24  # of a board: more are no overview
MOST_TITLE = 120
MEASURES = {
    "p99": "p99",
    "p90": "p90",
    "p50": "p50",
    "mean": "mean",
    "calls": "calls/s",
    "errors": "errors",
    "path": "time on the critical path",
    "hop.client": "share of time in the client",
    "hop.egress_proxy": "share of time in the egress proxy",
    "hop.network_queueing": "share of time in network + queueing",
    "hop.ingress_proxy": "share of time in the ingress proxy",
    "hop.app": "share of time in the app",
    "hop.downstream": "share of time in its own calls",
    "hop.attempts": "share of time in attempts in vain",
    "hop.backoff": "share of time between attempts",
}
BY = {
    "": "all together",
    "service": "service",
    "route": "route",
    "version": "version",
    "caller": "caller",
    "namespace": "namespace",
    "res.cloud.availability_zone": "zone",
    "res.k8s.node.name": "node",
}
COUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:/s)?")
PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A chart as somebody has it. Raises UsageError for what cannot be drawn."""

    measure: str
    by: str = ""
    where: str = ""
    threshold: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        for name in ("measure", "by", "where", "threshold", "title"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"{name} is no text.")
        if len(self.title) > MOST_TITLE:
            raise UsageError(f"the title is longer than {MOST_TITLE} letters.")
        Chart(measure=self.measure, by=self.by)
        Question(where=(self.where,))
        _limit(self.measure, self.threshold)

    @property
    def limit(self) -> float | None:
        """The threshold as a number of the measure's unit; None without one."""
        return _limit(self.measure, self.threshold)

    @property
    def name(self) -> str:
        """Its title, or what it shows."""
        if self.title:
            return self.title
        by = f" by {BY.get(self.by, self.by)}" if self.by else ""
        return f"{MEASURES[self.measure]}{by}{f', {self.where}' if self.where else ''}"


def _limit(measure: str, threshold: str) -> float | None:
    """Return a threshold as a number of the measure's unit; None without one. Raises UsageError."""
    text = threshold.strip()
    if not text:
        return None
    if measure in SHARES:
        found, example = PERCENT.fullmatch(text), "1%"
    elif measure in RATES:
        found, example = COUNT.fullmatch(text), "100"
    else:
        return float(nanoseconds(text))
    if found is None:
        raise UsageError(f"threshold {text!r}: of {MEASURES[measure]} it is written as {example}.")
    return float(found[1]) / (100 if measure in SHARES else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Charts in their order."""

    title: str
    charts: tuple[Own, ...] = ()

    def with_chart(self, chart: Own, at: int | None) -> Board:
        """Return the board with a chart in a place, or at its end."""
        charts = list(self.charts)
        if at is None or not 0 <= at < len(charts):
            charts.append(chart)
        else:
            charts[at] = chart
        return replace(self, charts=tuple(charts))

    def without(self, at: int) -> Board:
        return replace(self, charts=tuple(one for place, one in enumerate(self.charts) if place != at))

    def moved(self, at: int, by: int) -> Board:
        """Return the board with a chart some places further on."""
        charts = list(self.charts)
        if not (0 <= at < len(charts) and 0 <= at + by < len(charts)):
            return self
        charts.insert(at + by, charts.pop(at))
        return replace(self, charts=tuple(charts))


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A page as somebody left it: its name, and the parameters of its address."""

    title: str
    page: str
    params: Mapping[str, str] = field(default_factory=dict)


FIRST = Board(
    title="Mesh",
    charts=(
        Own(measure="p99", by="service"),
        Own(measure="path", by="service"),
        Own(measure="errors", by="service"),
        Own(measure="calls", by="service"),
        Own(measure="p99", by="version"),
        Own(measure="hop.network_queueing", by="service"),
    ),
)


def file_name(title: str) -> str:
    """Return the name under which something of this title lies on the shelf. Raises UsageError when none is left."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:80].strip("-")
    if not name:
        raise UsageError("a title has a letter or a digit of the Latin alphabet.")
    return name


def parse_board(text: str) -> Board:
    """Return the board that TOML describes. Raises InputError saying what is wrong with which chart."""
    said = _toml(text, {"title", "charts"})
    charts = said.get("charts", [])
    if not isinstance(charts, list) or not all(isinstance(one, dict) for one in charts):
        raise InputError("charts is no list of tables. Write [[charts]] before each.")
    if len(charts) > MOST_CHARTS:
        raise InputError(f"a board has {MOST_CHARTS} charts at most, this one {len(charts)}.")
    return Board(title=_title(said), charts=tuple(_chart(number, one) for number, one in enumerate(charts, 1)))


def _chart(number: int, said: Mapping[str, Any]) -> Own:
    known = Own.__dataclass_fields__
    unknown = sorted(set(said) - set(known))
    if unknown:
        raise InputError(f"chart {number}: {unknown[0]!r} is not known. There are {', '.join(known)}.")
    if "measure" not in said:
        raise InputError(f"chart {number} has no measure.")
    try:
        return Own(**said)
    except TracelensError as error:
        raise InputError(f"chart {number}: {error}") from None


def parse_view(text: str) -> View:
    """Return the saved view that TOML describes. Raises InputError."""
    said = _toml(text, {"title", "page", "params"})
    page, params = said.get("page"), said.get("params", {})
    if page not in PAGES:
        raise InputError(f"{page!r} is no page. There are {', '.join(PAGES)}.")
    if not isinstance(params, dict) or not all(isinstance(value, str) for value in params.values()):
        raise InputError("params is no table of texts.")
    known = {name: value for name, value in params.items() if name in (*SHARED, *PAGES[page])}
    return View(title=_title(said), page=page, params=known)


def _toml(text: str, known: Iterable[str]) -> dict[str, Any]:
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"this is no TOML: {error}") from None
    unknown = sorted(set(said) - set(known))
    if unknown:
        raise InputError(f"{unknown[0]!r} is not known here. There are {', '.join(sorted(known))}.")
    return said


def _title(said: Mapping[str, Any]) -> str:
    title = said.get("title")
    if not isinstance(title, str) or not title.strip() or len(title) > MOST_TITLE:
        raise InputError(f"title is no text of 1 to {MOST_TITLE} letters.")
    return title.strip()


def board_text(board: Board) -> str:
    """Return a board as TOML."""
    charts = [
        {name: value for name in ("title", "measure", "by", "where", "threshold") if (value := getattr(one, name))}
        for one in board.charts
    ]
    return "\n".join([tomli_w.dumps({"title": board.title}), *(f"[[charts]]\n{tomli_w.dumps(one)}" for one in charts)])


def view_text(view: View) -> str:
    """Return a saved view as TOML."""
    return tomli_w.dumps({"title": view.title, "page": view.page, "params": dict(view.params)})
