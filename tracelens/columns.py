"""Columns: a frame's rows in another order, and which of them are equal in some of its columns.

Owns how a frame's buffers reach kernels. Text is numbered once a column:
names repeat, a million spans have some hundred, and text is what costs. What
is made of equal rows is the business of those who ask, such as `names.py`.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tracelens import _text, threads
from tracelens._link import I32, I64, U64, Bool
from tracelens._text import UNBOUNDED, Views

A = TypeVar("A")
R = TypeVar("R")

THREADS_FROM = 100_000  # rows; below this, sharing work out costs more than it saves
REPEATED = 1 << 16  # distinct texts of a column; of one with more they are not looked for: it holds ids

LARGEST = 2**62  # of a key
MANY = 1_000  # rows, from which on they are taken by our own kernel
DIRECT = 1 << 18  # keys below are looked up by themselves, without a hash
ARROW = (pl.String, pl.Binary)  # types whose rows are views


def over(rows: int, items: Iterable[A], work: Callable[[A], R]) -> list[R]:
    """Return work of each item; on threads when there are many rows. `work` is expected to run kernels."""
    calls = [(item,) for item in items]
    return threads.each(work, calls) if rows >= THREADS_FROM else [work(item) for (item,) in calls]


def over_rows(rows: int, work: Callable[[int, int], R]) -> list[R]:
    """Call work(first, last) for equal stretches of rows; on threads when there are many."""
    stretches = threads.processors() if rows >= THREADS_FROM else 1
    edges = [rows * k // stretches for k in range(stretches + 1)]
    return threads.each(work, list(pairwise(edges)))


@dataclass(frozen=True, slots=True)
class Buffers:
    """A text or binary column as kernels read it. Its addresses are good while this object is."""

    views: Views
    arrays: list[Any]  # what owns the memory

    @classmethod
    def of(cls, series: pl.Series) -> Buffers:
        """Return the buffers of a column of type String or Binary, which stay where they are."""
        arrays = [chunk.to_arrow(compat_level=pl.CompatLevel.newest()) for chunk in series.get_chunks() if len(chunk)]
        owned = [array.buffers() for array in arrays]
        pairs = list(zip(arrays, owned, strict=True))
        bits = [array.offset for array in arrays]
        return cls(
            Views(
                np.cumsum([0, *map(len, arrays)], dtype=np.int64),
                np.array([parts[1].address + 16 * array.offset for array, parts in pairs], np.uint64),
                np.array(
                    [parts[0].address if parts[0] is not None and array.null_count else 0 for array, parts in pairs],
                    np.uint64,
                ),
                np.array(bits, np.int64),
                np.cumsum([0, *(len(parts) - 2 for parts in owned)], dtype=np.int64)[:-1].copy(),
                np.array([part.address for parts in owned for part in parts[2:]], np.uint64),
            ),
            arrays,
        )

    def series(self, name: str, words: U64, known: Bool) -> pl.Series:
        """Return a column of views over the same memory."""
        valid = None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
        data = [part for array in self.arrays for part in array.buffers()[2:]]
        kind = self.arrays[0].type
        return pl.Series(name, pa.Array.from_buffers(kind, len(known), [valid, pa.py_buffer(words), *data]))


@dataclass(frozen=True, slots=True)
class Codes:
    """The values of a column by number."""

    number: I32  # of each row, -1 for null
    size: int  # numbers there are
    texts: pl.Series | None  # by number, where text was asked for as a whole


def number(series: pl.Series, *, cut: bool = False, most: int = UNBOUNDED) -> Codes | None:
    """Number the texts of a column in order of first appearance; None when it was given up.

    cut: text counts up to its first "?" or "#" only. most: distinct texts there may be.
    """
    if series.null_count() == len(series):
        return Codes(np.full(len(series), -1, np.int32), 0, series.clear())
    found = np.empty(len(series), np.int32)
    buffers = Buffers.of(series)
    rows = _text.number_texts(buffers.views, cut, most, _seed(), found)
    if len(rows) > most:
        return None
    return Codes(found, len(rows), None if cut else _compact(series.gather(rows)))


def _compact(texts: pl.Series) -> pl.Series:
    """Return texts in memory of their own, side by side, unless they are too many to be worth it."""
    return pl.Series(texts.name, texts.to_list(), texts.dtype) if len(texts) <= REPEATED else texts


def _seed() -> np.uint64:
    """Return what nobody can guess."""
    return np.uint64(secrets.randbits(64))


class Arranged:
    """A frame's rows in another order, worked out as far as somebody asks. Safe to share between threads.

    A column is moved when it is looked at; text is read, numbered and told apart
    where it stood before, for there it lies in a row, and only numbers are moved.
    """

    def __init__(self, source: pl.DataFrame, order: I64 | None = None) -> None:
        self._source, self._order = source, order  # no order: as it is
        self._known: dict[tuple[str, bool], Codes] = {}  # of the source, by name, and whether it is cut
        self._moved: dict[str, pl.Series] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._source) if self._order is None else len(self._order)

    @property
    def columns(self) -> list[str]:
        """The columns there are."""
        return self._source.columns

    @property
    def frame(self) -> pl.DataFrame:
        """All columns. Text of which there are few stands once in memory then."""
        with self._lock:
            if self._order is not None:
                whole = self.select(*self.columns)
                moved = over(len(self), self._known.values(), lambda codes: np.take(codes.number, self._places))
                pairs = zip(self._known.items(), moved, strict=True)
                self._known = {key: Codes(number, codes.size, codes.texts) for (key, codes), number in pairs}
                self._source, self._order = whole, None
                self._moved.clear()
            return self._source

    @property
    def _places(self) -> I64:
        """The source's row of each row."""
        return np.arange(len(self._source)) if self._order is None else self._order

    def ordered(self, order: I64) -> Arranged:
        """Return these rows in another order; must not have one yet."""
        assert self._order is None
        if len(order) == len(self) and is_counting(order):
            return self
        found = Arranged(self._source, order)
        found._known.update(self._known)
        return found

    def column(self, name: str) -> pl.Series:
        """Return one column."""
        return self.select(name)[name]

    def select(self, *names: str) -> pl.DataFrame:
        """Return some columns."""
        with self._lock:
            if self._order is None:
                return self._source.select(names)
            new = [name for name in dict.fromkeys(names) if name not in self._moved]
            made = over(len(self), [self._moving(name, self._order) for name in new], lambda work: work())
            self._moved |= dict(zip(new, made, strict=True))
            return pl.DataFrame([self._moved[name] for name in names])

    def gather(self, names: Iterable[str], rows: NDArray[np.integer[Any]]) -> pl.DataFrame:
        """Return some rows of some columns; no column is moved for it."""
        with self._lock:
            places = np.asarray(rows if self._order is None else self._order[rows], np.int64)
            if len(places) < MANY:
                return self._source.select(names)[places]
            return pl.DataFrame([_taken(self._source[name], places) for name in names])

    def look(self, names: Iterable[str], cut: Iterable[str] = (), most: int = UNBOUNDED) -> None:
        """Number the values of columns side by side. cut: see `number`; most: of distinct texts that are not cut."""
        asked = [*((name, False) for name in names), *((name, True) for name in cut)]

        def work(key: tuple[str, bool]) -> Codes | None:
            name, is_cut = key
            series = self._source[name]
            if series.dtype == pl.String:
                return number(series, cut=is_cut, most=UNBOUNDED if is_cut else most)
            return _number_values(series)

        with self._lock:
            new = [key for key in dict.fromkeys(asked) if key not in self._known]
            for key, found in zip(new, over(len(self), new, work), strict=True):
                if found is not None:
                    self._known[key] = found

    def codes(self, name: str) -> I32:
        """Return the number of each row's value in a column, -1 for null."""
        with self._lock:
            self.look([name])
            found = self._known[name, False].number
            return found if self._order is None else np.take(found, self._order)

    def named(self, name: str, number: NDArray[np.integer[Any]]) -> pl.Series:
        """Return the texts of some numbers of a column; null for one too large."""
        texts = self._known[name, False].texts
        assert texts is not None  # it was numbered without a limit
        inside = pl.Series(np.where(number < len(texts), number, -1)).replace(-1, None)
        return texts.gather(inside.cast(pl.UInt32)).rename(name)

    def distinct(
        self, names: Iterable[str], cut: Iterable[str] = (), present: Iterable[str] = ()
    ) -> tuple[I32, pl.DataFrame]:
        """Return (number per row, the columns of one row per number) of rows that are equal.

        names: columns that must be equal; cut: up to the first "?" or "#" only; present: null or not.
        """
        with self._lock:  # for what belongs together: what follows does not keep others waiting
            source, order = self._source, self._order
            digits = self._digits(list(names), list(cut), list(present))
        number, first = _combined(len(source), digits)
        some = source.select([*dict.fromkeys([*names, *cut, *present])])[first]
        return number if order is None else np.take(number, order), some

    def _digits(self, names: list[str], cut: list[str], present: list[str]) -> list[tuple[I32, int]]:
        """Return (number of each row's value, how many there are) of the columns that have any."""
        n = len(self._source)
        some = {name for name in self.columns if self._source[name].null_count() < n}
        keys = [*((name, False) for name in names if name in some), *((name, True) for name in cut if name in some)]
        self.look([name for name, is_cut in keys if not is_cut], [name for name, is_cut in keys if is_cut])
        return [
            *((self._known[each].number, self._known[each].size) for each in keys),
            *((_is_there(self._source[name]), 1) for name in present if name in some),
        ]

    def _moving(self, name: str, order: I64) -> Callable[[], pl.Series]:
        series, n = self._source[name], len(order)
        if series.null_count() == len(series):
            return lambda: pl.Series(name, [None], series.dtype).new_from_index(0, n)
        codes = self._known.get((name, False))
        if codes is not None and codes.texts is not None:
            return lambda: spelled(name, codes, order)
        return lambda: _taken(series, order)


def is_counting(order: I64) -> bool:
    """Whether rows stand in their own order."""
    return _text.counts_up(order)


def add_digit(key: I64, digit: I32, size: int) -> None:
    """Append a digit to each key: one of -1 to before `size`."""
    over_rows(len(key), lambda a, b: _text.add_digit(key, digit, size, a, b))


def equal(key: I64, size: int = LARGEST) -> tuple[I32, I64]:
    """Return (number per row, first row per number) of keys that are equal. size: keys are from 0 to before it."""
    found = np.empty(len(key), np.int32)
    if size <= DIRECT:
        return found, _text.number_small(key, np.full(size, -1, np.int32), found)
    return found, _text.number_keys(key, _seed(), found)


def _combined(n: int, digits: Sequence[tuple[I32, int]]) -> tuple[I32, I64]:
    """Return (number per row, first row per number) of rows that are equal in all digits."""
    key, size = np.zeros(n, np.int64), 1
    for digit, count in digits:
        if count == 1 and digit.min(initial=0) == 0:
            continue  # tells nothing
        if size * (count + 1) > LARGEST:
            renumbered, first = equal(key)
            key, size = renumbered.astype(np.int64), len(first)
        add_digit(key, digit, count)
        size *= count + 1
    return equal(key, size)


def spelled(name: str, codes: Codes, order: I64) -> pl.Series:
    """Return the texts of numbered rows."""
    assert codes.texts is not None  # numbers of cut text spell nothing
    n = len(order)
    own = Buffers.of(codes.texts)
    distinct, words, known = np.zeros(2 * codes.size, np.uint64), np.empty(2 * n, np.uint64), np.empty(n, np.bool_)
    _text.gather_views(own.views, np.arange(codes.size), distinct, np.empty(codes.size, np.bool_))
    _text.spell_codes(codes.number, order, distinct, words, known)
    return own.series(name, words, known)


def spell(texts: pl.Series, number: I32) -> pl.Series:
    """Return the text with each number, as views: a third of what it takes to gather them."""
    if not len(number):
        return texts.clear()
    absent = texts.is_null().to_numpy()
    code = np.where(absent[number], np.int32(-1), number) if absent.any() else number
    return spelled(texts.name, Codes(code, len(texts), texts), np.arange(len(number)))


def compact(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame whose text stands in memory of its own: once where it repeats, and nothing else beside it."""
    return pl.DataFrame([_own_text(series) if series.dtype in ARROW else series for series in frame])


def _own_text(series: pl.Series) -> pl.Series:
    n = len(series)
    if n == 0 or series.null_count() == n:
        return pl.Series(series.name, [None], series.dtype).new_from_index(0, n)
    found = number(series, most=n // 8) if series.dtype == pl.String else None
    if found is not None:
        return spelled(series.name, found, np.arange(n))
    return pl.Series(series.name, series.to_arrow(compat_level=pl.CompatLevel.oldest()))


def _taken(series: pl.Series, order: I64) -> pl.Series:
    """Return rows of a column."""
    if series.dtype in ARROW:
        return _gathered(series, order)
    if series.null_count() == 0 and series.dtype.is_numeric():
        return pl.Series(series.name, np.take(series.to_numpy(), order), series.dtype)
    return series.rechunk().gather(order)


def _gathered(series: pl.Series, order: I64) -> pl.Series:
    """Return rows of a text or binary column, over the same memory."""
    own = Buffers.of(series)
    words, known = np.empty(2 * len(order), np.uint64), np.empty(len(order), np.bool_)
    _text.gather_views(own.views, order, words, known)
    return own.series(series.name, words, known)


def _is_there(series: pl.Series) -> I32:
    return np.array(series.is_not_null().to_numpy(), np.int32) - 1


def _number_values(series: pl.Series) -> Codes:
    """Number what is no text."""
    bits = series.cast(pl.Float64) if series.dtype.is_float() else series.cast(pl.Int64)
    key = np.array(bits.fill_null(0).to_numpy()).view(np.int64)
    found, first = equal(key)
    if series.null_count():
        found[series.is_null().to_numpy()] = -1
    return Codes(found, len(first), None)
