"""Every page, in both themes, on a desk and on a phone, as the axe checker sees it: no violation, of any impact.

The checker is axe-core, as the package axe-playwright-python brings it. Its
source is evaluated in the page, which the Content-Security-Policy does not
govern, while a script element would be refused.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page

from dashboard.server import DARK, LIGHT
from tests.dashboard.conftest import Open, settled
from tests.dashboard.shots import PAGES

pytestmark = [pytest.mark.browser, pytest.mark.process]

AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
LOOKS = [(width, height, dark) for width, height in ((1440, 900), (390, 844)) for dark in (False, True)]
RUN = "async () => (await axe.run(document, { resultTypes: ['violations'] })).violations"
FEWER = {"search": {"shortest": "200ms"}}  # rows: they are all alike
# Whether the page has a ground of that colour: a theme comes a moment after the viewer's wish.
GROUND = """(wanted) => {
  const shown = getComputedStyle(document.querySelector('.stApp')).backgroundColor.match(/\\d+/g);
  return `#${shown.map((part) => Number(part).toString(16).padStart(2, '0')).join('')}` === wanted;
}"""


def violations(page: Page) -> list[str]:
    """Return what axe finds, grave or not: rule, place and why. Streamlit's own parts are not left out."""
    found: list[dict[str, Any]] = page.evaluate(RUN)
    return [
        f"{rule['id']} ({rule['impact']}): {json.dumps(node['target'])} {node['failureSummary']} {node['html'][:300]}"
        for rule in found
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(visit: Open, name: str) -> None:
    path = "" if name == "overview" else name
    page = visit(f"/{path}?{urlencode({'window': 'all', 'live': '0', **PAGES[name], **FEWER.get(name, {})})}")
    page.evaluate(AXE)
    for one in page.get_by_text("as a table").all():
        one.click()
    found = []
    for width, height, dark in LOOKS:
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.wait_for_function(GROUND, arg=(DARK if dark else LIGHT)["backgroundColor"])
        settled(page)
        found += [f"{width} {'dark' if dark else 'light'}: {one}" for one in violations(page)]
    assert found == []
