"""`make shots`: every page, light, dark and narrow, as pictures for the documentation.

    python -m tests.dashboard.shots docs/shots

The traffic is the shop's of the tests, and once that of two hundred services; a page that complains, or asks anything
off the machine, ends it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from playwright.sync_api import Browser, sync_playwright

from tests.dashboard import crowd, shop
from tests.dashboard.conftest import CHROMIUM, FLAGS, HOUR, TRACES, Watched, dashboard, settled

ROUTE = {"service": "frontend", "route": "GET /product/{id}"}
PAGES: dict[str, dict[str, str]] = {
    "overview": {},
    "route": ROUTE,
    "critical-path": ROUTE,
    "map": {"percentile": "p99"},
    "search": {},
    "trace": {"trace": f"{7_000_001:032x}"},
    "compare": {"by": "halves", **ROUTE},
    "findings": {},
    "board": {},
}
CROWD = {"map": {"percentile": "p99"}}  # of two hundred services


@dataclass(frozen=True, slots=True)
class Look:
    """A size and a theme."""

    name: str
    width: int
    height: int
    dark: bool = False


LOOKS = (Look("light", 1440, 900), Look("dark", 1440, 900, dark=True), Look("narrow", 390, 844))


def shoot(browser: Browser, url: str, folder: Path, pages: dict[str, dict[str, str]], suffix: str = "") -> list[str]:
    """Take pictures of pages; return what they complained of."""
    watched = Watched(urlsplit(url).netloc)
    for look in LOOKS:
        context = browser.new_context(
            viewport={"width": look.width, "height": look.height},
            color_scheme="dark" if look.dark else "light",
            timezone_id="UTC",
        )
        page = context.new_page()
        page.on("console", watched.console)
        page.on("request", watched.request)
        for name, params in pages.items():
            path = "" if name == "overview" else name
            page.goto(f"{url}/{path}?{urlencode({'window': 'all', 'live': '0', **params})}")
            settled(page)
            page.screenshot(path=folder / f"{name}{suffix}-{look.name}.png", full_page=False)
            print(f"{name}{suffix}-{look.name}", flush=True)
        context.close()
    return watched.complaints


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        start = time.time_ns() - 3 * HOUR - 60_000_000_000
        source = shop.store(Path(scratch) / "store", shop.spans(TRACES, start, 3 * HOUR))
        many = shop.store(Path(scratch) / "crowd", crowd.spans(180, start, 3 * HOUR))
        with dashboard(source) as url, dashboard(many) as crowded, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            complaints = shoot(browser, url, folder, PAGES) + shoot(browser, crowded, folder, CROWD, "-crowd")
            browser.close()
    if complaints:
        raise SystemExit("\n".join(complaints))


if __name__ == "__main__":
    main()
