"""Deployments and since when: told where they are, with what came at the same time, and never of chance."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from dashboard import since, state
from dashboard.deploys import Deploy, deploys, since_link
from dashboard.page import Page
from tests.dashboard.test_pages import drawn, run, words
from tracelens.lens import Since
from tracelens.lens.versions import VERSIONS

MINUTE = 60_000_000_000
HOUR = 60 * MINUTE
KEY = ("frontend", "GET /")
PAGE = cast(Page, SimpleNamespace(clock=lambda nano: f"{nano // MINUTE} min"))


def versions(*rows: tuple[str, str, int]) -> pl.DataFrame:
    """Return VERSIONS of (service, version, minute of the first call)."""
    made = [
        {
            "service": service,
            "key": "res.service.version",
            "version": version,
            "calls": 9,
            "first_unix_nano": at * MINUTE,
        }
        for service, version, at in rows
    ]
    frame = pl.DataFrame(made, schema=VERSIONS)
    return frame.sort("service", "key", "first_unix_nano", "version", descending=[False, False, True, False])


def test_a_deployment_is_the_first_call_of_a_version_that_was_not_there_before() -> None:
    rows = versions(
        ("a", "1", 0),
        ("a", "2", 20),
        ("a", "3", 40),
        ("b", "1", 0),
        ("b", "2", 0),
        ("c", "1", 0),
        ("d", "1", 0),
        ("d", "2", 30),
    )
    found = deploys(rows, {"a", "b", "c"}, 0, HOUR)
    assert found == [
        Deploy(service="a", version="3", before="2", at_nano=40 * MINUTE),
        Deploy(service="a", version="2", before="1", at_nano=20 * MINUTE),
    ]


def changed(before: float, after: float, at: int) -> Since:
    return Since(at_nano=at * MINUTE, width_nano=MINUTE, before_nano=before * 1e6, after_nano=after * 1e6, p_value=1e-6)


@pytest.mark.parametrize(
    ("found", "at", "said"),
    [
        (changed(20, 80, 21), 20, "p99 rose from about 20.0 ms to 80.0 ms at 21 min, when a 2 came. What changed → "),
        (changed(80, 20, 21), 40, "p99 fell from about 80.0 ms to 20.0 ms at 21 min. What changed → "),
        (changed(20, 22, 21), 20, "a 2 came at 20 min. What changed → "),
        (changed(0.2, 0.8, 21), None, ""),
        (None, None, ""),
    ],
)  # fmt: skip
def test_it_is_said_in_words(found: Since | None, at: int | None, said: str) -> None:
    came = [] if at is None else [Deploy(service="a", version="2", before="1", at_nano=at * MINUTE)]
    assert words(since.sentence(PAGE, found, came, KEY, (0, HOUR))) == said


def test_the_link_compares_after_with_before() -> None:
    params = since_link(20 * MINUTE, 0, HOUR, KEY)
    read = state.parse(params, "compare")
    assert (read.start_nano, read.end_nano) == (20 * MINUTE, HOUR)
    assert read.page["a_end"] == params["start"]
    assert (read.page["service"], read.page["route"], read.page["against"]) == (*KEY, "own")


def test_the_route_page_marks_it_and_leads_to_what_changed(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(run(shop_store, monkeypatch, "route", window="all", service="frontend", route="GET /product/{id}"))
    (mark,) = shown["heatmap"]["marks"]
    assert mark["text"] == "catalog 2.3.1"
    middle = (shown["heatmap"]["start_ms"] + shown["heatmap"]["end_ms"]) / 2
    assert abs(mark["at_ms"] - middle) < 120_000
    link = next(one["link"] for one in shown["head"]["callout"] if one["text"] == "What changed →")
    params = dict(line.partition("=")[::2] for line in link.split("\n")[1:])
    compared = drawn(run(shop_store, monkeypatch, "compare", **cast(dict[str, Any], params)))
    assert words(compared["head"]["title"])
    assert "routes" in compared


def test_of_very_many_spans_no_version_is_looked_for(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.views.route.VERSIONED_SPANS", 10)
    shown = drawn(run(shop_store, monkeypatch, "route", window="all", service="frontend", route="GET /product/{id}"))
    assert shown["heatmap"]["marks"] == []
    assert "came" not in json.dumps(shown["head"]["callout"])
