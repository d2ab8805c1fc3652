"""The head of a page: runs of text, how fresh the data is, one sentence first."""

from __future__ import annotations

from typing import Any

from dashboard import terms
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
    if status is not None:
        status = status | {"runs": _explained(status["runs"])}
    data = {
        "title": title,
        "status": status,
        "sub": sub and _explained(sub),
        "callout": callout and _explained(callout),
        "tone": tone,
        "copy": copy,
    }
    pressed: str | None = mount("headline", data, key=key, events=("follow",)).follow
    return pressed


def _explained(runs: list[Run]) -> list[Run]:
    """Return runs with the glossary's words apart; names are strong, and stay whole."""
    return [part for one in runs for part in ([one] if "link" in one or "strong" in one else _parts(one))]


def _parts(one: Run) -> list[Run]:
    stretches = terms.marked(one["text"])
    return [one | {"text": text} | ({"title": means} if means else {}) for text, means in stretches]
