"""Boards in a real browser: making a chart, looking at it by pointer and keys, taking the board away and back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.dashboard import shop
from tests.dashboard.conftest import Open, Serve
from tests.dashboard.test_browser import component

pytestmark = [pytest.mark.browser, pytest.mark.process]

START = 1_767_571_200 * 10**9  # 2026-01-05T00:00:00Z
MINUTE = 60_000_000_000
BOARD = "/board?window=all&live=0"


@pytest.fixture
def kept(tmp_path: Path, serve: Serve) -> str:
    """The address of a dashboard on a store of its own: boards are kept in it."""
    return serve(shop.store(tmp_path / "store", shop.spans(300, START, 30 * MINUTE)))


def test_a_chart_is_made_looked_at_taken_away_and_brought_back(kept: str, visit: Open, tmp_path: Path) -> None:
    page = visit(BOARD, base=kept)
    component(page, "chart_5")
    page.get_by_role("button", name="Add a chart").click()
    form = page.locator(".st-key-chart_form")
    form.get_by_role("textbox", name="threshold").fill("20ms")
    form.get_by_role("textbox", name="threshold").press("Enter")
    form.get_by_role("textbox", name="filter").fill("service=db")
    form.get_by_role("textbox", name="filter").press("Enter")
    preview = component(page, "chart_preview")
    expect(preview.locator("h2")).to_have_text("p99 by service, service=db")
    expect(preview.locator(".alert")).to_contain_text("over 20ms")
    page.get_by_role("button", name="Add", exact=True).click()
    page.wait_for_url(re.compile("board=mesh"))
    made = component(page, "chart_6")
    expect(made.locator("h2")).to_have_text("p99 by service, service=db")
    canvas = made.locator("canvas")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    expect(made.locator(".tooltip")).to_contain_text("00:00:0")
    canvas.hover()
    expect(made.locator(".tooltip")).to_contain_text(re.compile(r"db: [0-9.]+ (ms|µs) \(n [0-9]+\)"))
    made.get_by_text("as a table").click()
    expect(made.locator(".twin tbody tr")).to_have_count(60)
    page.get_by_role("button", name="move this chart forward").nth(6).click()
    expect(component(page, "chart_5").locator("h2")).to_have_text("p99 by service, service=db")
    with page.expect_download() as loading:
        page.get_by_role("button", name="TOML").click()
    assert loading.value.suggested_filename == "tracelens-mesh.toml"
    text = loading.value.path().read_text()
    assert text.count("[[charts]]") == 7
    taken = tmp_path / "board.toml"
    taken.write_text(text.replace('title = "Mesh"', 'title = "Ours"', 1))
    page.get_by_role("button", name="Boards").first.click()
    page.locator("input[type=file]").set_input_files(taken)
    page.wait_for_url(re.compile("board=ours"))
    expect(component(page, "head").locator("h1")).to_have_text("Board Ours")
    page.go_back()
    expect(component(page, "head").locator("h1")).to_have_text("Board Mesh")


def test_a_view_that_was_saved_leads_back(kept: str, visit: Open) -> None:
    page = visit("/map?window=all&live=0&percentile=p90", base=kept)
    component(page, "map")
    page.locator(".st-key-views button").first.click()
    page.get_by_label("name of this view").fill("the map at p90")
    page.get_by_label("name of this view").press("Enter")
    page.get_by_role("button", name="Save this view").click()
    expect(page.get_by_role("link", name="the map at p90")).to_be_visible()
    other = visit("/findings?window=all&live=0", base=kept)
    component(other, "head")
    other.locator(".st-key-views button").first.click()
    other.get_by_role("link", name="the map at p90").click()
    other.wait_for_url(re.compile(r"/map\?.*percentile=p90"))
    component(other, "map")


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone(kept: str, visit: Open, dark: bool) -> None:
    page = visit(BOARD, base=kept, width=390, dark=dark)
    component(page, "chart_5")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    names = [page.locator(f".st-key-chart_{at} h2").inner_text() for at in range(6)]
    tops = [page.locator(f".st-key-chart_{at}").bounding_box() for at in range(6)]
    assert names[0] == "p99 by service"
    assert [box["y"] for box in tops if box] == sorted(box["y"] for box in tops if box)
