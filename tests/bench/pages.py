"""The dashboard over a large store: from a press to what is drawn, and what many visits cost.

    python -m tests.bench.pages --spans 10000000

One session is opened, and pages are opened in it by their links, again and
again, in an hour of the store and over all of it. Cold is the first time a page
is asked of a new process, by its address. Milliseconds, medians of RUNS, from
the press until every component has drawn.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, sync_playwright

from dashboard.state import timestamp
from tests.bench import drawing
from tests.bench.questions import FIRST, HOUR_NANO, filled
from tests.dashboard.conftest import CHROMIUM, FLAGS, dashboard
from tracelens.lens import Lens, Question
from tracelens.store import Store

RUNS = 20
HOURS = 24
# What stands on a page last, and on no other that is opened before it.
MARKS = {
    "overview": "routes",
    "route": "exemplars",
    "critical-path": "flame",
    "map": "map",
    "search": "found",
    "compare": "spread",
    "findings": "findings",
    "board": "chart_5",
}
LABELS = {"overview": "Overview", "critical-path": "Critical path"}
# Components stand in shadows, which selectors of the document do not reach.
OPENED = """async ([press, mark, path]) => {
  const within = (root) => [...root.querySelectorAll('*')].flatMap((one) => one.shadowRoot ? [one.shadowRoot] : []);
  const roots = () => [document, ...within(document)];
  const every = (selector) => roots().flatMap((root) => [...root.querySelectorAll(selector)]);
  const marked = () => {
    const place = document.querySelector(`.st-key-${mark}`);
    const root = place && [place, ...within(place)].map((one) => one.querySelector('.tracelens')).find(Boolean);
    return root && 'ready' in root.dataset;
  };
  const begin = performance.now();
  every(press.selector)[press.at].click();
  const stands = () => location.pathname === path && marked() &&
    document.querySelector('[data-testid="stApp"]').dataset.testScriptState === 'notRunning' &&
    every('.tracelens').every((one) => 'ready' in one.dataset);
  while (!stands()) await new Promise(requestAnimationFrame);
  return performance.now() - begin;
}"""

# What a drag ends with: another box in the address, and all that is there drawn for it.
BRUSHED = """() => {
  const within = (root) => [...root.querySelectorAll('*')].flatMap((one) => one.shadowRoot ? [one.shadowRoot] : []);
  const every = (selector) => [document, ...within(document)].flatMap((root) => [...root.querySelectorAll(selector)]);
  const before = location.search;
  const stands = () => location.search !== before && location.search.includes('box=') &&
    document.querySelector('[data-testid="stApp"]').dataset.testScriptState === 'notRunning' &&
    every('.tracelens').every((one) => 'ready' in one.dataset);
  window.brushed = new Promise((resolve) => addEventListener('pointerup', async () => {
    const begin = performance.now();
    while (!stands()) await new Promise(requestAnimationFrame);
    resolve(performance.now() - begin);
  }, { capture: true, once: true }));
}"""


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds of one page."""

    page: str
    window: str
    cold: float | None
    warm: float
    worst: float


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser until the block ends."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def address(page: str, params: dict[str, str]) -> str:
    return f"/{'' if page == 'overview' else page}?{urlencode(params)}"


def arrive(page: Page, url: str, mark: str) -> float:
    """Go to an address; return the milliseconds until it stands there."""
    begin = time.perf_counter()
    page.goto(url)
    page.wait_for_selector(f".st-key-{mark} .tracelens[data-ready]", timeout=600_000)
    page.wait_for_function(
        "() => document.querySelector('[data-testid=\"stApp\"]').dataset.testScriptState === 'notRunning'",
        timeout=600_000,
    )
    return 1_000 * (time.perf_counter() - begin)


def press(page: Page, selector: str, at: int, mark: str, path: str) -> float:
    """Press something that leads to a page; return the milliseconds until it stands there."""
    page.set_default_timeout(600_000)
    return float(page.evaluate(OPENED, [{"selector": selector, "at": at}, mark, path]))


def link_at(page: Page, name: str) -> int:
    """Return which link of the bar leads to a page."""
    label = LABELS.get(name, name.capitalize())
    names = page.locator(".st-key-bar a").all_inner_texts()
    return [text.strip() for text in names].index(label)


def pages(browser: Browser, url: str, window: dict[str, str], name: str, names: list[str], runs: int) -> list[Took]:
    """Return how long each page takes in one window."""
    cold = {}
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    for one in names:
        cold[one] = arrive(page, url + address(one, window), MARKS[one])
    took: dict[str, list[float]] = {one: [] for one in names}
    for _ in range(runs):
        for one in names:
            path = "/" if one == "overview" else f"/{one}"
            took[one].append(press(page, ".st-key-bar a", link_at(page, one), MARKS[one], path))
    found = [Took(one, name, cold[one], statistics.median(took[one]), max(took[one])) for one in names]
    found.append(traces(page, url, window, name, runs))
    context.close()
    return found


def traces(page: Page, url: str, window: dict[str, str], name: str, runs: int) -> Took:
    """Return how long it takes to open a trace from a list of them, each another one."""
    took = []
    arrive(page, url + address("search", window), "found")
    for run in range(runs + 1):
        page.wait_for_selector(".st-key-found .tracelens[data-ready]")
        took.append(press(page, "tr.opens", run, "waterfall", "/trace"))
        page.go_back()
        page.wait_for_selector(".st-key-found .tracelens[data-ready]")
    return Took("trace", name, took[0], statistics.median(took[1:]), max(took[1:]))


def processor(pid: int) -> float:
    """Return the processor seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def resident(pid: int) -> int:
    """Return the memory a process holds, bytes."""
    (told,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(told) << 10


def dashboard_pid(source: Path) -> int:
    """Return the process that shows a source."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"dashboard" in words and str(source).encode() in words:
            return int(folder.name)
    raise AssertionError("no dashboard runs")


def sessions(browser: Browser, url: str, pid: int, window: dict[str, str], many: int, views: int) -> float:
    """Return the processor milliseconds a page that `many` sessions cost, each looking at so many."""
    names = ("overview", "route", "map", "search")
    contexts = [browser.new_context(viewport={"width": 1440, "height": 900}) for _ in range(many)]
    opened = [context.new_page() for context in contexts]
    for page in opened:
        arrive(page, url + address("overview", window), MARKS["overview"])
    begin = processor(pid)
    for view in range(views):
        for page in opened:
            one = names[(view + 1) % len(names)]
            press(page, ".st-key-bar a", link_at(page, one), MARKS[one], "/" if one == "overview" else f"/{one}")
    spent = 1_000 * (processor(pid) - begin) / (views * many)
    for context in contexts:
        context.close()
    return spent


def growth(browser: Browser, url: str, pid: int, window: dict[str, str], first: int, last: int) -> float:
    """Return how many bytes more the process holds a view, between two numbers of views (least squares)."""
    names = ("overview", "route", "map", "search")
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    arrive(page, url + address("overview", window), MARKS["overview"])
    held = []
    for view in range(1, last + 1):
        one = names[view % len(names)]
        press(page, ".st-key-bar a", link_at(page, one), MARKS[one], "/" if one == "overview" else f"/{one}")
        if view >= first:
            held.append((float(view), float(resident(pid))))
    context.close()
    middle = statistics.mean(view for view, _ in held)
    above = sum((view - middle) * size for view, size in held)
    return above / sum((view - middle) ** 2 for view, _ in held)


def brush(browser: Browser, url: str, window: dict[str, str], runs: int) -> list[float]:
    """Return the milliseconds from the end of a drag on the heatmap to the comparison of what it holds, each new."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    arrive(page, url + address("route", window), MARKS["route"])
    took = []
    for run in range(runs):
        box = page.locator(".st-key-heatmap canvas").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 100 + 12 * run, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + 220 + 12 * run, box["y"] + 60 + 4 * run, steps=3)
        page.evaluate(BRUSHED)
        page.mouse.up()
        took.append(float(page.evaluate("() => window.brushed")))
    context.close()
    return took


def drawings(browser: Browser, url: str, window: dict[str, str]) -> dict[str, list[float]]:
    """Return the milliseconds of drawings of very much, by what is drawn."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    arrive(page, url + address("critical-path", window), "flame")
    took = {f"a flame graph of {drawing.NODES:,} nodes": drawing.drawn(page, "flame", drawing.flame())}
    arrive(page, url + address("search", window), "found")
    press(page, "tr.opens", 0, "waterfall", "/trace")
    scrolled = drawing.drawn(page, "waterfall", drawing.waterfall())
    context.close()
    return took | {f"a waterfall of {drawing.SPANS:,} spans, scrolled": scrolled}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pages", description=__doc__)
    parser.add_argument("--spans", type=int, default=10_000_000)
    parser.add_argument("--store", type=Path, help="one that is there already")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--views", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.store or Path(folder) / "store"
        if options.store is None:
            filled(path, options.spans, HOURS)
        report(path, options.runs, options.views)


def report(path: Path, runs: int, views: int) -> None:
    """Print the table."""
    start = FIRST + (HOURS - 3) * HOUR_NANO
    bounds = {"start": timestamp(start), "end": timestamp(start + HOUR_NANO)}
    hour = {"window": "custom", "live": "0", **bounds}
    every = {"window": "all", "live": "0"}
    spans = Store.open(path).span_count()
    of_hour = Lens.open(str(path)).routes(Question(start_nano=start, end_nano=start + HOUR_NANO)).source.spans
    print(f"a store of {spans:,} spans, an hour of it {of_hour:,}; milliseconds, medians of {runs}")
    print(f"{'page':>14} {'window':>6} {'cold':>8} {'warm':>6} {'worst':>6}")
    with chromium() as browser:
        for window, name in ((hour, "1 h"), (every, "24 h")):
            with dashboard(path) as url:
                for took in pages(browser, url, window, name, list(MARKS), runs):
                    cold = "–" if took.cold is None else f"{took.cold:8.0f}"
                    print(f"{took.page:>14} {took.window:>6} {cold} {took.warm:6.0f} {took.worst:6.0f}", flush=True)
        with dashboard(path) as url:
            pid = dashboard_pid(path)
            drags = brush(browser, url, hour, runs)
            print(f"a drag on the heatmap to its comparison: {statistics.median(drags):.0f} ms, worst {max(drags):.0f}")
            for what, many in drawings(browser, url, hour).items():
                print(f"{what}: {drawing.p95(many):.1f} ms a drawing at most in 95 of 100, worst {max(many):.1f}")
            one = sessions(browser, url, pid, hour, 1, 20)
            ten = sessions(browser, url, pid, hour, 10, 8)
            print(f"processor time a page: {one:.0f} ms of one session, {ten:.0f} ms of ten at once ({ten / one:.2f})")
            slope = growth(browser, url, pid, hour, min(100, views // 2), views)
            print(f"memory a view, views {min(100, views // 2)} to {views}: {slope / 1_000:+.1f} kB", flush=True)


if __name__ == "__main__":
    main()
