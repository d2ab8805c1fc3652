"""The pages in a real browser: what is drawn, dragged, typed and linked. No console error, no request to elsewhere."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.builders import trace
from tests.dashboard import shop
from tests.dashboard.conftest import Open, Serve
from tracelens.store import Store

pytestmark = [pytest.mark.browser, pytest.mark.process]

PRODUCT = "service=frontend&route=GET+%2Fproduct%2F%7Bid%7D"
TRACE = f"{7_000_001:032x}"
PAGES = ("/", f"/route?{PRODUCT}&window=all", "/critical-path?window=all", f"/trace?trace={TRACE}", "/map?window=all")


def component(page: Page, key: str) -> Locator:
    """Return the root of a component, drawn."""
    found = page.locator(f".st-key-{key} .tracelens")
    expect(found).to_have_attribute("data-ready", re.compile("."))
    return found


def path_of(page: Page) -> str:
    """Return path and parameters of a page's address, to open them elsewhere."""
    return "/" + page.url.split("/", 3)[3]


def drag(page: Page, canvas: Locator, begin: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag from one place of a canvas to another, both as shares of its size."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (begin, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("width", [1440, 390])
def test_every_page_draws_in_its_width(visit: Open, path: str, width: int) -> None:
    """Nothing sticks out on the right, on a desk or on a phone."""
    page = visit(path, width=width)
    for one in page.locator(".tracelens").all():
        expect(one).to_have_attribute("data-rows", re.compile(r"^[1-9]"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_rows_open_by_keyboard_and_back_returns(visit: Open) -> None:
    page = visit("/?window=all")
    routes = component(page, "routes")
    expect(routes).to_have_attribute("data-rows", "8")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(routes.locator("tbody tr").nth(1)).to_be_focused()
    name = routes.locator("tbody tr").nth(1).locator(".name").get_attribute("title")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/route"))
    expect(component(page, "head").locator("h1")).to_have_text(name or "")
    assert "window=all" in page.url
    page.go_back()
    page.wait_for_url(re.compile(r"/\?window=all$"))
    expect(component(page, "routes").locator("tbody tr")).to_have_count(8)


def test_a_box_is_dragged_linked_to_and_cleared(visit: Open) -> None:
    page = visit(f"/route?{PRODUCT}&window=all")
    canvas = component(page, "heatmap").locator("canvas")
    contrast = component(page, "contrast").locator("h2")
    before = contrast.inner_text()
    drag(page, canvas, (0.55, 0.05), (0.9, 0.5))
    page.wait_for_url(re.compile("box="))
    expect(contrast).not_to_have_text(before)
    expect(component(page, "head").locator(".status")).to_have_attribute("data-state", "paused")
    expect(component(page, "contrast").locator("tbody tr").first).to_contain_text("retry.count")
    selected = contrast.inner_text()

    linked = visit(path_of(page))
    expect(component(linked, "contrast").locator("h2")).to_have_text(selected)

    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "box=" not in url)
    expect(contrast).to_have_text(before)
    page.go_back()
    page.wait_for_url(re.compile("box="))
    expect(contrast).to_have_text(selected)


def test_the_box_moves_by_the_arrow_keys(visit: Open) -> None:
    page = visit(f"/route?{PRODUCT}&window=all")
    canvas = component(page, "heatmap").locator("canvas")
    drag(page, canvas, (0.55, 0.05), (0.9, 0.5))
    page.wait_for_url(re.compile("box="))
    before = page.url
    canvas.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(lambda url: "box=" in url and url != before)


def test_the_bar_follows_what_is_drawn_below_it(visit: Open) -> None:
    """The first box also says which route it is of; the other pages open with that."""
    page = visit("/route?window=all")
    drag(page, component(page, "heatmap").locator("canvas"), (0.55, 0.05), (0.9, 0.5))
    page.wait_for_url(re.compile("service=.*box="))
    name = component(page, "head").locator("h1").inner_text()
    expect(component(page, "contrast").locator(".note")).to_have_text("the box drawn")
    page.locator(".st-key-bar").get_by_role("link", name="Critical path").click()
    page.wait_for_url(lambda url: "/critical-path" in url and "service=" in url and "box=" not in url)
    expect(page.get_by_label("route")).to_have_value(name)


def test_a_value_becomes_a_filter(visit: Open) -> None:
    page = visit(f"/route?{PRODUCT}&window=all")
    row = component(page, "contrast").locator("tbody tr", has_text="retry.count")
    row.get_by_text("without").click()
    page.wait_for_url(re.compile("where=attr.retry.count%21%3D2"))
    expect(page.get_by_label("filter")).to_have_value("attr.retry.count!=2")
    expect(component(page, "contrast")).not_to_contain_text("retry.count")


def test_the_flame_zooms_by_click_and_key(visit: Open) -> None:
    page = visit("/critical-path?window=all")
    flame = component(page, "flame")
    whole = int(flame.get_attribute("data-rows") or 0)
    flame.locator("canvas").click(position={"x": 20, "y": 55})
    page.wait_for_url(re.compile("zoom="))
    expect(flame).not_to_have_attribute("data-rows", str(whole))
    zoomed = flame.get_attribute("data-rows")
    linked = visit(path_of(page))
    expect(component(linked, "flame")).to_have_attribute("data-rows", zoomed or "")
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "zoom=" not in url)
    expect(flame).to_have_attribute("data-rows", str(whole))


def test_a_band_is_chosen_and_linked_to(visit: Open) -> None:
    page = visit("/critical-path?window=all")
    page.get_by_role("radio", name="slowest 1 %").or_(page.get_by_role("button", name="slowest 1 %")).click()
    page.wait_for_url(re.compile("band=99-100"))
    expect(component(page, "head")).to_contain_text("slowest 1 %")


def test_a_trace_is_walked_by_keyboard(visit: Open) -> None:
    page = visit(f"/trace?trace={TRACE}&span={1:016x}")  # or the span is chosen that most of it is in
    waterfall = component(page, "waterfall")
    spans = int(waterfall.get_attribute("data-rows") or 0)
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("k")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("span=0000000000000003"))
    expect(component(page, "facts")).to_contain_text("on the critical path")
    page.keyboard.press("[")
    expect(waterfall).not_to_have_attribute("data-rows", str(spans))
    page.keyboard.press("]")
    expect(waterfall).to_have_attribute("data-rows", str(spans))
    page.keyboard.press("p")
    page.wait_for_url(re.compile("only=1"))
    page.keyboard.press("/")
    expect(page.get_by_label("filter")).to_be_focused()


def test_an_edge_of_the_map_opens_by_key_and_by_click(visit: Open) -> None:
    page = visit(PAGES[4])
    edges = component(page, "map").locator("g.edge")
    expect(edges).to_have_count(6)
    last = edges.nth(2)
    name = last.get_attribute("aria-label")
    assert name is not None
    caller, _, callee = name.split(":")[0].partition(" calls ")
    last.focus()
    page.keyboard.press("Enter")
    expect(component(page, "hops")).to_contain_text(f"{caller} → {callee}")
    expect(component(page, "map").locator("g.edge[aria-pressed=true]")).to_have_count(1)
    assert "edge=" in page.url
    component(page, "hops").locator("tbody tr").first.click()
    expect(page.locator(".st-key-heatmap")).to_be_visible()
    assert f"service={callee}" in page.url


def test_a_percentile_of_the_map_is_chosen_and_linked_to(visit: Open) -> None:
    page = visit("/map?window=all&percentile=p50")
    expect(component(page, "map")).to_contain_text("p50 of calls")
    page.get_by_role("radio", name="p90").click()
    expect(component(page, "map")).to_contain_text("p90 of calls")
    assert "percentile=p90" in page.url


def test_a_pasted_trace_id_opens(visit: Open) -> None:
    page = visit("/trace?window=all")
    page.get_by_label("trace id").fill(TRACE)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(TRACE))
    expect(component(page, "waterfall").locator("canvas[aria-label]")).to_have_attribute(
        "aria-label", re.compile(r"Waterfall of \d+ spans")
    )


@pytest.mark.parametrize(("path", "key"), [(PAGES[1], "heatmap"), (PAGES[2], "flame"), (PAGES[3], "waterfall")])
def test_a_canvas_has_an_equivalent_table(visit: Open, path: str, key: str) -> None:
    page = visit(path)
    found = component(page, key)
    found.get_by_text("as a table").click()
    expect(found.locator("tbody tr").nth(3)).to_be_visible()
    same = re.compile("The table below says the same")
    expect(found.locator("canvas[role=img]")).to_have_attribute("aria-label", same)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("path", PAGES[1:])
def test_the_theme_is_the_viewers(visit: Open, path: str, dark: bool) -> None:
    page = visit(path, dark=dark)
    canvas = page.locator(".tracelens:has(canvas), .tracelens:has(svg.graph)").first
    expect(canvas).to_have_attribute("data-theme", "dark" if dark else "light")
    ground = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert ground == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")


def test_the_theme_changes_while_the_page_is_open(visit: Open) -> None:
    page = visit(PAGES[2])
    flame = component(page, "flame")
    expect(flame).to_have_attribute("data-theme", "light")
    page.emulate_media(color_scheme="dark")
    expect(flame).to_have_attribute("data-theme", "dark")


def test_links_keep_window_and_filter(visit: Open) -> None:
    page = visit("/?window=6h&where=service%3Dfrontend")
    page.get_by_role("link", name="Critical path").click()
    page.wait_for_url(re.compile("/critical-path"))
    expect(page.get_by_label("filter")).to_have_value("service=frontend")
    assert "window=6h" in page.url


def test_scripts_come_from_files_of_this_server_only(visit: Open, url: str) -> None:
    """The policy in force; what it would refuse is a console error, and no page has one."""
    page = visit("/")
    with page.expect_response(url + "/") as answered:
        page.reload()
    policy = answered.value.headers["content-security-policy"]
    assert re.search(r"script-src 'self'( 'sha256-[^']+')+($|;)", policy)
    assert "unsafe-eval" not in policy


@pytest.mark.slow
def test_the_installed_wheel_draws_the_same(visit: Open, serve: Serve, shop_store: Path, installed: Path) -> None:
    """Not only the source tree: files that the wheel lacks would be missing here."""
    base = serve(shop_store, installed=installed)
    for path, key in zip(PAGES, ("routes", "heatmap", "flame", "waterfall", "map"), strict=True):
        component(visit(path, base=base), key)


HOSTILE = "<img/src=x/onerror=window.owned=1>"


def test_names_are_text_and_never_markup(visit: Open, serve: Serve, tmp_path: Path) -> None:
    """A span may be called anything; none of it runs, and all of it can be read."""
    drawing = f"{HOSTILE} |--------| kind=server op=<b>{HOSTILE}\n **bold** |---| kind=server op=[a](http://127.0.0.2/)"
    at = time.time_ns() - 3_600_000_000_000
    spans = [trace(drawing, number=number, at=at + number * 1_000_000) for number in range(1, 40)]
    base = serve(shop.store(tmp_path / "store", *spans[:1], *spans[1:]))
    route = urlencode({"service": HOSTILE, "route": f"<b>{HOSTILE}"})
    for path in ("/?", f"/route?{route}", f"/critical-path?{route}", f"/trace?trace={1:032x}"):
        page = visit(f"{path}&window=all", base=base)
        expect(page.locator("body")).to_contain_text("<img/src=x/onerror")
        assert page.evaluate("window.owned") is None
        assert page.locator("img[src=x]").count() == 0


def test_live_moves_on_by_itself(visit: Open, serve: Serve, tmp_path: Path) -> None:
    """Spans that arrive while the page is open appear; nobody touches it."""
    hour = 3_600_000_000_000
    store = shop.store(tmp_path / "store", shop.spans(40, time.time_ns() - hour // 2, hour // 4))
    base = serve(store)
    page = visit("/?window=1h", base=base)
    tile = component(page, "tiles").locator("[data-label=p50] .n")
    expect(tile).to_have_text("n 40")
    Store.open(store).append(shop.spans(60, time.time_ns() - hour // 4, hour // 8, seed=8), {"more": 1})
    expect(tile).to_have_text("n 100", timeout=30_000)


def test_ten_thousand_spans_are_drawn_at_once(visit: Open, serve: Serve, tmp_path: Path) -> None:
    """Only the rows in sight are drawn, however long the trace."""
    head = "root |" + "-" * 400 + "| kind=server"
    rows = [f" child{number} {' ' * (number % 380)}|---|" for number in range(10_000)]
    width = max(len(row.partition("|")[0]) for row in rows)
    lines = [head.replace("root ", "root ".ljust(width - 370)), *(row.replace(" |", " |") for row in rows)]
    spans = trace("\n".join(lines), at=time.time_ns() - 60_000_000_000)
    base = serve(shop.store(tmp_path / "store", spans))
    page = visit(f"/trace?trace={1:032x}", base=base)
    waterfall = component(page, "waterfall")
    expect(waterfall).to_have_attribute("data-rows", "10001")
    few = re.compile(r"^[1-9][0-9]$")
    expect(waterfall).to_have_attribute("data-in-sight", few)
    drawn = waterfall.get_attribute("data-ready")
    scrolled = waterfall.locator(".scroll")
    scrolled.evaluate("element => { element.scrollTop = element.scrollHeight; }")
    expect(waterfall).not_to_have_attribute("data-ready", str(drawn))
    expect(waterfall).to_have_attribute("data-in-sight", few)
