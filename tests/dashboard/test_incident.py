"""The incident at 3 a.m.: from the overview to the span that is to blame, by what the pages themselves suggest.

The sample mesh runs behind real Envoys with one cause planted; whoever looks
knows nothing of it, and presses the first thing offered on each page.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import pytest
from playwright.sync_api import Page, expect

from tests.dashboard import shop
from tests.dashboard.conftest import Open, Serve, settled
from tests.dashboard.test_browser import component
from tests.running import eventually, up
from tracelens.store import Store

pytestmark = [pytest.mark.browser, pytest.mark.envoy, pytest.mark.process, pytest.mark.slow]

REQUESTS = 300
PLANTED = {  # cause -> the span that is to blame, and how long it takes at least
    "ledger": ("db POST /ledger", 100e6),
    "product": ("db GET /tables/products/{id}", 100e6),
    "recommendations": ("catalog GET /recommendations", 80e6),
}


def spans_with(cause: str, folder: Path) -> pl.DataFrame:
    """Run the mesh with a cause planted; return its spans."""
    with up(folder / "data") as collector:
        command = [sys.executable, "-m", "samples.mesh", "--otlp", collector.addresses["otlp_grpc"], "--app-spans"]
        command += ["--requests", str(REQUESTS), "--cause", cause, "--seed", "11"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        sent = json.loads(done.stdout)["spans"]
        store = Store.open(collector.data_dir / "store")
        return eventually(lambda: store.scan(None, None).collect(), lambda found: len(found) >= sent, seconds=30)


@pytest.mark.parametrize("cause", PLANTED)
def test_three_presses_lead_to_what_is_to_blame(cause: str, tmp_path: Path, serve: Serve, visit: Open) -> None:
    spans = spans_with(cause, tmp_path)
    # As if the last of them had come long ago: their traces are settled.
    old = spans.with_columns(received_unix_nano=pl.col("end_time_unix_nano") - 60_000_000_000)
    address = serve(shop.store(tmp_path / "store", old))
    page = visit("/?window=all&live=0", base=address)
    settled(page)
    presses = 0
    while not names(page, PLANTED[cause][0]):
        assert presses < 3, page.url
        press_the_first_offer(page)
        settled(page)
        presses += 1
    blamed = component(page, "facts").locator(".note").inner_text().strip()
    row = spans.filter(pl.col("span_id").bin.encode("hex") == blamed).row(0, named=True)
    assert row["service_name"] == PLANTED[cause][0].split()[0]
    assert row["end_time_unix_nano"] - row["start_time_unix_nano"] > PLANTED[cause][1]


def press_the_first_offer(page: Page) -> None:
    """Press what the page's first sentence leads to; where it leads nowhere, open the first trace to look at."""
    before = urlsplit(page.url).path
    why = component(page, "head").locator(".callout").get_by_role("button", name=re.compile("→$"))
    if why.count():
        why.first.click()
    else:
        component(page, "exemplars").locator("tbody tr").first.click()
    page.wait_for_url(lambda url: urlsplit(url).path != before)
    last = {"route": "exemplars", "trace": "facts", "compare": "nodes"}[urlsplit(page.url).path.strip("/")]
    expect(page.locator(f".st-key-{last} .tracelens")).to_have_attribute("data-ready", re.compile("."), timeout=60_000)


def names(page: Page, blamed: str) -> bool:
    """Whether the page shows a trace, and says that most of it is what was planted."""
    return "/trace" in page.url and blamed in component(page, "head").locator(".callout").inner_text()
