"""Answers as text for a terminal or a pipe."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracelens.lens import Answer, Method, SourceInfo, TraceAnswer
from tracelens.report.units import count, duration, instant, percent

# Column of an answer, its heading, and how its values are written.
Column = tuple[str, str, Callable[[Any], str]]

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LEAST_SHARE = 0.005  # of a band: what is less is counted, not shown
WIDE = 10_000  # a pipe has no width: nothing is cut


def plain(value: object) -> str:
    """Return text that cannot steer a terminal: control and direction characters become U+FFFD."""
    return CONTROL.sub("\ufffd", str(value)) if value is not None else "–"


def hexadecimal(value: bytes | None) -> str:
    return value.hex() if value is not None else "–"


ROUTES: Sequence[Column] = (
    ("service", "service", plain),
    ("route", "route", plain),
    ("calls", "calls", count),
    ("error_rate", "errors", percent),
    ("p50_nano", "p50", duration),
    ("p90_nano", "p90", duration),
    ("p99_nano", "p99", duration),
    ("max_nano", "max", duration),
    ("censored", "aborted", count),
    ("exemplar_trace_id", "trace at p99", hexadecimal),
)
ROUTE_NAMES: Sequence[Column] = (
    ("service", "service", plain),
    ("route", "route", plain),
    ("rule", "named by", plain),
    ("n", "calls seen", count),
    ("paths", "paths", count),
    ("example", "for example", plain),
)
PROFILE: Sequence[Column] = (
    ("label", "call path", plain),
    ("layer", "layer", plain),
    ("below", "with calls", percent),
    ("share", "itself", percent),
    ("mean_nano", "mean", duration),
    ("max_nano", "max", duration),
    ("traces", "traces", count),
    ("exemplar_trace_id", "trace at max", hexadecimal),
)
SHARES: Sequence[Column] = (
    ("path", "call path", lambda path: plain(" > ".join(path if len(path) <= 4 else [path[0], "…", *path[-2:]]))),
    ("layer", "layer", plain),
    *((f"exclusive_{name}_nano", f"itself {name}", duration) for name in ("p50", "p90", "p99", "max")),
    *((f"inclusive_{name}_nano", f"with calls {name}", duration) for name in ("p50", "p90", "p99", "max")),
    ("traces", "calls it is in", count),
    ("calls", "of", count),
)
SECTIONS: Sequence[Column] = (
    ("trace_id", "trace", hexadecimal),
    ("service", "service", plain),
    ("operation", "operation", plain),
    ("layer", "layer", plain),
    ("start_unix_nano", "start", instant),
    ("duration_nano", "duration", duration),
)
TRACES: Sequence[Column] = (
    ("trace_id", "trace", hexadecimal),
    ("service", "service", plain),
    ("route", "route", plain),
    ("start_unix_nano", "start", instant),
    ("duration_nano", "duration", duration),
    ("spans", "spans", count),
    ("services", "services", count),
    ("errors", "errors", count),
    ("complete", "complete", lambda complete: "yes" if complete else "no"),
)
HOPS: Sequence[Column] = (
    ("caller", "caller", plain),
    ("callee", "callee", plain),
    ("route", "route", plain),
    ("level", "level", plain),
    ("calls", "calls", count),
    ("coverage", "covered", percent),
    ("p50_nano", "p50", duration),
    ("p99_nano", "p99", duration),
    ("mean_nano", "mean", duration),  # what follows are means too: they add up
    ("client_mean_nano", "client", duration),
    ("egress_proxy_mean_nano", "egress proxy", duration),
    ("network_queueing_mean_nano", "network + queueing", duration),
    ("ingress_proxy_mean_nano", "ingress proxy", duration),
    ("app_mean_nano", "app", duration),
    ("downstream_mean_nano", "its own calls", duration),
    ("attempts_mean_nano", "attempts in vain", duration),
    ("backoff_mean_nano", "backoff", duration),
)
EDGES: Sequence[Column] = (
    ("caller", "caller", plain),
    ("callee", "callee", plain),
    ("calls", "calls", count),
    ("error_rate", "errors", percent),
    ("coverage", "covered", percent),
    ("p50_nano", "p50", duration),
    ("p90_nano", "p90", duration),
    ("p99_nano", "p99", duration),
)
FINDINGS: Sequence[Column] = (
    ("kind", "finding", lambda kind: kind.replace("_", " ")),
    ("service", "service", plain),
    ("route", "route", plain),
    ("traces", "traces", count),
    ("cost_nano", "cost", duration),
    ("path_nano", "on the path", duration),
    ("p99_nano", "of a slow trace", duration),
    ("evidence", "evidence", plain),
    ("exemplar_trace_id", "trace", hexadecimal),
)
LEFT = {
    "service", "route", "label", "layer", "operation", "trace_id", "exemplar_trace_id", "start_unix_nano", "span",
    "caller", "callee", "level", "kind", "evidence", "rule", "example", "missing", "verdict", "where", "at", "path",
    "attribute", "value", "typical_exemplar_trace_id",
}  # fmt: skip


def answer(found: Answer, columns: Sequence[Column], out: TextIO, *, empty: str) -> None:
    """Write a table and, below it, what it was computed from."""
    to = console(out)
    if found.rows.is_empty():
        to.print(Text(empty))
    else:
        rows = found.rows.with_columns(_missing(found.rows))
        to.print(table(rows, _told(columns, found, rows)))
    to.print(Text(footer(found.source, found.method), style="dim"))


def _missing(rows: pl.DataFrame) -> list[pl.Expr]:
    """Return the column `missing`: how many spans of callees are not there, and why, as `3 sampling, 1 late`."""
    reasons = [name for name in rows.columns if name.startswith("missing_")]
    said = [
        pl.when(pl.col(name) > 0).then(pl.format("{} " + name.removeprefix("missing_").replace("_", " "), name))
        for name in reasons
    ]
    return [pl.concat_str(said, separator=", ", ignore_nulls=True).alias("missing")] if reasons else []


def _told(columns: Sequence[Column], found: Answer, rows: pl.DataFrame) -> Sequence[Column]:
    """Return the columns worth a place: what was seen where calls are an estimate, reasons where a span is missing."""
    wanted = []
    for column in columns:
        wanted.append(column)
        if column[0] == "calls" and "n" in rows.columns and found.method.sampled:
            wanted.append(("n", "seen", count))
        if column[0] == "coverage" and "missing" in rows.columns and (rows["missing"] != "").any():
            wanted.append(("missing", "missing spans", plain))
    return wanted


def profile(found: Answer, out: TextIO, *, empty: str) -> None:
    """Write one tree of call-path nodes a band."""
    to = console(out)
    if found.rows.is_empty():
        to.print(Text(empty))
    for band in found.rows["band"].unique(maintain_order=True):
        of_band = found.rows.filter(pl.col("band") == band)
        calls, total = of_band["entries"][0], int(of_band["exclusive_nano"].sum())
        head = f"band {band} %: {count(calls)} calls, mean {duration(total / calls)}"
        to.print(Text(head, style="bold"))
        shown = _tree(of_band, total)
        to.print(table(shown, PROFILE))
        if hidden := len(of_band) - len(shown):
            to.print(Text(f"  and {hidden} nodes below {percent(LEAST_SHARE)}", style="dim"))
    to.print(Text(footer(found.source, found.method), style="dim"))


def _tree(band: pl.DataFrame, total: int) -> pl.DataFrame:
    """Return the nodes of a band that matter, parents first, the heaviest of siblings first."""
    rows = {row["node"]: row for row in band.iter_rows(named=True)}
    below: dict[int | None, list[int]] = {}
    for node, row in rows.items():
        if total == 0 or row["inclusive_nano"] >= LEAST_SHARE * total:
            below.setdefault(row["parent"] if row["parent"] in rows else None, []).append(node)
    order: list[int] = []
    stack = _heaviest_last(rows, below.get(None, []))
    while stack:
        node = stack.pop()
        order.append(node)
        stack.extend(_heaviest_last(rows, below.get(node, [])))
    shown = [rows[node] for node in order]
    return pl.DataFrame(shown, schema=band.schema).with_columns(
        label=pl.Series(["  " * (len(row["path"]) - 1) + plain(row["path"][-1]) for row in shown], dtype=pl.String),
        below=pl.col("inclusive_nano") / max(total, 1),
    )


def _heaviest_last(rows: dict[int, dict[str, Any]], nodes: list[int]) -> list[int]:
    return sorted(nodes, key=lambda node: (rows[node]["inclusive_nano"], rows[node]["path"]))


def trace(found: TraceAnswer, out: TextIO) -> None:
    """Write a trace as a tree; `●` marks spans on the critical path."""
    to = console(out)
    rows = found.rows
    begin = rows["start_unix_nano"][0]
    total = rows["end_unix_nano"][0] - begin
    services = rows["service"].n_unique()
    head = f"trace {rows['trace_id'][0].hex()} · {duration(total)} · {len(rows)} spans · {services} services"
    to.print(Text(head, style="bold"))
    shown = rows.with_columns(
        span=pl.Series([_tree_label(row) for row in rows.iter_rows(named=True)], dtype=pl.String),
        offset=pl.col("start_unix_nano") - begin,
        duration=pl.col("end_unix_nano") - pl.col("start_unix_nano"),
        on_path=pl.when(pl.col("on_path_nano") > 0).then("on_path_nano"),
        notes=pl.concat_str(
            pl.when("error").then(pl.lit("error")), pl.col("marks").list.join(" "), separator=" ", ignore_nulls=True
        ),
    )
    columns: Sequence[Column] = (
        ("span", "span", plain),
        ("layer", "layer", plain),
        ("offset", "starts at", duration),
        ("duration", "takes", duration),
        ("on_path", "on the path", duration),
        ("notes", "", plain),
    )
    to.print(table(shown, columns))
    to.print(Text(footer(found.source), style="dim"))


def _tree_label(row: dict[str, Any]) -> str:
    mark = "● " if row["on_path_nano"] > 0 else "  "
    return f"{mark}{'  ' * row['depth']}{plain(row['service'])} {plain(row['operation'])}"


def footer(info: SourceInfo, method: Method | None = None) -> str:
    """Return one line on what an answer was computed from."""
    parts = [
        f"{count(info.spans)} spans, {count(info.traces)} traces ({count(info.complete_traces)} complete)",
        f"{info.format}, {count(info.files)} file{'s' * (info.files != 1)}",
        _how(method),
    ]
    if info.open_traces:
        parts.append(f"{count(info.open_traces)} traces still open, left out")
    if info.late_spans:
        parts.append(f"{count(info.late_spans)} spans came late, left out")
    if info.repairs:
        parts.append("repaired: " + ", ".join(f"{name} {count(n)}" for name, n in sorted(info.repairs.items())))
    if info.sampling_rate is not None:
        told_by = ", ".join(name.replace("_", " ") for name in info.sampling_told_by if name != "unknown")
        parts.append(f"sampled {percent(info.sampling_rate)} (by {told_by})")
    if info.coverage is not None:
        parts.append(f"coverage {percent(info.coverage)}")
    if info.rejected_spans:
        parts.append(f"{count(info.rejected_spans)} spans without a usable id rejected")
    return " · ".join(parts)


def _how(method: Method | None) -> str:
    """Return how near percentiles are to what was measured."""
    if method is None or not method.relative_error:
        return "percentiles exact"
    return f"percentiles from log buckets, at most {percent(method.relative_error)} off"


def table(frame: pl.DataFrame, columns: Sequence[Column]) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for name, heading, _ in columns:
        drawn.add_column(heading, justify="left" if name in LEFT else "right", no_wrap=True, overflow="ellipsis")
    for row in frame.iter_rows(named=True):
        drawn.add_row(*(Text(write(row[name])) for name, _, write in columns))
    return drawn


def console(out: TextIO) -> Console:
    if not out.isatty() or isinstance(out, io.StringIO):
        return Console(file=out, width=WIDE, no_color=True, highlight=False, soft_wrap=True)
    return Console(file=out, highlight=False)
