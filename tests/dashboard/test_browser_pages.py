"""Search, Compare and Findings in a real browser: keys, links, Back, hostile names."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.builders import trace
from tests.dashboard import shop
from tests.dashboard.conftest import Open, Serve
from tests.dashboard.test_browser import HOSTILE, component, path_of
from tracelens.spans import concat

pytestmark = [pytest.mark.browser, pytest.mark.process]

TRACE = f"{7_000_001:032x}"
STILL = "window=all&live=0"  # what is clicked through here must not move on by itself meanwhile
SEARCH = f"/search?{STILL}"
COMPARE = f"/compare?{STILL}"
FINDINGS = f"/findings?{STILL}"
HALF = 1_800_000_000_000  # an hour, in nanoseconds
VERSION = "res:service.version"


def fits(page: Page) -> bool:
    """Return whether nothing sticks out on the right."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize("path", [SEARCH, COMPARE, FINDINGS])
def test_every_page_draws_on_a_phone(visit: Open, path: str) -> None:
    page = visit(path, width=390, dark=True)
    keys = {SEARCH: ("head", "found"), COMPARE: ("head", "routes", "spread", "measures", "flame", "nodes")}
    for key in keys.get(path, ("head", "findings", "absent")):
        expect(component(page, key)).to_have_attribute("data-rows", re.compile(r"^[1-9]"))
    assert fits(page)


def test_a_pasted_trace_id_opens_its_trace_and_so_does_a_row(visit: Open) -> None:
    """`/` goes to the field; an id with 0x and without its zeros is the same trace."""
    page = visit(SEARCH)
    found = component(page, "found")
    assert fits(page)
    page.keyboard.press("/")
    expect(page.get_by_label("trace id")).to_be_focused()
    page.keyboard.type(f"0x{7_000_001:X}")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(f"/trace\\?.*trace={TRACE}"))
    component(page, "waterfall")
    page.go_back()
    page.wait_for_url(re.compile("/search"))
    expect(found).to_have_attribute("data-rows", "1000")
    page.keyboard.press("j")
    expect(found.locator("tbody tr").first).to_be_focused()
    wanted = found.locator("tbody tr").first.get_attribute("data-id")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(f"trace={wanted}"))
    component(page, "waterfall")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="copy as Markdown").click()
    expect(page.get_by_role("button", name="copied")).to_be_visible()
    said = page.evaluate("navigator.clipboard.readText()")
    assert said.startswith("**frontend** GET /product/\\{id\\}\n\n- ")
    assert "**db POST /query**" in said
    assert said.endswith(f"- <{page.url}>\n")


def test_of_many_rows_the_near_ones_are_drawn(visit: Open) -> None:
    """Keys and the wheel reach the others, and who looks for a word finds it in all of them."""
    page = visit(SEARCH)
    found = component(page, "found")
    rows = found.locator("tbody tr")
    expect(rows).to_have_count(100)
    rows.last.focus()
    page.keyboard.press("j")
    expect(rows.nth(100)).to_be_focused()
    expect(rows).to_have_count(200)
    rows.last.scroll_into_view_if_needed()
    expect(rows).to_have_count(300)
    page.keyboard.press("Control+f")
    expect(rows).to_have_count(1_000)
    expect(found.locator("table")).to_have_attribute("aria-rowcount", "1001")


def test_a_finding_opens_the_span_it_is_about(visit: Open) -> None:
    """By key its trace with the span chosen; by a link its route."""
    page = visit(FINDINGS)
    assert fits(page)
    first = component(page, "findings").locator(".finding").first
    expect(first).to_contain_text("20 of 1,896 calls took more than one attempt")
    page.keyboard.press("j")
    expect(first).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/trace\?.*span=[0-9a-f]{16}"))
    expect(component(page, "facts").locator("h2")).to_have_text("db POST /query")
    page.go_back()
    component(page, "findings")
    with page.expect_download() as loading:
        page.get_by_role("button", name="CSV").click()
    loaded = loading.value
    assert loaded.suggested_filename == "tracelens-findings.csv"
    assert loaded.path().read_text().startswith("kind,service,route,traces,cost_nano,")
    page.keyboard.press("?")
    expect(page.get_by_text("only the critical path of a trace")).to_be_visible()
    expect(page.get_by_role("cell", name="lift", exact=True)).to_be_attached()  # and what words mean
    page.keyboard.press("Escape")
    component(page, "findings").get_by_role("button", name="its route →").first.click()
    page.wait_for_url(re.compile(r"/route\?.*service=db"))
    expect(component(page, "head").locator("h1")).to_have_text("db POST /query")


def test_what_changed_leads_from_the_overview_to_a_route(visit: Open) -> None:
    page = visit(f"/?{STILL}")
    component(page, "head").get_by_role("button", name="what changed →").click()
    page.wait_for_url(re.compile("/compare"))
    routes = component(page, "routes")
    expect(routes.locator("tbody tr.chosen")).to_contain_text("POST /query")
    routes.locator("tbody tr", has_text="GET /product/{id}").click()
    page.wait_for_url(re.compile("service=frontend"))
    expect(component(page, "spread").locator("h2")).to_have_text("frontend GET /product/{id}")
    flame = component(page, "flame")
    expect(flame.locator("canvas")).to_have_attribute("aria-label", re.compile("frontend GET /product"))
    flame.locator("canvas").click(position={"x": 20, "y": 77})
    page.wait_for_url(re.compile("zoom="))
    linked = visit(path_of(page))
    expect(component(linked, "spread").locator("h2")).to_have_text("frontend GET /product/{id}")
    expect(component(linked, "flame")).to_have_attribute("data-rows", flame.get_attribute("data-rows") or "")
    component(page, "spread").get_by_text("as a table").click()
    expect(component(page, "spread").locator("tbody tr")).to_have_count(20)
    assert fits(page)
    page.get_by_role("radio", name="two versions").click()
    page.wait_for_url(lambda url: "by=version" in url and "zoom=" not in url)
    expect(component(page, "spread")).to_contain_text("2.3.1, n 390")


def test_names_are_text_and_never_markup(visit: Open, serve: Serve, tmp_path: Path) -> None:
    """Whatever spans, versions and routes are called: none of it runs, all of it can be read."""
    calls = f"kind=client service={HOSTILE} op=<b>{HOSTILE}"
    drawing = f"""
        root |-----------------------| kind=server service={HOSTILE} op=[a](http://127.0.0.2/) {VERSION}=%s
         a   |---|                     {calls}
         b       |---|                 {calls}
         c           |---|             {calls}
         d               |---|         {calls}
         e                   |---|     {calls}
    """
    start = time.time_ns() - HALF
    spans = [
        trace(drawing % (HOSTILE if number % 2 else "**b**"), number=number, at=start + number * 1_000_000_000)
        for number in range(1, 80)
    ]
    base = serve(shop.store(tmp_path / "store", concat(spans)))
    route = urlencode({"service": HOSTILE, "route": "[a](http://127.0.0.2/)"})
    for path in (f"{SEARCH}&{route}", f"{COMPARE}&by=version", FINDINGS):
        page = visit(path, base=base)
        expect(page.locator("body")).to_contain_text("<img/src=x/onerror")
        assert page.evaluate("window.owned") is None
        assert page.locator("img[src=x], a[href^='http://127.0.0.2']").count() == 0
