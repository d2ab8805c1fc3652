"""A comparison as text and as a JSON document.

Owns the sentences: what rose or fell, by how much, how sure that is, and where the time is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import orjson
import polars as pl
from rich.text import Text

from tracelens.lens import Comparison
from tracelens.lens.compare import KEY, NEW, VANISHED, rose
from tracelens.report import document
from tracelens.report.text import Column, console, footer, plain, table
from tracelens.report.units import count, duration, percent

Row = dict[str, Any]
TOO_FEW = "too few calls"
ROUTES: Sequence[Column] = (
    ("service", "service", plain),
    ("route", "route", plain),
    ("n_a", "seen A", count),
    ("n_b", "seen B", count),
    ("error_rate", "errors", plain),
    ("mean", "mean", plain),
    ("p50", "p50", plain),
    ("p90", "p90", plain),
    ("p99", "p99", plain),
    ("verdict", "verdict", plain),
)
NODES: Sequence[Column] = (
    ("label", "call path", plain),
    ("layer", "layer", plain),
    ("a", "A", duration),
    ("b", "B", duration),
    ("change", "B − A", plain),
    ("interval", "95 % interval", plain),
    ("verdict", "", plain),
)
WITHOUT_VERDICT = (NEW, VANISHED, TOO_FEW)
MOST_ROUTES = 10  # that are told of below the table
MOST_NODES = 5  # of a route: what comes after is told by --format json
LEAST_SHARE = 0.1  # of the mean's change: a node below is not worth a sentence
LEGEND = (
    "B's figure, and how it differs from A's; * significant: adjusted p at most 0.05, Benjamini-Hochberg over all "
    "routes; docs/compare.md"
)


def by_route(rows: pl.DataFrame) -> Iterator[tuple[dict[str, Row], list[Row]]]:
    """Yield each route of COMPARE rows: its measures by name, and its nodes."""
    for _, part in rows.group_by(KEY, maintain_order=True):
        measures = {row["measure"]: row for row in part.filter(kind="route").iter_rows(named=True)}
        yield measures, part.filter(kind="node").to_dicts()


def name_of(row: Row) -> str:
    """Return a route with its service before it, and its namespace where it is known."""
    where = f"{row['service']}.{row['namespace']}" if row["namespace"] is not None else row["service"]
    return f"{plain(where)} {plain(row['route'])}"


def verdict(measures: dict[str, Row]) -> str:
    """Return one word or two on a route."""
    rows = measures.values()
    if (only := measures["calls"]["note"]) in (NEW, VANISHED):
        return str(only)
    slower, faster = (
        any(row["significant"] and row["measure"] != "error_rate" and sign * rose(row) > 0 for row in rows)
        for sign in (1, -1)
    )
    errors = measures["error_rate"]
    said = ["slower"] * slower + ["faster"] * faster
    if errors["significant"]:
        said.append("more errors" if rose(errors) > 0 else "fewer errors")
    if said:
        return ", ".join(said)
    return TOO_FEW if measures["mean"]["p_value"] is None else "no change shown"


def sentence(row: Row) -> str:
    """Return a change in words: `p99 rose 31.0 ms (12.0 %) to 298 ms, 95 % interval 18.0 ms to 44.0 ms`."""
    by = rose(row)
    verb = "rose" if by > 0 else "fell" if by < 0 else "did not change:"
    if row["measure"] == "error_rate":
        low, high = row["low"], row["high"]
        interval = _interval(low, high, lambda share: f"{100 * share:.2f}") + ("" if low is None else " points")
        return f"errors {verb} {abs(100 * by):.2f} points to {percent(row['b'])}, {interval}"
    share = f" ({percent(abs(by) / row['a'])})" if row["a"] else ""
    interval = _interval(row["low_nano"], row["high_nano"], duration)
    return f"{row['measure']} {verb} {duration(abs(by))}{share} to {duration(row['b'])}, {interval}"


def _interval(low: float | None, high: float | None, write: Any) -> str:
    if low is None and high is None:
        return "too few calls for an interval"
    if low is None:
        return f"95 % interval up to {write(high)}"
    if high is None:
        return f"95 % interval from {write(low)}"
    return f"95 % interval {write(low)} to {write(high)}"


def where(mean: Row, nodes: Sequence[Row]) -> str:
    """Return in which nodes the mean's change is: `; 2.70 ms of it in db SELECT`; nothing when in no particular one."""
    by = rose(mean)
    along = [node for node in nodes if rose(node) * by > 0 and abs(rose(node)) >= LEAST_SHARE * abs(by)]
    found = [
        f"{duration(abs(rose(node)))}{' of it' if i == 0 else ''} in {_label(node)}" for i, node in enumerate(along[:2])
    ]
    return "; " + ", ".join(found) if found else ""


def _label(node: Row) -> str:
    layer = "" if node["layer"] == "app" else f" ({plain(node['layer']).replace('_', ' ')})"
    return f"{plain(node['path'][-1])}{layer}"


def sentences(measures: dict[str, Row], nodes: Sequence[Row]) -> list[str]:
    """Return what is to be said of a route: its significant changes, the tail first; and where its mean's change is."""
    order = ("p99", "p90", "p50", "mean", "error_rate")
    said = [measures[name] for name in order if measures[name]["significant"]]
    lines = [sentence(row) + (where(row, nodes) if row["measure"] == "mean" else "") for row in said]
    mean = measures["mean"]
    if nodes and not mean["significant"]:
        chance = "which may be chance" if mean["p_value"] is not None else f"not tested: {mean['note']}"
        lines.append(f"{sentence(mean)}, {chance}{where(mean, nodes)}")
    return lines


def text(found: Comparison, out: TextIO, *, empty: str) -> None:
    """Write the routes, and below them what is to be said of each that changed, with its nodes."""
    to = console(out)
    if found.rows.is_empty():
        to.print(Text(empty))
    else:
        routes = list(by_route(found.rows))
        to.print(table(pl.DataFrame([_cells(measures) for measures, _ in routes]), ROUTES))
        changed = [(measures, nodes) for measures, nodes in routes if sentences(measures, nodes)]
        for measures, nodes in changed[:MOST_ROUTES]:
            _route(to, measures, nodes)
        if rest := changed[MOST_ROUTES:]:
            told = f"\nand {len(rest)} routes more: --route tells of one, --format json of all"
            to.print(Text(told, style="dim"))
        to.print(Text(LEGEND, style="dim"))
    if found.weighted:
        note = "traces of a side stand for different numbers of requests: durations and errors count what was seen"
        to.print(Text(note, style="dim"))
    for side, info in (("A", found.a), ("B", found.b)):
        to.print(Text(f"{side}: {footer(info)}", style="dim"))


def _route(to: Any, measures: dict[str, Row], nodes: Sequence[Row]) -> None:
    to.print(Text(f"\n{name_of(measures['calls'])}", style="bold"))
    for line in sentences(measures, nodes):
        to.print(Text(f"  {line}"))
    if nodes:
        shown = nodes[:MOST_NODES]
        to.print(table(pl.DataFrame([_node_cells(node) for node in shown]), NODES))
        if rest := nodes[MOST_NODES:]:
            together = sum(int(rose(node)) for node in rest)
            to.print(Text(f"  and {len(rest)} nodes with {_signed(together)} together", style="dim"))


def _cells(measures: dict[str, Row]) -> Row:
    calls = measures["calls"]
    cells = {name: calls[name] for name in ("service", "route", "n_a", "n_b")}
    return (
        cells | {name: _cell(row) for name, row in measures.items() if name != "calls"} | {"verdict": verdict(measures)}
    )


def _cell(row: Row) -> str:
    is_share = row["measure"] == "error_rate"
    figure = percent(row["b"]) if is_share else duration(row["b"])
    if row["a"] is None or row["b"] is None:
        return figure
    mark = "*" if row["significant"] else ""
    if is_share:
        return f"{figure} {100 * rose(row):+z.1f}{mark}"
    return f"{figure} {100 * rose(row) / row['a']:+z.0f} %{mark}" if row["a"] else f"{figure}{mark}"


def _node_cells(node: Row) -> Row:
    tested = node["p_value"] is not None
    return {
        "label": "  " + " > ".join(map(plain, node["path"][-2:])),
        "layer": node["layer"],
        "a": node["a"],
        "b": node["b"],
        "change": _signed(int(rose(node))) + ("*" if node["significant"] else ""),
        "interval": f"{_signed(node['low_nano'])} to {_signed(node['high_nano'])}" if tested else "–",
        "verdict": node["note"] or "",
    }


def _signed(nanoseconds: int) -> str:
    return f"{'+' if nanoseconds > 0 else ''}{duration(nanoseconds)}"


def keyed(rows: pl.DataFrame) -> pl.DataFrame:
    """Return COMPARE rows with `key` before them, which names what is compared: `frontend GET /cart/{id} p99`."""
    service = pl.concat_str("service", "namespace", separator=".", ignore_nulls=True)
    below = pl.when(pl.col("kind") == "node").then(pl.lit("> ") + pl.col("path").list.join(" > "))
    return rows.select(
        pl.concat_str(service, "route", below, "measure", separator=" ", ignore_nulls=True).alias("key"), pl.all()
    )


def json(found: Comparison) -> str:
    """Return one document: source (A), source_b, method, rows."""
    whole = {
        "source": document.source(found.a),
        "source_b": document.source(found.b),
        "method": {**document.method(found.method), "tests": found.tests},
        "rows": document.rows(keyed(found.rows)),
    }
    return orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE).decode()
