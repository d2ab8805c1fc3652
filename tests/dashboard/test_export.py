"""What is taken away: no formula is live in a table, no markup in Markdown."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import polars as pl
import pytest

from dashboard.components.headline import run as words
from dashboard.export import markdown
from tests.dashboard.test_pages import drawn, run
from tracelens.report import document

FORMULA = tuple("=+-@\t\r\n＝＋－＠")
NUMBER = re.compile(r"-?[0-9.]+(e[+-]?[0-9]+)?")
PRODUCT = {"window": "all", "service": "frontend", "route": "GET /product/{id}"}


def cells_of(text: str) -> list[str]:
    """Return all cells of a CSV text, as a spreadsheet reads them."""
    return [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]


def is_live(cell: str) -> bool:
    """Whether a spreadsheet would work a cell out; numbers are none."""
    return cell.startswith(FORMULA) and not NUMBER.fullmatch(cell)


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_a_name_that_is_a_formula_is_text(name: str) -> None:
    line = document.table(pl.DataFrame({"service": [name], "calls": [-3]})).split("\n", 1)[1]
    assert line.strip('"').startswith(f"'{name[0]}")
    assert line.rstrip().endswith(",-3")  # a number is none


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("name", ["a{}=1+1", 'a{}"=1+1"', "a{0}b{0}@SUM(1)", "a{}＝1", "-{}+1"])
def test_a_name_with_a_separator_of_other_countries_is_no_formula_there(name: str, separator: str) -> None:
    text = document.table(pl.DataFrame({"calls": [3], "service": [name.format(separator)], "route": ["GET /"]}))
    other = [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) for cell in row]
    assert [cell for cell in (*other, *cells_of(text)) if is_live(cell)] == []
    assert not any(part.lstrip('"').startswith(FORMULA) for part in text.split(separator)[1:])


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_a_name_of_two_lines_is_one_cell(end: str) -> None:
    """Or the second line would be a row of its own, and its formula live."""
    text = document.table(pl.DataFrame({"service": [f"web{end}=1+1"], "calls": [3]}))
    assert text.endswith(f'"web{end}=1+1",3\n')
    assert cells_of(text) == ["service", "calls", f"web{end}=1+1", "3"]


def test_markdown_is_what_the_page_says_and_its_names_are_text() -> None:
    head = [words("<b>*web*</b>", strong=True), words(" [a](http://127.0.0.2/)")]
    lines = [[words("p99 "), words("84 ms ", strong=True), words("see why", link="route")], [words("a\n# b")], []]
    assert markdown(head, lines) == (
        "**\\<b\\>\\*web\\*\\</b\\>** \\[a\\]\\(http\\://127\\.0\\.0\\.2/\\)\n\n- p99 **84 ms**\n- a \\# b"
    )


def test_spaces_stand_outside_the_stars() -> None:
    assert markdown([words(" 84 ms ", strong=True), words("more"), words(" "), words("")], []) == "**84 ms** more\n"


def test_route_and_trace_can_be_copied(shop_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    route = drawn(run(shop_store, monkeypatch, "route", **PRODUCT))["head"]["copy"]
    assert route.startswith("**frontend** GET /product/\\{id\\}\n\n- ")
    assert "is one operation\\: **db POST /query**" in route
    trace = drawn(run(shop_store, monkeypatch, "trace", trace=f"{7_000_001:032x}"))["head"]["copy"]
    assert trace.count("on the critical path") == 5
    assert f"{7_000_001:032x}" in trace


@pytest.mark.parametrize("page", ["overview", "route", "search", "compare", "findings"])
def test_tables_can_be_loaded_down(shop_store: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    (button,) = run(shop_store, monkeypatch, page, window="all").get("download_button")
    assert button.proto.label == "CSV"
