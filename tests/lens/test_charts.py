"""Charts of people's own: each number is what another answer, or a plain sum, says of the same calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.bench.mesh import shop as mesh
from tests.dashboard import shop
from tests.lens.memory import FrameSource
from tests.test_settle import Arrivals, hour_of
from tracelens.analysis.charts import MEASURES, OF_HOPS
from tracelens.errors import UsageError
from tracelens.lens import Chart, Charted, Lens, Question, Room, buckets, long
from tracelens.settle import settle
from tracelens.store import Store

START = 1_767_571_200 * 10**9  # 2026-01-05T00:00:00Z
MINUTE, HOUR = 60 * 10**9, 3_600 * 10**9
WINDOW = Question(start_nano=START, end_nano=START + 10 * MINUTE)


@pytest.fixture(scope="module")
def spans() -> pl.DataFrame:
    return shop.spans(600, START, 10 * MINUTE)


@pytest.fixture(scope="module")
def lens(spans: pl.DataFrame) -> Lens:
    return Lens(FrameSource(spans))


def values(charted: Charted) -> dict[str | None, float]:
    return dict(charted.totals.select("group", "value").rows())


@pytest.mark.parametrize("measure", ["p50", "p90", "p99", "mean", "errors", "calls"])
def test_by_route_it_is_what_routes_say(lens: Lens, measure: str) -> None:
    found = values(lens.chart(WINDOW, Chart(measure=measure, by="route"), 10))
    routes = lens.routes(WINDOW).rows
    of_route = {"errors": pl.col("error_rate"), "calls": pl.col("calls") / 600}
    wanted = routes.select(
        pl.concat_str("service", "route", separator=" "), of_route.get(measure, pl.col(f"^{measure}_nano$"))
    )
    assert found == pytest.approx({str(name): value for name, value in wanted.iter_rows()})


def test_over_time_it_is_what_series_say(lens: Lens) -> None:
    charted = lens.chart(Question(start_nano=START, end_nano=WINDOW.end_nano), Chart(measure="p90", by="route"), 12)
    series = lens.series(WINDOW, ("catalog", "GET /items/{id}"), 12).rows
    ours = charted.rows.filter(group="catalog GET /items/{id}")
    assert ours.select("bucket_start_unix_nano", "n").rows() == series.select("bucket_start_unix_nano", "n").rows()
    assert ours["value"].to_list() == series["p90_nano"].to_list()
    assert (charted.start_nano, charted.width_nano, charted.points) == (START, 50 * 10**9, 12)


def test_all_together_is_one_line(lens: Lens) -> None:
    charted = lens.chart(WINDOW, Chart(measure="calls"), 4)
    n = lens.routes(WINDOW).rows["n"].sum()
    assert charted.totals.rows() == [(None, None, n, pytest.approx(n / 600))]
    assert charted.rows["n"].sum() == n
    assert charted.rows["value"].sum() == pytest.approx(4 * n / 600)


def test_an_attribute_is_the_entrys_or_that_of_a_span_that_works_for_the_call() -> None:
    """Of a route whose calls have it on the entry, on a client span behind it, on both, or nowhere."""
    spans = shop.spans(40, START, 10 * MINUTE).filter(pl.col("service_name").is_in(["frontend"]))
    is_entry = pl.col("parent_span_id").is_null()
    trace = pl.col("trace_id").rank("dense") % 4
    tier = (
        pl.when(is_entry & trace.is_in([0, 1]))
        .then(pl.lit("entry"))
        .when(~is_entry & trace.is_in([1, 2]))
        .then(pl.col("name"))
    )
    lens = Lens(FrameSource(spans.with_columns(tier.alias("attr:tier"))))
    found = {
        row["group"]: row["n"] for row in lens.chart(WINDOW, Chart(measure="p50", by="attr.tier"), 2).totals.to_dicts()
    }
    per_trace = (
        spans.with_columns(trace=trace)
        .group_by("trace_id", "trace")
        .agg(others=pl.col("name").filter(~is_entry).max())
        .with_columns(
            wanted=pl.when(pl.col("trace") <= 1).then(pl.lit("entry")).when(pl.col("trace") == 2).then("others")
        )
    )
    assert found == dict(per_trace.group_by("wanted").len().rows())


def test_versions_are_told_apart_over_time(lens: Lens) -> None:
    catalog = Question(start_nano=START, end_nano=WINDOW.end_nano, where=("service=catalog",))
    charted = lens.chart(catalog, Chart(measure="p99", by="version"), 10)
    assert set(charted.totals["group"]) == {"2.3.0", "2.3.1"}
    seen = charted.rows.group_by("group").agg(
        first=pl.col("bucket_start_unix_nano").min(), last=pl.col("bucket_start_unix_nano").max()
    )
    middle = START + 5 * MINUTE
    by_version = {row["group"]: row for row in seen.to_dicts()}
    assert by_version["2.3.0"]["last"] < middle
    assert by_version["2.3.1"]["first"] == middle


def test_times_on_the_path_add_up_to_the_mean_trace(lens: Lens) -> None:
    """In the whole window, and in each stretch of it."""
    charted = lens.chart(WINDOW, Chart(measure="path", by="service"), 5)
    roots = lens.chart(Question(start_nano=START, end_nano=WINDOW.end_nano), Chart(measure="path"), 5)
    mean = lens.traces(WINDOW, limit=1_000).rows["duration_nano"].mean()
    assert charted.totals["value"].sum() == pytest.approx(mean)
    assert roots.totals["value"].item() == pytest.approx(mean)
    assert set(charted.totals["n"]) == {600}
    stretches = (
        charted.rows.group_by("bucket_start_unix_nano").agg(pl.col("value").sum()).sort("bucket_start_unix_nano")
    )
    assert stretches["value"].to_list() == pytest.approx(roots.rows["value"].to_list())
    by_version = lens.chart(WINDOW, Chart(measure="path", by="version"), 5)
    assert by_version.totals["value"].sum() == pytest.approx(mean)


def test_shares_of_hops_are_those_of_the_bar() -> None:
    lens = Lens(FrameSource(mesh(6_000)))
    layers = {
        (service, row["layer"]): row["share"]
        for service in ("catalog", "cart")
        for row in lens.layers(Question(), service).rows.to_dicts()
    }
    for measure in OF_HOPS:
        found = values(lens.chart(Question(), Chart(measure=measure, by="service"), 3))
        for service in ("catalog", "cart"):
            assert (found.get(service) or 0) == pytest.approx(layers.get((service, measure.removeprefix("hop.")), 0))


@pytest.mark.parametrize("measure", MEASURES)
def test_by_disk_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measure: str) -> None:
    monkeypatch.setattr(buckets, "FLUSH_BYTES", 1 << 20)
    monkeypatch.setattr(buckets, "UNIT_BYTES", 1 << 19)
    spans = mesh(6_000)
    by_disk = Lens(FrameSource(spans), room=Room(memory=0, scratch=tmp_path / "scratch"))
    for by in ("service", "attr.http.response.status_code"):
        asked = Chart(measure=measure, by=by)
        found, truth = (lens.chart(Question(), asked, 6) for lens in (by_disk, Lens(FrameSource(spans))))
        assert len(truth.totals)
        assert_frame_equal(found.totals, truth.totals, check_row_order=False)
        assert_frame_equal(found.rows, truth.rows, check_row_order=False)
        assert found.source == truth.source


@pytest.fixture
def _long() -> Iterator[None]:
    """Every window counts as long."""
    before, long.EXACT_SPANS = long.EXACT_SPANS, 0
    yield
    long.EXACT_SPANS = before


@pytest.mark.usefixtures("_long")
@pytest.mark.parametrize("by", ["", "service", "route"])
def test_rollups_say_the_same_within_one_percent(tmp_path: Path, by: str) -> None:
    store = Store.open(tmp_path / "store", create=True)
    coming = Arrivals(store)
    for number in range(4):
        coming.come(hour_of(number), START + (number + 1) * HOUR + MINUTE)
    settle(store, now=(START + 4 * HOUR + 2 * MINUTE) / 1e9)
    window = Question(start_nano=START, end_nano=START + 4 * HOUR)
    for measure in ("calls", "errors", "p50", "p90", "p99", "mean"):
        asked = Chart(measure=measure, by=by)
        found = Lens.open(str(store.path)).chart(window, asked, 8)
        long.EXACT_SPANS = 1 << 40
        truth = Lens.open(str(store.path)).chart(window, asked, 8)
        long.EXACT_SPANS = 0
        assert (found.method.percentile, truth.method.percentile) == ("log-bucket", "exact")
        for ours, theirs in ((found.totals, truth.totals), (found.rows, truth.rows)):
            both = ours.join(
                theirs, on=["group", "bucket_start_unix_nano"], how="full", nulls_equal=True, validate="1:1"
            )
            assert both["n"].equals(both["n_right"])
            assert ((both["value"] - both["value_right"]).abs() <= 0.01 * both["value_right"].abs() + 1e-9).all()


def test_groups_beyond_the_largest_are_counted_not_drawn(spans: pl.DataFrame) -> None:
    numbered = spans.with_columns(pl.col("trace_id").rank("dense").mod(20).cast(pl.String).alias("attr:shard"))
    charted = Lens(FrameSource(numbered)).chart(WINDOW, Chart(measure="p50", by="attr.shard"), 3)
    assert (charted.groups, len(charted.totals), charted.rows["group"].n_unique()) == (20, 20, 8)
    assert charted.totals["n"].is_sorted(descending=True)


@pytest.mark.parametrize(
    ("measure", "by", "said"),
    [
        ("p98", "service", "'p98' is no measure"),
        ("p99", "pod", "'pod'"),
        ("p99", "attr.", "'attr.'"),
        ("path", "caller", "time on the path is not told by caller"),
    ],
)
def test_what_cannot_be_drawn_is_said(measure: str, by: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Chart(measure=measure, by=by)


def test_a_span_is_ranked_among_its_peers(spans: pl.DataFrame, lens: Lens) -> None:
    """All of the same service, operation and layer within the hour."""
    peers = (
        spans.filter(service_name="db")["end_time_unix_nano"] - spans.filter(service_name="db")["start_time_unix_nano"]
    )
    lengths = sorted(peers.to_list())
    for nano in (0, lengths[len(lengths) // 2], lengths[-1] + 1):
        found = lens.rank(("db", "POST /query", "app"), nano, START)
        assert found is not None
        assert (found.shorter, found.n) == ((peers < nano).sum(), len(peers))
    nobody = lens.rank(("nobody", "nothing", "app"), 1, START)
    assert nobody is not None
    assert nobody.n == 0


def test_of_many_spans_none_is_ranked(lens: Lens, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace opens without reading what memory may not hold, of a dump, too."""
    monkeypatch.setattr("tracelens.lens.ranks.MOST_BYTES", 10)
    assert lens.rank(("db", "POST /query", "app"), 1, START) is None
