"""Which two sides a comparison has: the words of the URL made into two Questions.

Owns windows, versions and filters of the sides. B is what the bar says and A
what it is compared with, unless both are told by the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from dashboard import state
from dashboard.state import quoted
from tracelens.lens import Question

DAY = 86_400_000_000_000
BY = {"window": "two windows", "version": "two versions", "filter": "two filters"}
AGAINST = {
    "before": "the window before",
    "day": "the same a day before",
    "week": "the same a week before",
    "half": "first half against second",
    "own": "a window of its own",
}
BACK = {"day": DAY, "week": 7 * DAY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What is compared: B against A, and what they are called."""

    a: Question
    b: Question
    a_name: str = "A"
    b_name: str = "B"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a service, and the filter that keeps its calls."""

    service: str
    key: str
    version: str
    calls: int

    @property
    def where(self) -> str:
        return f"service={quoted(self.service)} {self.key}={quoted(self.version)}"


def by(page: Mapping[str, str]) -> str:
    """Return what the sides differ in."""
    found = page.get("by", "window")
    return found if found in BY else "window"


def against(page: Mapping[str, str], question: Question) -> str:
    """Return which window A is; where none was chosen, that before B, and of all data its first half."""
    found = page.get("against")
    bounded = question.start_nano is not None and question.end_nano is not None
    choices = list(AGAINST) if bounded else ["half", "own"]
    return found if found in choices else choices[0]


def windows(question: Question, chosen: str, reach: tuple[int, int], page: Mapping[str, str]) -> Sides:
    """Return two windows. reach: of the data; an open end is there. page: the page's parameters."""
    start = reach[0] if question.start_nano is None else question.start_nano
    end = reach[1] + 1 if question.end_nano is None else question.end_nano
    whole = replace(question, start_nano=start, end_nano=max(end, start + 2))
    if chosen == "half":
        middle = (start + max(end, start + 2)) // 2
        return Sides(a=replace(whole, end_nano=middle), b=replace(whole, start_nano=middle))
    if chosen == "own":
        first, last = state.moment(page.get("a_start")), state.moment(page.get("a_end"))
        first = 2 * start - end if first is None else first
        last = first + (end - start) if last is None or last <= first else last
        return Sides(a=replace(question, start_nano=first, end_nano=last), b=question)
    back = BACK.get(chosen, end - start)
    return Sides(a=replace(whole, start_nano=start - back, end_nano=end - back), b=question)


def several(rows: pl.DataFrame) -> dict[str, list[Version]]:
    """Return the services that ran in several versions, the latest version of each first. rows: VERSIONS."""
    found: dict[str, list[Version]] = {}
    newest: dict[str, int] = {}
    keyed = rows.filter(pl.col("key") == pl.col("key").first().over("service"))
    for row in keyed.iter_rows(named=True):
        one = Version(service=row["service"], key=row["key"], version=row["version"], calls=row["calls"])
        found.setdefault(row["service"], []).append(one)
        newest[row["service"]] = max(newest.get(row["service"], 0), row["first_unix_nano"])
    names = sorted((name for name, some in found.items() if len(some) > 1), key=lambda name: (-newest[name], name))
    return {name: found[name] for name in names}


def chosen_versions(some: Sequence[Version], page: Mapping[str, str]) -> tuple[Version, Version]:
    """Return the versions of A and B in the URL; else the latest, against the one before."""
    known = {one.version: one for one in some}
    return known.get(page.get("a", ""), some[1]), known.get(page.get("b", ""), some[0])


def versions(question: Question, a: Version, b: Version) -> Sides:
    """Return the sides of two versions of a service."""
    return Sides(a=_only(question, a.where), b=_only(question, b.where), a_name=a.version, b_name=b.version)


def filters(question: Question, a: str, b: str) -> Sides:
    """Return the sides of two filters, each beside the bar's; an empty one keeps all."""
    return Sides(a=_only(question, a), b=_only(question, b))


def _only(question: Question, where: str) -> Question:
    return replace(question, where=(*question.where, where)) if where else question


def arguments(question: Question) -> tuple[Any, ...]:
    """Return a question as a query takes it: primitives."""
    return question.start_nano, question.end_nano, question.where
