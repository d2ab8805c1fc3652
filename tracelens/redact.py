"""Redaction: what is taken out of spans before they are stored, and how large they may be.

Owns the rules, which columns they concern, and the limits of attributes; what a
secret looks like in a text is left to `_secrets`. Marks every span it changes.

Taken out: values of keys that name a secret; user and password of URLs; values
of parameters that are tokens; credentials of headers wherever they stand; JSON
web tokens; literals of SQL. Looking is cheap and comes first: a column's texts,
each once where they repeat, are joined and searched as one. Only rows in which
something was found are rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from tracelens._secrets import REDACTED, Patterns, clean, patterns, shapes
from tracelens.errors import UsageError
from tracelens.spans import MARK, is_attribute, split_column

# How keys end whose values are secrets, in any case; between words anything but letters and digits may stand.
KEYS = (
    "authorization", "cookie", "password", "passwd", "passphrase", "pwd", "secret", "token", "jwt", "session",
    "sessionid", "sessid", "credential", "credentials", "api key", "access key", "account key", "private key",
    "secret key",
)  # fmt: skip
# Beside these, parameters whose names end as secret keys do: access_token, user[password].
URL_PARAMETERS = (
    "auth", "key", "pass", "sig", "signature", "session_id", "sid", "assertion", "client_assertion", "samlresponse",
    "awsaccesskeyid", "x-amz-signature", "x-amz-credential", "x-goog-signature", "x-goog-credential",
)  # fmt: skip
SQL_KEYS = ("db.statement", "db.query.text", "db.sql.query", "sql.query", "sql")
SQL_PARAMETERS = ("db.query.parameter.", "db.operation.parameter.")  # the literals, sent apart from the statement
REDACTED_JSON = f'{{"stringValue":"{REDACTED}"}}'
TOO_LONG = '{"stringValue":"[too long]"}'  # half of a JSON text is none
TEXTS = ("name", "status_message", "service_name", "scope_name", "scope_version")
JSONS = ("events", "links", "overflow")
# Members of OTLP JSON that are no text: ids, numbers, W3C trace state.
PLAIN = frozenset(("traceId", "spanId", "timeUnixNano", "intValue", "traceState"))
PLAIN_PAIR = PLAIN | {"key"}
SAMPLE = 1_000  # rows whose repetition tells that of a column


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is taken out and how much is kept. Validated when made."""

    enabled: bool = True
    keys: tuple[str, ...] = KEYS
    url_parameters: tuple[str, ...] = URL_PARAMETERS  # whole names
    sql: bool = True
    sql_keys: tuple[str, ...] = SQL_KEYS
    attributes: int = 128  # a span may have; the OpenTelemetry SDK's own default
    value_length: int = 32_768  # characters of a value

    def __post_init__(self) -> None:
        for name in (*self.keys, *self.url_parameters, *self.sql_keys):
            if not (name.isascii() and name.isprintable() and any(map(str.isalnum, name))):
                raise UsageError(f"[redact] {name!r} is no name: write ASCII letters and digits.")
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
        defaults = {field.name: field.default for field in fields(cls)}
        given: dict[str, Any] = {}
        limits = ("attributes", "value_length")
        tables = {"redact": tuple(name for name in defaults if name not in limits), "limits": limits}
        for table, names in tables.items():
            found = settings.get(table, {})
            if not isinstance(found, Mapping):
                raise UsageError(f"{table} should be a table: [{table}] on a line of its own.")
            for name, value in found.items():
                if name not in names:
                    raise UsageError(f"[{table}] has no {name!r}; there are {', '.join(names)}.")
                default = defaults[name]
                if isinstance(default, tuple):
                    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
                        raise UsageError(f"[{table}] {name} should be a list of texts.")
                    given[name] = (*default, *value)
                elif value.__class__ is not default.__class__:  # True is no number
                    raise UsageError(f"[{table}] {name} should be a {default.__class__.__name__}.")
                else:
                    given[name] = value
        return cls(**given)

    @cached_property
    def patterns(self) -> Patterns:
        """What is searched for."""
        opened = (*self.sql_keys, *SQL_PARAMETERS) if self.sql else ()
        return patterns(*(tuple(map(str.lower, names)) for names in (self.keys, self.url_parameters, opened)))

    @cached_property
    def shortest(self) -> int:
        """Bytes of the shortest text that may hold a secret: a name, = and a value."""
        names = [name.replace(" ", "") for name in (*self.keys, *self.url_parameters)]
        return min(len("://@"), *(len(name) + 2 for name in names))

    def is_secret(self, key: str) -> bool:
        """Whether the value of a key is taken out whole."""
        if not self.enabled:
            return False
        return bool(self.patterns.key.search(key)) or (self.sql and key.lower().startswith(SQL_PARAMETERS))

    def is_sql(self, key: str) -> bool:
        """Whether a key holds an SQL statement."""
        return self.enabled and self.sql and key.lower() in self._sql_keys

    @cached_property
    def _sql_keys(self) -> frozenset[str]:
        return frozenset(map(str.lower, self.sql_keys))


class Redaction:
    """A frame while it is redacted: columns that changed, and marks by row."""

    def __init__(self, frame: pl.DataFrame, rules: Rules) -> None:
        self.frame, self.rules = frame, rules
        self.columns: dict[str, pl.Series] = {}  # by name, those that changed
        self.marks: NDArray[np.int32] = np.zeros(len(frame), np.int32)
        self.dropped: NDArray[np.int64] = np.zeros(len(frame), np.int64)

    def column(self, name: str) -> pl.Series:
        """Return a column as it stands."""
        return self.columns[name] if name in self.columns else self.frame[name]

    def put(self, name: str, values: pl.Series, mark: str) -> None:
        """Put a column in the place of another, and mark the rows where they differ."""
        differs = values.ne_missing(self.column(name))
        if differs.any():
            self.marks |= np.where(differs.to_numpy(), MARK[mark], 0).astype(np.int32)
            self.columns[name] = values.alias(name)

    def done(self) -> pl.DataFrame:
        """Return the frame with what changed."""
        if not self.marks.any():
            return self.frame
        return self.frame.with_columns(
            *self.columns.values(),
            dropped_attributes_count=pl.col("dropped_attributes_count") + pl.Series(self.dropped),
            repairs=pl.col("repairs") | pl.Series(self.marks),
        )


def apply(frame: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Return spans as they may be stored: the same rows, columns and types; `repairs` tells what was changed."""
    if frame.is_empty():
        return frame
    redaction = Redaction(frame, rules)
    lengths = _lengths(frame)
    jsons = [name for name in lengths if name in JSONS or (is_attribute(name) and name.endswith("#json"))]
    if rules.enabled:
        secret = {name for name in frame.columns if is_attribute(name) and rules.is_secret(split_column(name)[1])}
        jsons = [name for name in jsons if name not in secret]
        for name in secret:
            _whole(redaction, name)
        texts = [name for name in lengths if name not in secret and name not in jsons]
        _texts(redaction, [name for name in texts if name in TEXTS or is_attribute(name)], lengths)
    _documents(redaction, jsons, lengths)
    for name, longest in lengths.items():
        if name in JSONS:
            continue
        if longest > rules.value_length or name in redaction.columns:
            _cut(redaction, name)
    _fewer(redaction)
    return redaction.done()


def _lengths(frame: pl.DataFrame) -> dict[str, int]:
    """Return the bytes of the longest value, by column of text that has values."""
    names = [name for name, kind in frame.schema.items() if kind == pl.String and frame[name].null_count() < len(frame)]
    return dict(zip(names, frame.select(pl.col(names).str.len_bytes().max()).row(0), strict=True)) if names else {}


def _whole(redaction: Redaction, name: str) -> None:
    """Take out all values of a column: text says so, numbers are null."""
    values = redaction.frame[name]
    becomes = {"": REDACTED, "json": REDACTED_JSON}.get(split_column(name)[2])
    value = pl.Series([becomes], dtype=values.dtype).new_from_index(0, len(values))
    redaction.put(name, value.zip_with(values.is_not_null(), values), "redacted")


def _repeats(values: pl.Series) -> bool:
    """Whether it pays to look at each value once."""
    sample = values.head(SAMPLE)
    return sample.n_unique() * 4 < len(sample)


def _mapped(values: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Return values changed one by one; each once where they repeat."""
    if not _repeats(values):
        return change(values)
    before = values.unique()
    after = change(before)
    differs = before.ne_missing(after)
    return values.replace(before.filter(differs), after.filter(differs)) if differs.any() else values


def _found(redaction: Redaction, names: Sequence[str], signs: tuple[tuple[str, ...], ...]) -> dict[str, list[str]]:
    """Return, by column, the patterns that are found in it."""
    if not names:
        return {}
    columns = [redaction.column(name) for name in names]
    joined = pl.concat([(each.unique() if _repeats(each) else each).str.join("\n").rename("") for each in columns])
    found: dict[str, list[str]] = {}
    for sign in signs:
        left = pl.Series(range(len(names)), dtype=pl.UInt32)
        for part in sign:
            left = left.filter(joined.gather(left).str.contains(part))
            if left.is_empty():
                break
        for at in left.to_list():
            found.setdefault(names[at], []).append(sign[-1])
    return found


def _rows(values: pl.Series, signs: Sequence[str]) -> pl.Series:
    """Return the rows in which one of the patterns is found."""
    found = pl.any_horizontal(pl.col(values.name).str.contains(sign) for sign in signs)
    return values.to_frame().select(found.arg_true()).to_series()


def _texts(redaction: Redaction, names: Sequence[str], lengths: Mapping[str, int]) -> None:
    """Take secrets out of columns of text."""
    rules = redaction.rules
    statements = {name for name in names if is_attribute(name) and rules.is_sql(split_column(name)[1])}
    for name in statements:
        redaction.put(name, _mapped(redaction.frame[name], shapes), "redacted")
    long = [name for name in names if lengths[name] >= rules.shortest]
    for name, signs in _found(redaction, long, rules.patterns.signs).items():
        values = redaction.column(name)
        rows = _rows(values, signs)
        steps = rules.patterns.sql_steps if name in statements else rules.patterns.steps
        redaction.put(name, values.clone().scatter(rows, clean(values.gather(rows), steps)), "redacted")


def _cut(redaction: Redaction, name: str) -> None:
    """Cut values of a column that are longer than the limit, at a character."""
    values, most = redaction.column(name), redaction.rules.value_length
    if name.endswith("#json"):
        rows = (values.str.len_chars() > most).arg_true()
        cut = values.clone().scatter(rows, pl.Series([TOO_LONG] * len(rows), dtype=pl.String))
    else:
        cut = values.str.head(most)
    redaction.put(name, cut, "attribute_limit")


def _documents(redaction: Redaction, names: Sequence[str], lengths: Mapping[str, int]) -> None:
    """Take secrets out of columns of JSON, and cut what is too long in them."""
    rules = redaction.rules
    found = _found(redaction, names, rules.patterns.json_signs) if rules.enabled else {}
    for name in names:
        values = redaction.column(name)
        rows = [_rows(values, found[name])] if name in found else []
        if lengths[name] > rules.value_length:
            rows.append((values.str.len_bytes() > rules.value_length).arg_true())
        if not rows:
            continue
        at = pl.concat(rows).unique()
        documents = Documents(name, values.gather(at).to_list(), rules)
        after = pl.Series(documents.texts(), dtype=pl.String)
        redaction.columns[name] = values.clone().scatter(at, after)
        redaction.marks[at.to_numpy()] |= np.array(documents.marks, np.int32)


class Documents:
    """JSON texts of one column while they are redacted; all texts in them are changed at once."""

    def __init__(self, column: str, texts: list[str], rules: Rules) -> None:
        self.rules = rules
        self.before = texts
        self.marks = [0] * len(texts)
        self._roots: list[list[Any]] = []  # each holds one document
        self._no_json: set[int] = set()  # texts like others
        self._leaves: list[tuple[int, Any, Any, bool]] = []  # document, what holds the text, where, whether it is SQL
        key = split_column(column)[1] if is_attribute(column) else ""
        for number, text in enumerate(texts):
            try:
                root = [orjson.loads(text)]
            except orjson.JSONDecodeError:
                root = [text]
                self._no_json.add(number)
            self._roots.append(root)
            if column == "overflow" and isinstance(root[0], dict):
                self._overflow(number, root[0])
            else:
                self._walk(number, root, 0, key)

    def texts(self) -> list[str | None]:
        """Return the texts afterwards; null where nothing is left."""
        self._change()
        return [self._text(number) for number in range(len(self.before))]

    def _text(self, number: int) -> str | None:
        root, before = self._roots[number][0], self.before[number]
        if not self.marks[number]:
            return before
        if number in self._no_json:
            return str(root)
        return _dumped(root)

    def _overflow(self, number: int, found: dict[str, Any]) -> None:
        """Walk the overflow of a span: column names and typed values."""
        for name in list(found):
            _, key, kind = split_column(name)
            if not self.rules.is_secret(key):
                self._walk(number, found, name, key)
            elif kind in ("", "json"):
                self._take(number, found, name, REDACTED if kind == "" else {"stringValue": REDACTED})
            else:  # as a column of numbers has none
                del found[name]
                self.marks[number] |= MARK["redacted"]

    def _take(self, number: int, holder: Any, place: Any, becomes: Any) -> None:
        if holder[place] != becomes:
            holder[place] = becomes
            self.marks[number] |= MARK["redacted"]

    def _walk(self, number: int, holder: Any, place: Any, key: str) -> None:
        """Find the texts of a value of `key`, and take out those of secret keys; the depth is a peer's choice."""
        left = [(holder, place, key)]
        while left:
            holder, place, key = left.pop()
            value = holder[place]
            if isinstance(value, str):
                self._leaves.append((number, holder, place, self.rules.is_sql(key)))
            elif isinstance(value, list):
                left.extend((value, at, key) for at in range(len(value)))
            elif isinstance(value, dict):
                inner = value.get("key")
                plain = PLAIN
                if isinstance(inner, str) and "value" in value:  # a KeyValue
                    if self.rules.is_secret(inner):
                        self._take(number, value, "value", {"stringValue": REDACTED})
                        continue
                    key, plain = inner, PLAIN_PAIR
                left.extend((value, name, key) for name in value if name not in plain)

    def _change(self) -> None:
        """Change all texts."""
        most = self.rules.value_length
        texts = pl.Series([holder[place] for _, holder, place, _ in self._leaves], dtype=pl.String)
        after = texts
        if self.rules.enabled:
            sql = pl.Series([is_sql for *_, is_sql in self._leaves], dtype=pl.Boolean)
            after = clean(texts, self.rules.patterns.steps)
            if sql.any():
                after = clean(shapes(texts), self.rules.patterns.sql_steps).zip_with(sql, after)
        long = after.str.len_chars() > most
        cut = after.str.head(most)
        differs = (after != texts) | long
        for at in differs.arg_true().to_list():
            number, holder, place, _ = self._leaves[at]
            new = cut[at]
            if place == "bytesValue" and long[at]:  # base64 comes in fours
                new = new[: most - most % 4]
            holder[place] = new
            self.marks[number] |= MARK["redacted"] * (after[at] != texts[at]) | MARK["attribute_limit"] * long[at]


def _fewer(redaction: Redaction) -> None:
    """Keep a span's first attributes, columns before overflow; count the others as dropped."""
    most = redaction.rules.attributes
    names = [name for name in redaction.frame.columns if name.startswith("attr:")]
    overflow = redaction.column("overflow")
    # At least as many as there are: the same text may stand in a value.
    over = np.zeros(len(overflow), np.int64)
    if overflow.null_count() < len(overflow):
        over += overflow.str.count_matches('"attr:', literal=True).fill_null(0).to_numpy()
    if len(names) + over.max() <= most:
        return
    kept = np.zeros(len(redaction.frame), np.int64)
    for name in names:
        values = redaction.column(name)
        present = values.is_not_null().to_numpy()
        beyond = present & (kept == most)
        kept += present & ~beyond
        if beyond.any():
            redaction.columns[name] = values.zip_with(pl.Series(~beyond), values.clear(len(values)))
            redaction.dropped += beyond
    rows = np.flatnonzero(kept + over > most)
    texts: list[str | None] = []
    for row, text in zip(rows.tolist(), overflow.gather(rows).to_list(), strict=True):
        left, gone = _without(text, most - int(kept[row]))
        texts.append(left)
        redaction.dropped[row] += gone
    if len(rows):
        redaction.columns["overflow"] = overflow.clone().scatter(rows, pl.Series(texts, dtype=pl.String))
    redaction.marks |= np.where(redaction.dropped > 0, MARK["attribute_limit"], 0).astype(np.int32)


def _without(text: str | None, room: int) -> tuple[str | None, int]:
    """Return (an overflow with at most so many attributes of the span itself, how many were dropped)."""
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return text, 0
    own = [name for name in found if name.startswith("attr:")] if isinstance(found, dict) else []
    gone = own[room:]
    if not gone:
        return text, 0
    for name in gone:
        del found[name]
    return _dumped(found), len(gone)


def _dumped(value: Any) -> str | None:
    """Return JSON; null when nothing is left, or when it is nested deeper than can be written."""
    try:
        return orjson.dumps(value).decode() if value != {} else None
    except orjson.JSONEncodeError:
        return None
