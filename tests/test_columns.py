"""Columns: texts numbered where they stand, rows told apart and put in another order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import synthetic
from tracelens import _text, columns, forest
from tracelens.columns import REPEATED, Arranged, number

SETTINGS = settings(deadline=None)  # the first example compiles
PIECES = ("", "a", "b", "/", "?", "#", "é", "long enough to stand elsewhere", "x" * 12, "x" * 13)
TEXTS = st.one_of(st.none(), st.lists(st.sampled_from(PIECES), max_size=4).map("".join))


def chunked(parts: list[list[str | None]]) -> pl.Series:
    """A column in chunks, some of them slices that begin within a byte of validity bits."""
    every = [pl.Series("t", [None, "cut off", *part], dtype=pl.String)[2:] for part in parts]
    return pl.concat([pl.Series("t", [], dtype=pl.String), *every], rechunk=False)


def numbers(texts: list[str | None]) -> list[int]:
    """What numbering must give: order of first appearance, -1 for null."""
    known: dict[str, int] = {}
    return [-1 if text is None else known.setdefault(text, len(known)) for text in texts]


@SETTINGS
@given(st.lists(st.lists(TEXTS, max_size=20), max_size=4))
def test_texts_are_numbered_in_order_of_first_appearance(parts: list[list[str | None]]) -> None:
    series = chunked(parts)
    found = number(series)
    assert found is not None
    assert found.texts is not None
    assert found.number.tolist() == numbers(series.to_list())
    assert found.texts.to_list() == list(dict.fromkeys(series.drop_nulls()))


@SETTINGS
@given(st.lists(st.lists(TEXTS, max_size=20), max_size=4))
def test_cut_text_counts_up_to_its_query(parts: list[list[str | None]]) -> None:
    series = chunked(parts)
    found = number(series, cut=True)
    assert found is not None
    assert found.number.tolist() == numbers(series.str.extract("^([^?#]*)").to_list())


@pytest.mark.parametrize("length", range(8, 34))
def test_texts_that_differ_in_one_byte_are_two(length: int) -> None:
    texts = ["z" * at + "y" + "z" * (length - at - 1) for at in range(length)]
    found = number(pl.Series(texts * 2))
    assert found is not None
    assert found.number.tolist() == [*range(length), *range(length)]


def test_many_texts_are_numbered_and_ids_are_given_up() -> None:
    """The table grows; a column in which nearly all differ is not worth it."""
    texts = pl.Series([f"/users/{i}" for i in range(5_000)] * 2)
    found = number(texts)
    assert found is not None
    assert found.number.tolist() == [*range(5_000), *range(5_000)]
    assert number(texts, most=REPEATED) is None
    assert number(texts, most=10) is None


CELLS: dict[str, Any] = {
    "text": TEXTS,
    "url": TEXTS,
    "number": st.one_of(st.none(), st.integers(-2, 2)),
    "flag": st.one_of(st.none(), st.booleans()),
    "real": st.one_of(st.none(), st.sampled_from([0.0, -1.5, 2.0])),
    "id": st.one_of(st.none(), st.binary(max_size=20)),
}
TYPES = {
    "text": pl.String,
    "url": pl.String,
    "number": pl.Int64,
    "flag": pl.Boolean,
    "real": pl.Float64,
    "id": pl.Binary,
}


@st.composite
def frames(draw: st.DrawFn) -> tuple[pl.DataFrame, list[int]]:
    """A frame, and some of its rows in some order."""
    n = draw(st.integers(0, 12))
    frame = pl.DataFrame({name: [draw(cell) for _ in range(n)] for name, cell in CELLS.items()}, schema=TYPES)
    return frame, draw(st.permutations(range(n)))[: draw(st.integers(0, n))]


@SETTINGS
@given(frames(), st.booleans())
def test_rows_in_another_order_are_those_rows(drawn: tuple[pl.DataFrame, list[int]], known: bool) -> None:
    """A column at a time, some rows at a time, and all of it; with texts numbered before, or not."""
    frame, rows = drawn
    order = np.array(rows, np.int64)
    told = Arranged(frame)
    if known:
        told.look(["text"], ["url"])
    arranged = told.ordered(order)
    wanted = frame[order]
    assert len(arranged) == len(wanted)
    assert all(arranged.column(name).equals(wanted[name], null_equal=True) for name in frame.columns)
    backwards = np.arange(len(rows))[::-1]
    assert arranged.gather(["id", "text"], backwards).equals(wanted.select("id", "text")[backwards])
    assert numbers(wanted["text"].to_list()) == numbers([str(c) if c >= 0 else None for c in arranged.codes("text")])
    assert arranged.frame.equals(wanted)
    assert arranged.column("url").equals(wanted["url"], null_equal=True)


@SETTINGS
@given(frames(), st.booleans())
def test_equal_rows_share_a_number(drawn: tuple[pl.DataFrame, list[int]], large: bool) -> None:
    """As many numbers as there are distinct rows, however many digits a key may have."""
    frame, rows = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "LARGEST", 4 if large else columns.LARGEST)
        found, some = Arranged(frame).ordered(np.array(rows, np.int64)).distinct(
            ["text", "number", "flag", "real"], ["url"], ["id"]
        )  # fmt: skip
    seen = pl.col("url").str.extract("^([^?#]*)"), pl.col("id").is_not_null()
    wanted = frame.with_columns(*seen)[np.array(rows, np.int64)]
    assert some.with_columns(*seen)[found].equals(wanted.select(some.columns))
    assert len(some) == frame.with_columns(*seen).n_unique() if len(frame) else len(some) == 0


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns are independent."""
    frame = synthetic(2_000, shuffled=True)
    order = np.random.default_rng(1).permutation(len(frame))
    alone = Arranged(frame).ordered(order).frame
    monkeypatch.setattr(columns, "THREADS_FROM", 1)
    assert Arranged(frame).ordered(order).frame.equals(alone)


def test_kernels_are_compiled_once() -> None:
    """One signature each: a second one would be compiled while somebody waits."""
    forest.warm()
    told = Arranged(synthetic(2_000, shuffled=True))
    told.look(["name"], ["service_name"])
    found = told.ordered(np.arange(1_000)[::-1].copy())
    found.distinct(["name", "kind"], ["service_name"], ["parent_span_id"])
    assert len(found.frame) == 1_000
    kernels: list[Callable[..., Any]] = [
        _text.number_texts,
        _text.number_keys,
        _text.add_digit,
        _text.gather_views,
        _text.spell_codes,
        _text.read_ids,
        _text.read_trace_ids,
    ]
    assert [len(kernel.signatures) for kernel in kernels] == [1] * len(kernels)  # type: ignore[attr-defined]  # numba's


@pytest.mark.parametrize(
    "texts", [["a", None, "longer than twelve bytes", ""], [None, None], ["a longer one than twelve bytes"] * 3]
)
@pytest.mark.parametrize("rows", [0, 1, 5_000])
def test_text_is_spelled_by_its_numbers(texts: list[str | None], rows: int) -> None:
    series = pl.Series("text", texts, pl.String)
    number = np.random.default_rng(1).integers(0, len(texts), rows).astype(np.int32)
    assert columns.spell(series, number).to_list() == [texts[k] for k in number.tolist()]
