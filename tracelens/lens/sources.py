"""Where spans come from: a store or a dump, behind one face.

Owns telling the two apart and loading a window of spans from either; what is
made of the spans is the business of `analysed.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Protocol

import polars as pl

from tracelens import dumps, stopping
from tracelens.columns import compact
from tracelens.learned import Evidence
from tracelens.locations import is_url
from tracelens.needed import is_needed, with_left_out
from tracelens.settle import Rollups
from tracelens.spans import concat
from tracelens.store import Store, is_store
from tracelens.weighing import SPAN_BYTES, weight
from tracelens.wire.otlp import Keep

# A call's own spans start within it and its callers began before it: spans up
# to a minute outside the window complete the traces at its edges.
MARGIN_NANO = 60_000_000_000
KEPT_BYTES = 64 << 20  # of a dump's files; of larger ones only what answers look at is kept


@dataclass(frozen=True, slots=True)
class Loaded:
    """Spans of a window, and what was lost on the way to them."""

    spans: pl.DataFrame
    rejected: int = 0
    losses: tuple[str, ...] = ()
    late: int = 0  # spans that are left out, because their traces are settled and counted elsewhere
    draws: pl.DataFrame | None = None  # DRAWS of all traces, where these are not all
    learned: Evidence | None = None  # of traces that are counted elsewhere and were told apart by it


@dataclass(frozen=True, slots=True)
class Description:
    """What a source is, for an answer's head."""

    kind: str
    format: str
    files: int


class Source(Protocol):
    """What the Lens asks a source."""

    live: bool  # spans may still come

    @property
    def part(self) -> str: ...  # what of it this is; "" for all

    def describe(self) -> Description: ...
    def version(self) -> str: ...
    def range(self) -> tuple[int, int] | None: ...
    def load(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Loaded: ...
    def weight(self, start_nano: int | None, end_nano: int | None) -> int: ...  # bytes it takes to answer, about
    def parts(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Iterator[Loaded]: ...
    def whole(self, trace_ids: pl.Series, start_nano: int | None, end_nano: int | None) -> pl.DataFrame: ...
    def trace(self, trace_id: bytes) -> pl.DataFrame: ...


def open_source(source: str, *, input_format: str | None = None, strict: bool = False) -> Source:
    """Return the source that `source` names: a store (folder or URL), a data directory, or a dump.

    A dump is read when it is first asked: InputError then, when there is nothing to read.
    """
    if is_url(source):
        return StoreSource(source)
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
    part: str = field(default="", init=False)

    _seen: set[tuple[str, str]] = field(default_factory=set, init=False)  # format and file of what has been read
    _part: tuple[frozenset[str], Loaded] | None = field(default=None, init=False)  # for which keys, and what

    def _batches(self, keep: Keep | None = None) -> Iterator[Loaded]:
        for batch in dumps.read(self.source, input_format=self.input_format, strict=self.strict, keep=keep):
            stopping.look()
            self._seen.add((batch.format, batch.file))
            yield Loaded(batch.spans, sum(batch.rejected.values()), tuple(batch.losses))

    @cached_property
    def _is_small(self) -> bool:
        """Whether it is kept whole: every question is answered from that."""
        return self.source == dumps.STDIN or sum(file.stat().st_size for file in dumps.files(self.source)) <= KEPT_BYTES

    @cached_property
    def _whole(self) -> Loaded:
        return _joined(self._batches())

    def _looked_at(self, keys: frozenset[str]) -> Loaded:
        """Return the spans with the columns that answers look at, read anew when they look at more."""
        if self._is_small:
            return self._whole
        if self._part is None or not keys <= self._part[0]:
            wanted = keys | (self._part[0] if self._part else frozenset())
            self._part = None  # let go before more is read
            self._part = wanted, _joined(self._batches(_keeping(wanted)))
        return self._part[1]

    def describe(self) -> Description:
        """Return what the dump is, as far as it has been read; it is read when it has not been."""
        if not self._seen:
            self._looked_at(frozenset())
        formats, files = ({seen[i] for seen in self._seen} for i in (0, 1))
        return Description("dump", "+".join(sorted(formats)), len(files))

    def version(self) -> str:
        """Return a text that changes with the files."""
        if self.source == dumps.STDIN:
            return dumps.STDIN
        told = [
            (str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in dumps.files(self.source)
        ]
        return hashlib.blake2b(repr(told).encode(), digest_size=8).hexdigest()

    def range(self) -> tuple[int, int] | None:
        spans = self._looked_at(frozenset()).spans
        if spans.is_empty():
            return None
        first, last = spans.select(pl.col("start_time_unix_nano").min(), pl.col("end_time_unix_nano").max()).row(0)
        return first, last

    def load(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Loaded:
        return _needed(self._looked_at(frozenset(keys)), start_nano, end_nano, keys)

    def weight(self, start_nano: int | None, end_nano: int | None) -> int:
        """Return about how many bytes it takes to answer about all of it: windows of dumps are not found before."""
        del start_nano, end_nano
        if self.source == dumps.STDIN:
            return 0
        return sum(weight(file) for file in dumps.files(self.source))

    def parts(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Iterator[Loaded]:
        for batch in self._batches(_keeping(keys)):
            yield _needed(batch, start_nano, end_nano, keys)

    def whole(self, trace_ids: pl.Series, start_nano: int | None, end_nano: int | None) -> pl.DataFrame:
        wanted = pl.col("trace_id").is_in(trace_ids.implode())
        wanted &= _in_margin(start_nano, end_nano)
        return self._filtered(wanted)

    def trace(self, trace_id: bytes) -> pl.DataFrame:
        return self._filtered(pl.col("trace_id") == pl.lit(trace_id))

    def _filtered(self, wanted: pl.Expr) -> pl.DataFrame:
        """Return some spans with all that they say."""
        if self._is_small:
            return self._whole.spans.filter(wanted)
        return concat([compact(batch.spans.filter(wanted)) for batch in self._batches()])


@dataclass
class StoreSource:
    """Spans of a store, which a collector may be writing."""

    path: str | Path  # a folder, or a URL
    live: bool = field(default=True, init=False)
    part: str = field(default="", init=False)

    @cached_property
    def store(self) -> Store:
        """The table."""
        return Store.open(self.path)

    def describe(self) -> Description:
        return Description("store", "delta", self.store.file_count())

    def version(self) -> str:
        return str(self.store.version())

    def range(self) -> tuple[int, int] | None:
        return self.store.time_range()

    def load(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Loaded:
        columns = [name for name in self.store.columns() if is_needed(name, keys)]
        with self.store.place.told():
            return Loaded(_complete(self.scan(start_nano, end_nano, columns)))

    @cached_property
    def rollups(self) -> Rollups:
        """What is known of settled traces without looking at their spans."""
        return Rollups(self.store)

    def rows(self, start_nano: int | None, end_nano: int | None) -> int:
        """Return how many spans are in files that may hold any of a window."""
        start, end = _margins(start_nano, end_nano)
        return sum(
            file.rows
            for file in self.store.files()
            if (start is None or file.last_start_nano >= start) and (end is None or file.first_start_nano < end)
        )

    def weight(self, start_nano: int | None, end_nano: int | None) -> int:
        return self.rows(start_nano, end_nano) * SPAN_BYTES

    def parts(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Iterator[Loaded]:
        columns = [name for name in self.store.columns() if is_needed(name, keys)]
        for scanned in self.store.scans(*_margins(start_nano, end_nano), columns):
            stopping.look()
            with self.store.place.told():
                read = with_left_out(scanned).collect()
            yield Loaded(read)

    def whole(self, trace_ids: pl.Series, start_nano: int | None, end_nano: int | None) -> pl.DataFrame:
        wanted = pl.col("trace_id").is_in(trace_ids.implode())
        with self.store.place.told():
            return self.scan(start_nano, end_nano, self.store.columns()).filter(wanted).collect()

    def trace(self, trace_id: bytes) -> pl.DataFrame:
        with self.store.place.told():
            return self.store.trace(trace_id)

    def scan(self, start_nano: int | None, end_nano: int | None, columns: list[str]) -> pl.LazyFrame:
        """Return the spans near a window."""
        return self.store.scan(*_margins(start_nano, end_nano), columns=columns)


def _margins(start_nano: int | None, end_nano: int | None) -> tuple[int | None, int | None]:
    """Return the window that is read: traces at its edges are whole then."""
    return (
        None if start_nano is None else start_nano - MARGIN_NANO,
        None if end_nano is None else end_nano + MARGIN_NANO,
    )


def _joined(batches: Iterable[Loaded]) -> Loaded:
    read = list(batches)
    losses = chain.from_iterable(batch.losses for batch in read)
    return Loaded(concat([batch.spans for batch in read]), sum(batch.rejected for batch in read), tuple(losses))


def _needed(read: Loaded, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Loaded:
    """Return what answers look at, of the spans near a window."""
    kept = [name for name in read.spans.columns if is_needed(name, keys)]
    found = read.spans.lazy().filter(_in_margin(start_nano, end_nano)).select(kept)
    return Loaded(_complete(found), read.rejected, read.losses)


def _keeping(keys: Collection[str]) -> Keep:
    """Return `is_needed` of a column's name, asked once for each name."""
    return cache(lambda name: is_needed(name, keys))


def _complete(spans: pl.LazyFrame) -> pl.DataFrame:
    return with_left_out(spans).collect()


def _in_margin(start_nano: int | None, end_nano: int | None) -> pl.Expr:
    start = pl.col("start_time_unix_nano")
    kept = pl.lit(value=True)
    if start_nano is not None:
        kept &= start >= start_nano - MARGIN_NANO
    if end_nano is not None:
        kept &= start < end_nano + MARGIN_NANO
    return kept
