"""Which moments a window stands for: the bar's words made into a Question.

Owns when "last 15 m" ends. In a dump that is the dump's end. In a store it is
now, but held still while nobody asked for live data or while a selection
stands: what one reads must not move.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from dashboard.state import ALL, CUSTOM, WINDOWS, State
from tracelens.lens import Question

TICKS = 60  # a live window moves on in such parts of its length, so that answers can be remembered
FRESH_NANO = 3_600_000_000_000  # a store with spans of the last hour shows that hour first


@dataclass(frozen=True, slots=True)
class Moment:
    """What is held still: the version of the data and the time it is looked at."""

    version: str
    now_nano: int


def now_of(live: bool, reach: tuple[int, int] | None) -> int:
    """Return the moment relative windows end: now for a source that grows, else the end of its data."""
    if live or reach is None:
        return time.time_ns()
    return reach[1] + 1


def chosen_window(state: State, *, live: bool, reach: tuple[int, int] | None, now_nano: int) -> str:
    """Return the window a page shows: the one chosen, else the last hour of fresh data, else all of it."""
    if state.window is not None:
        return state.window
    fresh = reach is not None and now_nano - reach[1] < FRESH_NANO and now_nano - reach[0] > FRESH_NANO
    return "1h" if live and fresh else ALL


def question(state: State, window: str, now_nano: int, *, live: bool) -> Question:
    """Return the Question of a window that ends at `now_nano`, with the bar's filter.

    Raises UsageError when the filter cannot be read.
    """
    where = (state.where,) if state.where else ()
    if window == CUSTOM:
        return Question(start_nano=state.start_nano, end_nano=state.end_nano, where=where)
    if window == ALL:
        return Question(where=where)
    length = WINDOWS[window]
    # A growing source: the end is rounded up, so that the newest spans are in and answers can be remembered.
    tick = length // TICKS
    end = -(-now_nano // tick) * tick if live else now_nano
    return Question(start_nano=end - length, end_nano=end, where=where)
