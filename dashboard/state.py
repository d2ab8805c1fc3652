"""What a page shows, as the URL says it.

Owns the query parameters: their names, their meaning, which page knows which.
The URL is the one truth: widgets are set from it and write to it. Nothing here
draws, and only `read`, `write` and `params_for` know Streamlit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

import streamlit as st

from tracelens.lens import Box

SECOND = 1_000_000_000
WINDOWS: dict[str, int] = {  # name -> length in nanoseconds
    "5m": 300 * SECOND,
    "15m": 900 * SECOND,
    "1h": 3_600 * SECOND,
    "6h": 21_600 * SECOND,
    "24h": 86_400 * SECOND,
    "7d": 7 * 86_400 * SECOND,
    "30d": 30 * 86_400 * SECOND,
}
ALL = "all"
CUSTOM = "custom"
WINDOW_NAMES = {
    "5m": "last 5 m",
    "15m": "last 15 m",
    "1h": "last 1 h",
    "6h": "last 6 h",
    "24h": "last 24 h",
    "7d": "last 7 d",
    "30d": "last 30 d",
    ALL: "all",
    CUSTOM: "custom",
}

SHARED = ("window", "start", "end", "where", "live")  # of the bar: every page keeps them
PAGES: dict[str, tuple[str, ...]] = {  # page -> the parameters it knows beside those
    "overview": (),
    "route": ("service", "route", "box"),
    "critical-path": ("service", "route", "band", "minus", "zoom", "fix", "scale", "sidecars", "work"),
    "map": ("edge", "percentile", "gateways"),
    "search": ("service", "route", "shortest", "longest", "id"),
    "trace": ("trace", "span", "only", "proxies"),
    "compare": ("by", "against", "a_start", "a_end", "of", "a", "b", "service", "route", "zoom"),
    "findings": ("order",),
    "board": ("board", "edit"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The query parameters of one page, cleaned: what cannot be read is as if it were not there."""

    window: str | None = None  # a key of WINDOW_NAMES; None: not chosen
    start_nano: int | None = None  # of a custom window
    end_nano: int | None = None
    where: str = ""
    live: bool | None = None  # None: not chosen
    page: Mapping[str, str] = field(default_factory=dict)  # the page's own

    @property
    def length_nano(self) -> int | None:
        """How long the window is; None for all and for one with an open end."""
        if self.window == CUSTOM:
            known = self.start_nano is not None and self.end_nano is not None
            return self.end_nano - self.start_nano if known else None  # type: ignore[operator]  # known says so
        return WINDOWS.get(self.window or "")


def parse(params: Mapping[str, str], page: str) -> State:
    """Return the state that the parameters of a page describe; unknown ones are dropped."""
    window = params.get("window")
    start, end = moment(params.get("start")), moment(params.get("end"))
    if window not in WINDOW_NAMES:
        window = CUSTOM if start is not None or end is not None else None
    if window != CUSTOM or (start is not None and end is not None and start >= end):
        start = end = None
    return State(
        window=window,
        start_nano=start,
        end_nano=end,
        where=params.get("where", "").strip(),
        live={"1": True, "0": False}.get(params.get("live", "")),
        page={name: params[name] for name in PAGES[page] if params.get(name)},
    )


def unknown(params: Mapping[str, str], page: str) -> list[str]:
    """Return the names of parameters that a page does not know: Back can leave those of another."""
    return [name for name in params if name not in SHARED and name not in PAGES[page]]


def to_params(state: State) -> dict[str, str]:
    """Return the parameters of the bar, as a link to another page carries them."""
    params: dict[str, str] = {}
    if state.window is not None:
        params["window"] = state.window
    if state.start_nano is not None:
        params["start"] = timestamp(state.start_nano)
    if state.end_nano is not None:
        params["end"] = timestamp(state.end_nano)
    if state.where:
        params["where"] = state.where
    if state.live is not None:
        params["live"] = "1" if state.live else "0"
    return params


def moment(text: str | None) -> int | None:
    """Return the nanoseconds of an RFC 3339 moment, UTC when it names no zone; None when it is none."""
    if not text:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    aware = read if read.tzinfo else read.replace(tzinfo=UTC)
    return to_nano(aware)


def to_nano(aware: datetime) -> int:
    """Return the nanoseconds of a moment, to the microsecond, without a float in between."""
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def timestamp(unix_nano: int, zone: tzinfo = UTC) -> str:
    """Return an RFC 3339 moment, to the microsecond."""
    return to_datetime(unix_nano, zone).isoformat().replace("+00:00", "Z")


def to_datetime(unix_nano: int, zone: tzinfo = UTC) -> datetime:
    """Return a moment as a datetime, to the microsecond."""
    seconds, rest = divmod(unix_nano, SECOND)
    return datetime.fromtimestamp(seconds, zone).replace(microsecond=rest // 1_000)


def box_text(box: Box) -> str:
    """Return a box as the URL holds it: start, end, low, high in nanoseconds."""
    return f"{box.start_nano}-{box.end_nano}-{box.low_nano}-{box.high_nano}"


def parse_box(text: str | None) -> Box | None:
    """Return the box that a parameter holds; None when it holds none."""
    parts = (text or "").split("-")
    if len(parts) != 4 or not all(part.isdigit() for part in parts):
        return None
    start, end, low, high = (int(part) for part in parts)
    if start >= end or low > high:
        return None
    return Box(start_nano=start, end_nano=end, low_nano=low, high_nano=high)


def quoted(text: str) -> str:
    """Return a value as the filter language reads it back; quoted where it must be."""
    plain = text and all(letter.isalnum() or letter in "-_./:{}*@+,%" for letter in text)
    return text if plain else "'" + text.replace("'", "'\"'\"'") + "'"


def askable(key: str) -> bool:
    """Whether the filter language can name an attribute: it takes what looks like an operator for one."""
    return not any(letter in "=!<>~" for letter in key)


def with_condition(where: str, key: str, operator: str, value: str) -> str:
    """Return a filter with one more condition; the same one is not added twice."""
    word = f"{key}{operator}{quoted(value)}" if key == quoted(key) else quoted(f"{key}{operator}{value}")
    return where if word in where.split() else f"{where} {word}".strip()


def read(page: str) -> State:
    """Return the state in the URL, and take out of the URL what the page does not know."""
    params = st.query_params.to_dict()
    for name in unknown(params, page):
        del st.query_params[name]
    return parse(params, page)


def write(**changes: str | None) -> None:
    """Change parameters of the URL; None takes one out."""
    params = st.query_params.to_dict()
    for name, value in changes.items():
        if value is None:
            params.pop(name, None)
        else:
            params[name] = value
    st.query_params.from_dict(params)
