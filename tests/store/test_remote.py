"""The store on object storage: the same rows as on local disk, each once, whatever the storage answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests import s3
from tests.builders import synthetic, trace
from tests.running import answer, tracelens
from tests.store.test_store import at_once, ordered
from tracelens.errors import StoreError, UsageError
from tracelens.lens import Lens, Question, long
from tracelens.locations import is_url, whole
from tracelens.settle import Rollups, settle, waiting
from tracelens.store import Retention, Store, compact, fold, hours, is_store, retain, sweep
from tracelens.store.places import DAY_SECONDS, RETRIES, Swept
from tracelens.verify import verify

HOUR = 3_600 * 10**9
MONDAY = 1_767_571_200 * 10**9  # 2026-01-05T00:00:00Z
COMMIT = "PUT .*/_delta_log/"
NOW = -1.0  # a grace that is over


@pytest.fixture(scope="module")
def server() -> Iterator[s3.Server]:
    with s3.serving() as running, s3.environment(running):
        yield running


@pytest.fixture
def url(server: s3.Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a store may be made: a bucket of the test's own, and a prefix."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:60].strip("-")
    yield f"{server.bucket(name)}/team/spans"
    server.well()


@pytest.fixture
def store(url: str) -> Store:
    return Store.open(url, create=True)


def test_what_is_a_url() -> None:
    assert [is_url(one) for one in ("s3://b/p", "gs://b", "az://c/p", "tracelens-data", "/s3/x")] == [True] * 3 + [
        False
    ] * 2
    assert whole("s3://bucket/prefix/") == "s3://bucket/prefix"
    assert whole("a/b") == str(Path("a/b").absolute())
    with pytest.raises(UsageError, match="no storage that is known"):
        is_url("ftp://host/store")


def filled(location: str | Path) -> Store:
    """Return a store of three hours with four files each, and attributes that come later."""
    made = Store.open(location, create=True)
    for hour in range(3):
        for number in range(4):
            frame = synthetic(100, seed=4 * hour + number).with_columns(
                pl.lit(hour, pl.Int64).alias(f"attr:of.{hour}#int")
            )
            made.append(frame, {f"{hour}": number}, arrived_unix_nano=MONDAY + hour * HOUR)
    return made


def by_lens(store: Store) -> pl.DataFrame:
    return Lens.open(str(store.place)).routes(Question()).rows


def test_the_same_rows_as_on_local_disk_at_every_step(url: str, tmp_path: Path) -> None:
    remote, local = filled(url), filled(tmp_path / "store")
    wanted = local.scan().collect()["trace_id"][7]
    steps: dict[str, Callable[[Store], object]] = {
        "appended": Store.span_count,
        "appended again": lambda store: store.append(synthetic(1), {"2": 3}),
        "folded": partial(fold, many=4),
        "compacted": lambda store: compact(store, everything=True).spans,
        "after": lambda store: store.append(trace("web |--|"), {"late": 0}, arrived_unix_nano=MONDAY + 2 * HOUR),
        "retained": lambda store: [hour.name for hour in retain(store, Retention(age_seconds=2 * 3_600))],
        "swept": lambda store: sweep(store, grace_seconds=NOW, stray_seconds=NOW),
    }
    for name, step in steps.items():
        assert step(remote) == step(local), name
        again = Store.open(url)
        assert_frame_equal(ordered(again.scan().collect()), ordered(local.scan().collect()))
        assert_frame_equal(ordered(again.trace(wanted)), ordered(local.trace(wanted)))
        assert_frame_equal(by_lens(again), by_lens(local))
        assert again.time_range() == local.time_range()
        assert [(hour.name, hour.spans) for hour in hours(again)] == [(hour.name, hour.spans) for hour in hours(local)]
        window = MONDAY, MONDAY + HOUR
        assert_frame_equal(ordered(again.scan(*window).collect()), ordered(local.scan(*window).collect()))
    assert {file.path for file in remote.place.found()} == {file.path for file in remote.files()}
    assert not any(check.wrong for check in verify(url))


def test_the_verbs_take_a_url(url: str, tmp_path: Path) -> None:
    filled(url)
    assert answer("store", "info", url)["spans"] == 1_200
    assert tracelens("store", "compact", url, "--all").returncode == 0
    assert answer("store", "info", url)["files"] == 3
    dump = tmp_path / "spans.jsonl"
    dump.write_text(
        '{"resourceSpans":[{"resource":{},"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10",'
        '"spanId":"0102030405060708","name":"a","startTimeUnixNano":"1","endTimeUnixNano":"2"}]}]}]}'
    )
    assert b"1 spans stored" in tracelens("import", str(dump), "--store", url).stdout
    assert b"1 were there already" in tracelens("import", str(dump), "--store", url).stdout
    assert tracelens("store", "retain", url, "--size", "1B").returncode == 0
    assert answer("store", "info", url)["spans"] == 1
    assert answer("routes", url)["rows"]
    assert tracelens("store", "verify", url).returncode == 0


def test_appenders_that_widen_the_table_at_once_lose_nothing(url: str) -> None:
    """Two make the store at once, too."""

    def appender(who: int) -> None:
        own = Store.open(url, create=True)
        for number in range(3):
            frame = synthetic(10, seed=who * 100 + number).with_columns(pl.lit("x").alias(f"attr:k{who}.{number}"))
            assert own.append(frame, {f"appender-{who}": number})

    at_once(*(partial(appender, who) for who in range(3)))
    assert Store.open(url).span_count() == Store.open(url).scan().collect().height == 90


def test_the_same_appended_at_once_is_stored_once(url: str) -> None:
    stored: list[bool] = []
    Store.open(url, create=True)

    def appender() -> None:
        own = Store.open(url)
        stored.extend(own.append(synthetic(10, seed=number), {"import": number}) for number in range(5))

    at_once(appender, appender)
    assert (sum(stored), Store.open(url).span_count()) == (5, 50)


def test_folds_compactions_and_removals_at_once_double_nothing(store: Store) -> None:
    url = str(store.place)
    for number in range(6):
        store.append(synthetic(10, seed=number), {"a": number})
    expected = ordered(store.scan().collect())
    at_once(
        *(lambda: fold(Store.open(url), many=2) for _ in range(2)),
        *(lambda: compact(Store.open(url), everything=True) for _ in range(2)),
        lambda: sweep(Store.open(url)),
    )
    assert_frame_equal(ordered(Store.open(url).scan().collect()), expected)


def test_what_was_let_go_and_what_was_never_committed_is_removed_in_its_time(store: Store) -> None:
    for number in range(3):
        store.append(synthetic(10, seed=number), {"a": number})
    assert fold(store, many=2) == 2
    stray = store.place.write(synthetic(10), "2026-01-05T00")
    assert sweep(store) == 0
    reader = Store.open(str(store.place)).scan()
    assert sweep(store, grace_seconds=NOW) == 3  # what the fold replaced; one may be about to commit the other
    assert reader.collect().height == 30
    assert [file.path for file in store.place.found() if file.path == stray.path]
    assert sweep(store, stray_seconds=NOW) == 1
    assert store.scan().collect().height == 30


def test_a_file_let_go_just_now_is_left_though_it_is_old(store: Store) -> None:
    for number in range(3):
        store.append(synthetic(10, seed=number), {"a": number})
    fold(store, many=2)
    assert sweep(store, stray_seconds=NOW) == 0
    assert len(store.place.found()) == 4


def test_a_file_written_long_ago_is_not_committed(store: Store) -> None:
    """Somebody may have taken it for a stray one."""
    old = store.place.write(synthetic(10), "2026-01-05T00")
    old.modification_time -= int(DAY_SECONDS * 1_000)
    with pytest.raises(Swept):
        store.place.fresh([old])


@pytest.mark.parametrize("kind", ["busy", "cut"])
def test_a_storage_that_is_away_is_told_and_takes_it_later(server: s3.Server, store: Store, kind: str) -> None:
    server.fault(kind)
    with pytest.raises(StoreError, match=rf"{store.place}: .*later"):
        store.append(synthetic(10), {"a": 0})
    with pytest.raises(StoreError, match="later"):
        is_store(str(store.place))
    server.well()
    assert store.append(synthetic(10), {"a": 0})
    assert store.span_count() == store.scan().collect().height == 10


def test_a_query_of_files_that_cannot_be_read_is_told_so(server: s3.Server, store: Store) -> None:
    drawn = trace("web |--|")
    store.append(drawn, {"a": 0})
    lens = Lens.open(str(store.place))
    server.fault("busy", request="GET .*parquet")
    with pytest.raises(StoreError, match=rf"{store.place}: .*later"):
        lens.routes(Question())
    with pytest.raises(StoreError, match="later"):
        lens.source.trace(drawn["trace_id"][0])
    server.well()
    assert lens.routes(Question()).rows.height == 1
    store.place.remove([file.path for file in store.files()])
    with pytest.raises(StoreError, match="a file is gone"):
        Lens.open(str(store.place)).routes(Question())
    assert any(check.wrong for check in verify(str(store.place)))


@pytest.mark.parametrize("kind", ["busy", "cut", "lost"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_commit_that_is_answered_badly_is_there_once(server: s3.Server, store: Store, kind: str, times: int) -> None:
    """A commit whose answer was lost is told from somebody else's."""
    server.fault(kind, request=COMMIT, times=times)
    try:
        assert store.append(synthetic(10), {"a": 0})
    except StoreError:
        server.well()
        if store.committed("a") is None:
            assert store.append(synthetic(10), {"a": 0}, after={"a": None})
    assert server.seen[kind]
    assert store.span_count() == store.scan().collect().height == 10


def test_a_commit_that_was_taken_after_all_holds_off_a_larger_one(store: Store) -> None:
    store.append(synthetic(10), {"a": 5})
    assert not store.append(synthetic(20), {"a": 7}, after={"a": 3})
    assert store.append(synthetic(20, seed=1), {"a": 7}, after={"a": 5})
    assert store.span_count() == 30


def test_a_slow_storage_is_waited_for(server: s3.Server, store: Store) -> None:
    server.fault("slow", seconds=0.1)
    begin = time.monotonic()
    assert store.append(synthetic(10), {"a": 0})
    assert time.monotonic() - begin > 0.3
    assert store.scan().collect().height == 10


def test_the_log_is_checkpointed_and_read_from_there(
    server: s3.Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracelens.store.table.CHECKPOINT_EVERY", 5)
    commits = 21
    for number in range(commits):
        store.append(trace("web |--|"), {"a": number})
    before = server.seen["GET"]
    again = Store.open(str(store.place))
    assert (again.span_count(), again.committed("a")) == (commits, commits - 1)
    assert server.seen["GET"] - before < 2 * commits  # each is read twice when there is no checkpoint


def test_what_many_applications_committed_is_one_look(server: s3.Server, store: Store) -> None:
    """A request takes tens of milliseconds, and a writer asks of sixty-four when it starts."""
    store.append(trace("web |--|"), {"a": 3, "b": 4})

    def looks(applications: list[str]) -> tuple[dict[str, int], int]:
        before = server.seen["GET"]
        return store.all_committed(applications), server.seen["GET"] - before

    store.committed("a")  # the first look reads what came
    (one, cost), (many, cost_of_many) = looks(["a"]), looks(["a", "b", *map(str, range(62))])
    assert (one, many) == ({"a": 3}, {"a": 3, "b": 4})
    assert cost_of_many <= 2 * 64 + cost, "deltalake reads two files of the log for each that is asked of"


def told(words: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """See that opening and making say so."""
    for name, value in environment.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    for create in (False, True):
        with pytest.raises(StoreError, match=words):
            Store.open(url, create=create)


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        ("no credentials were found. Set AWS_ACCESS_KEY_ID", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}),
        ("nobody answers there. Is the endpoint right", {"AWS_ENDPOINT_URL": s3.NOWHERE}),
        ("AWS_ALLOW_HTTP=true", {"AWS_ALLOW_HTTP": ""}),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(
    words: str, environment: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(words, environment, monkeypatch, url)


def test_a_bucket_that_is_not_there(server: s3.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    told("s3://nowhere/spans: there is no such bucket", {}, monkeypatch, "s3://nowhere/spans")
    done = tracelens("routes", "s3://nowhere/spans")
    assert done.returncode == 3
    assert b"no such bucket" in done.stderr


def test_credentials_that_may_not(server: s3.Server, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server.fault("denied")
    told(f"{url}: the credentials are refused", {}, monkeypatch, url)


def test_commits_that_cannot_be_conditional(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    with pytest.raises(StoreError, match="AWS_CONDITIONAL_PUT"):
        Store.open(url, create=True)


def test_a_prefix_without_a_store(url: str) -> None:
    assert not is_store(url)
    with pytest.raises(StoreError, match=f"{url}: no store is here"):
        Lens.open(url).routes(Question())


@pytest.mark.parametrize("kind", ["busy", "lost"])
def test_rollups_are_those_of_a_local_disk_whatever_the_storage_answers(
    server: s3.Server, url: str, tmp_path: Path, kind: str
) -> None:
    """Each of its commits is answered badly, one after the other, until all went through."""
    here, there = Store.open(tmp_path / "store", create=True), Store.open(url, create=True)
    for number in range(3):
        for made in (here, there):
            made.append(synthetic(300, seed=number), {"a": number}, arrived_unix_nano=MONDAY + number * HOUR)
    settle(here)
    tries = 0
    while waiting(Rollups(there)):
        # More often than a request is made again.
        server.fault(kind, request="PUT .*_rollups/.*json", times=2 * RETRIES)
        with suppress(StoreError):
            settle(there, hours=1)
        server.well()
        with suppress(StoreError):
            settle(there, hours=1)
        tries += 1
        assert tries < 10
    for mine, other in zip(Rollups(here).every, Rollups(there).every, strict=True):
        rows, same = (
            table.scan().collect().sort(pl.all().exclude("weight", "weighted_nano")) for table in (mine, other)
        )
        assert_frame_equal(rows, same, check_exact=False)
    assert [check.found for check in verify(url) if check.wrong] == []
    for table in Rollups(there).every:
        table.sweep(NOW, NOW)
    assert [check.found for check in verify(url) if check.wrong] == []


def test_a_long_window_is_answered_from_rollups(store: Store) -> None:
    for number in range(3):
        store.append(synthetic(300, seed=number), {"a": number}, arrived_unix_nano=MONDAY + number * HOUR)
    settle(store, hours=2)
    truth = Lens.open(str(store.place)).routes(Question())
    before, long.EXACT_SPANS = long.EXACT_SPANS, 0
    found = Lens.open(str(store.place)).routes(Question())
    long.EXACT_SPANS = before
    assert (found.method.percentile, truth.method.percentile) == ("log-bucket", "exact")
    counted = ("service", "route", "n", "errors", "mean_nano", "max_nano")
    assert found.rows.select(counted).sort(counted).equals(truth.rows.select(counted).sort(counted))
