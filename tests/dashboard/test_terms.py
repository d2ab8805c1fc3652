"""The glossary: a plain sentence each, and no word of a heading on any page without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboard.format import layer_name
from dashboard.palette import LAYERS
from dashboard.terms import TERMS, WRITTEN, glossary, help_of, marked
from tests.dashboard.shots import PAGES
from tests.dashboard.test_pages import drawn, run

# Headings that say all there is to say.
PLAIN = {"", "trace", "id", "start", "value", "host", "other"}
ROUTE = PAGES["route"]
SEEN = {
    **PAGES,
    "compare": {"by": "halves", "against": "half", **ROUTE},
    "trace": {**PAGES["trace"], "span": f"{1:016x}"},
}


@pytest.mark.parametrize("word", TERMS)
def test_a_term_is_one_plain_sentence(word: str) -> None:
    means = TERMS[word]
    assert means[0].isupper()
    assert means.endswith(".")
    assert ". " not in means
    assert len(means) < 125


def test_every_layer_is_a_term() -> None:
    assert [name for name in map(layer_name, LAYERS) if help_of(name) is None] == []


def test_terms_are_found_in_running_text_once_each_and_nothing_is_lost() -> None:
    text = (
        "p99 of n 1,200 calls, p99 again; sampled 1.0 % · coverage 93 % · exact, on time on the path and critical paths"
    )
    parts = marked(text)
    assert "".join(part for part, _ in parts) == text
    assert [part for part, means in parts if means] == [
        "p99", "n", "sampled", "coverage", "exact", "time on the path", "critical paths",
    ]  # fmt: skip
    assert marked("an exactly-sampled p990 and nothing") == [("an exactly-sampled p990 and nothing", None)]
    assert set(WRITTEN.values()) <= set(TERMS)


def test_the_list_of_words_has_all_of_them() -> None:
    rows = glossary().splitlines()[2:]
    assert len(rows) == len(set(TERMS.values()))
    assert all(row.count("|") == 3 for row in rows)


def _unexplained(shown: dict[str, Any]) -> list[str]:
    """Return the headings of a component that are neither plain nor explained."""
    columns = shown["columns"] if "stack" in shown else []  # of a table; a heatmap has so many
    heads = [*columns, *shown.get("tiles", [])]
    return [one["label"] for one in heads if not one["help"] and one["label"] not in PLAIN]


@pytest.mark.parametrize("page", SEEN)
def test_no_heading_is_without_help(shop_store: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    shown = drawn(run(shop_store, monkeypatch, page, window="6h", **SEEN[page]))
    assert {key: found for key, one in shown.items() if (found := _unexplained(one))} == {}
    explained = {run["text"] for run in shown["head"]["status"]["runs"] if run.get("title")}
    assert "exact" in explained


def test_panels_say_what_they_are_about(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(run(shop_store, monkeypatch, "route", window="all", **ROUTE))
    assert [shown[key]["help"] for key in ("contrast", "reasons", "layers", "exemplars")] == [
        TERMS["baseline"], TERMS["tail attribution"], TERMS["hop bar"], None,
    ]  # fmt: skip
    assert shown["heatmap"]["terms"]["p99"] == TERMS["p99"]
    assert [row["cells"][0]["help"] for row in shown["layers"]["rows"]] == [
        TERMS[row["cells"][0]["strong"]] for row in shown["layers"]["rows"]
    ]
