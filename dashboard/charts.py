"""A chart's answer made into what is drawn: lines and their colours, the threshold and who is above it.

Owns the words and the reading of CHART rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from dashboard.boards import BY, MEASURES, Own
from dashboard.components.chart import Action, Drawing, Line, Unit
from dashboard.format import calls_per_second, count, duration, layer_name, percent
from dashboard.page import Page
from dashboard.palette import service_colors
from tracelens.lens import Charted
from tracelens.lens.charts import MOST_LINES, RATES, SHARES

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
COUNTED = {"path": "traces"}  # what n counts, where it is not calls
NONE = "without"  # what a group is called that has no value


def unit_of(measure: str) -> Unit:
    return "share" if measure in SHARES else "rate" if measure in RATES else "duration"


def written(measure: str, value: float | None) -> str:
    """Return a number of a measure with its unit."""
    if value is None:
        return "–"
    if measure in SHARES:
        return percent(value)
    return f"{calls_per_second(round(1_000 * value), 1_000 * SECOND)} /s" if measure in RATES else duration(value)


def drawing(page: Page, own: Own, found: Charted, actions: Sequence[Action], said: str | None) -> Drawing:
    """Return what is drawn of a chart. said: which spans were looked at, when those are not all."""
    limit = own.limit
    shown = found.totals.head(MOST_LINES)
    names = [_name(own, group) for group in shown["group"]]
    colors = {name: page.color(name) for name in names} if own.by == "service" else service_colors(names)
    dashes = {name: at for at, name in enumerate(sorted(names))}  # the same however they rank
    whole = _whole_until(found)
    by_group = found.rows.partition_by("group", as_dict=True)
    lines = [
        _line(found, by_group.get((row["group"],)), name, (colors[name], dashes[name]), row, limit, whole)
        for name, row in zip(names, shown.iter_rows(named=True), strict=True)
    ]
    lines.sort(key=lambda line: -(line.total or 0))
    hidden = found.groups - len(lines)
    counted = COUNTED.get(own.measure, "calls")
    return Drawing(
        title=own.name,
        label=f"{own.name}: {len(lines)} lines over time. The table below says the same.",
        by=BY.get(own.by, own.by),
        measure=_head(own.measure),
        counted=f"n ({counted})",
        unit=unit_of(own.measure),
        start_ms=found.start_nano / MILLISECOND,
        width_ms=found.width_nano / MILLISECOND,
        points=found.points,
        lines=lines,
        threshold=limit,
        limit=own.threshold,
        alert=_alert(page, own, found, lines, limit, whole),
        tone="bad" if limit is not None and any(_now(line, limit, whole) for line in lines) else "muted",
        more=". ".join(part for part in (_hidden(own, hidden, counted), _newest(said)) if part) or None,
        actions=actions,
    )


def _hidden(own: Own, hidden: int, counted: str) -> str:
    values = "" if own.by in BY else " values"
    return f"{count(hidden)} more {BY.get(own.by, own.by)}{values} with fewer {counted}" if hidden > 0 else ""


def _newest(said: str | None) -> str:
    return "" if said is None else f"The newest stretch of a long window, {said}"


def _head(measure: str) -> str:
    """Return what stands above the numbers: a term of `terms.py`."""
    if measure in ("calls", "errors"):
        return MEASURES[measure]
    return layer_name(measure.removeprefix("hop."))


def _name(own: Own, group: str | None) -> str:
    if own.by == "":
        return "all"
    return group if group is not None else f"{NONE} {BY.get(own.by, own.by)}"


def _whole_until(found: Charted) -> int:
    """Return how many stretches have all their calls: the one that data ends in may get more."""
    last = found.source.end_unix_nano
    if last is None:
        return found.points
    return max(1, min(found.points, (last + 1 - found.start_nano) // found.width_nano))


def _line(
    found: Charted,
    rows: pl.DataFrame | None,
    name: str,
    look: tuple[str, int],
    total: Mapping[str, Any],
    limit: float | None,
    whole: int,
) -> Line:
    values: list[float | None] = [None] * found.points
    counts = [0] * found.points
    for start, calls, value in (
        rows.select("bucket_start_unix_nano", "n", "value").iter_rows() if rows is not None else ()
    ):
        at = (start - found.start_nano) // found.width_nano
        if at < whole:
            values[at], counts[at] = value, calls
    over = limit is not None and total["value"] is not None and total["value"] > limit
    color, dash = look
    return Line(
        name=name,
        color=color,
        dash=dash,
        values=values,
        counts=counts,
        total=total["value"],
        n=total["n"],
        over=over,
    )


def _now(line: Line, limit: float, whole: int) -> int:
    """Return for how many stretches, up to the last whole one, a line has been above the threshold."""
    known = [value for value in line.values[:whole] if value is not None]
    last = line.values[whole - 1]
    if last is None or last <= limit:
        return 0
    above = 0
    for value in reversed(known):
        if value <= limit:
            break
        above += 1
    return above


def _alert(page: Page, own: Own, found: Charted, lines: Sequence[Line], limit: float | None, whole: int) -> str | None:
    """Return who is above the threshold now and since when, else how many were."""
    if limit is None:
        return None
    now = {line.name: since for line in lines if (since := _now(line, limit, whole))}
    if now:
        name, since = max(now.items(), key=lambda one: (one[1], one[0]))
        begin = page.clock(found.start_nano + (whole - since) * found.width_nano)
        others = f" and {len(now) - 1} more" if len(now) > 1 else ""
        return f"▲ {'' if own.by == '' else f'{name} '}over {own.threshold} since {begin}{others}"
    were = sum(any(value is not None and value > limit for value in line.values) for line in lines)
    return f"over {own.threshold} for a while: {were} of {len(lines)}" if were else f"none over {own.threshold}"
