"""Every page as Streamlit runs it, without a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

import dashboard
from dashboard import stretches
from dashboard.views import compare
from tests import s3
from tests.dashboard import shop
from tracelens.store import Store

SCRIPT = Path(dashboard.__file__).parent / "app.py"
MINUTE = 60_000_000_000
NOON = 1_790_000_000 * 10**9


def run(source: Path | str, monkeypatch: pytest.MonkeyPatch, page: str = "overview", **params: str) -> AppTest:
    """Run a page once; it must not raise."""
    monkeypatch.setenv("TRACELENS_SOURCE", str(source))
    app = AppTest.from_file(str(SCRIPT), default_timeout=60)
    app.query_params.update(params)
    if page != "overview":
        # Pages made of functions have no file to switch to: this is what `switch_page` sets.
        app._page_hash = calc_hash(page)
    app.run()
    assert not app.exception
    return app


def drawn(app: AppTest) -> dict[str, dict[str, Any]]:
    """Return what each component was given, by its key."""
    return {str(one.key): json.loads(one.proto.json) for one in app.get("bidi_component")}


def words(runs: list[dict[str, Any]]) -> str:
    return "".join(run["text"] for run in runs)


def test_overview(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(run(shop_store, monkeypatch, window="all"))
    assert list(shown) == ["head", "tiles", "routes"]
    assert "fail" in words(shown["head"]["callout"])
    assert [tile["label"] for tile in shown["tiles"]["tiles"]] == ["p50", "p90", "p99", "errors"]
    assert {tile["against"] for tile in shown["tiles"]["tiles"]} == {"no earlier data"}
    assert all(tile["n"] for tile in shown["tiles"]["tiles"])
    assert len(shown["routes"]["rows"]) == 8
    status = words(shown["head"]["status"]["runs"])
    assert "data as of " in status
    assert " spans" in status
    assert status.endswith("exact")


def test_overview_against_the_hour_before(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(run(shop_store, monkeypatch, window="1h"))
    assert {tile["against"] for tile in shown["tiles"]["tiles"]} == {"against the hour before"}
    assert all(tile["change"] for tile in shown["tiles"]["tiles"])


def test_the_first_visit_to_fresh_data_shows_the_last_hour_live(
    shop_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = run(shop_store, monkeypatch)
    assert app.selectbox(key="window").value == "1h"
    assert app.toggle(key="live").value is True
    assert app.query_params == {}


def test_route(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = {"window": "all", "service": "frontend", "route": "GET /product/{id}"}
    shown = drawn(run(shop_store, monkeypatch, "route", **params))
    assert list(shown) == ["head", "heatmap", "contrast", "reasons", "layers", "exemplars"]
    assert words(shown["head"]["title"]) == "frontend GET /product/{id}"
    assert "db POST /query" in words(shown["head"]["callout"])
    grid = shown["heatmap"]
    assert sum(grid["counts"]) == grid["calls"] > 700
    assert grid["chosen"] is False
    assert grid["box"] is not None
    assert shown["contrast"]["rows"][0]["cells"][:2] == ["attr.retry.count", "2"]
    assert shown["exemplars"]["rows"]


def test_a_box_in_the_url_is_the_selection_and_pauses_live(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = {"window": "all", "service": "frontend", "route": "GET /product/{id}", "live": "1"}
    box = f"0-{2**62}-1000000-20000000"
    shown = drawn(run(shop_store, monkeypatch, "route", **params, box=box))
    assert shown["heatmap"]["chosen"] is True
    assert shown["head"]["status"]["state"] == "paused"
    assert shown["contrast"]["note"] == "the box drawn"


def test_route_without_a_name_is_the_one_with_most_impact(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overview = drawn(run(shop_store, monkeypatch, window="all"))
    first = overview["routes"]["rows"][0]["cells"][0]
    shown = drawn(run(shop_store, monkeypatch, "route", window="all"))
    assert words(shown["head"]["title"]) == f"{first['strong']} {first['light']}"


def test_a_route_that_is_not_there_says_so(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(run(shop_store, monkeypatch, "route", service="no", route="such"))
    assert words(shown["head"]["sub"]) == "no call in this window"


@pytest.mark.parametrize("band", ["all", "0-50", "99-100", "nonsense"])
def test_critical_path(shop_store: Path, monkeypatch: pytest.MonkeyPatch, band: str) -> None:
    shown = drawn(run(shop_store, monkeypatch, "critical-path", window="all", band=band))
    nodes = shown["flame"]["nodes"]
    assert sum(nodes["exclusive"]) == nodes["inclusive"][0]
    assert shown["heaviest"]["rows"]


def test_trace_without_an_id_offers_the_slowest(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(run(shop_store, monkeypatch, "trace", window="all"))
    assert len(shown["slowest"]["rows"]) == 12


def test_trace(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short id is padded: some backends drop leading zeros."""
    number = f"{7_000_001:x}"
    shown = drawn(run(shop_store, monkeypatch, "trace", trace=number, span=f"{1:016x}"))
    spans = shown["waterfall"]["spans"]
    assert spans["parent"][0] == -1
    assert spans["start"][0] == 0
    assert sum(spans["path"]) == spans["end"][0]
    assert shown["waterfall"]["chosen"] == 0
    assert shown["facts"]["rows"]
    assert shown["attributes"]["rows"]


MESH = Path(__file__).parents[2] / "samples" / "dumps" / "shop.otlp.jsonl.gz"


def test_the_map(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(run(MESH, monkeypatch, "map"))
    drawn_edges = {(edge["caller"], edge["callee"]) for edge in shown["map"]["edges"]}
    assert drawn_edges == {
        ("gateway", "frontend"), ("frontend", "cart"), ("frontend", "catalog"), ("frontend", "payment"),
        ("cart", "db"), ("catalog", "db"), ("payment", "db"),
    }  # fmt: skip
    assert shown["map"]["layers"] == [["gateway"], ["frontend"], ["cart", "catalog", "payment"], ["db"]]
    assert shown["hops"]["rows"]
    assert [row["id"] for row in shown["layers"]["rows"]][-1] == "downstream"
    assert sum(part["share"] for part in shown["layers"]["stack"]) == pytest.approx(1, abs=0.001)
    status = words(shown["head"]["status"]["runs"])
    assert "coverage 100.0 %" in status
    assert "sampled 100.0 %" in status
    joined = drawn(run(MESH, monkeypatch, "map", gateways="0", percentile="p50", edge='["cart", "db"]'))
    assert joined["map"]["layers"][0] == ["frontend"]
    assert joined["hops"]["title"] == "cart → db"


def test_a_traces_proxies_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    (slowest,) = drawn(run(MESH, monkeypatch, "trace"))["slowest"]["rows"][:1]
    whole = drawn(run(MESH, monkeypatch, "trace", trace=slowest["id"]))["waterfall"]
    fold = drawn(run(MESH, monkeypatch, "trace", trace=slowest["id"], proxies="0"))["waterfall"]
    assert (whole["proxies"], fold["proxies"]) == (False, True)
    assert len(fold["spans"]["id"]) < len(whole["spans"]["id"]) / 2
    assert sum(fold["spans"]["path"]) == sum(whole["spans"]["path"])
    assert fold["sections"]["start"] == whole["sections"]["start"]
    assert fold["layers"] == whole["layers"]
    assert sum(part["share"] for part in whole["layers"]) == pytest.approx(1)
    assert set(fold["spans"]["parent"]) <= set(range(-1, len(fold["spans"]["id"])))
    assert fold["spans"]["depth"] == [
        0 if above < 0 else fold["spans"]["depth"][above] + 1 for above in fold["spans"]["parent"]
    ]


def test_the_route_page_has_the_hop_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(run(MESH, monkeypatch, "route", service="db", route="POST /ledger"))["layers"]
    assert [row["id"] for row in shown["rows"]] == [
        "client",
        "egress_proxy",
        "network_queueing",
        "ingress_proxy",
        "app",
    ]
    assert shown["note"].endswith("level L3")


@pytest.mark.parametrize(
    ("page", "params", "said"),
    [
        ("overview", {"where": "nonsense"}, "'nonsense' is no comparison"),
        ("route", {"where": "colour=red"}, "no key"),
        ("trace", {"trace": "zzz"}, "no trace id"),
        ("trace", {"trace": "ff"}, "no span of trace ff is here"),
    ],
)
def test_what_cannot_be_asked_is_said(
    shop_store: Path, monkeypatch: pytest.MonkeyPatch, page: str, params: dict[str, str], said: str
) -> None:
    shown = drawn(run(shop_store, monkeypatch, page, **params))
    assert said in words(shown["head"]["callout"])


@pytest.mark.parametrize("page", ["overview", "route", "critical-path", "map", "trace"])
def test_an_empty_store_says_why_and_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    Store.open(tmp_path / "store", create=True)
    (tmp_path / "addresses.json").write_text('{"otlp_grpc": "127.0.0.1:14317"}')
    app = run(tmp_path, monkeypatch, page)
    assert "No span has arrived yet." in words(drawn(app)["head"]["callout"])
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:14317" in app.code[0].value
    assert "port: 14317" in app.code[1].value


def test_open_traces_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace counts once nothing came for it for 15 s; this one came in the future."""
    import time

    spans = shop.spans(3, time.time_ns() + MINUTE, MINUTE)
    shop.store(tmp_path / "store", spans)
    shown = drawn(run(tmp_path, monkeypatch))
    assert "3 traces have arrived and are still open." in words(shown["head"]["callout"])
    assert "3 traces still open" in words(shown["head"]["status"]["runs"])


def test_a_filter_that_matches_nothing_can_be_cleared(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = run(shop_store, monkeypatch, where="service=nobody", window="1h")
    assert "No call matches the filter." in words(drawn(app)["head"]["callout"])
    next(one for one in app.button if one.label == "Clear the filter").click().run()
    assert app.query_params == {"window": "1h"}
    assert "routes" in drawn(app)


def test_unknown_parameters_are_dropped(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back can leave those of another page."""
    app = run(shop_store, monkeypatch, window="all", box="1-2-3-4", colour="red")
    assert app.query_params == {"window": "all"}


def test_the_bar_writes_to_the_url(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = run(shop_store, monkeypatch)
    app.selectbox(key="window").select("6h").run()
    assert app.query_params == {"window": "6h"}
    app.text_input(key="where").set_value("service=cart").run()
    assert app.query_params == {"window": "6h", "where": "service=cart"}
    app.toggle(key="live").set_value(False).run()
    assert app.query_params == {"window": "6h", "where": "service=cart", "live": "0"}
    assert "refresh" in words(drawn(app)["head"]["status"]["runs"])


def test_a_window_of_ones_own(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = run(shop_store, monkeypatch, window="custom", start="2020-01-01T00:00:00Z", end="2020-01-02T00:00:00Z")
    assert "No call lies in this window." in words(drawn(app)["head"]["callout"])
    assert len(app.get("date_time_input")) == 2


def test_a_dump_stands_still_and_is_shown_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is finished has nothing to be live about, however old it is."""
    attributes = [{"key": "http.request.method", "value": {"stringValue": "GET"}}]
    span = {"traceId": "a" * 32, "spanId": "b" * 16, "name": "GET", "kind": 2, "attributes": attributes}
    span |= {"startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000005000000"}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]}
    request = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}
    dump = tmp_path / "spans.jsonl"
    dump.write_text(json.dumps(request) + "\n")
    app = run(dump, monkeypatch)
    shown = drawn(app)
    assert app.selectbox(key="window").value == "all"
    assert not app.toggle
    assert shown["head"]["status"]["state"] == "still"
    assert [row["cells"][0]["strong"] for row in shown["routes"]["rows"]] == ["web"]
    assert "22:13:20" in words(shown["head"]["status"]["runs"])


def test_a_source_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(run(tmp_path / "nowhere", monkeypatch))
    assert words(shown["head"]["title"]) == "This cannot be read"
    assert "nowhere" in words(shown["head"]["callout"])


def test_overview_of_object_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3.serving() as server, s3.environment(server):
        url = f"{server.bucket('shop')}/store"
        shop.store(url, shop.spans(200, 1_767_571_200 * 10**9, 60 * MINUTE))
        shown = drawn(run(url, monkeypatch, window="all"))
        assert len(shown["routes"]["rows"]) == 8


@pytest.mark.usefixtures("_narrow")
def test_of_a_long_window_findings_comparisons_and_charts_are_those_of_its_newest_stretch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And say so: to look at all spans of a day would keep somebody waiting for a minute."""
    shop.store(tmp_path / "store", shop.spans(600, NOON, 60 * MINUTE))
    found = drawn(run(tmp_path, monkeypatch, "findings", window="all"))
    assert "Of a long window the newest stretch is looked at, " in words(found["head"]["sub"])
    compared = drawn(run(tmp_path, monkeypatch, "compare", window="all"))
    assert "spans, the newest stretch is compared" in words(compared["head"]["sub"])
    rows = compared["routes"]["rows"]
    calls = [int(row["cells"][at].replace(",", "")) for row in rows for at in (1, 2)]
    assert 0 < sum(calls) < 1_000
    versions = drawn(run(tmp_path, monkeypatch, "compare", window="all", by="version"))
    assert "in the newest stretch" in words(versions["head"]["callout"])
    board = {
        key: one for key, one in drawn(run(tmp_path, monkeypatch, "board", window="all")).items() if "chart" in key
    }
    newest = [
        one["measure"] for one in board.values() if "The newest stretch of a long window, " in (one["more"] or "")
    ]
    assert "path" in newest


@pytest.fixture
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every window with more than 1,000 spans counts as long."""
    monkeypatch.setattr(stretches, "MOST_SPANS", 1_000)
    monkeypatch.setattr(compare, "MOST_SPANS", 1_000)
