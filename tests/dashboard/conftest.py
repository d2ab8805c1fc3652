"""A store with a shop's traffic, the dashboard over it, and a browser that reports what it should not see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.dashboard import shop

HOUR = 3_600_000_000_000
TRACES = 1_200
EXPECTED = 20_000  # milliseconds: with several suites on two cores a thousand rows took six seconds
COMPILED = 300_000  # milliseconds: an installation of its own compiles first, there in two minutes
CHROMIUM = "/usr/bin/chromium"
# As root Chromium has no sandbox of its own; the rest keeps it from calling home.
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def shop_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three hours of traffic that ended just now."""
    length = 3 * HOUR
    start = time.time_ns() - length - 60_000_000_000
    return shop.store(tmp_path_factory.mktemp("shop") / "store", shop.spans(TRACES, start, length))


@contextmanager
def dashboard(source: Path, *, installed: Path | None = None) -> Iterator[str]:
    """Run the dashboard on a free port until the block ends; the value is its URL.

    installed: a folder with an installed wheel to run instead of the source tree.
    """
    python = [sys.executable, "-P"] if installed else [sys.executable]
    environment = os.environ | {"TZ": "UTC"} | ({"PYTHONPATH": str(installed)} if installed else {})
    command = [*python, "-m", "dashboard", "--source", str(source), "--address", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=installed)
    try:
        assert process.stdout is not None
        # It listens before it says where: a request waits until it is served.
        said = process.stdout.readline()
        assert "http://" in said, said
        yield said.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="session")
def url(shop_store: Path) -> Iterator[str]:
    with dashboard(shop_store) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        expect.set_options(timeout=EXPECTED)  # it is a wait, not a sleep: what comes at once costs nothing
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built wheel installed, without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    root = Path(__file__).parents[2]
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(root)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    return target


# All elements, those of the components' own trees too.
ALL = """
const all = [];
const gather = (root) => {
  for (const one of root.querySelectorAll('*')) {
    all.push(one);
    if (one.shadowRoot) gather(one.shadowRoot);
  }
};
gather(document);
"""
SETTLED = f"""() => {{
  {ALL}
  const app = document.querySelector('[data-testid="stApp"]');
  const drawn = all.filter((one) => one.matches('.tracelens'));
  const still = app?.dataset.testScriptState === 'notRunning';
  return still && drawn.length > 0 && drawn.every((one) => 'ready' in one.dataset);
}}"""


def settled(page: Page) -> None:
    """Wait until nothing is being worked out, and all that is there has been drawn."""
    page.wait_for_function(SETTLED, timeout=120_000)


@dataclass
class Watched:
    """What a browser should not have seen."""

    host: str
    complaints: list[str] = field(default_factory=list)

    def console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")

    def request(self, request: Request) -> None:
        found = urlsplit(request.url)
        if found.scheme in ("http", "https", "ws", "wss") and found.netloc != self.host:
            self.complaints.append(f"request leaves the machine: {request.url}")


Open = Callable[..., Page]
Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Run a dashboard over a source of the test's own; it ends after the pages that show it are closed."""
    with ExitStack() as running:
        yield lambda source, **options: running.enter_context(dashboard(source, **options))


@pytest.fixture
def visit(url: str, browser: Browser, serve: Serve) -> Iterator[Open]:
    """Open a path of the dashboard; at the end nothing was complained of and nothing left the machine."""
    contexts = []
    watched = Watched(urlsplit(url).netloc)

    def go(path: str = "/", *, width: int = 1440, height: int = 900, dark: bool = False, base: str = url) -> Page:
        watched.host = urlsplit(base).netloc
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", timezone_id="UTC"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", watched.console)
        page.on("pageerror", lambda error: watched.complaints.append(f"error: {error}"))
        page.on("request", watched.request)
        page.goto(base + path)
        page.wait_for_selector(".tracelens[data-ready]", timeout=COMPILED)
        return page

    yield go
    for context in contexts:
        context.close()
    assert watched.complaints == []
