"""The store: once each, every column back, small files folded, readers undisturbed."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from tests.builders import synthetic, trace
from tracelens.errors import StoreError
from tracelens.spans import MAX_COLUMNS, check
from tracelens.store import Store, files, fold, is_store, sweep
from tracelens.store import files as files_module


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def ordered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort("trace_id", "span_id").select(sorted(frame.columns))


def test_a_folder_without_a_store_is_told_so(tmp_path: Path) -> None:
    assert not is_store(tmp_path)
    with pytest.raises(StoreError, match="no store is here"):
        Store.open(tmp_path)


def test_a_broken_log_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "_delta_log" / f"{0:020}.json").write_text("rubbish")
    with pytest.raises(StoreError, match="_delta_log"):
        Store.open(tmp_path)


def test_a_new_store_is_empty(store: Store) -> None:
    assert (store.span_count(), store.time_range(), store.file_count()) == (0, None, 0)
    assert check(store.scan().collect()).is_empty()


def test_what_was_appended_comes_back_in_every_column(store: Store) -> None:
    drawn = trace("""
        web |------| attr:http.method=GET attr:http.status_code#int=200 host=a
         db |--|     error res:zone=x
    """)
    store.append(drawn, {"a": 0})
    back = store.scan().collect()
    assert ordered(check(back)).equals(ordered(drawn))
    assert Store.open(store.path).trace(drawn["trace_id"][0]).height == 2


def test_an_application_transaction_is_stored_once(store: Store) -> None:
    drawn = trace("web |--|")
    assert store.append(drawn, {"a": 3, "b": 1})
    assert not store.append(drawn, {"a": 3})
    assert not store.append(drawn, {"a": 2})
    assert not store.append(drawn, {"a": 4, "b": 1})
    assert store.append(drawn, {"a": 4})
    assert (store.span_count(), store.committed("a"), store.committed("b"), store.committed("c")) == (2, 4, 1, None)


def test_a_batch_without_spans_still_counts(store: Store) -> None:
    """Requests of rejected spans only: their segment must not be read again."""
    assert store.append(trace("web |--|").clear(), {"a": 0})
    assert (store.span_count(), store.committed("a")) == (0, 0)


def test_a_later_column_is_read_back_and_null_before(store: Store) -> None:
    """A wider schema given with an append is ignored without a word: it takes a commit of its own."""
    store.append(trace("web |--|"), {"a": 0})
    store.append(trace("api |--| attr:late=yes"), {"a": 1})
    found = store.scan().collect().sort("name")
    assert found.select("name", "attr:late").rows() == [("api", "yes"), ("web", None)]
    assert Store.open(store.path).scan(columns=["attr:late"]).collect().drop_nulls().height == 1


def test_names_that_cannot_be_columns_go_to_overflow_with_their_types(store: Store) -> None:
    drawn = trace("web |--| attr:userId=a").with_columns(
        pl.lit(7).cast(pl.Int64).alias("attr:a b#int"),
        pl.lit(float("nan")).alias("attr:x,y#double"),
        pl.lit('{"arrayValue":{}}').alias("attr:z;#json"),
        pl.lit('{"attr:older":"kept"}').alias("overflow"),
    )
    store.append(drawn, {"a": 0})
    store.append(trace("api |--| attr:userid=b"), {"a": 1})
    found = store.scan().collect().sort("name")
    assert found["overflow"].to_list() == [
        '{"attr:userid":"b"}',
        '{"attr:older":"kept","attr:a b#int":7,"attr:x,y#double":"NaN","attr:z;#json":{"arrayValue":{}}}',
    ]


def test_keys_without_end_do_not_widen_the_table(store: Store) -> None:
    wide = trace("web |--|").with_columns(**{f"attr:k{n:04}": pl.lit(str(n)) for n in range(MAX_COLUMNS + 50)})
    store.append(wide, {"a": 0})
    attributes = [name for name in store.columns() if name.startswith("attr:")]
    assert len(attributes) == MAX_COLUMNS
    assert store.scan().collect()["overflow"].str.count_matches(":").item() == 2 * 50


def test_a_window_reads_only_files_that_may_hold_it(store: Store) -> None:
    for number in range(3):
        store.append(trace("web |--|", at=number * 10**9), {"a": number})
    assert store.scan(10**9, 2 * 10**9).collect().height == 1
    assert store.scan(1, 10**9).collect().height == 0
    first, _, last = store.files()
    for other in (first, last):
        (store.path / other.path).unlink()
    assert store.scan(10**9, 2 * 10**9).collect().height == 1
    assert store.time_range() == (0, 2 * 10**9 + 3_000_000)


def test_spans_with_absurd_times_make_no_partition_of_their_own(store: Store) -> None:
    drawn = synthetic(1_000).with_columns(start_time_unix_nano=pl.int_range(pl.len(), dtype=pl.Int64) * 9 * 10**15)
    store.append(drawn, {"a": 0})
    assert store.file_count() == 1


def test_folding_keeps_every_span_and_spares_files(store: Store) -> None:
    frame = synthetic(600)
    for number in range(60):
        store.append(frame[number * 10 : number * 10 + 10], {"a": number})
    reader = Store.open(store.path)
    before = reader.scan()  # a query that began before the fold
    assert fold(store) == 59
    assert fold(store) == 0
    assert store.file_count() == 1
    assert ordered(store.scan().collect()).equals(ordered(before.collect()))
    assert store.committed("a") == 59
    assert reader.span_count() == 600


def at_once(*works: Callable[[], object]) -> None:
    """Run all on threads of their own, and raise what one of them raised."""
    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()


def test_appenders_that_widen_the_table_at_once_lose_nothing(store: Store) -> None:
    """Delta refuses a commit when the columns changed since: it takes another look, not another collector."""

    def appender(who: int) -> None:
        own = Store.open(store.path)
        for number in range(6):
            frame = synthetic(10, seed=who * 100 + number).with_columns(pl.lit("x").alias(f"attr:k{who}.{number}"))
            assert own.append(frame, {f"appender-{who}": number})

    at_once(*(partial(appender, who) for who in range(3)))
    assert store.span_count() == store.scan().collect().height == 180
    assert {f"attr:k{who}.{number}" for who in range(3) for number in range(6)} <= set(store.columns())


def test_the_same_appended_at_once_is_stored_once(store: Store) -> None:
    stored: list[bool] = []

    def appender() -> None:
        own = Store.open(store.path)
        stored.extend(own.append(synthetic(10, seed=number), {"import": number}) for number in range(8))

    at_once(appender, appender, appender)
    assert (sum(stored), store.span_count()) == (8, 80)


def test_folds_at_once_double_nothing(store: Store) -> None:
    """They did, one time in eight: the second folded what the first had replaced."""
    for number in range(6):
        store.append(synthetic(10, seed=number), {"a": number})
    stale = Store.open(store.path)
    chosen = stale.files()
    merged = stale.scan().collect()
    at_once(*(lambda: fold(Store.open(store.path), many=2) for _ in range(3)))
    added = files.write(store.path, merged, chosen[0].hour, data_change=False)
    assert not stale.replace(chosen, [added], "maintenance")
    assert store.file_count() == 1
    assert store.span_count() == store.scan().collect().height == 60


def test_appends_folds_and_queries_at_once(store: Store) -> None:
    """What a reader has counted, its next scan has at least: no span is missing while files are replaced."""
    appended = threading.Event()

    def appender(who: int) -> None:
        own = Store.open(store.path)
        for number in range(15):
            assert own.append(synthetic(20, seed=who * 100 + number), {f"appender-{who}": number})

    def folder() -> None:
        own = Store.open(store.path)
        while not appended.is_set():
            fold(own, many=4)

    def reader() -> None:
        own = Store.open(store.path)
        while not appended.is_set():
            counted = own.span_count()
            ids = own.scan(columns=["span_id"]).collect()["span_id"]
            assert len(ids) >= counted
            assert ids.n_unique() == len(ids)

    def appenders() -> None:
        try:
            at_once(partial(appender, 0), partial(appender, 1))
        finally:
            appended.set()

    at_once(appenders, folder, folder, reader)
    assert store.span_count() == store.scan().collect().height == 600


def test_an_append_that_fails_leaves_no_half_file(store: Store) -> None:
    """A full disk: the writer tries again and again, and must not fill it further."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, hard))
    try:
        with pytest.raises((OSError, pl.exceptions.PolarsError)):
            store.append(synthetic(2_000), {"a": 0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(store.path.glob("hour=*/*")) == []
    assert store.append(synthetic(2_000), {"a": 0})


def test_removed_files_go_after_their_grace_and_needed_ones_stay(store: Store) -> None:
    for number in range(3):
        store.append(synthetic(10, seed=number), {"a": number})
    fold(store, many=2)
    stray = store.path / store.files()[0].path
    orphan = stray.with_name("part-never-committed.parquet")
    orphan.write_bytes(b"")
    assert sweep(store) == 0
    long_ago = time.time() - 3_600
    os.utime(orphan, (long_ago, long_ago))
    os.utime(stray, (long_ago, long_ago))
    assert sweep(store) == 1
    assert sweep(store, grace_seconds=-1) == 3
    assert store.scan().collect().height == 30


def test_the_log_is_checkpointed_and_read_from_there(store: Store) -> None:
    for number in range(25):
        store.append(trace("web |--|"), {"a": number})
    log = store.path / "_delta_log"
    assert len(list(log.glob("*.checkpoint*.parquet"))) == 2
    again = Store.open(store.path)
    assert (again.span_count(), again.committed("a")) == (25, 24)


def test_a_reader_sees_each_commit_at_once(store: Store) -> None:
    """However soon it comes after it has looked, and though the next commit is summed up and removed meanwhile."""
    reader = Store.open(store.path)
    for number in range(30):
        store.append(synthetic(10, seed=number), {"a": number})
        assert reader.version() == store.version() == number + 1
    for number in range(30, 33):
        store.append(synthetic(10, seed=number), {"a": number})
    store.table().create_checkpoint()
    for path in (store.path / "_delta_log").glob("*.json"):
        path.unlink()
    assert reader.version() == 33
    assert reader.span_count() == 330


def test_other_readers_of_delta_see_the_same(store: Store) -> None:
    store.append(synthetic(100), {"a": 0})
    assert pl.DataFrame(DeltaTable(str(store.path)).count() for _ in [0]).item() == 100


def test_hours_are_of_arrival() -> None:
    assert files_module.hour_of(0) == "1970-01-01T00"
    assert files_module.hour_of(1_769_864_400 * 10**9) == "2026-01-31T13"
