"""Search and Findings as Streamlit runs them, without a browser."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.dashboard import shop
from tests.dashboard.test_pages import MESH, MINUTE, drawn, run, words
from tests.test_settle import FIRST, day
from tracelens.lens import Lens, Question, long
from tracelens.settle import settle
from tracelens.store import Store

TRACE = f"{7_000_001:032x}"
HOUR = 60 * MINUTE


def durations(rows: list[dict[str, list[object]]]) -> list[object]:
    return [row["cells"][-1] for row in rows]


def test_search_shows_the_slowest_thousand_first(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(run(shop_store, monkeypatch, "search", window="all"))
    rows = shown["found"]["rows"]
    assert len(rows) == 1_000
    assert words(shown["head"]["sub"]).startswith("The slowest 1,000 of 1,200 traces")
    shares = [row["cells"][7]["share"] for row in rows]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)


def test_search_by_route_and_duration(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The range is that of whole traces, whatever the calls in them take."""
    params = {"window": "all", "service": "db", "route": "POST /query", "shortest": "100ms", "longest": "0.4s"}
    app = run(shop_store, monkeypatch, "search", **params)
    shown = drawn(app)
    assert {row["cells"][0]["light"] for row in shown["found"]["rows"]} == {"GET /product/{id}"}
    taken = [float(text.removesuffix(" ms")) for text in durations(shown["found"]["rows"])]
    assert 100 <= min(taken) <= max(taken) <= 400
    assert words(shown["head"]["sub"]) == f"{len(taken)} traces, slowest first."
    app.text_input(key="shortest").set_value("").run()
    assert "shortest" not in app.query_params
    assert len(drawn(app)["found"]["rows"]) > len(taken)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"shortest": "20"}, "'20' is no duration"),
        ({"id": "zzz"}, "'zzz' is no trace id"),
        ({"where": "service"}, "is no comparison"),
    ],
)
def test_what_cannot_be_searched_is_said(
    shop_store: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, str], said: str
) -> None:
    assert said in words(drawn(run(shop_store, monkeypatch, "search", **params))["head"]["callout"])


def test_what_is_no_trace_id_stays_in_the_field(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = run(shop_store, monkeypatch, "search", window="all")
    app.text_input(key="sought").set_value("not hexadecimal").run()
    assert app.query_params == {"window": "all", "id": "not hexadecimal"}
    assert app.text_input(key="sought").value == "not hexadecimal"
    assert "is no trace id" in words(drawn(app)["head"]["callout"])


def test_a_link_to_an_id_leads_to_its_trace(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callout = drawn(run(shop_store, monkeypatch, "search", id=f"0x{7_000_001:X}"))["head"]["callout"]
    assert callout[-1]["link"] == f"trace?trace={TRACE}"


def test_a_search_that_finds_nothing_gives_its_fields_back(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = run(shop_store, monkeypatch, "search", window="all", shortest="1m")
    assert "No trace of this window matches." in words(drawn(app)["head"]["callout"])
    next(one for one in app.button if one.label == "Any route and duration").click().run()
    assert app.query_params == {"window": "all"}
    assert drawn(app)["found"]["rows"]


def test_search_shows_open_traces_and_marks_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two came an hour ago, three in the future: nothing is settled about those."""
    now = time.time_ns()
    shop.store(tmp_path / "store", shop.spans(2, now - HOUR, MINUTE), shop.spans(3, now + MINUTE, MINUTE, seed=8))
    shown = drawn(run(tmp_path, monkeypatch, "search", window="all"))
    marks = [row["cells"][6]["text"] for row in shown["found"]["rows"]]
    assert sorted(marks) == ["", "", "open", "open", "open"]
    assert [row["quiet"] for row in shown["found"]["rows"]] == [mark == "open" for mark in marks]
    assert "3 still open" in words(shown["head"]["sub"])


def test_findings_of_the_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample's planted causes, the one that costs critical paths most first."""
    shown = drawn(run(MESH, monkeypatch, "findings"))
    found = shown["findings"]["findings"]
    assert [(one["what"], one["service"]) for one in found] == [
        ("N+1 calls", "db"),
        ("Retries", "catalog"),
        ("Heavy sidecars", "db"),
        ("Time that no span tells of", "catalog"),
    ]
    assert [f"{one['value']} {one['unit']}" for one in found] == ["188 ms", "136 ms", "88.2 ms", "83.4 ms"]
    assert found[0]["share"] == 1
    assert found[0]["about"] == "on the critical paths of 11 traces"
    assert all(one["evidence"] and one["advice"] and one["help"] for one in found)
    assert [link["event"] for link in found[0]["links"]] == ["trace", "route", "search"]
    assert words(shown["head"]["callout"]).startswith("N+1 calls of db GET /tables/products/{id} cost most: 188 ms")
    assert "clock_skew" in [row["id"] for row in shown["absent"]["rows"]]
    assert len(shown["absent"]["rows"]) == 10


def test_findings_say_what_slow_traces_lose(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = run(shop_store, monkeypatch, "findings", window="all", order="p99")
    first = drawn(app)["findings"]["findings"][0]
    assert (first["what"], first["value"]) == ("Retries", "57.4")
    assert first["about"] == "a trace of the slowest 10 % of frontend GET /product/{id} (n 83)"
    assert app.get("button_group")[0].value == "p99"


def test_nothing_found_is_told_with_what_was_looked_for(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(run(shop_store, monkeypatch, "findings", window="all", where="service=pricing"))
    assert "findings" not in shown
    assert "Nothing is wrong" in words(shown["head"]["callout"])
    assert shown["head"]["tone"] == "calm"
    assert len(shown["absent"]["rows"]) == 14


@pytest.mark.parametrize("page", ["search", "findings"])
def test_an_empty_store_says_why_and_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    Store.open(tmp_path / "store", create=True)
    app = run(tmp_path, monkeypatch, page)
    assert "No span has arrived yet." in words(drawn(app)["head"]["callout"])
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in app.code[0].value


def test_a_long_window_is_searched_in_its_rollups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same traces as from the spans, those of hours that are not settled among them."""
    store = Store.open(tmp_path / "store", create=True)
    day(store, hours=3)
    settle(store, now=(FIRST + 2 * HOUR + 10 * MINUTE) / 1e9)
    limits = (1_000_000, 200_000_000)
    slow = Lens.open(str(store.path)).search(Question(), *limits)
    monkeypatch.setattr(long, "EXACT_SPANS", 0)
    quick = Lens.open(str(store.path)).search(Question(), *limits)
    assert (quick.method.percentile, slow.method.percentile) == ("log-bucket", "exact")
    assert quick.traces == slow.traces > 0
    same = ["trace_id", "duration_nano", "open"]
    assert quick.rows.select(same).equals(slow.rows.select(same))
    assert limits[0] <= slow.rows["duration_nano"].min() <= slow.rows["duration_nano"].max() <= limits[1]
