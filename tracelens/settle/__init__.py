"""Settling: the spans of an hour of arrival become rollup rows, once it is over."""

from __future__ import annotations

import time
from collections.abc import Callable

from tracelens.names import NOTHING
from tracelens.settle.check import differences
from tracelens.settle.days import Merged, merge
from tracelens.settle.drafts import Draft, Drafted, Left, draft, newest
from tracelens.settle.hour import Hour, Settled
from tracelens.settle.tables import Rollups, digest, known_traces, let_go, name_of, number_of, sweep, taught_by
from tracelens.store import Store
from tracelens.store.compact import QUIET_SECONDS
from tracelens.store.files import hour_of
from tracelens.taught import Taught

__all__ = [
    "Draft",
    "Drafted",
    "Left",
    "Merged",
    "Rollups",
    "Settled",
    "differences",
    "digest",
    "draft",
    "known_traces",
    "let_go",
    "merge",
    "name_of",
    "newest",
    "number_of",
    "settle",
    "sweep",
    "taught_by",
    "waiting",
]


def waiting(rollups: Rollups, *, now: float | None = None) -> list[str]:
    """Return the hours of arrival that are over and not settled yet, the oldest first."""
    last = hour_of(int(((time.time() if now is None else now) - QUIET_SECONDS) * 1e9))
    done = rollups.settled()
    hours = {file.hour for file in rollups.store.files()}
    return sorted(hour for hour in hours if hour <= last and number_of(hour) > done)


def settle(
    store: Store,
    *,
    taught: Taught = NOTHING,
    hours: int | None = None,
    now: float | None = None,
    told: Callable[[Settled], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Settled]:
    """Settle hours of arrival that are over, the oldest first; return what was made of each.

    hours: at most so many. now: seconds since 1970. told: called with each. stop: asked between parts of an hour; what
    is half done is as if it had not been begun.
    """
    rollups = Rollups(store)
    done = []
    for hour in waiting(rollups, now=now)[:hours]:
        one = Hour(rollups, hour, taught, stop).settle()
        if one is None:
            break
        done.append(one)
        if told is not None:
            told(one)
    return done
