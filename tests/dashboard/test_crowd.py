"""Pages with two hundred services, with one, and with none: all of it is drawn, fits, and can be used."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.dashboard import crowd, shop
from tests.dashboard.conftest import HOUR, Open, Serve, dashboard, settled
from tests.dashboard.test_browser import component
from tests.dashboard.test_browser_pages import fits

pytestmark = [pytest.mark.browser, pytest.mark.process]

TRACES = 180  # together they have every edge
MAP = "/map?window=all&live=0"
PAGES = ("/", "/route", "/critical-path", MAP, "/search", "/trace?trace=1", "/compare", "/findings", "/board")
# Whether two services of the map cover each other, and whether one lies outside of the drawing.
COLLISIONS = """(drawing) => {
  const within = drawing.getBoundingClientRect();
  const boxes = [...drawing.querySelectorAll('.service > rect:first-child')].map((one) => one.getBoundingClientRect());
  const outside = boxes.filter(
    (a) => a.left < within.left - 1 || a.right > within.right + 1 || a.bottom > within.bottom + 1);
  const over = boxes.filter((a, at) => boxes.slice(at + 1).some(
    (b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom));
  return [boxes.length, outside.length, over.length];
}"""

FITS = "innerWidth === 1440 && document.documentElement.scrollWidth <= innerWidth"


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    start = time.time_ns() - 2 * HOUR
    store = shop.store(tmp_path_factory.mktemp("crowd") / "store", crowd.spans(TRACES, start, HOUR))
    with dashboard(store) as url:
        yield url


def drawing(page: Page) -> Locator:
    return component(page, "map").locator("svg.graph")


def lit(page: Page) -> set[str]:
    """Return the services that stand out."""
    return set(drawing(page).locator(".service.lit").evaluate_all("all => all.map((one) => one.dataset.name)"))


def test_the_map_of_two_hundred_services_fits_and_shows_whom_each_has_to_do_with(visit: Open, crowded: str) -> None:
    callees = crowd.edges()
    page = visit(MAP, base=crowded)
    expect(component(page, "map")).to_have_attribute("data-rows", str(sum(map(len, callees.values()))))
    assert drawing(page).evaluate(COLLISIONS) == [200, 0, 0]
    plot, drawn = component(page, "map").locator(".plot").bounding_box(), drawing(page).bounding_box()
    assert plot is not None
    assert drawn is not None
    assert drawn["width"] <= plot["width"] + 1
    assert fits(page)
    # Of so many lines only those that stand out, and the one chosen, say their number.
    expect(drawing(page).locator(".rate:visible")).to_have_count(1)
    name = crowd.names()[1][3]
    drawing(page).locator(f".service[data-name={name}]").hover()
    around = {name, *callees[name], *(caller for caller, some in callees.items() if name in some)}
    expect(drawing(page)).to_have_class(re.compile("dimmed"))
    assert lit(page) == around
    expect(drawing(page).locator(".rate.lit:visible")).to_have_count(len(around) - 1)
    page.mouse.move(5, 5)
    expect(drawing(page)).not_to_have_class(re.compile("dimmed"))


def test_one_line_of_many_is_in_the_tab_order_and_arrows_lead_on(visit: Open, crowded: str) -> None:
    page = visit(MAP, base=crowded)
    first = drawing(page).locator(".edge[tabindex='0']")
    expect(first).to_have_count(1)
    before = first.get_attribute("data-id")
    first.focus()
    assert len(lit(page)) == 2
    page.keyboard.press("ArrowRight")
    expect(first).to_have_count(1)
    expect(first).to_be_focused()
    assert first.get_attribute("data-id") != before
    said = first.get_attribute("aria-label") or ""
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("edge="))
    expect(component(page, "hops").locator("h2")).to_have_text(said.split(":")[0].replace(" calls ", " → "))


def test_every_page_of_two_hundred_services_fits(visit: Open, crowded: str) -> None:
    """On a phone, and when that becomes a desk."""
    page = visit("/", base=crowded, width=390, dark=True)
    for path in PAGES:
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(crowded + path)
        settled(page)
        assert fits(page), path
        if path == MAP:
            assert drawing(page).evaluate(COLLISIONS) == [200, 0, 0]
        page.set_viewport_size({"width": 1440, "height": 900})
        page.wait_for_function(FITS)


def test_every_page_of_one_service_fits_and_says_what_is_not_there(visit: Open, serve: Serve, tmp_path: Path) -> None:
    start = time.time_ns() - 2 * HOUR
    base = serve(shop.store(tmp_path / "store", crowd.alone(200, start, HOUR)))
    page = visit("/", base=base, width=390)
    expect(component(page, "head")).to_contain_text("1 service, 1 route, by impact")
    for path in PAGES[1:]:
        page.goto(base + path)
        settled(page)
        assert fits(page), path
        if path == MAP:
            assert drawing(page).evaluate(COLLISIONS) == [1, 0, 0]
            expect(component(page, "head")).to_contain_text("No call between two services has spans of both.")
