"""The one sentence of the overview: what is wrong first.

Owns choosing and wording it. Candidates in order: a p99 that rose beyond its
own interval, a route that fails, a tail far above what is typical. Each states
its numbers and leads to the route.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dashboard.components.headline import Run, run
from dashboard.format import count, duration, percent
from dashboard.page import Page, link_to
from dashboard.queries import Overview, Slow
from dashboard.since import rose
from tracelens.lens import Since

RISE = 1.2  # times the p99 before: less is weather
LEAST_RISE_NANO = 1_000_000  # and a millisecond at least
FAILING = 0.01  # share of a route's calls
LEAST_ERRORS = 5  # fewer may be chance
TAIL = 3.0  # times the p50
LEAST_CALLS = 20  # of a route, before its p99 is worth a sentence

Routes = Mapping[tuple[str, str], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence and how grave it is."""

    runs: list[Run]
    tone: str  # bad, warn or calm


def finding(page: Page, shown: Overview, before: Routes | None) -> Finding:
    """Return the sentence for an overview."""
    rows = [row for row in shown.routes if row["p99_nano"] is not None and row["n"] >= LEAST_CALLS]
    return _risen(page, rows, before or {}) or _failing(shown, rows) or _tail(page, rows) or _calm(shown)


def _name(row: Mapping[str, Any]) -> Run:
    return run(f"{row['service']} {row['route']}", strong=True)


def _see(row: Mapping[str, Any]) -> list[Run]:
    return [run(" "), run("See why →", link=link_to("route", service=row["service"], route=row["route"]))]


def _risen(page: Page, rows: list[dict[str, Any]], before: Routes) -> Finding | None:
    """The p99 that rose most, if the interval of one side does not hold the other side's value."""
    candidates = []
    for row in rows:
        then = before.get((row["service"], row["route"]))
        if then is None or then["p99_nano"] is None or then["n"] < LEAST_CALLS:
            continue
        rise = row["p99_nano"] - then["p99_nano"]
        notable = rise > LEAST_RISE_NANO and row["p99_nano"] > RISE * then["p99_nano"]
        if notable and row["p99_low_nano"] > then["p99_high_nano"]:
            candidates.append((rise * row["calls"], rise, row))
    if not candidates:
        return None
    _, rise, row = max(candidates, key=lambda one: one[0])
    runs = [
        run("p99 of "),
        _name(row),
        run(" rose by "),
        run(duration(rise), strong=True),
        run(" to "),
        run(duration(row["p99_nano"]), strong=True, tone="p99"),
        run(" against the window before"),
        *_since(page, row),
        run(". "),
    ]
    return Finding(runs + _cause(page, row) + _see(row), "warn")


def _failing(shown: Overview, rows: list[dict[str, Any]]) -> Finding | None:
    failing = [row for row in rows if row["error_rate"] >= FAILING and row["errors"] >= LEAST_ERRORS]
    if not failing:
        return None
    row = max(failing, key=lambda one: (one["errors"], one["service"], one["route"]))
    more = len(failing) - 1
    runs = [
        run(percent(row["error_rate"]), strong=True, tone="bad"),
        run(" of "),
        _name(row),
        run(f" fail: {count(row['errors'])} of {count(row['calls'])} calls."),
    ]
    if more:
        runs.append(
            run(f" {more} other route{'s' * (more != 1)} fail{'s' * (more == 1)} more than {percent(FAILING)}.")
        )
    if not shown.summary["errors"]:
        runs.append(run(" Callers recovered: no trace failed as a whole."))
    return Finding(runs + _see(row), "bad")


def _tail(page: Page, rows: list[dict[str, Any]]) -> Finding | None:
    """The route that spends most time above its own p50, if its tail is long."""
    long = [row for row in rows if row["p99_nano"] > TAIL * max(row["p50_nano"], 1)]
    if not long:
        return None
    row = max(long, key=lambda one: one["impact_nano"])
    times = row["p99_nano"] / max(row["p50_nano"], 1)
    runs = [
        run("The slowest 1 % of "),
        _name(row),
        run(" take "),
        run(duration(row["p99_nano"]), strong=True, tone="p99"),
        run(f" or more, {times:.0f} times the typical {duration(row['p50_nano'])}"),
        *_since(page, row),
        run(". "),
    ]
    return Finding(runs + _cause(page, row) + _see(row), "warn")


def _since(page: Page, row: Mapping[str, Any]) -> list[Run]:
    """Return since when, where one moment parts what was fast from what is slow."""
    found: Since | None = page.ask("since", (row["service"], row["route"]))
    return [run(f", since about {page.clock(found.at_nano)}")] if found is not None and rose(found) else []


def _cause(page: Page, row: Mapping[str, Any]) -> list[Run]:
    """Return what most of the difference between slow and typical is; nothing when one operation does not stand out."""
    found: Slow = page.ask("slow", (row["service"], row["route"]), row["n"])
    reasons = found.why.reasons
    if not reasons or reasons[0].difference_nano <= 0 or reasons[0].share < 0.2:
        return []
    top = reasons[0]
    own = (top.service, top.operation) == (row["service"], row["route"])
    where = "its own work" if own else f"{top.service} {top.operation}"
    return [
        run(duration(top.difference_nano), strong=True),
        run(" of what a slow call has beyond a typical one is "),
        run(where, strong=True),
        run("."),
    ]


def _calm(shown: Overview) -> Finding:
    n = sum(row["calls"] for row in shown.routes)
    text = f"Nothing stands out: no route fails more than {percent(FAILING)}, none has a long tail (n {count(n)})."
    return Finding([run(text)], "calm")
