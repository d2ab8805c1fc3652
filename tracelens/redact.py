"""Redaction: what is taken out of spans before they are stored, and how large they may be.

Owns the rules for secrets in attributes, names, events and links, and the
limits of attributes. Marks every span it changes. Looking costs one test a
column; only what matches is rewritten.

Taken out: values of keys that name a secret, user and password of URLs, values
of query parameters that are tokens, credentials of `Authorization` wherever
they stand, JSON web tokens, and literals of SQL statements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import polars as pl

from tracelens.errors import UsageError
from tracelens.spans import MARK, is_attribute, split_column

REDACTED = "[redacted]"
REDACTED_JSON = '{"stringValue":"[redacted]"}'
# Last words of keys whose values are secrets; words are parted by anything but letters and digits.
KEYS = (
    "authorization", "cookie", "password", "passwd", "passphrase", "pwd", "secret", "token", "jwt", "apikey", "api key",
    "access key", "private key", "secret key", "credential", "credentials",
)  # fmt: skip
URL_PARAMETERS = (
    "token", "access_token", "id_token", "refresh_token", "auth_token", "auth", "authorization", "api_key", "api-key",
    "apikey", "key", "password", "passwd", "pwd", "pass", "secret", "client_secret", "sig", "signature", "session",
    "sessionid", "session_id", "sid", "jwt", "credential", "x-amz-signature", "x-amz-credential",
    "x-amz-security-token", "awsaccesskeyid", "x-goog-signature", "x-goog-credential",
)  # fmt: skip
SQL_KEYS = ("db.statement", "db.query.text", "db.sql.query", "sql.query", "sql")
SQL_LITERAL = (
    r"(?s)'(?:[^'\\]|''|\\.)*(?:'|$)"
    r'|"(?:[^"\\]|""|\\.)*(?:"|$)'
    r"|\$\w*\$.*?(?:\$\w*\$|$)"
    r"|/\*.*?(?:\*/|$)|--[^\n]*|#[^\n]*"
    r"|\b[0-9][\w.]*"
)
USERINFO = r"(?i)([a-z][a-z0-9+.-]*://)[^\s/?#\"'<>]*@"
BEARER = r"\b([bB](?:earer|EARER))[ +]+[A-Za-z0-9._~+/=-]{6,}"
BASIC = r"\b([bB](?:asic|ASIC))[ +]+(?:[A-Za-z0-9+/]{4,}={1,2}|[A-Za-z0-9+/]{16,})"
JWT = r"\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"
# One of these is in whatever `Rules.suspicious` finds.
SIGNS = ("@", "=", "%3", "eyJ", "earer", "EARER", "asic", "ASIC")
SAMPLE = 1_000  # values whose repetition tells that of a column
TEXTS = ("name", "status_message")
JSONS = ("events", "links")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is taken out and how much is kept. Validated when made."""

    enabled: bool = True
    keys: tuple[str, ...] = KEYS  # last words of keys
    url_parameters: tuple[str, ...] = URL_PARAMETERS
    sql_keys: tuple[str, ...] = SQL_KEYS
    attributes: int = 128  # a span may have; the OpenTelemetry SDK's own default
    value_length: int = 32_768  # characters of a value

    def __post_init__(self) -> None:
        if self.attributes < 1 or self.value_length < 16:
            raise UsageError("[limits] attributes should be 1 or more, and value_length 16 or more.")

    @classmethod
    def default(cls) -> Rules:
        """Return the rules when nobody says otherwise."""
        return cls()

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Rules:
        """Return the rules of a configuration: tables `redact` and `limits`; lists add to ours.

        Raises UsageError naming what is unknown or of a wrong type.
        """
        known = {field.name: field for field in fields(cls)}
        given: dict[str, Any] = {}
        tables = {"redact": ("enabled", "keys", "url_parameters", "sql_keys"), "limits": ("attributes", "value_length")}
        for table, names in tables.items():
            for name, value in settings.get(table, {}).items():
                if name not in names:
                    raise UsageError(f"[{table}] has no {name!r}; there are {', '.join(names)}.")
                default = known[name].default
                if isinstance(default, tuple):
                    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
                        raise UsageError(f"[{table}] {name} should be a list of texts.")
                    given[name] = (*default, *value)
                elif value.__class__ is not default.__class__:
                    raise UsageError(f"[{table}] {name} should be a {default.__class__.__name__}.")
                else:
                    given[name] = value
        return cls(**given)

    @cached_property
    def parameter(self) -> str:
        """The pattern of a query parameter that is a token, plain or within an encoded URL."""
        value = r"(?:[^&;#\s\"'%]|%(?:[013-9a-f][0-9a-f]|2[0-57-9a-f]))+"
        return rf"(?i)((?:[?&;#]|%3f|%26|%3b)(?:{self._names})(?:=|%3d)){value}"

    @cached_property
    def steps(self) -> tuple[tuple[str, str], ...]:
        """Patterns and what they become, for any text."""
        return (
            (USERINFO, "${1}" + REDACTED + "@"),
            (self.parameter, "${1}" + REDACTED),
            (BEARER, "${1} " + REDACTED),
            (BASIC, "${1} " + REDACTED),
            (JWT, REDACTED),
        )

    @cached_property
    def suspicious(self) -> str:
        """One pattern that finds whatever `steps` may change, and sometimes more."""
        parameter = rf"(?:[?&;#]|%3f|%26|%3b)(?:{self._names})(?:=|%3d)"
        return rf"(?i)://[^\s/?#\"'<>]*@|{parameter}|\b(?:bearer|basic)[ +]|\beyJ"

    @cached_property
    def _names(self) -> str:
        return "|".join(sorted(map(re.escape, self.url_parameters), key=len, reverse=True)).replace(r"\-", "-")

    @cached_property
    def suspicious_json(self) -> str:
        """The same for JSON, where keys stand in the text too."""
        last = "|".join(sorted({re.escape(key.split()[-1]) for key in self.keys}))
        sql = "|".join(map(re.escape, self.sql_keys))
        return rf"{self.suspicious}|(?:{last}|{sql})"

    @cached_property
    def _compiled(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        return tuple((re.compile(pattern), becomes.replace("${1}", r"\1")) for pattern, becomes in self.steps)

    @cached_property
    def _words(self) -> frozenset[tuple[str, ...]]:
        return frozenset(tuple(key.lower().split()) for key in self.keys)

    def is_secret(self, key: str) -> bool:
        """Whether a key names a secret: by its last word, or its last two."""
        words = tuple(re.split(r"[^a-z0-9]+", key.lower()))
        return words[-1:] in self._words or words[-2:] in self._words

    def is_sql(self, key: str) -> bool:
        """Whether a key holds an SQL statement."""
        return key.lower() in self.sql_keys

    def text(self, value: str, key: str = "") -> str:
        """Return a text as it may be stored."""
        if self.is_sql(key):
            value = re.sub(SQL_LITERAL, "?", value)
        for pattern, becomes in self._compiled:
            value = pattern.sub(becomes, value)
        return value[: self.value_length]


def apply(frame: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Return spans as they may be stored: the same rows, columns and types; `repairs` tells what was changed."""
    if frame.is_empty():
        return frame
    if rules.enabled:
        for name in frame.columns:
            changed = _redacted(frame[name], name, rules)
            if changed is not None:
                frame = _marked(frame, name, changed, "redacted")
    for name in frame.columns:
        changed = _cut(frame[name], name, rules.value_length)
        if changed is not None:
            frame = _marked(frame, name, changed, "attribute_limit")
    return _fewer(frame, rules.attributes)


def _marked(frame: pl.DataFrame, name: str, changed: pl.Series, mark: str) -> pl.DataFrame:
    """Put a column in the place of another, and mark the spans where they differ."""
    differs = changed.ne_missing(frame[name])
    repairs = pl.when(differs).then(pl.col("repairs") | MARK[mark]).otherwise(pl.col("repairs")).alias("repairs")
    return frame.with_columns(repairs, changed.alias(name))


def _redacted(values: pl.Series, name: str, rules: Rules) -> pl.Series | None:
    """Return a column without secrets; None when there are none in it."""
    if is_attribute(name):
        _, key, kind = split_column(name)
        if rules.is_secret(key):
            becomes = {"": REDACTED, "json": REDACTED_JSON}.get(kind)
            if values.null_count() == len(values) or (becomes and (values.is_null() | (values == becomes)).all()):
                return None
            value = pl.lit(becomes, values.dtype)
            return values.to_frame().select(pl.when(pl.col(name).is_not_null()).then(value)).to_series().alias(name)
        if kind == "json":
            return _json(values, rules, lambda found: _walked(found, key, rules))
        if kind:
            return None
        if rules.is_sql(key):
            values = values.str.replace_all(SQL_LITERAL, "?")
            return _replaced(values, rules)
        return _replaced(values, rules) if _suspicious(values, rules) else None
    if name in TEXTS:
        return _replaced(values, rules) if _suspicious(values, rules) else None
    if name in JSONS:
        return _json(values, rules, lambda found: _walked(found, "", rules))
    if name == "overflow":
        return _json(values, rules, lambda found: _overflow(found, rules))
    return None


def _suspicious(values: pl.Series, rules: Rules) -> bool:
    """Whether any value may hold a secret. Most columns have few values: each is looked at once."""
    sample = values.head(SAMPLE)
    if sample.n_unique() * 4 < len(sample):
        values = values.unique()
    elif not any(values.str.contains(sign, literal=True).any() for sign in SIGNS):
        return False  # a literal costs a tenth of a pattern
    return bool(values.str.contains(rules.suspicious).any())


def _replaced(values: pl.Series, rules: Rules) -> pl.Series:
    for pattern, becomes in rules.steps:
        values = values.str.replace_all(pattern, becomes)
    return values


def _json(values: pl.Series, rules: Rules, change: Callable[[Any], Any]) -> pl.Series | None:
    """Return a column of JSON, changed where that makes a difference; None when it makes none."""
    if values.null_count() == len(values):
        return None
    found: dict[int, str] = {}
    for row in values.str.contains(rules.suspicious_json).arg_true().to_list():
        text = values[row]
        changed = orjson.dumps(change(orjson.loads(text))).decode()
        if changed != text:
            found[row] = changed
    return values.scatter(list(found), list(found.values())) if found else None


def _walked(value: Any, key: str, rules: Rules) -> Any:
    """Return OTLP JSON without secrets; key: of the attribute that it is the value of."""
    if isinstance(value, str):
        return rules.text(value, key)
    if isinstance(value, list):
        return [_walked(one, key, rules) for one in value]
    if isinstance(value, dict):
        inner = value.get("key")
        if isinstance(inner, str) and "value" in value:  # a KeyValue
            if rules.is_secret(inner):
                return value | {"value": {"stringValue": REDACTED}}
            return {"key": inner, **{name: _walked(one, inner, rules) for name, one in value.items() if name != "key"}}
        return {name: one if name in IDS else _walked(one, key, rules) for name, one in value.items()}
    return value


IDS = ("traceId", "spanId", "timeUnixNano", "intValue", "bytesValue", "traceState")


def _overflow(value: Any, rules: Rules) -> Any:
    """Return the overflow of a span without secrets."""
    if not isinstance(value, dict):
        return value
    found = {}
    for name, one in value.items():
        _, key, kind = split_column(name)
        if rules.is_secret(key):
            found[name] = {"stringValue": REDACTED} if kind == "json" else REDACTED if kind == "" else None
        else:
            found[name] = _walked(one, key, rules)
    return found


def _cut(values: pl.Series, name: str, length: int) -> pl.Series | None:
    """Return a column without values longer than the limit; None when there are none."""
    if values.dtype != pl.String or name in ("overflow", *JSONS) or not (values.str.len_bytes() > length).any():
        return None
    if name.endswith("#json"):  # half of a JSON text is none
        short = pl.lit('{"stringValue":"[too long]"}')
        return (
            values.to_frame()
            .select(pl.when(pl.col(name).str.len_chars() > length).then(short).otherwise(name))
            .to_series()
        )
    cut = values.str.head(length)
    return None if (cut.ne_missing(values)).sum() == 0 else cut


def _fewer(frame: pl.DataFrame, most: int) -> pl.DataFrame:
    """Return spans with at most so many attributes, the first ones; the others are counted as dropped."""
    names = [name for name in frame.columns if name.startswith("attr:")]
    more = frame["overflow"].null_count() < len(frame)
    if len(names) <= most and not more:
        return frame
    held = frame.select(pl.sum_horizontal(pl.col(names).is_not_null()) if names else pl.lit(0)).to_series()
    over = [_over(text) for text in frame["overflow"].to_list()] if more else [0] * len(frame)
    many = (held + pl.Series(over, dtype=pl.Int64)) > most
    if not many.any():
        return frame
    running = np.zeros(len(frame), np.int64)
    changed = []
    for name in names:
        present = frame[name].is_not_null().to_numpy()
        running += present
        beyond = present & (running > most)
        if beyond.any():
            changed.append(pl.when(pl.lit(pl.Series(beyond))).then(None).otherwise(pl.col(name)).alias(name))
    dropped = np.maximum(running - most, 0)
    overflow = frame["overflow"].to_list()
    for row in np.flatnonzero(many.to_numpy()).tolist():
        if overflow[row]:
            found = orjson.loads(overflow[row])
            own = [name for name in found if name.startswith("attr:")]
            gone = own[max(0, most - int(running[row])) :]
            overflow[row] = orjson.dumps({name: one for name, one in found.items() if name not in set(gone)}).decode()
            dropped[row] += len(gone)
    marks = pl.Series(np.where(dropped > 0, MARK["attribute_limit"], 0).astype(np.int32))
    return frame.with_columns(
        *changed,
        pl.Series("overflow", [text if text != "{}" else None for text in overflow], pl.String),
        dropped_attributes_count=pl.col("dropped_attributes_count") + pl.Series(dropped),
        repairs=pl.col("repairs") | marks,
    )


def _over(text: str | None) -> int:
    """Return how many attributes of the span itself are in an overflow."""
    return sum(name.startswith("attr:") for name in orjson.loads(text)) if text else 0
