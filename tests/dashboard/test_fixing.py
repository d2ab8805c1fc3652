"""Critical path: two bands beside each other, what a fix would win; and what a trace says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import fixing
from tests.dashboard.test_pages import drawn, run, words
from tracelens.lens import Change, Lens, Question

ROUTE = {"service": "frontend", "route": "GET /product/{id}"}
KEY = ("frontend", "GET /product/{id}")
DB = json.dumps(["db", "POST /query", "app"])


def shown(store: Path, monkeypatch: pytest.MonkeyPatch, **params: str) -> dict[str, dict[str, Any]]:
    return drawn(run(store, monkeypatch, "critical-path", window="all", **ROUTE, **params))


def test_two_bands_differ_by_what_explain_says(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = shown(shop_store, monkeypatch, band="90-100", minus="0-50")
    nodes = page["flame"]["nodes"]
    rows = Lens.open(str(shop_store)).explain(Question(), KEY, typical=(0.0, 50.0), slow=(90.0, 100.0)).rows
    difference = {f"{row['node'] & (1 << 64) - 1:016x}": row["difference_nano"] for row in rows.to_dicts()}
    for key, change in zip(nodes["key"], nodes["change"], strict=True):
        assert abs(change - difference.get(key, 0)) <= 1
    assert page["heaviest"]["title"] == "Nodes that differ most"
    assert page["heaviest"]["rows"][0]["cells"][0]["strong"] == "db"


@pytest.mark.parametrize("minus", ["nonsense", "all"])
def test_a_band_is_not_compared_with_itself_or_nothing(
    shop_store: Path, monkeypatch: pytest.MonkeyPatch, minus: str
) -> None:
    assert "change" not in shown(shop_store, monkeypatch, minus=minus)["flame"]["nodes"]


def test_fixes_are_ordered_and_one_is_projected(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = shown(shop_store, monkeypatch, fix=DB, scale="25")
    lens = Lens.open(str(shop_store))
    best = lens.fixes(Question(), KEY, 0.25).rows.row(0, named=True)
    assert page["fixes"]["rows"][0]["id"] == json.dumps([best["service"], best["operation"], best["layer"]]) == DB
    assert page["fixes"]["rows"][0]["chosen"]
    change = Change(service="db", operation="POST /query", layer="app", scale=0.25)
    row = lens.what_if(Question(), KEY, [change]).rows.row(0, named=True)
    assert page["projected"]["rows"][2]["cells"][2] == fixing.duration(row["projected_p99_nano"])
    assert page["projected"]["title"] == "db POST /query a quarter"


def test_without_sidecars_alone_is_a_scenario_too(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = shown(shop_store, monkeypatch, sidecars="0")
    assert page["projected"]["title"] == "no sidecars"
    assert "projected" not in shown(shop_store, monkeypatch)


@pytest.mark.parametrize("fix", ["", "x", "[1,2,3]", '["a"]', '["no","such","app"]'])
def test_a_fix_that_cannot_be_read_is_none(shop_store: Path, monkeypatch: pytest.MonkeyPatch, fix: str) -> None:
    page = shown(shop_store, monkeypatch, fix=fix)
    assert page["fixes"]["rows"]
    if "such" in fix:
        assert {row["cells"][3]["text"] for row in page["projected"]["rows"]} == {"±0 ns"}


def test_of_many_spans_it_is_worked_out_when_asked_for(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixing, "CHEAP_SPANS", 10)
    app = run(shop_store, monkeypatch, "critical-path", window="all", **ROUTE)
    assert "fixes" not in drawn(app)
    next(one for one in app.button if one.label == "What would fixing something win?").click().run()
    assert drawn(app)["fixes"]["rows"]


def trace(store: Path, monkeypatch: pytest.MonkeyPatch, **params: str) -> AppTest:
    slowest = Lens.open(str(store)).traces(Question(), slowest=1).rows["trace_id"][0].hex()
    return run(store, monkeypatch, "trace", trace=slowest, **params)


def test_a_trace_says_where_most_of_it_went_and_shows_it(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = drawn(trace(shop_store, monkeypatch))
    said = words(page["head"]["callout"])
    assert "is one span: " in said
    assert said.endswith("db POST /query.")
    assert page["facts"]["title"] == "db POST /query"
    assert page["facts"]["rows"][0]["cells"][0] == "among its peers"
    assert page["facts"]["rows"][0]["cells"][1].startswith("takes longer than 9")
    other = drawn(trace(shop_store, monkeypatch, span=f"{1:016x}"))
    assert words(other["head"]["callout"]).endswith("Show it →")
    assert other["facts"]["title"] == "frontend GET /product/{id}"
