"""The waterfall of one trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from dashboard.components import mount
from tracelens.lens import TraceAnswer


def waterfall(
    answer: TraceAnswer,
    *,
    colors: Mapping[str, str],
    chosen: str | None,
    only: bool,
    key: str,
    label: str,
) -> tuple[str | None, bool | None]:
    """Draw a trace; return the span chosen and the switch of "critical only", each None when untouched.

    colors: of each service. chosen: span id in hexadecimal. Times go over as nanoseconds from the
    trace's start: a browser's numbers hold no more than 2**53.
    """
    rows, sections = answer.rows, answer.sections
    begin, last = rows.select(pl.col("start_unix_nano").min(), pl.col("end_unix_nano").max()).row(0)
    ids = [value.hex() for value in rows["span_id"]]
    data: dict[str, Any] = {
        "trace": rows["trace_id"][0].hex(),
        "label": label,
        "start": 0,
        "end": max(last - begin, 1),
        "only": only,
        "chosen": ids.index(chosen) if chosen in ids else -1,
        "colors": dict(colors),
        "shares": shares(rows, colors),
        "spans": {
            "id": ids,
            "parent": rows["parent"].to_list(),
            "depth": rows["depth"].to_list(),
            "service": rows["service"].to_list(),
            "operation": rows["operation"].to_list(),
            "layer": rows["layer"].to_list(),
            "start": (rows["start_unix_nano"] - begin).to_list(),
            "end": (rows["end_unix_nano"] - begin).to_list(),
            "error": rows["error"].to_list(),
            "path": rows["on_path_nano"].to_list(),
            "marks": rows["marks"].to_list(),
        },
        "sections": {
            "row": sections["row"].to_list(),
            "start": (sections["start_unix_nano"] - begin).to_list(),
            "end": (sections["end_unix_nano"] - begin).to_list(),
        },
    }
    said = mount("waterfall", data, key=key, events=("span", "only"))
    return said.span, said.only


def shares(rows: pl.DataFrame, colors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the time on the critical path by service, most first."""
    summed = (
        rows.lazy()
        .group_by("service")
        .agg(nano=pl.col("on_path_nano").sum())
        .filter(pl.col("nano") > 0)
        .with_columns(share=pl.col("nano") / pl.col("nano").sum())
        .sort("nano", "service", descending=[True, False])
        .collect()
    )
    return [row | {"color": colors[row["service"]]} for row in summed.to_dicts()]
