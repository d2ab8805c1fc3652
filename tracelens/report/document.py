"""Answers as JSON documents, JSON lines and CSV: keys are column names, nothing is rounded.

Times are integer nanoseconds, ids lower-case hexadecimal, unknown is null.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import polars as pl

from tracelens.lens import Answer, Method, SourceInfo, TraceAnswer

# The keys of a row, in order, where an answer holds more than a script wants.
SECTIONS = ("trace_id", "span_id", "service", "operation", "layer", "start_unix_nano", "end_unix_nano")
PROFILE = (
    "band",
    "path",
    "service",
    "operation",
    "layer",
    "traces",
    "exclusive_nano",
    "share",
    "mean_nano",
    "max_nano",
    "exemplar_trace_id",
)
SHARES = (
    "path", "service", "operation", "layer", "calls", "traces",
    *(f"{part}_{name}_nano" for part in ("exclusive", "inclusive") for name in ("p50", "p90", "p99", "max")),
)  # fmt: skip

# What a spreadsheet would run as a formula; some read wide signs as the narrow ones.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Where a new cell begins for a spreadsheet that separates by semicolons or tabs, as many do in Europe.
WITHIN = re.compile('([;\t]"*)(?=[=+\\-@＝＋－＠])')
END = "\r\n"  # as the csv module knows it: then it quotes text with either of the two


def source(info: SourceInfo) -> dict[str, Any]:
    """Return the head of an answer."""
    return {
        "kind": info.kind,
        "format": info.format,
        "files": info.files,
        "spans": info.spans,
        "traces": info.traces,
        "complete_traces": info.complete_traces,
        "start_unix_nano": info.start_unix_nano,
        "end_unix_nano": info.end_unix_nano,
        "open_traces": info.open_traces,
        "late_spans": info.late_spans,
        "repairs": info.repairs,
        "rejected_spans": info.rejected_spans,
        "losses": list(info.losses),
        "sampling_rate": info.sampling_rate,
        "sampling_told_by": list(info.sampling_told_by),
        "coverage": info.coverage,
    }


def method(how: Method) -> dict[str, Any]:
    """Return how numbers were computed."""
    return {"percentile": how.percentile, "relative_error": how.relative_error, "sampled": how.sampled}


def rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return a frame as plain values."""
    binary = [name for name, dtype in frame.schema.items() if dtype == pl.Binary]
    return frame.with_columns(pl.col(binary).bin.encode("hex")).to_dicts() if binary else frame.to_dicts()


def json(answer: Answer, columns: Sequence[str] | None = None) -> str:
    """Return one document: source, method, rows."""
    kept = answer.rows.select(columns) if columns else answer.rows
    whole = {"source": source(answer.source), "method": method(answer.method), "rows": rows(kept)}
    return orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE).decode()


def trace(found: TraceAnswer) -> str:
    """Return one document: source, the tree's spans with their attributes, and the sections of the critical path."""
    spans = rows(found.rows)
    for span in spans:
        span["attributes"] = orjson.loads(span["attributes"])
    whole = {"source": source(found.source), "rows": spans, "sections": rows(found.sections)}
    return orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE).decode()


def jsonl(frame: pl.DataFrame) -> str:
    """Return one JSON object a row."""
    return "".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE).decode() for row in rows(frame))


def table(frame: pl.DataFrame) -> str:
    """Return CSV; text that a spreadsheet would take for a formula is quoted with an apostrophe."""
    lines = _Lines()
    writer = csv.writer(lines, lineterminator=END)
    writer.writerow(frame.columns)
    for row in rows(frame):
        writer.writerow([_cell(value) for value in row.values()])
    return "".join(lines)


class _Lines(list[str]):
    """What a csv writer writes, each line with one character at its end."""

    def write(self, line: str) -> None:
        self.append(f"{line.removesuffix(END)}\n")


def _cell(value: object) -> object:
    if isinstance(value, list):
        value = " > ".join(map(str, value))
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(FORMULA) else "") + WITHIN.sub(r"\1'", value)


TABLES: dict[str, Callable[[pl.DataFrame], str]] = {"jsonl": jsonl, "csv": table}
