"""Stores of other formats: earlier ones answer the same, a later one is left as it is."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from tests.bench.mesh import shop
from tests.builders import synthetic
from tests.running import tracelens
from tracelens.errors import StoreError
from tracelens.lens import Lens, Question
from tracelens.store import Store, compact
from tracelens.store import table as table_module
from tracelens.verify import verify

EARLIER = Path(__file__).parent / "fixtures" / "format-0.tar.gz"  # shop(1_000), folded, and five of them again


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A store that was written before formats had numbers."""
    with tarfile.open(EARLIER) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "format-0"


def digest(folder: Path) -> str:
    every = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(path).encode() + path.read_bytes() for path in every)).hexdigest()


def test_an_earlier_store_answers_the_same_and_is_written_on(earlier: Path, tmp_path: Path) -> None:
    store = Store.open(earlier, create=True)
    assert (store.span_count(), store.committed("fixture")) == (2_520, 4)
    assert store.scan().filter(pl.col("attr:later") == "late").collect().height == 5
    fresh = Store.open(tmp_path / "fresh", create=True)
    fresh.append(shop(1_000), {"fixture": 0})
    fresh.append(shop(1_000).head(5).with_columns(pl.lit("late").alias("attr:later")), {"fixture": 1})
    for step in ("as it was", "compacted", "written on"):
        if step == "compacted":
            assert compact(store, everything=True).spans == 2_520
        if step == "written on":
            for one in (store, fresh):
                assert one.append(synthetic(100, seed=7), {"more": 0})
        answers = [Lens.open(str(one.path)).routes(Question()).rows for one in (store, fresh)]
        assert_frame_equal(answers[0], answers[1])
    assert not any(check.wrong for check in verify(str(earlier)))


def test_a_later_store_is_refused_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store"
    with monkeypatch.context() as later:
        later.setattr(table_module, "FORMAT", table_module.FORMAT + 1)
        Store.open(path, create=True).append(synthetic(100), {"a": 0})
    before = digest(path)
    for create in (False, True):
        with pytest.raises(StoreError, match=r"format 2.*up to 1.*Nothing was changed"):
            Store.open(path, create=create)
    for words in (
        ("routes", str(path)),
        ("store", "compact", str(path)),
        ("import", str(EARLIER), "--store", str(path)),
    ):
        done = tracelens(*words)
        assert done.returncode == 3
        assert b"format 2" in done.stderr
    assert digest(path) == before


def test_a_new_store_says_its_format(tmp_path: Path) -> None:
    Store.open(tmp_path / "store", create=True)
    assert DeltaTable(str(tmp_path / "store")).metadata().description == "TraceLens spans, format 1"
