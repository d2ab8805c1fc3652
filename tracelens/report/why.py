"""Why slow calls are slow, and what a fix would win, as text and as documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TextIO

import orjson
import polars as pl
from rich.text import Text

from tracelens.lens import Answer, Explanation
from tracelens.report import document
from tracelens.report.text import Column, console, footer, hexadecimal, plain, table
from tracelens.report.units import count, duration, percent

EXPLAIN = (
    "path", "service", "operation", "layer", "typical_nano", "slow_nano", "difference_nano", "share", "low_nano",
    "high_nano", "typical_traces", "slow_traces", "typical_spans", "slow_spans", "repeated", "exemplar_trace_id",
    "typical_exemplar_trace_id",
)  # fmt: skip
NODES: Sequence[Column] = (
    ("where", "where the time goes", plain),
    ("layer", "layer", plain),
    ("typical_nano", "typical", duration),
    ("slow_nano", "slow", duration),
    ("difference_nano", "difference", duration),
    ("interval", "95 % interval", plain),
    ("share", "of it all", percent),
    ("exemplar_trace_id", "slow trace", hexadecimal),
    ("typical_exemplar_trace_id", "typical trace", hexadecimal),
)
MARKS: Sequence[Column] = (
    ("at", "at", plain),
    ("attribute", "attribute", plain),
    ("value", "value", plain),
    ("slow", "slow calls", percent),
    ("rest", "other calls", percent),
    ("lift", "times as often", lambda lift: "only there" if lift is None else f"{lift:.3g}"),
    ("interval", "95 % interval", plain),
    ("n", "calls that have it", count),
)
WHAT_IF: Sequence[Column] = (
    ("service", "service", lambda name: "(all traces)" if name is None else plain(name)),
    ("route", "route", lambda name: "" if name is None else plain(name)),
    ("calls", "calls", count),
    ("changed", "changed", count),
    *(
        (f"{prefix}p{percent_}_nano", f"{heading}p{percent_}", duration)
        for percent_ in (50, 90, 99)
        for prefix, heading in (("", ""), ("projected_", "→ "))
    ),
    ("change", "p99 changes by", lambda share: "–" if share is None else f"{100 * share:+.1f} %"),
)
FIXES: Sequence[Column] = (
    ("where", "own time of", plain),
    ("layer", "layer", plain),
    ("p99_nano", "wins of p99", duration),
    ("p90_nano", "of p90", duration),
    ("p50_nano", "of p50", duration),
    ("mean_nano", "of the mean", duration),
    ("traces", "calls it is in", count),
    ("exemplar_trace_id", "trace", hexadecimal),
)
SHOWN = 12  # nodes of an explanation; the rest is summed up in a line


def headline(found: Explanation) -> str:
    """Return the answer in a sentence or two: what the slow band is, and what most of the difference is."""
    totals = found.totals
    if not totals.slow_calls or not totals.typical_calls:
        return "too few calls to tell slow from typical ones."
    text = (
        f"{_named(totals.slow)} ({count(totals.slow_calls)} calls) take {duration(totals.slow_nano)} on average, "
        f"{_named(totals.typical)} "
        f"({count(totals.typical_calls)}) {duration(totals.typical_nano)}: {duration(totals.difference_nano)} more."
    )
    if totals.difference_nano > 0 and len(found.rows):
        top = found.rows.row(0, named=True)
        text += (
            f" {percent(top['share'])} of that is {plain(top['service'])} {plain(top['operation'])}"
            f" ({_words(top['layer'])}): {duration(top['typical_nano'])} typically, {duration(top['slow_nano'])} there."
        )
        if top["repeated"] is not None:
            node = pl.col("path").list.last() == top["repeated"]
            typical, slow = found.rows.filter(node).select("typical_spans", "slow_spans").max().row(0)
            text += f" They run {plain(top['repeated'])} {slow:.3g} times each, the others {typical:.3g} times."
    if len(found.marks):
        mark = found.marks.row(0, named=True)
        text += (
            f" {percent(mark['slow'])} of the slow calls have {_at(mark)}{plain(mark['attribute'])}="
            f"{plain(mark['value'])}, of the others {percent(mark['rest'])}."
        )
    return text[0].upper() + text[1:]


def explanation(found: Explanation, out: TextIO) -> None:
    """Write why the slow band is slow."""
    to = console(out)
    to.print(Text(headline(found), style="bold"))
    if not found.rows.is_empty():
        top = found.rows.filter(pl.col("difference_nano") != 0).head(SHOWN)
        rest = found.totals.difference_nano - int(top["difference_nano"].sum())
        where = [" > ".join(_short(path)) for path in top["path"].to_list()]
        bounds = [_interval(low, high) for low, high in top.select("low_nano", "high_nano").iter_rows()]
        shown = top.with_columns(where=pl.Series(where, dtype=pl.String), interval=pl.Series(bounds, dtype=pl.String))
        to.print(table(shown, NODES))
        if hidden := len(found.rows) - len(top):
            to.print(Text(f"  and {count(hidden)} more nodes: {duration(rest)} together", style="dim"))
    if not found.marks.is_empty():
        slow, others = found.looked_at
        to.print(Text(f"\nwhat {count(slow)} slow calls have and {count(others)} others have not", style="bold"))
        marks = found.marks.head(SHOWN).with_columns(
            at=pl.concat_str("service", "operation", separator=" ", ignore_nulls=True),
            n=pl.col("slow_calls") + pl.col("rest_calls"),
            interval=pl.format("{} – {}", pl.col("lift_low").round_sig_figs(3), pl.col("lift_high").round_sig_figs(3)),
        )
        to.print(table(marks, MARKS))
    to.print(Text(footer(found.source) + " · intervals: Welch, calls taken as independent", style="dim"))


def explanation_json(found: Explanation) -> str:
    """Return one document: source with the two means (`totals`), method, rows, marks."""
    head = document.source(found.source) | {"totals": _totals(found)}
    whole = {
        "source": head,
        "method": document.method(found.method) | {"interval": "Welch, 95 %, calls taken as independent"},
        "rows": document.rows(found.rows.select(EXPLAIN)),
        "marks": document.rows(found.marks),
    }
    return orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE).decode()


def projected(found: Answer, out: TextIO, *, empty: str) -> None:
    """Write percentiles beside the projected ones."""
    to = console(out)
    if found.rows.is_empty():
        to.print(Text(empty))
    else:
        change = (pl.col("projected_p99_nano") - pl.col("p99_nano")) / pl.col("p99_nano")
        to.print(table(found.rows.with_columns(change=change), WHAT_IF))
    to.print(Text(footer(found.source) + " · projected: only the named times move, queues do not", style="dim"))


def fixes(found: Answer, out: TextIO, scale: float, *, empty: str) -> None:
    """Write what each single fix would win."""
    to = console(out)
    if found.rows.is_empty():
        to.print(Text(empty))
    else:
        best = found.rows.row(0, named=True)
        to.print(
            Text(
                f"{_scaling(scale)} {plain(best['service'])} {plain(best['operation'])} ({_words(best['layer'])}) wins "
                f"{duration(best['p99_nano'])} of p99.",
                style="bold",
            )
        )
        to.print(table(found.rows.with_columns(where=pl.concat_str("service", "operation", separator=" ")), FIXES))
    to.print(Text(footer(found.source) + " · each by itself; projected: queues do not move", style="dim"))


def _totals(found: Explanation) -> dict[str, Any]:
    told = asdict(found.totals)
    told["typical"], told["slow"] = (
        _band(band).removesuffix(" %") for band in (found.totals.typical, found.totals.slow)
    )
    return told | {"difference_nano": found.totals.difference_nano, "attributes_of_calls": list(found.looked_at)}


def _band(band: tuple[float, float]) -> str:
    return f"{band[0]:g}-{band[1]:g} %"


def _named(band: tuple[float, float]) -> str:
    if band[1] == 100:
        return f"the slowest {band[1] - band[0]:g} %"
    return f"the fastest {band[1]:g} %" if band[0] == 0 else f"those in {_band(band)}"


def _words(layer: str | None) -> str:
    return plain(layer).replace("_", " ")


def _at(mark: dict[str, Any]) -> str:
    where = " ".join(plain(mark[name]) for name in ("service", "operation") if mark[name] is not None)
    return f"{where} " if where else ""


def _short(path: list[str]) -> list[str]:
    """Return a path without its middle: where it begins, and the last steps of it."""
    return path if len(path) <= 4 else [path[0], "…", *path[-2:]]


def _interval(low: int | None, high: int | None) -> str:
    return "–" if low is None else f"{duration(low)} to {duration(high)}"


def _scaling(scale: float) -> str:
    return {0.0: "no time at all in", 0.5: "halving"}.get(scale, f"{scale:g} times the own time of").capitalize()
