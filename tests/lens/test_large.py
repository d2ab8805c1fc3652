"""More spans than memory may hold: the same answers by disk, and what is done is not done again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.analysis.test_findings import ONE_CALL, SERIAL, again, lock_step
from tests.analysis.test_hops import mesh
from tests.bench.mesh import shop
from tests.builders import synthetic, traces
from tests.lens.memory import FrameSource
from tests.systems import planted
from tracelens.analysis import turns
from tracelens.errors import InputError
from tracelens.lens import Change, Lens, Question, Room, Walk, buckets
from tracelens.lens.sources import Source, open_source
from tracelens.store import Store

DUMP = Path(__file__).parents[2] / "samples" / "dumps" / "shop.otlp.jsonl.gz"
BANDS = ((0.0, 50.0), (50.0, 90.0), (90.0, 99.0), (99.0, 100.0))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some thousand spans, units of fewer, percentiles of some hundred calls at a time."""
    monkeypatch.setattr(buckets, "FLUSH_BYTES", 1 << 20)
    monkeypatch.setattr(buckets, "UNIT_BYTES", 1 << 19)
    monkeypatch.setattr(turns, "AT_ONCE", 100)


def sources(tmp_path: Path) -> Iterator[tuple[Source, Question]]:
    """Sources with what is judged by many traces: sampling, rare names, clocks that tick in milliseconds."""
    yield open_source(str(DUMP)), Question()
    yield open_source(str(DUMP)), Question(where=("service=frontend",))
    yield FrameSource(synthetic(8_000, shuffled=True)), Question()
    spans = shop(10_000)
    first = spans["start_time_unix_nano"].quantile(0.3)
    assert first is not None
    yield FrameSource(spans), Question(start_nano=int(first))
    ticking = synthetic(8_000).with_columns(
        pl.col("start_time_unix_nano") // 1_000_000 * 1_000_000,
        pl.col("end_time_unix_nano") // 1_000_000 * 1_000_000,
        name=pl.col("name") + "-" + pl.int_range(pl.len()).mod(400).cast(pl.String),
    )
    yield FrameSource(ticking), Question()
    store = Store.open(tmp_path / "store", create=True)
    store.append(shop(6_000).with_columns(received_unix_nano=pl.lit(1, pl.Int64)), {"test": 1})
    yield open_source(str(tmp_path / "store")), Question()


def test_answers_are_those_of_memory(tmp_path: Path) -> None:
    """To the last digit, and what they were computed from."""
    for number, (source, question) in enumerate(sources(tmp_path)):
        whole = Lens(source)
        by_disk = Lens(source, room=Room(memory=0, scratch=tmp_path / "scratch"))
        routes = whole.routes(question)
        ours = by_disk.routes(question)
        assert_frame_equal(ours.rows, routes.rows)
        assert (ours.source, ours.method) == (routes.source, routes.method)
        busiest = routes.rows.sort("n", "service", "route", descending=[True, False, False]).row(0, named=True)
        # Each source is asked in another way.
        route = (busiest["service"], busiest["route"]) if number % 2 else None
        walk = Walk(tolerance=0, asynchronous=True) if number % 3 == 2 else Walk()
        profiles = [lens.profile(question, route, BANDS, walk=walk) for lens in (by_disk, whole)]
        assert_frame_equal(*(found.rows for found in profiles))
        contributions = [lens.shares(question, route, walk=walk) for lens in (by_disk, whole)]
        assert_frame_equal(*(found.rows for found in contributions))
        explained = [lens.explain(question, route, walk=walk) for lens in (by_disk, whole)]
        assert_frame_equal(*(found.rows for found in explained))
        assert_frame_equal(*(found.marks for found in explained))
        assert explained[0].totals == explained[1].totals
        assert explained[0].looked_at == explained[1].looked_at
        best = [lens.fixes(question, route, walk=walk) for lens in (by_disk, whole)]
        assert_frame_equal(*(found.rows for found in best))
        changes = [Change(layer="app", scale=0.5), Change(service=busiest["service"], hits=0.3)]
        hops = [lens.hops(question) for lens in (by_disk, whole)]
        assert_frame_equal(*(found.rows for found in hops))
        assert hops[0].source == hops[1].source
        for gateways in (True, False):
            assert_frame_equal(*(lens.edges(question, gateways=gateways).rows for lens in (by_disk, whole)))
        callee, caller, _ = hops[1].rows.drop_nulls("callee").select("callee", "caller", "route").row(0)
        assert_frame_equal(*(lens.layers(question, callee, caller=caller).rows for lens in (by_disk, whole)))
        assert by_disk.coverage(question) == whole.coverage(question)
        assert_frame_equal(*(lens.clocks(question).rows for lens in (by_disk, whole)))
        found = [lens.findings(question) for lens in (by_disk, whole)]
        assert_frame_equal(*(answer.rows for answer in found))
        assert found[0].source == found[1].source
        projected = [lens.what_if(question, route, changes, seed=3, walk=walk) for lens in (by_disk, whole)]
        assert_frame_equal(*(found.rows for found in projected))


def judged_together() -> pl.DataFrame:
    """Return traces that tell little each: who is meant, what is rare and what is a pattern is told by all of them."""
    drawings = [
        SERIAL,
        *lock_step([10, 10, 10, 11]),
        "edge/gate |--| attr:response_flags=NR",
        "pet/in |------|",
        ONE_CALL.replace("web", "pet").replace("cat", "pig"),
        ONE_CALL,
        "web/out |------|",
        "dog/client |------|",
        again(12, serial=True),
    ]
    once = mesh(traces(*drawings))
    every = once.join(pl.DataFrame({"copy": range(150)}), how="cross")
    longer = pl.col("end_time_unix_nano") + (pl.col("copy") % 7) * (pl.col("parent_span_id").is_null()) * 1_000_000
    head = pl.Series([hashlib.sha1(bytes([copy])).digest()[:8] for copy in range(150)])
    numbered = every.with_columns(
        end_time_unix_nano=longer,
        trace_id=head.gather(every["copy"]) + every["trace_id"].bin.slice(8, 8),
    )
    # Of cat, which most call, few traces have spans: by themselves most parts would say that nobody writes them.
    return numbered.filter((pl.col("service_name") != "cat") | (pl.col("copy") == 0)).drop("copy")


def test_what_many_traces_tell_together_is_told_by_parts(tmp_path: Path) -> None:
    source, question = FrameSource(judged_together()), Question()
    whole, by_disk = Lens(source), Lens(source, room=Room(memory=0, scratch=tmp_path))
    rows = whole.findings(question).rows
    told = {"serial_fan_out", "lock_step_retries", "retries", "unrouted", "broken_propagation", "missing_spans"}
    assert told | {"n_plus_one", "chatty_edge", "uninstrumented_gap"} <= set(rows["kind"])
    assert rows.filter(kind="serial_fan_out")["p99_nano"].null_count() == 0
    assert_frame_equal(by_disk.findings(question).rows, rows)
    assert_frame_equal(by_disk.hops(question).rows, whole.hops(question).rows)
    assert_frame_equal(by_disk.edges(question).rows, whole.edges(question).rows)
    assert len(list(tmp_path.glob("*/*.traces.parquet"))) > 1


def test_comparisons_are_those_of_memory(tmp_path: Path) -> None:
    """Also where one side fits memory and the other does not."""
    question = Question()
    a, b = FrameSource(synthetic(8_000)), FrameSource(synthetic(8_000, seed=1))
    whole = Lens(a).compare(question, Lens(b), question)
    assert len(whole.rows)
    room = Room(memory=0, scratch=tmp_path)
    for first, second in ((Lens(a, room=room), Lens(b, room=room)), (Lens(a), Lens(b, room=room))):
        told = first.compare(question, second, question)
        assert_frame_equal(told.rows, whole.rows)
        assert (told.a, told.b, told.weighted) == (whole.a, whole.b, whole.weighted)
        route = (whole.rows["service"][0], whole.rows["route"][0])
        assert_frame_equal(
            first.compare(question, second, question, route=route).rows,
            Lens(a).compare(question, Lens(b), question, route=route).rows,
        )


def test_marks_come_from_spans_that_memory_does_not_hold(tmp_path: Path) -> None:
    system = planted("value", 1, requests=1_500)
    room = Room(memory=0, scratch=tmp_path)
    found = Lens(FrameSource(system.spans), room=room).explain(Question(), ("shop", "POST /order"))
    assert found.marks.select("attribute", "value").row(0) == ("tenant", "whale")
    assert_frame_equal(found.marks, Lens(FrameSource(system.spans)).explain(Question(), ("shop", "POST /order")).marks)


class Cut:
    """Interrupts the answer at one moment of its progress."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen: list[tuple[str, int]] = []

    def __call__(self, what: str, done: int, of: int | None) -> None:
        self.seen.append((what, done))
        if len(self.seen) == self.at:
            raise KeyboardInterrupt


def test_an_answer_that_was_interrupted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anywhere: what was done before is not done again, and nothing half-written is read."""
    monkeypatch.setattr(buckets, "UNIT_BYTES", 1 << 16)
    source = FrameSource(synthetic(10_000, shuffled=True))
    expected = Lens(source).profile(Question(), None, BANDS).rows
    whole = Cut(10_000)
    Lens(source, room=Room(memory=0, scratch=tmp_path / "whole", told=whole)).profile(Question(), None, BANDS)
    steps = len(whole.seen)
    assert steps > 10
    for at in range(1, steps + 1, max(steps // 8, 1)):
        cut = Cut(at)
        room = Room(memory=0, scratch=tmp_path / str(at), told=cut)
        with pytest.raises(KeyboardInterrupt):
            Lens(source, room=room).profile(Question(), None, BANDS)
        rest = Cut(10_000)
        room = Room(memory=0, scratch=tmp_path / str(at), told=rest)
        assert_frame_equal(Lens(source, room=room).profile(Question(), None, BANDS).rows, expected)
        looked_at = [done for what, done in cut.seen if what == "looking at traces"]
        if looked_at:
            assert not any(what == "sorting spans by trace" for what, _ in rest.seen)
            assert len(rest.seen) <= steps - len(cut.seen) + 2  # two were under way


def test_what_is_on_disk_is_removed_behind_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACELENS_CACHE_DIR", str(tmp_path))
    Lens(FrameSource(synthetic(1_000)), room=Room(memory=0)).routes(Question())
    assert list((tmp_path / "scratch").iterdir()) == []
    with pytest.raises(KeyboardInterrupt):
        Lens(FrameSource(synthetic(1_000)), room=Room(memory=0, told=Cut(1))).routes(Question())
    assert list((tmp_path / "scratch").iterdir()) != []


def test_what_fits_stays_in_memory(tmp_path: Path) -> None:
    room = Room(memory=1 << 40, scratch=tmp_path / "never", told=Cut(1))
    assert len(Lens(FrameSource(synthetic(1_000)), room=room).routes(Question()).rows)
    assert not (tmp_path / "never").exists()


def test_half_of_what_is_free_is_taken_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracelens.lens.free_memory", lambda: 1_000)
    assert Lens(FrameSource(synthetic(10))).room.memory == 500


def test_a_changed_dump_is_another_one(tmp_path: Path) -> None:
    """What is on disk of a file is not taken for that file when it has changed."""
    file = tmp_path / "spans.parquet"
    room = Room(memory=0, scratch=tmp_path / "scratch")
    for spans in (1_000, 2_000):
        synthetic(spans).write_parquet(file)
        assert Lens.open(str(file), room=room).routes(Question()).source.spans == spans


def test_parquet_is_a_dump(tmp_path: Path) -> None:
    spans = shop(3_000)
    file = tmp_path / "spans.parquet"
    spans.write_parquet(file)
    told = Lens.open(str(file)).routes(Question())
    assert_frame_equal(told.rows, Lens(FrameSource(spans)).routes(Question()).rows)
    assert told.source.format == "parquet"
    few = spans.select("trace_id", "span_id", "parent_span_id", "name", "start_time_unix_nano", "end_time_unix_nano")
    few.write_parquet(file)
    bare = Lens.open(str(file)).routes(Question())
    assert set(bare.rows["service"]) == {"unknown_service"}


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pl.DataFrame({"a": [1]}), "without the column trace_id"),
        (synthetic(10).with_columns(pl.col("name").str.len_bytes().alias("name")), "column name is UInt32"),
    ],
)
def test_another_table_is_no_dump(tmp_path: Path, frame: pl.DataFrame, said: str) -> None:
    frame.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match=said):
        Lens.open(str(tmp_path / "x.parquet")).routes(Question())


def test_a_damaged_table_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    synthetic(100).write_parquet(file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(InputError, match="cannot be read"):
        Lens.open(str(file)).routes(Question())


def test_ids_of_a_table_are_mended_or_refused(tmp_path: Path) -> None:
    """A parent id of a wrong length makes a root, marked; a span without usable ids is counted as rejected."""
    spans = synthetic(30).with_row_index("i")
    wrong = spans.with_columns(
        parent_span_id=pl.when(pl.col("i") == 1).then(pl.lit(b"abc")).otherwise("parent_span_id"),
        span_id=pl.when(pl.col("i") == 2).then(pl.lit(b"")).otherwise("span_id"),
    ).drop("i")
    wrong.write_parquet(tmp_path / "x.parquet")
    told = Lens.open(str(tmp_path / "x.parquet")).routes(Question())
    assert (told.source.spans, told.source.rejected_spans) == (29, 1)
    assert told.source.repairs["bad_parent"] == 1
