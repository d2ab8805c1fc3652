"""Hostile names, keys and values on every page, in a real browser: they are text, all of it, and do nothing.

What they try is of `hostile.py`. A script that runs sets `window.owned`; one
that the Content-Security-Policy stopped, and a request to elsewhere, are
complaints of the browser.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard import boards
from dashboard.boards import Board, Own
from tests.dashboard import hostile
from tests.dashboard.conftest import ALL, Watched, dashboard, settled
from tests.dashboard.test_browser import component
from tests.dashboard.test_export import cells_of, is_live

pytestmark = [pytest.mark.browser, pytest.mark.process]

STILL = {"window": "all", "live": "0"}
DEFUSED = re.compile("([;\t]\"*)'(?=[=+\\-@＝＋－＠])")  # an apostrophe behind what separates cells elsewhere
EVERYTHING = f"{hostile.EVERYTHING:032x}"

# What no name may have become.
BECAME = (
    "() => {"
    + ALL
    + """
const found = [];
for (const one of all) {
  for (const { name, value } of one.attributes) {
    if (name.startsWith('on')) found.push(`${one.tagName} has ${name}`);
    const leads = ['href', 'src', 'srcdoc', 'action', 'data', 'xlink:href'].includes(name);
    const own = one.href?.startsWith?.(location.origin) || one.src?.startsWith?.(location.origin);
    if (leads && !own && !value.startsWith('#')) found.push(`${one.tagName} leads to ${value}`);
    if (name === 'style' && value.includes('127.0.0.2')) found.push(`${one.tagName} has the style ${value}`);
  }
  const ours = one.closest('.tracelens');
  const made = ours ? 'script, iframe, object, embed, img, a, b[class], math, style' : 'iframe, object, embed, math';
  if (one.matches(made)) found.push(`${one.tagName} was made: ${one.outerHTML.slice(0, 200)}`);
}
if (Object.keys(Object.prototype).length) found.push('the prototype of objects was changed');
return found;
}"""
)
# All that can be read, seen or heard.
TEXT = (
    "() => {"
    + ALL
    + """
const names = ['aria-label', 'title'];
return all.flatMap((one) => [
  ...[...one.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data),
  ...names.map((name) => one.getAttribute(name)).filter(Boolean),
]).join('\\n');
}"""
)


@dataclass
class Visitor:
    """One browser's page over the hostile dump, and what it should not have seen."""

    page: Page
    url: str
    watched: Watched

    def go(self, path: str, **params: str) -> Page:
        self.page.goto(f"{self.url}/{path}?{urlencode(STILL | params)}")
        settled(self.page)
        self.page.keyboard.press("Control+f")  # who looks for a word: tables draw all their rows
        return self.page

    def text(self) -> str:
        return str(self.page.evaluate(TEXT))

    def check(self) -> None:
        """Nothing ran, nothing became anything but text, nothing was asked of another server."""
        assert self.page.evaluate("window.owned") is None
        assert self.page.evaluate(BECAME) == []
        assert self.page.locator("[data-testid=stException]").count() == 0
        assert self.watched.complaints == []


@pytest.fixture(scope="module")
def visitor(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    begin = time.time_ns() - 3_600_000_000_000
    source = hostile.dump(tmp_path_factory.mktemp("hostile") / "dump.json", begin)
    with dashboard(source) as url:
        context = browser.new_context(viewport={"width": 1440, "height": 900}, timezone_id="UTC")
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
        page = context.new_page()
        visitor = Visitor(page, url, Watched(urlsplit(url).netloc))
        page.on("console", visitor.watched.console)
        page.on("request", visitor.watched.request)
        page.on("pageerror", lambda error: visitor.watched.complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: visitor.watched.complaints.append(f"dialog: {dialog.message}"))
        page.on("popup", lambda popup: visitor.watched.complaints.append(f"window: {popup.url}"))
        yield visitor
        context.close()


def readable(text: str, *, of: tuple[str, ...] = hostile.PAYLOADS) -> None:
    """All of them stand there, letter by letter."""
    assert [one for one in of if one not in text] == []


def sweep(visitor: Visitor, key: str, selector: str) -> set[str]:
    """Move the pointer over a drawing; return what its tooltip said."""
    drawing = component(visitor.page, key).locator(selector).first
    drawing.scroll_into_view_if_needed()
    box = drawing.bounding_box()
    assert box is not None
    tooltip = component(visitor.page, key).locator(".tooltip")
    said = set()
    bottom = min(box["y"] + box["height"], 890)
    for row in range(8):
        for column in range(8):
            x = box["x"] + box["width"] * (column + 0.5) / 8
            visitor.page.mouse.move(x, box["y"] + (bottom - box["y"]) * (row + 0.5) / 8)
            said.add(tooltip.inner_text())
    return said - {""}


def table_of(visitor: Visitor, key: str) -> None:
    """Open the table that says the same as a drawing."""
    component(visitor.page, key).get_by_text("as a table").click()
    expect(component(visitor.page, key).locator(".twin tbody tr").first).to_be_visible()


def download(visitor: Visitor, folder: Path) -> str:
    """Load the page's table down; no cell of it is a live formula. Returns its cells without what defuses them."""
    with visitor.page.expect_download() as started:
        visitor.page.get_by_role("button", name="CSV").click()
    assert re.fullmatch(r"tracelens-[a-z]+\.csv", started.value.suggested_filename)
    file = folder / "table.csv"
    started.value.save_as(file)
    cells = cells_of(file.read_bytes().decode())
    assert len(cells) > 20
    assert [cell for cell in cells if is_live(cell)] == []
    return DEFUSED.sub(r"\1", "\n".join(cells))


def copy_all(visitor: Visitor) -> list[str]:
    """Press both buttons that copy; return what they copied."""
    copied = []
    for name in ("copy link", "copy as Markdown"):
        visitor.page.get_by_role("button", name=name).click()
        expect(visitor.page.get_by_role("button", name="copied").first).to_be_visible()
        copied.append(str(visitor.page.evaluate("navigator.clipboard.readText()")))
    return copied


def overview(visitor: Visitor, folder: Path) -> None:
    visitor.go("")
    readable(visitor.text())
    readable(download(visitor, folder))


def routes(visitor: Visitor, folder: Path) -> None:
    """Each shows other keys or values among what sets its slow calls apart."""
    seen = ""
    for at in (-1, *range(7)):
        name = hostile.PAYLOADS[at]
        page = visitor.go("route", service=name, route=f"GET {name}")
        visitor.check()
        seen += "\n".join(component(page, "contrast").locator("td:nth-child(-n+2)").all_text_contents())
    readable(seen)
    assert sweep(visitor, "heatmap", "canvas")
    link, markdown = copy_all(visitor)
    assert link.startswith(f"{visitor.url}/route?")
    assert not re.search(r"(?<!\\)[<\[](?!http://127\.0\.0\.1:)", markdown)
    download(visitor, folder)


def paths(visitor: Visitor, folder: Path) -> None:
    visitor.go("critical-path")
    table_of(visitor, "flame")
    readable(visitor.text())
    assert sweep(visitor, "flame", "canvas")


def service_map(visitor: Visitor, folder: Path) -> None:
    page = visitor.go("map")
    readable(visitor.text())
    edges = component(page, "map").locator("g.edge")
    said = []
    for at in range(0, edges.count(), 9):
        edges.nth(at).dispatch_event("pointermove", {"clientX": 300, "clientY": 300})
        said.append(component(page, "map").locator(".tooltip").inner_text())
    assert len(set(said)) > 3
    edges.nth(3).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("edge="))
    settled(visitor.page)


def search(visitor: Visitor, folder: Path) -> None:
    visitor.go("search")
    readable(visitor.text())
    readable(download(visitor, folder))
    for name in hostile.PAYLOADS[::18]:
        page = visitor.go("search", service=name, route=f"GET {name}")
        assert component(page, "found").locator("tbody tr").count() > 1
        visitor.check()


def trace(visitor: Visitor, folder: Path) -> None:
    visitor.go("trace", trace=EVERYTHING, span=f"{1:016x}")
    table_of(visitor, "waterfall")
    readable(visitor.text())
    attributes = component(visitor.page, "attributes").locator("tbody tr")
    rows = [row.locator("td").all_text_contents() for row in attributes.all()]
    assert {(f"attr:{name}", name) for name in hostile.PAYLOADS} <= {tuple(row) for row in rows}
    assert len(sweep(visitor, "waterfall", ".scroll")) > 5
    link, markdown = copy_all(visitor)
    assert "trace=" in link
    assert not re.search(r"(?<!\\)[<\[](?!http://127\.0\.0\.1:)", markdown)


def compare(visitor: Visitor, folder: Path) -> None:
    visitor.go("compare", against="half")
    readable(visitor.text())
    readable(download(visitor, folder))
    sweep(visitor, "spread", "svg")
    for name in hostile.PAYLOADS[::27]:
        visitor.go("compare", by="version", of=name)
        visitor.check()


def findings(visitor: Visitor, folder: Path) -> None:
    visitor.go("findings")
    readable(visitor.text())
    readable(download(visitor, folder))


def board(visitor: Visitor, folder: Path) -> None:
    """Charts and boards are called what somebody else's file says; groups are what spans say; so are saved views."""
    titles = [one[: boards.MOST_TITLE] for one in hostile.PAYLOADS]
    for number, first in enumerate(range(0, len(titles), boards.MOST_CHARTS)):
        some = titles[first : first + boards.MOST_CHARTS]
        charts = tuple(Own(measure="p99", by=BY[at % len(BY)], title=title) for at, title in enumerate(some))
        file = folder / "board.toml"
        file.write_text(boards.board_text(Board(title=f"{number} {some[0]}"[: boards.MOST_TITLE], charts=charts)))
        page = visitor.go("board")
        page.get_by_role("button", name="Boards").first.click()
        page.locator("input[type=file]").set_input_files(file)
        page.wait_for_url(re.compile(rf"board={number}"))
        page.keyboard.press("Escape")
        expect(component(page, "head").locator("h1")).to_contain_text(f"Board {number} ")
        settled(page)
        visitor.check()
        shown = {" ".join(text.split()) for text in page.locator(".tracelens h2").all_text_contents()}
        assert {" ".join(title.split()) for title in some} <= shown | {""}
        assert sweep(visitor, "chart_0", "canvas")
        with page.expect_download() as started:
            page.get_by_test_id("stDownloadButton").get_by_role("button", name="TOML").click()
        assert re.fullmatch(r"tracelens-[a-z0-9-]+\.toml", started.value.suggested_filename)
        assert boards.parse_board(started.value.path().read_text()).charts == charts
    for title in titles[::9]:
        if re.search("[a-zA-Z0-9]", title):
            page.locator(".st-key-views button").first.click()
            page.get_by_label("name of this view").fill(title)
            page.get_by_label("name of this view").press("Enter")
            page.get_by_role("button", name="Save this view").click()
            page.keyboard.press("Escape")
    visitor.check()


BY = ("service", "route", "caller", f"attr.{hostile.PAYLOADS[0]}")
PAGES: dict[str, Callable[[Visitor, Path], None]] = {
    one.__name__: one for one in (overview, routes, paths, service_map, search, trace, compare, findings, board)
}


def test_there_are_fifty() -> None:
    assert len(set(hostile.PAYLOADS)) >= 50


@pytest.mark.parametrize("name", PAGES)
def test_no_name_key_or_value_does_anything(visitor: Visitor, name: str, tmp_path: Path) -> None:
    PAGES[name](visitor, tmp_path)
    visitor.check()


@pytest.mark.parametrize("at", range(0, len(hostile.PAYLOADS), 13))
def test_a_row_with_a_hostile_name_opens_and_its_values_become_filters(visitor: Visitor, at: int) -> None:
    """The name goes by the address and back; a value goes into the filter and is understood there."""
    name = hostile.PAYLOADS[at]
    page = visitor.go("", where="")
    title = _quoted(f"{name} GET {name}")
    component(page, "routes").locator("tbody tr").filter(has=page.locator(f"[title={title}]")).first.click()
    page.wait_for_url(re.compile("/route"))
    settled(visitor.page)
    expect(component(page, "head").locator("h1 strong")).to_have_text(name, use_inner_text=False)
    component(page, "contrast").get_by_role("button", name="leave out calls").last.click()
    page.wait_for_url(re.compile("where="))
    settled(visitor.page)
    expect(component(page, "head")).not_to_contain_text("This cannot be asked")
    visitor.check()


def _quoted(text: str) -> str:
    """Return a text as a selector has it."""
    return '"' + "".join(letter if letter.isalnum() else f"\\{ord(letter):x} " for letter in text) + '"'
