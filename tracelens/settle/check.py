"""Whether rollups say what the spans do: all rows are made anew, and compared.

An hour of arrival by itself; where tables have a day in one file, its hours together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl
import polars.selectors as cs

from tracelens.analysis.rollups import ARRIVED, HOUR_NANO, TAUGHT
from tracelens.names import NOTHING
from tracelens.settle.hour import Hour
from tracelens.settle.tables import WIDTHS, Rollups, added_up, digest, number_of
from tracelens.store.rollups import Rollup
from tracelens.taught import Taught


def differences(rollups: Rollups, taught: Taught = NOTHING) -> Iterator[tuple[str, str, bool]]:
    """Yield (hour or day, what was found, whether it is wrong) of what is settled and whose spans are still there.

    All rows are made anew of the spans, and compared; where something else was taught, only what is counted.
    """
    last = rollups.settled()
    waiting = sorted(hour for hour in {file.hour for file in rollups.store.files()} if number_of(hour) <= last)
    every = tuple(waiting)
    while waiting:
        now = rollups.still()  # by the hour or by the day in all tables, whoever merges
        days = {part.arrived[:10] for table in now.summed for part in table.parts() if part.is_of_a_day}
        together = waiting[0][:10] if waiting[0][:10] in days else waiting[0]
        yield together, *_compared([Hour(now, hour, taught) for hour in every if hour.startswith(together)], together)
        waiting = [hour for hour in waiting[1:] if not hour.startswith(together)]


def _compared(hours: Sequence[Hour], together: str) -> tuple[str, bool]:
    """Return what a comparison of the rows with the spans finds, and whether that is wrong.

    together: what begins the names of the hours, and of no other.
    """
    rollups, taught = hours[0].rollups, hours[0].taught

    def stored(table: Rollup) -> pl.DataFrame:
        return added_up(table, table.read([part for part in table.parts() if part.arrived.startswith(together)]))

    known = stored(rollups.facts["minutes"])
    arrived = dict(known.filter(what=ARRIVED).select(pl.col("start_unix_nano") // HOUR_NANO, "n").rows())
    more = {hour.hour: sum(file.rows for file in hour.files) - arrived.pop(hour.number, 0) for hour in hours}
    if any(more.values()):
        return f"{sum(more.values()):,} spans came after it was settled: they are in no rollup", min(more.values()) < 0
    if arrived:
        return f"not compared: the spans of {len(arrived)} of its hours are gone", False
    if any(len(hour.came_over) and not hour.before for hour in hours):
        return "not compared: it has traces that began in an hour whose spans are gone", False
    tables = {(name, level): getattr(rollups, name)[level] for name in ("routes", "edges") for level in WIDTHS}
    tables["profiles", "hours"] = rollups.profiles
    made: dict[str, pl.DataFrame] = {}
    traces = 0
    for hour in hours:
        found = hour.rows()
        assert found is not None
        rows = found.tables
        kept = rollups.traces.read([part for part in rollups.traces.parts() if part.arrived == hour.hour]).collect()
        if not rows["traces"].select("trace_id", "arrived").equals(kept.select("trace_id", "arrived")):
            return f"the spans of {hour.hour} are of other traces than the rollup has", True
        traces += len(kept)
        for (name, _), table in tables.items():
            every = [made.get(table.name, table.schema.to_frame()).lazy(), rows[name].lazy()]
            made[table.name] = added_up(table, pl.concat(every))
    named_by = {what for what in known["what"].unique() if what.startswith(TAUGHT)}
    by_name = named_by <= {f"{TAUGHT}{digest(taught)}"}
    for (name, level), table in tables.items():
        if (by_name or name != "profiles") and not _alike(made[table.name], stored(table), by_name=by_name):
            return f"the spans give other {level} of {name} than the rollup has", True
    return f"{traces:,} traces", False


def _alike(made: pl.DataFrame, kept: pl.DataFrame, *, by_name: bool) -> bool:
    """Whether rows of a table, in order, say the same. by_name: row by row, not only altogether."""
    if by_name:
        told = cs.exclude(cs.float(), "trace_id")  # sums of fractions depend on what was added up first
        return made.select(told).equals(kept.select(told))
    sums = [name for name, kind in made.schema.items() if kind == pl.Int64 and name != "start_unix_nano"]
    return made.select(pl.col(sums).sum()).equals(kept.select(pl.col(sums).sum()))
