"""The waterfall of one trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from dashboard import terms
from dashboard.components import mount
from dashboard.format import duration, layer_name, percent
from dashboard.palette import LAYERS
from tracelens.lens import TraceAnswer


def waterfall(
    answer: TraceAnswer,
    *,
    colors: Mapping[str, str],
    chosen: str | None,
    only: bool,
    proxies: bool | None,
    key: str,
    label: str,
    heard: Callable[[str, Any], None],
) -> None:
    """Draw a trace.

    colors: of each service. chosen: span id in hexadecimal. proxies: whether they are folded, None when there are
    none. heard: is told of `span`, the one chosen, and of the switches `only` (critical only) and `proxies` (folded).
    Times go over as nanoseconds from the trace's start: a browser's numbers hold no more than 2**53.
    """
    rows, sections = answer.rows, answer.sections
    begin, last = rows.select(pl.col("start_unix_nano").min(), pl.col("end_unix_nano").max()).row(0)
    ids = [value.hex() for value in rows["span_id"]]
    data: dict[str, Any] = {
        "trace": rows["trace_id"][0].hex(),
        "label": label,
        "terms": terms.some("critical path", "duration", "on the path", "mended"),
        "start": 0,
        "end": max(last - begin, 1),
        "only": only,
        "chosen": ids.index(chosen) if chosen in ids else -1,
        "colors": dict(colors),
        "proxies": proxies,
        "shares": shares(rows, colors),
        "layers": layer_shares(sections),
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
    mount("waterfall", data, key=key, events=("span", "only", "proxies"), heard=heard)


def shares(rows: pl.DataFrame, colors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the time on the critical path by service, most first, as parts of the whole."""
    summed = (
        rows.lazy()
        .group_by("service")
        .agg(nano=pl.col("on_path_nano").sum())
        .filter(pl.col("nano") > 0)
        .with_columns(share=pl.col("nano") / pl.col("nano").sum())
        .sort("nano", "service", descending=[True, False])
        .collect()
    )
    return [_part(row["service"], row["nano"], row["share"], colors[row["service"]]) for row in summed.to_dicts()]


def layer_shares(sections: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the time on the critical path by layer, in the order a request passes them; none when all is the app's."""
    length = pl.col("end_unix_nano") - pl.col("start_unix_nano")
    summed = dict(sections.group_by("layer").agg(length.sum()).iter_rows())
    total = sum(summed.values())
    if not total or set(summed) <= {"app"}:
        return []
    found = [(layer, summed[layer]) for layer in LAYERS if summed.get(layer)]
    return [_part(layer_name(layer), nano, nano / total, LAYERS[layer]) for layer, nano in found]


def _part(name: str, nano: int, share: float, color: str) -> dict[str, Any]:
    return {"text": f"{name} {duration(nano)} on the path, {percent(share)}", "share": share, "color": color}
