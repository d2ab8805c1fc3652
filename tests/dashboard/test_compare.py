"""Compare: its sides, its words, and the page as Streamlit runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dashboard import changes, sides
from tests.builders import trace
from tests.dashboard import shop
from tests.dashboard.test_pages import MESH, drawn, run, words
from tracelens.lens import Lens, Question
from tracelens.store import Store

SECOND = 1_000_000_000
NOON = 1_790_000_000 * SECOND
HOUR = 3_600 * SECOND
REACH = (NOON - 5 * HOUR, NOON - 1)
BOUNDED = Question(start_nano=NOON - HOUR, end_nano=NOON, where=("service=cart",))


def spans_of(found: sides.Sides) -> tuple[tuple[int | None, int | None], tuple[int | None, int | None]]:
    return (found.a.start_nano, found.a.end_nano), (found.b.start_nano, found.b.end_nano)


@pytest.mark.parametrize(
    ("against", "a"),
    [
        ("before", (NOON - 2 * HOUR, NOON - HOUR)),
        ("day", (NOON - 25 * HOUR, NOON - 24 * HOUR)),
        ("week", (NOON - 169 * HOUR, NOON - 168 * HOUR)),
    ],
)
def test_a_window_is_as_long_and_has_the_filter_of_the_bar(against: str, a: tuple[int, int]) -> None:
    found = sides.windows(BOUNDED, against, REACH, {})
    assert spans_of(found) == (a, (NOON - HOUR, NOON))
    assert found.a.where == found.b.where == ("service=cart",)


def test_halves_share_a_moment_and_no_call() -> None:
    found = sides.windows(Question(), "half", REACH, {})
    assert found.a.end_nano == found.b.start_nano == NOON - 5 * HOUR // 2
    assert (found.a.start_nano, found.b.end_nano) == (REACH[0], NOON)


def test_a_window_of_its_own_is_the_urls_and_what_it_lacks_is_as_long() -> None:
    own = {"a_start": "2026-09-21T10:00:00Z", "a_end": "2026-09-21T11:30:00Z"}
    (start, end), _ = spans_of(sides.windows(BOUNDED, "own", REACH, own))
    assert (end or 0) - (start or 0) == 3 * HOUR // 2
    (start, end), _ = spans_of(sides.windows(BOUNDED, "own", REACH, own | {"a_end": "2026-09-21T09:00:00Z"}))
    assert (end or 0) - (start or 0) == HOUR


def test_all_data_has_no_window_before() -> None:
    assert sides.against({"against": "before"}, Question()) == "half"
    assert sides.against({}, BOUNDED) == "before"
    assert sides.against({"against": "week"}, BOUNDED) == "week"


def test_versions_are_those_of_services_that_ran_in_several(shop_store: Path) -> None:
    """catalog went from 2.3.0 to 2.3.1; nobody else changed."""
    rows = Lens.open(str(shop_store)).versions(Question()).rows
    found = sides.several(rows)
    assert {name: [one.version for one in some] for name, some in found.items()} == {"catalog": ["2.3.1", "2.3.0"]}
    assert sum(one.calls for one in found["catalog"]) == rows.filter(service="catalog")["calls"].sum() == 817
    a, b = sides.chosen_versions(found["catalog"], {})
    assert (a.version, b.version) == ("2.3.0", "2.3.1")
    assert a.where == "service=catalog res.service.version=2.3.0"


def change(**told: Any) -> dict[str, Any]:
    empty = dict.fromkeys(
        ("difference_nano", "low_nano", "high_nano", "difference", "low", "high", "adjusted_p", "note")
    )
    return {"measure": "p99", "a": 10e6, "b": 20e6, "n_a": 400, "n_b": 500, "significant": False, **empty, **told}


def test_a_change_is_drawn_between_its_bounds_about_the_middle() -> None:
    row = change(difference_nano=10_000_000, low_nano=8_000_000, high_nano=13_000_000)
    place = changes.place(row, changes.EDGE)
    assert place is not None
    assert place.low is not None
    assert place.high is not None
    assert 0.5 < place.low < place.at < place.high < 1
    mirrored = changes.place(change(a=20e6, b=10e6, difference_nano=-10_000_000), changes.EDGE)
    assert mirrored is not None
    assert mirrored.at == pytest.approx(1 - place.at)
    assert (mirrored.low, mirrored.high) == (None, None)
    assert changes.place(change(a=None), changes.EDGE) is None


def test_a_bound_that_calls_are_too_few_for_is_open() -> None:
    row = change(difference_nano=10_000_000, low_nano=8_000_000)
    place = changes.place(row, changes.EDGE)
    assert place is not None
    assert place.high == 1.0
    assert changes.interval(row) == "+8.00 ms to …"


def test_changes_are_signed_with_their_unit() -> None:
    assert changes.signed("p99", -2_500_000) == "−2.50 ms"
    assert changes.signed("error_rate", 0.0412) == "+4.1 pt"
    assert changes.signed("error_rate", -0.0001) == "±0.0 pt"
    assert changes.signed("calls", 12.3) == "+12.3"
    assert changes.signed("mean", None) == "–"
    assert changes.tone(change(difference_nano=-5, significant=True)) == "faster"
    assert changes.tone(change(difference_nano=-5)) == "muted"


def test_compare_two_halves(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """catalog's queries are retried in the second half, and nothing else changes."""
    shown = drawn(run(shop_store, monkeypatch, "compare", window="all"))
    assert list(shown) == ["head", "routes", "spread", "measures", "flame", "nodes"]
    assert words(shown["head"]["callout"]).startswith("3 of 8 routes changed beyond chance.")
    assert shown["head"]["tone"] == "warn"
    rows = shown["routes"]["rows"]
    slower = [row["id"] for row in rows if row["cells"][7]["tone"] == "slower"]
    assert slower == [
        '["db", "POST /query"]', '["catalog", "GET /items/{id}"]', '["frontend", "GET /product/{id}"]',
    ]  # fmt: skip
    assert [row["chosen"] for row in rows] == [True] + 7 * [False]
    p99 = rows[0]["cells"][6]
    assert (p99["text"], p99["tone"]) == ("+138 ms", "slower")
    assert 0.5 < p99["low"] < p99["at"] <= p99["high"]
    assert "95 % within +115 ms to +165 ms, n 972 and 964" in p99["title"]
    sides_drawn = shown["spread"]["sides"]
    assert [sum(side["counts"]) for side in sides_drawn] == [side["calls"] for side in sides_drawn] == [972, 964]
    assert [row["id"] for row in shown["measures"]["rows"]] == list(changes.MEASURES)


def test_the_differential_flame_adds_up(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own times sum to the root's, changes to that of the mean; what chance may explain is not sure."""
    params = {"window": "all", "service": "frontend", "route": "GET /product/{id}"}
    shown = drawn(run(shop_store, monkeypatch, "compare", **params))
    nodes = shown["flame"]["nodes"]
    assert sum(nodes["exclusive"]) == nodes["inclusive"][0]
    lens = Lens.open(str(shop_store))
    reach = lens.now_range()
    assert reach is not None
    found = sides.windows(Question(), "half", reach, {})
    rows = lens.compare(found.a, lens, found.b, route=("frontend", "GET /product/{id}")).rows
    (mean,) = rows.filter(kind="route", measure="mean")["difference_nano"]
    assert sum(nodes["change"]) == mean
    most = nodes["change"].index(max(nodes["change"]))
    assert nodes["operation"][most] == "db POST /query"
    assert nodes["sure"][most] is True
    assert not all(nodes["sure"])
    assert shown["nodes"]["rows"][0]["cells"][0]["strong"] == "db POST /query"


def test_compare_two_versions(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = run(shop_store, monkeypatch, "compare", window="all", by="version")
    shown = drawn(app)
    assert [row["id"] for row in shown["routes"]["rows"]] == ['["catalog", "GET /items/{id}"]']
    assert "p99 rose by 399 ms" in words(shown["head"]["callout"])
    assert [side["name"] for side in shown["spread"]["sides"]] == ["2.3.0", "2.3.1"]
    app.selectbox(key="version_a").select("2.3.1").run()
    app.selectbox(key="version_b").select("2.3.0").run()
    assert app.query_params == {"window": "all", "by": "version", "of": "catalog", "a": "2.3.1", "b": "2.3.0"}
    assert "p99 fell by 399 ms" in words(drawn(app)["head"]["callout"])


def test_compare_two_filters(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zones were dealt out in turn: nothing differs between them."""
    app = run(shop_store, monkeypatch, "compare", window="all", by="filter")
    assert "Write a filter for each side" in words(drawn(app)["head"]["callout"])
    app.text_input(key="filter_a").set_value("res.cloud.availability_zone=eu-a").run()
    app.text_input(key="filter_b").set_value("res.cloud.availability_zone=eu-b").run()
    shown = drawn(app)
    assert app.query_params["a"] == "res.cloud.availability_zone=eu-a"
    assert "No change beyond chance" in words(shown["head"]["callout"])
    assert shown["head"]["tone"] == "calm"
    assert {row["cells"][0]["strong"] for row in shown["routes"]["rows"]} == {"frontend"}


def test_another_kind_of_sides_forgets_the_last_ones(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = run(shop_store, monkeypatch, "compare", window="all", by="version", of="catalog", a="2.3.1", b="2.3.0")
    app.get("button_group")[0].set_value("filter").run()
    assert app.query_params == {"window": "all", "by": "filter"}


def test_a_side_without_a_call_is_named_with_a_way_out(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(run(shop_store, monkeypatch, "compare", window="6h", against="week"))
    callout = shown["head"]["callout"]
    assert words(callout).startswith("A has no call")
    assert callout[-1]["link"] == "compare?against=half"


def test_one_version_says_how_to_have_two(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(run(MESH, monkeypatch, "compare", by="version"))
    assert "OTEL_RESOURCE_ATTRIBUTES" in words(shown["head"]["callout"])


def test_few_calls_are_told_without_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is there once is in one half only; the other route has one call in each."""
    spans = [trace("web |---| kind=server op=GET", number=number, at=number * HOUR) for number in (1, 2)]
    shop.store(tmp_path / "store", *spans, trace("new |---| kind=server", number=3, at=2 * HOUR))
    shown = drawn(run(tmp_path, monkeypatch, "compare", window="all"))
    assert "No route has calls enough" in words(shown["head"]["callout"])
    assert {row["cells"][0]["strong"]: row["cells"][7]["text"] for row in shown["routes"]["rows"]} == {
        "new": "new",
        "web": "too few calls",
    }


def test_overview_leads_to_compare_and_findings(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sub = drawn(run(shop_store, monkeypatch, window="all"))["head"]["sub"]
    links = {one["text"]: one["link"] for one in sub if "link" in one}
    assert links == {"what changed →": "compare?against=half", "2 findings →": "findings"}
    recent = drawn(run(shop_store, monkeypatch, window="1h"))["head"]["sub"]
    assert next(one["link"] for one in recent if "link" in one) == "compare?against=before"


def test_an_empty_store_says_why_and_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(tmp_path / "store", create=True)
    app = run(tmp_path, monkeypatch, "compare")
    assert "No span has arrived yet." in words(drawn(app)["head"]["callout"])
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in app.code[0].value


def test_paths_with_several_roots_stand_under_one() -> None:
    """A profile of routes that begin differently has no single top."""
    rows = pl.DataFrame(
        {
            "node": [1, 2, 3],
            "parent": [None, None, 1],
            "path": [["web a"], ["web b"], ["web a", "db q"]],
            "layer": ["app", "app", "app"],
            "b": [5.0, 7.0, 11.0],
            "difference_nano": [1, -2, 3],
            "significant": [True, False, True],
        }
    )
    nodes, change, sure = changes.difference_tree(rows)
    assert [(node.operation, node.parent, node.inclusive_nano) for node in nodes] == [
        ("all paths", -1, 23), ("web a", 0, 16), ("web b", 0, 7), ("db q", 1, 11),
    ]  # fmt: skip
    assert (change, sure) == ([0, 1, -2, 3], [False, True, False, True])
