"""Columns that nobody looks at are not made; what is made is the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.wire.messages import requests
from tracelens import dumps
from tracelens.columns import compact
from tracelens.lens import Lens, Question
from tracelens.lens import sources as module
from tracelens.spans import SPANS, is_attribute
from tracelens.wire import otlp

SAMPLES = Path(__file__).parents[2] / "samples" / "dumps"


def spans(file: Path, keep: Callable[[str], bool] | None = None) -> pl.DataFrame:
    return pl.concat([batch.spans for batch in dumps.read(file, keep=keep)], how="diagonal")


@pytest.mark.parametrize("name", ["shop.otlp.jsonl.gz", "shop.jaeger.json.gz"])
def test_what_is_kept_is_the_same(name: str) -> None:
    whole = spans(SAMPLES / name)
    wanted = {"attr:http.method", "attr:node_id", "res:service.version"} & set(whole.columns)
    assert wanted
    found = spans(SAMPLES / name, wanted.__contains__)
    assert set(found.columns) == {*SPANS, "res:service.name", *wanted}
    assert_frame_equal(found.drop("overflow"), whole.select(found.columns).drop("overflow"))
    assert found["overflow"].null_count() == len(found)


@settings(deadline=None)  # a first call compiles
@given(st.lists(requests(), max_size=3), st.integers(1, 4))
def test_of_any_request_what_is_kept_is_the_same(bodies: list[bytes], divisor: int) -> None:
    """Of broken text, of keys that come twice, of spans without an id: marked and refused as where all is kept."""

    def keep(name: str) -> bool:
        return len(name) % divisor == 0

    whole, found = otlp.decode(bodies), otlp.decode(bodies, keep=keep)
    columns = whole.spans.columns
    kept = [name for name in columns if not is_attribute(name) or name == "res:service.name" or keep(name)]
    assert_frame_equal(found.spans.drop("overflow"), whole.spans.select(kept).drop("overflow"))
    assert found.rejected == whole.rejected


def test_parquet_is_read_as_far_as_it_is_wanted(tmp_path: Path) -> None:
    whole = spans(SAMPLES / "shop.otlp.jsonl.gz")
    whole.write_parquet(tmp_path / "x.parquet")
    found = spans(tmp_path / "x.parquet", "attr:http.method".__eq__)
    assert_frame_equal(found, whole.select(*SPANS, "attr:http.method"))


def test_answers_do_not_depend_on_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large dump is read again where a question looks at more: a filter, an explanation, a trace."""
    dump = str(SAMPLES / "shop.otlp.jsonl.gz")
    small = Lens.open(dump)
    question, filtered = Question(), Question(where=("attr.mesh.route_header~.", "service=cart"))
    expected = [
        small.routes(question).rows,
        small.routes(filtered).rows,
        small.explain(question, None, slow=(50.0, 100.0)).marks,
        small.routes(question).rows,
    ]
    trace = small.traces(question, slowest=1).rows["trace_id"][0].hex()
    monkeypatch.setattr(module, "KEPT_BYTES", 0)
    large = Lens.open(dump)
    told = [
        large.routes(question).rows,
        large.routes(filtered).rows,
        large.explain(question, None, slow=(50.0, 100.0)).marks,
        large.routes(question).rows,
    ]
    for ours, theirs in zip(told, expected, strict=True):
        assert_frame_equal(ours, theirs)
    assert_frame_equal(large.trace(trace).rows, small.trace(trace).rows)
    assert large.now_range() == small.now_range()


def test_text_in_memory_of_its_own_is_the_same_text() -> None:
    frame = pl.DataFrame(
        {
            "few": ["a", None, "a longer text than twelve bytes"] * 100,
            "many": [f"an id that is its own: {number}" for number in range(300)],
            "none": pl.Series([None] * 300, dtype=pl.String),
            "ids": [bytes([number % 256]) * 16 for number in range(300)],
            "numbers": range(300),
        }
    ).filter(pl.col("numbers") % 3 != 1)
    assert_frame_equal(compact(frame), frame)
    assert_frame_equal(compact(frame.clear()), frame.clear())
