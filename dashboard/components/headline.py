"""The head of a page: runs of text, how fresh the data is, one sentence first."""

from __future__ import annotations

from typing import Any

from dashboard.components import mount

Run = dict[str, Any]  # text, and strong, tone, link, title


def run(text: str, *, strong: bool = False, tone: str | None = None, link: str | None = None) -> Run:
    """Return a stretch of text in one look. link: what `headline` returns when it is pressed."""
    made: Run = {"text": text}
    if strong:
        made["strong"] = True
    if tone:
        made["tone"] = tone
    if link:
        made["link"] = link
    return made


def headline(
    title: list[Run],
    *,
    key: str,
    status: dict[str, Any] | None = None,
    sub: list[Run] | None = None,
    callout: list[Run] | None = None,
    tone: str = "",
    copy: str | None = None,
) -> str | None:
    """Draw the head of a page; return the link pressed since the last run.

    copy: what the page says as Markdown; with it stand buttons that copy that and the page's address.
    """
    data = {"title": title, "status": status, "sub": sub, "callout": callout, "tone": tone, "copy": copy}
    pressed: str | None = mount("headline", data, key=key, events=("follow",)).follow
    return pressed
