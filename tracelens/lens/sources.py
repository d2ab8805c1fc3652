"""Where spans come from: a store or a dump, behind one face.

Owns telling the two apart and loading a window of spans from either; what is
made of the spans is the business of `analysed.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import polars as pl

from tracelens import dumps, semconv
from tracelens.names import is_wanted, wanted_columns
from tracelens.spans import SPANS, concat, is_attribute
from tracelens.store import Store, is_store

# A call's own spans start within it and its callers began before it: spans up
# to a minute outside the window complete the traces at its edges.
MARGIN_NANO = 60_000_000_000
# Columns that no answer about a window looks at; of events those of proxies, which tell their phases, are read.
HEAVY = ("links", "overflow", "status_message", "scope_version")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Spans of a window, and what was lost on the way to them."""

    spans: pl.DataFrame
    rejected: int = 0
    losses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """What a source is, for an answer's head."""

    kind: str
    format: str
    files: int


class Source(Protocol):
    """What the Lens asks a source."""

    live: bool  # spans may still come

    def describe(self) -> Description: ...
    def version(self) -> str: ...
    def range(self) -> tuple[int, int] | None: ...
    def load(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Loaded: ...
    def whole(self, trace_ids: pl.Series, start_nano: int | None, end_nano: int | None) -> pl.DataFrame: ...
    def trace(self, trace_id: bytes) -> pl.DataFrame: ...


def open_source(source: str, *, input_format: str | None = None, strict: bool = False) -> Source:
    """Return the source that `source` names: a store, a data directory, or a dump.

    A dump is read when it is first asked: InputError then, when there is nothing to read.
    """
    path = Path(source)
    for candidate in (path, path / "store"):
        if input_format is None and source != "-" and is_store(candidate):
            return StoreSource(candidate)
    return DumpSource(source, input_format=input_format, strict=strict)


@dataclass
class DumpSource:
    """Spans of files, read once and kept."""

    source: str
    input_format: str | None = None
    strict: bool = False
    live: bool = field(default=False, init=False)

    @cached_property
    def _read(self) -> tuple[pl.DataFrame, Description, int, tuple[str, ...]]:
        frames, formats, files, losses = [], set(), set(), []
        rejected: Counter[str] = Counter()
        for batch in dumps.read(self.source, input_format=self.input_format, strict=self.strict):
            frames.append(batch.spans)
            formats.add(batch.format)
            files.add(batch.file)
            losses.extend(batch.losses)
            rejected.update(batch.rejected)
        description = Description("dump", "+".join(sorted(formats)), len(files))
        return concat(frames), description, sum(rejected.values()), tuple(losses)

    def describe(self) -> Description:
        return self._read[1]

    def version(self) -> str:
        return "dump"

    def range(self) -> tuple[int, int] | None:
        spans = self._read[0]
        if spans.is_empty():
            return None
        first, last = spans.select(pl.col("start_time_unix_nano").min(), pl.col("end_time_unix_nano").max()).row(0)
        return first, last

    def load(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Loaded:
        spans, _, rejected, losses = self._read
        kept = [name for name in spans.columns if _is_needed(name, keys)]
        found = spans.lazy().filter(_in_margin(start_nano, end_nano)).select(kept)
        return Loaded(_complete(found), rejected, losses)

    def whole(self, trace_ids: pl.Series, start_nano: int | None, end_nano: int | None) -> pl.DataFrame:
        wanted = pl.col("trace_id").is_in(trace_ids.implode())
        return self._read[0].lazy().filter(_in_margin(start_nano, end_nano) & wanted).collect()

    def trace(self, trace_id: bytes) -> pl.DataFrame:
        return self._read[0].filter(pl.col("trace_id") == pl.lit(trace_id))


@dataclass
class StoreSource:
    """Spans of a store, which a collector may be writing."""

    path: Path
    live: bool = field(default=True, init=False)

    @cached_property
    def _store(self) -> Store:
        return Store.open(self.path)

    def describe(self) -> Description:
        return Description("store", "delta", self._store.file_count())

    def version(self) -> str:
        return str(self._store.version())

    def range(self) -> tuple[int, int] | None:
        return self._store.time_range()

    def load(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Loaded:
        columns = [name for name in self._store.columns() if _is_needed(name, keys)]
        return Loaded(_complete(self._scan(start_nano, end_nano, columns)))

    def whole(self, trace_ids: pl.Series, start_nano: int | None, end_nano: int | None) -> pl.DataFrame:
        wanted = pl.col("trace_id").is_in(trace_ids.implode())
        return self._scan(start_nano, end_nano, self._store.columns()).filter(wanted).collect()

    def trace(self, trace_id: bytes) -> pl.DataFrame:
        return self._store.trace(trace_id)

    def _scan(self, start_nano: int | None, end_nano: int | None, columns: list[str]) -> pl.LazyFrame:
        first = None if start_nano is None else start_nano - MARGIN_NANO
        last = None if end_nano is None else end_nano + MARGIN_NANO
        return self._store.scan(first, last, columns=columns)


def _is_needed(name: str, keys: Collection[str]) -> bool:
    """Whether answers look at a column: the fixed ones but the heavy, the attributes that name, and `keys`."""
    if not is_attribute(name):
        return name in SPANS and name not in HEAVY
    return is_wanted(name, wanted_columns() | set(keys))


def _complete(spans: pl.LazyFrame) -> pl.DataFrame:
    """Return spans in the whole schema; a heavy column that was not read is null, and so are events of apps."""
    left_out = {name: pl.lit(None, SPANS[name]) for name in HEAVY}
    of_proxies = pl.when(pl.col("scope_name") == semconv.ENVOY_SCOPE).then("events")
    return spans.with_columns(events=of_proxies, **left_out).collect()


def _in_margin(start_nano: int | None, end_nano: int | None) -> pl.Expr:
    start = pl.col("start_time_unix_nano")
    kept = pl.lit(value=True)
    if start_nano is not None:
        kept &= start >= start_nano - MARGIN_NANO
    if end_nano is not None:
        kept &= start < end_nano + MARGIN_NANO
    return kept
