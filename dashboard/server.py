"""The HTTP side of the dashboard: Streamlit's configuration, its application, and what browsers may load.

Owns settings and headers. Binding, signals and the life of the process are
`__main__`'s; what is drawn is `app.py`'s.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.middleware import Middleware
from starlette.responses import HTMLResponse

from dashboard.state import PAGES

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SCRIPT = Path(__file__).parent / "app.py"

# Everything comes from this server: no script, font, image or call of another one.
# Streamlit's styles are made at run time, hence 'unsafe-inline' for them alone.
DIRECTIVES = (
    "default-src 'self'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "connect-src 'self' ws: wss:",
    "worker-src 'self' blob:",
    "object-src 'none'",
    "base-uri 'self'",
    "frame-ancestors 'self'",
)
INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)

LIGHT = {
    "primaryColor": "#2563d8",  # letters in it are read on its own tenth, as a chosen segment has it: 4.7 to 1
    "backgroundColor": "#ffffff",
    "secondaryBackgroundColor": "#f5f7fa",
    "textColor": "#181c24",
    "borderColor": "#e4e8ee",
    "linkColor": "#1f5fd6",
}
DARK = {
    "primaryColor": "#5b96ff",
    "backgroundColor": "#0d1117",
    "secondaryBackgroundColor": "#161b23",
    "textColor": "#e8ecf3",
    "borderColor": "#262d38",
    "linkColor": "#7cadff",
}


def options(host: str, port: int) -> dict[str, Any]:
    """Return Streamlit's configuration for an address."""
    base: dict[str, Any] = {
        "server.address": host,
        "server.port": port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.enableStaticServing": False,
        "browser.gatherUsageStats": False,
        "browser.serverAddress": host,
        "client.toolbarMode": "viewer",
        "client.showErrorLinks": False,
        "global.developmentMode": False,
        "theme.baseRadius": "6px",
        "theme.showWidgetBorder": True,
        "theme.baseFontSize": 15,
        "logger.level": "warning",
    }
    return (
        base
        | {f"theme.light.{name}": value for name, value in LIGHT.items()}
        | {f"theme.dark.{name}": value for name, value in DARK.items()}
    )


# Where Streamlit's own calls go. Without it the page of a deep link asks below
# its own path first, and every such visit begins with two failed requests.
BASE = b"""<script>
  const at = `${location.origin}/`;
  window.__streamlit = { BACKEND_BASE_URL: at, MAIN_PAGE_BASE_URL: at };
</script>"""


def document() -> bytes:
    """Return Streamlit's index.html with the place of its server written in."""
    import streamlit as st

    page = (Path(st.__file__).parent / "static" / "index.html").read_bytes()
    return page.replace(b"<head>", b"<head>" + BASE, 1)


def headers(page: bytes) -> list[tuple[bytes, bytes]]:
    """Return what every answer carries.

    page: Streamlit's index.html. The scripts written into it are allowed by
    their hash; scripts come from files of this server otherwise.
    """
    hashes = [base64.b64encode(hashlib.sha256(text).digest()).decode() for text in INLINE_SCRIPT.findall(page)]
    scripts = " ".join(["script-src 'self'", *(f"'sha256-{one}'" for one in hashes)])
    return [
        (b"content-security-policy", "; ".join([*DIRECTIVES, scripts]).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
    ]


class Frame:
    """ASGI middleware: answers the addresses of pages with the document, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, page: bytes, paths: frozenset[str]) -> None:
        self.app = app
        self.added = headers(page)
        self.page = page
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self.added]}
            await send(message)

        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in self.paths:
            await HTMLResponse(self.page, headers={"cache-control": "no-cache"})(scope, receive, send_with)
        else:
            await self.app(scope, receive, send_with)


def application(host: str, port: int) -> ASGIApp:
    """Return the dashboard as an ASGI application. Sets the configuration of this process's Streamlit."""
    import streamlit as st
    from streamlit import config

    for name, value in options(host, port).items():
        config.set_option(name, value)
    paths = frozenset({"/", *(f"/{name}" for name in PAGES)})
    return st.App(SCRIPT, middleware=[Middleware(Frame, page=document(), paths=paths)])
