"""Days: rows of a day's hours of arrival in one file a table, once they are long settled.

Owns which days those are, and that a file says what those say that it stands
for: cells of the same minute and kind are added up. A month is thirty files of
a table then, not seven hundred. `traces` and `carried` stay by the hour, for
they go with the spans of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from tracelens.settle.tables import Rollups, added_up, name_of
from tracelens.store.rollups import Part, Rollup

MOST_ROWS = 500_000  # of a day of a table, added up in 0.7 GB of memory: hours of more are few files for what they hold


@dataclass(frozen=True, slots=True)
class Merged:
    """What was done about a day of arrival."""

    day: str
    files_before: int = 0
    files_after: int = 0


def merge(
    rollups: Rollups,
    *,
    days: int | None = None,
    told: Callable[[Merged], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Merged]:
    """Put the rows of days that are long settled in one file a table, the oldest first; return what was done of each.

    Those are all days before the last one of which all tables hold every hour: what a crash left of the newest hours
    is made up for in files of their own. A day of a table that has more than MOST_ROWS rows is left as it is.
    days: at most so many. told: called with each. stop: asked between tables; each is whole at any time.
    When another process replaces the same files meanwhile, one of the two does it.
    """
    first = name_of((rollups.settled() + 1) // 24 * 24 - 24)[:10]  # of the days that are left alone
    waiting = {
        day
        for table in rollups.summed
        for day, parts in groupby(table.parts(), _day_of)
        if day < first and _is_waiting([*parts])
    }
    done: list[Merged] = []
    for day in sorted(waiting)[:days]:
        before = after = 0
        for table in rollups.summed:
            parts = _of_day(table, day)
            if not _is_waiting(parts):
                continue
            if stop():
                return done
            if table.replace(parts, added_up(table, table.read(parts))):
                before, after = before + len(parts), after + 1
        done.append(Merged(day, before, after))
        if told is not None:
            told(done[-1])
    return done


def _of_day(table: Rollup, day: str) -> list[Part]:
    """Return the files of what arrived on a day, the earliest first."""
    return [part for part in table.parts() if _day_of(part) == day]


def _day_of(part: Part) -> str:
    return part.arrived[: len("2026-01-31")]


def _is_waiting(parts: Sequence[Part]) -> bool:
    return len(parts) > 1 and sum(part.rows for part in parts) <= MOST_ROWS
