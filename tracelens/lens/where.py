"""The filter language: `service=cart status=error duration>200ms attr.user_agent~curl`.

Owns parsing and applying; the same words on the command line and on the
dashboard. Conditions are ANDed; a value with blanks is quoted.

    service namespace route caller   of the call: = != ~ !~
    status                           ok, error, timeout, aborted: = !=
    duration                         412us, 200ms, 1.5s, 2m: = != < <= > >=
    trace                            a trace id: = !=
    name                             the name of any span of the call: = != ~ !~
    attr.KEY, res.KEY                an attribute of any span of the call, of its resource: all operators
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tracelens.calls import Calls
from tracelens.errors import UsageError
from tracelens.spans import attribute

OPERATORS = ("!=", ">=", "<=", "!~", "=", ">", "<", "~")
TOKEN = re.compile(r"^([A-Za-z_][^=!<>~]*)(!=|>=|<=|!~|=|>|<|~)(.*)$", re.DOTALL)
UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000}
DURATION = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m)$")
TEXT_KEYS = ("service", "namespace", "route", "caller")
STATUSES: dict[str, pl.Expr] = {
    "ok": pl.col("error").not_() & pl.col("censored").not_(),
    "error": pl.col("error"),
    "timeout": pl.col("timed_out"),
    "aborted": pl.col("censored"),
}
TEXT = ("=", "!=", "~", "!~")
EQUALITY = ("=", "!=")
KEYS = "service, namespace, route, caller, status, duration, trace, name, attr.KEY and res.KEY"


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison."""

    key: str
    operator: str
    value: str

    @property
    def attribute_key(self) -> tuple[str, str] | None:
        """(owner, key) of an attribute condition, else None."""
        owner, _, key = self.key.partition(".")
        return (owner, key) if owner in ("attr", "res") and key else None


def parse(text: str) -> list[Condition]:
    """Return the conditions of one filter text.

    Raises UsageError naming the word that cannot be read.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"filter {text!r}: {error}. Close the quotation.") from None
    return [_condition(word) for word in words]


def _condition(word: str) -> Condition:
    match = TOKEN.match(word)
    if match is None:
        raise UsageError(f"filter {word!r} is no comparison. Write for example service=cart or duration>200ms.")
    condition = Condition(*match.groups())
    key, operator, value = condition.key, condition.operator, condition.value
    if key == "duration":
        nanoseconds(value)
        allowed: tuple[str, ...] = ("=", "!=", "<", "<=", ">", ">=")
    elif key == "status":
        if value not in STATUSES:
            raise UsageError(f"filter {word!r}: a status is one of {', '.join(STATUSES)}.")
        allowed = EQUALITY
    elif key == "trace":
        trace_id(value)
        allowed = EQUALITY
    elif key in TEXT_KEYS or key == "name":
        allowed = TEXT
    elif condition.attribute_key:
        allowed = OPERATORS
    else:
        raise UsageError(f"filter {word!r}: {key!r} is no key. There are {KEYS}.")
    if operator not in allowed:
        raise UsageError(f"filter {word!r}: {key} takes {' '.join(allowed)}.")
    if operator in ("~", "!~"):
        _check_pattern(word, value)
    return condition


def _check_pattern(word: str, pattern: str) -> None:
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        raise UsageError(f"filter {word!r}: not a regular expression: {error}") from None


def nanoseconds(text: str) -> int:
    """Return the nanoseconds of a duration as filters have it, `200ms`. Raises UsageError when it is none."""
    match = DURATION.match(text)
    if match is None:
        raise UsageError(f"{text!r} is no duration. Write a number and ns, us, ms, s or m: 200ms.")
    return round(float(match[1]) * UNITS[match[2]])


def trace_id(text: str) -> bytes:
    """Return the 16 bytes of a trace id; short ones are left-padded, as some backends drop leading zeros.

    Raises UsageError when it is no hexadecimal number of at most 32 digits.
    """
    digits = text.strip().lower().removeprefix("0x")
    if not re.fullmatch("[0-9a-f]{1,32}", digits):
        raise UsageError(f"{text!r} is no trace id. It has up to 32 hexadecimal digits.")
    return bytes.fromhex(digits.rjust(32, "0"))


def select(table: pl.DataFrame, calls: Calls, spans: pl.DataFrame, conditions: Collection[Condition]) -> pl.DataFrame:
    """Return the rows of `table`, CALLS or REQUESTS, that match every condition.

    spans: the forest's, row by row with the labels in `calls`.
    """
    for condition in conditions:
        if condition.attribute_key or condition.key == "name":
            table = table.filter(_has_span(calls, spans, table, condition))
        else:
            table = table.filter(of_call(condition))
    return table


def of_call(condition: Condition) -> pl.Expr:
    """Whether a row of CALLS, or of what was counted of them, matches."""
    if condition.key == "status":
        matched = STATUSES[condition.value]
        return matched.not_() if condition.operator == "!=" else matched
    if condition.key == "duration":
        return COMPARE[condition.operator](pl.col("duration_nano"), pl.lit(nanoseconds(condition.value)))
    if condition.key == "trace":
        return COMPARE[condition.operator](pl.col("trace_id"), pl.lit(trace_id(condition.value)))
    return _text(pl.col(condition.key), condition)


def _has_span(calls: Calls, spans: pl.DataFrame, table: pl.DataFrame, condition: Condition) -> pl.Series:
    """Whether any span that works for a call matches; with != and !~, whether none does the opposite."""
    negated = condition.operator.startswith("!")
    plain = Condition(condition.key, condition.operator.removeprefix("!"), condition.value)
    hits = spans.select("kind", hit=of_span(spans.columns, plain))["hit"].to_numpy()  # as long as the spans
    found = table["span"].is_in(pl.Series(np.unique(calls.call[hits])).implode())
    return ~found if negated else found


def of_span(columns: Sequence[str], condition: Condition) -> pl.Expr:
    """Whether a span matches a condition on its name or an attribute that is not negated. columns: the spans'."""
    if condition.attribute_key:
        owner, key = condition.attribute_key
        column = attribute(columns, (key,), owner)
    else:
        column = pl.col("name")
    if condition.operator in ("<", "<=", ">", ">="):
        matched = COMPARE[condition.operator](column.cast(pl.Float64, strict=False), pl.lit(_number(condition)))
    else:
        matched = _text(column, condition)
    return matched.fill_null(value=False)


def _number(condition: Condition) -> float:
    try:
        return float(condition.value)
    except ValueError:
        raise UsageError(f"{condition.key}{condition.operator}{condition.value}: not a number.") from None


def _text(column: pl.Expr, condition: Condition) -> pl.Expr:
    if condition.operator in ("~", "!~"):
        found = column.str.contains(condition.value).fill_null(value=False)
        return found.not_() if condition.operator == "!~" else found
    equal = column.eq_missing(pl.lit(condition.value))
    return equal.not_() if condition.operator == "!=" else equal


COMPARE: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "=": pl.Expr.eq,
    "!=": pl.Expr.ne,
    "<": pl.Expr.lt,
    "<=": pl.Expr.le,
    ">": pl.Expr.gt,
    ">=": pl.Expr.ge,
}
