"""Traces for tests: drawn by hand, from rows, or many at once.

A drawing has one line a span: indentation is parentage, the bar is the time,
a column is a millisecond, and the leftmost bar starts at 0. A single `|` has
no length, `?` instead of a bar has no time. What follows the bar is options:

    web    |---------|   kind=server host=h1
     cart  |----|        service=basket op=/add kind=client error
     mail        |-----| follows_from

Options: service=S op=NAME (both the label unless told), kind=KIND, host=H
(res:host.name), pod=P (res:k8s.pod.name), id=N, parent=LABEL or parent=!N (an
absent span), root (no parent), follows_from, error, skew=±N (the clock is N
columns ahead), and any attribute column: attr:http.route=/x. Spans are
numbered from 1 by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tracelens import forest as forests
from tracelens.analysis import critical_path
from tracelens.spans import KINDS, MARK, SPANS, STATUS_ERROR, concat, dtype, is_attribute

MILLISECOND = 1_000_000
LINE = re.compile(r"^(?P<indent> *)(?P<label>\S+) +(?P<bar>\|-*\||\||\?)(?P<options>.*)$")


def trace_id(number: int) -> bytes:
    """Return the 16-byte id of a drawn trace."""
    return number.to_bytes(16, "big")


def span_id(number: int) -> bytes:
    """Return the 8-byte id of a drawn span."""
    return number.to_bytes(8, "big")


def frame(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return spans: each row tells what differs from an internal span of no length at 0 in trace 1."""
    default: dict[str, Any] = {
        **dict.fromkeys(SPANS),
        "trace_id": trace_id(1),
        "follows_from": False,
        "name": "",
        "kind": 1,
        "start_time_unix_nano": 0,
        "end_time_unix_nano": 0,
        "status_code": 0,
        "service_name": "",
        "dropped_attributes_count": 0,
        "dropped_events_count": 0,
        "dropped_links_count": 0,
        "repairs": 0,
    }
    full = [{**default, **row} for row in rows]
    extra = sorted({name for row in full for name in row} - set(SPANS))
    schema = dict(SPANS) | {name: dtype(name) for name in extra}
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in full], schema=schema, orient="row")


def trace(drawing: str, *, number: int = 1, unit: int = MILLISECOND, at: int = 0) -> pl.DataFrame:
    """Return the spans of a drawing; number: of the trace; unit: nanoseconds a column; at: of column 0."""
    lines = [line for line in drawing.splitlines() if line.strip()]
    parsed = [LINE.match(line) for line in lines]
    for line, match in zip(lines, parsed, strict=True):
        if match is None:
            raise ValueError(f"no span is drawn in: {line!r}")
    drawn = [match for match in parsed if match is not None]
    origin = min((match.start("bar") for match in drawn if match["bar"] != "?"), default=0)
    ids: dict[str, int] = {}
    above: list[tuple[int, int]] = []  # (indentation, id) of the ancestors of the line
    rows = []
    for index, match in enumerate(drawn, 1):
        options = dict(word.partition("=")[::2] for word in match["options"].split())
        own = int(options.pop("id", index))
        indent = len(match["indent"])
        while above and above[-1][0] >= indent:
            above.pop()
        row = _row(match, options, above[-1][1] if above else None, ids, origin, unit, at)
        ids.setdefault(match["label"], own)
        above.append((indent, own))
        rows.append({"trace_id": trace_id(number), "span_id": span_id(own), **row})
    return frame(rows)


def _row(
    match: re.Match[str],
    options: dict[str, str],
    parent: int | None,
    ids: dict[str, int],
    origin: int,
    unit: int,
    at: int,
) -> dict[str, Any]:
    label = match["label"]
    ahead = round(float(options.pop("skew", 0)) * unit)
    begins, ends = match.start("bar") - origin, match.end("bar") - 1 - origin
    row: dict[str, Any] = {
        "name": options.pop("op", label),
        "service_name": options.pop("service", label),
        "kind": KINDS.index(options.pop("kind", "internal").upper()),
        "start_time_unix_nano": at + begins * unit + ahead,
        "end_time_unix_nano": at + ends * unit + ahead,
    }
    if match["bar"] == "?":
        row |= {"start_time_unix_nano": 0, "end_time_unix_nano": 0, "repairs": MARK["no_time"]}
    if "parent" in options:
        named = options.pop("parent")
        parent = int(named[1:]) if named.startswith("!") else ids[named]
    if options.pop("root", None) is not None:
        parent = None
    row["parent_span_id"] = None if parent is None else span_id(parent)
    row["follows_from"] = options.pop("follows_from", None) is not None
    if options.pop("error", None) is not None:
        row["status_code"] = STATUS_ERROR
    if "host" in options:
        row["res:host.name"] = options.pop("host")
    if "pod" in options:
        row["res:k8s.pod.name"] = options.pop("pod")
    for name, text in options.items():
        if not is_attribute(name):
            raise ValueError(f"{label}: {name} is no option of a drawn span")
        row[name] = int(text) if name.endswith("#int") else text
    return row


def traces(*drawings: str, **options: Any) -> pl.DataFrame:
    """Return the spans of several drawings, as traces 1, 2, …"""
    return concat([trace(drawing, number=i, **options) for i, drawing in enumerate(drawings, 1)])


def walk(
    spans: pl.DataFrame, *, unit: int = MILLISECOND, skew: bool = True, **options: Any
) -> list[tuple[str, float, float]]:
    """Return the sections of the critical paths as (span name, start, end), in columns of the drawing."""
    linked = forests.link(spans, skew=skew)
    sections = critical_path.sections(linked, **options)
    names = linked.spans["name"].gather(sections.span).to_list()
    start, end = sections.start / unit, sections.end / unit
    return list(zip(names, start.tolist(), end.tolist(), strict=True))


def path(spans: pl.DataFrame, **options: Any) -> list[str]:
    """Return the names on the critical path, latest first, each once in a row of its own time."""
    return [name for name, _, _ in reversed(walk(spans, **options))]


def exclusive(spans: pl.DataFrame, **options: Any) -> dict[str, float]:
    """Return how many columns of the critical path each name has, slowest first."""
    sums: dict[str, float] = {}
    for name, start, end in walk(spans, **options):
        sums[name] = sums.get(name, 0) + end - start
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def synthetic(
    spans: int,
    *,
    per_trace: int = 10,
    seed: int = 0,
    templates: int = 20,
    shapes: int | None = None,
    shuffled: bool = False,
) -> pl.DataFrame:
    """Return about `spans` spans: traces of a few shapes, children at random within their parents.

    A template is a tree of `per_trace` labelled spans; each trace draws its times and its ids.
    shapes: the seed of the trees, so that frames of several seeds are of one system; else that of all.
    shuffled: in no order; else by trace id and start, as a compacted store has them.
    """
    rng = np.random.default_rng(seed)
    shaping = rng if shapes is None else np.random.default_rng(shapes)
    count = max(spans // per_trace, 1)
    n = count * per_trace
    trees = shaping.integers(0, np.maximum(np.arange(per_trace), 1), (templates, per_trace))
    shape = rng.integers(0, templates, count)
    parent = trees[shape]
    start, end = np.zeros((count, per_trace)), np.zeros((count, per_trace))
    end[:, 0] = rng.lognormal(16, 1, count)  # e^16 ns is 9 ms
    every = np.arange(count)
    for j in range(1, per_trace):
        low, high = start[every, parent[:, j]], end[every, parent[:, j]]
        part = np.sort(rng.random((count, 2)), axis=1)
        start[:, j], end[:, j] = low + (high - low) * part[:, 0], low + (high - low) * part[:, 1]
    number = np.frombuffer(rng.bytes(8 * n), np.uint64)
    begin = 1_700_000_000_000_000_000 + np.repeat(rng.integers(0, 3_600_000_000_000, count), per_trace)
    label = (shape[:, None] * per_trace + np.arange(per_trace)).ravel()
    drawn = pl.DataFrame(
        {
            "trace_id": _binary(np.repeat(np.frombuffer(rng.bytes(16 * count), "V16"), per_trace)),
            "span_id": _binary(number),
            "above": _binary(number[(parent + every[:, None] * per_trace).ravel()]),
            "start_time_unix_nano": begin + start.ravel().astype(np.int64),
            "end_time_unix_nano": begin + end.ravel().astype(np.int64),
            "root": np.tile(np.arange(per_trace) == 0, count),
            "label": label,
        }
    )
    made = drawn.lazy().with_columns(
        parent_span_id=pl.when(~pl.col("root")).then("above"),
        follows_from=pl.lit(value=False),
        flags=pl.lit(1, pl.Int64),
        name="op-" + (pl.col("label") % 7).cast(pl.String),
        kind=pl.when("root").then(2).otherwise(1).cast(pl.Int8),
        status_code=pl.lit(0, pl.Int8),
        service_name="service-" + (pl.col("label") % 12).cast(pl.String),
        repairs=pl.lit(0, pl.Int32),
    )
    present = made.collect_schema()
    missing = {name: pl.lit(None, kind) for name, kind in SPANS.items() if name not in present}
    full = made.with_columns(**missing).select(SPANS.names())
    if shuffled:
        return full.collect().sample(fraction=1, shuffle=True, seed=seed)
    return full.sort("trace_id", "start_time_unix_nano").collect()


def _binary(items: np.ndarray[Any, Any]) -> pl.Series:
    width = items.dtype.itemsize
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(items), [None, pa.py_buffer(items.tobytes())])
    return pl.Series(array.cast(pa.large_binary()), dtype=pl.Binary)
