"""Regressions: `p99>10% & significant`, said of a comparison's routes.

Owns the language of `--fail-on-regression`, and which routes fulfil it.

    p50 p90 p99 mean   by how much the duration rose: as 10% of what it was, or as 20ms
    errors             by how many points the error rate rose: 1% is from 2 % to more than 3 %
    > <                more than, less than; what fell rose by less than nothing
    significant        the measures it is joined with by & did change; alone: any measure rose
    & | ( )            and, or; & binds closer
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import polars as pl

from tracelens.errors import UsageError
from tracelens.lens.compare import KEY, rose
from tracelens.lens.where import UNITS

MEASURES = {"p50": "p50", "p90": "p90", "p99": "p99", "mean": "mean", "errors": "error_rate"}
TOKEN = re.compile(r"\s*(?:([a-z][a-z0-9]*)|([0-9]+(?:\.[0-9]+)?)\s*(%|[a-zµ]+)?|([&|()<>]))")
EXAMPLE = "Write for example 'p99>10% & significant' or 'errors>1% | mean>20ms'."
MOST_CHARACTERS = 1_000
MOST_DEPTH = 50
MOST_CASES = 256  # an expression of alternatives within alternatives multiplies


@dataclass(frozen=True, slots=True)
class Rise:
    """A measure that rose by more, or less, than an amount."""

    measure: str  # as COMPARE names it
    operator: str
    amount: float  # a share of what it was; nanoseconds; of error_rate points as a share
    unit: str  # "share" or "nano"


@dataclass(frozen=True, slots=True)
class Case:
    """Rises that must all be; and whether they must be significant."""

    rises: tuple[Rise, ...] = ()
    significant: bool = False

    def __and__(self, other: Case) -> Case:
        return Case(self.rises + other.rises, self.significant or other.significant)


@dataclass(frozen=True, slots=True)
class Rule:
    """An expression, and the cases of which one is enough."""

    text: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Regression:
    """A route that a rule is true of, and the COMPARE rows that make it so."""

    key: tuple[str | None, ...]  # KEY
    rule: str
    rows: tuple[dict[str, Any], ...]


def parse(text: str) -> Rule:
    """Return the rule that an expression says. Raises UsageError that names what cannot be read."""
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"an expression of {len(text)} characters: at most {MOST_CHARACTERS} are read.")
    parser = _Parser(text)
    cases = parser.any_of()
    parser.end()
    return Rule(text.strip(), cases)


ANY_RISE = Rule("significant", (Case(significant=True),))


def regressions(rows: pl.DataFrame, rules: list[Rule]) -> list[Regression]:
    """Return the routes of COMPARE rows that any rule is true of, in the rows' order; each with its first such rule."""
    found = []
    for key, of_route in rows.filter(kind="route").group_by(KEY, maintain_order=True):
        measures = {row["measure"]: row for row in of_route.iter_rows(named=True)}
        hit = next(_hits(measures, rules), None)
        if hit is not None:
            found.append(Regression(key, *hit))
    return found


def _hits(measures: dict[str, dict[str, Any]], rules: list[Rule]) -> Iterator[tuple[str, tuple[dict[str, Any], ...]]]:
    for rule in rules:
        for case in rule.cases:
            rows = _fulfilled(measures, case)
            if rows:
                yield rule.text, rows


def _fulfilled(measures: dict[str, dict[str, Any]], case: Case) -> tuple[dict[str, Any], ...]:
    """Return the rows that fulfil a case; none when it is not."""
    if not case.rises:
        return tuple(row for name in MEASURES.values() if (row := measures[name])["significant"] and rose(row) > 0)
    rows = {rise.measure: measures[rise.measure] for rise in case.rises}
    if any(row["a"] is None or row["b"] is None for row in rows.values()):
        return ()
    is_so = all(_is(rise, rows[rise.measure]) for rise in case.rises)
    return (
        tuple(rows.values())
        if is_so and (not case.significant or all(row["significant"] for row in rows.values()))
        else ()
    )


def _is(rise: Rise, row: dict[str, Any]) -> bool:
    limit = rise.amount if rise.unit == "nano" or rise.measure == "error_rate" else rise.amount * row["a"]
    return rose(row) > limit if rise.operator == ">" else rose(row) < limit


class _Parser:
    """Recursive descent; what is read becomes cases at once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._scan())
        self.next = 0
        self.depth = 0

    def _scan(self) -> Iterator[tuple[str, str]]:
        rest, at = self.text.rstrip(), 0
        while at < len(rest):
            match = TOKEN.match(rest, at)
            if match is None:
                raise self._wrong(f"{rest[at:].strip()[:20]!r} cannot be read")
            word, number, unit, sign = match.groups()
            yield ("word", word) if word else ("amount", f"{number} {unit or ''}") if number else ("sign", sign)
            at = match.end()

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"expression {self.text!r}: {what}. {EXAMPLE}")

    def _take(self) -> tuple[str, str]:
        if self.next == len(self.tokens):
            raise self._wrong("it ends too early")
        self.next += 1
        return self.tokens[self.next - 1]

    def _takes(self, sign: str) -> bool:
        found = self.next < len(self.tokens) and self.tokens[self.next] == ("sign", sign)
        self.next += found
        return found

    def end(self) -> None:
        if self.next < len(self.tokens):
            raise self._wrong(f"{self.tokens[self.next][1]!r} is not expected there")

    def any_of(self) -> tuple[Case, ...]:
        cases = self.all_of()
        while self._takes("|"):
            cases += self.all_of()
        return cases

    def all_of(self) -> tuple[Case, ...]:
        cases = self.one()
        while self._takes("&"):
            cases = tuple(a & b for a, b in product(cases, self.one()))
            if len(cases) > MOST_CASES:
                raise self._wrong(f"more than {MOST_CASES} combinations of | within &")
        return cases

    def one(self) -> tuple[Case, ...]:
        kind, word = self._take()
        if (kind, word) == ("sign", "("):
            self.depth += 1
            if self.depth > MOST_DEPTH:
                raise self._wrong(f"parentheses within more than {MOST_DEPTH} others")
            cases = self.any_of()
            self.depth -= 1
            if not self._takes(")"):
                raise self._wrong("a parenthesis is not closed")
            return cases
        if (kind, word) == ("word", "significant"):
            return (Case(significant=True),)
        if kind != "word" or word not in MEASURES:
            raise self._wrong(f"{word!r} is no measure: there are {', '.join(MEASURES)}, and the word significant")
        return (Case((self._rise(word),)),)

    def _rise(self, word: str) -> Rise:
        operator = self._take()
        if operator not in (("sign", ">"), ("sign", "<")):
            raise self._wrong(f"{word} takes > or <, not {operator[1]!r}")
        kind, amount = self._take()
        number, _, unit = amount.partition(" ")
        if kind == "amount" and unit == "%":
            return Rise(MEASURES[word], operator[1], float(number) / 100, "share")
        if kind == "amount" and unit in UNITS and word != "errors":
            return Rise(MEASURES[word], operator[1], float(number) * UNITS[unit], "nano")
        units = "points, as 1%" if word == "errors" else "a percentage or a duration, as 10% or 20ms"
        raise self._wrong(f"{word}{operator[1]} takes {units}, not {amount.strip()!r}")
