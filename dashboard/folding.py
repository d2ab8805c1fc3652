"""A trace with its proxies folded: one row where several spans carried one request.

Owns which rows stay and to which of them the others' time on the path goes.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from tracelens.lens import TraceAnswer


def folded(answer: TraceAnswer) -> TraceAnswer:
    """Return a trace without the spans that only carry requests; what they took stands at the span above them."""
    rows = answer.rows
    stays: list[int] = []  # of each row: the new row it is told by
    kept: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    for row, parent, carries in rows.select("row", "parent", "carries").iter_rows():
        above = stays[parent] if parent >= 0 else -1
        if carries and above >= 0:
            stays.append(above)
            continue
        stays.append(len(kept))
        kept.append(row)
        parents.append(above)
        depths.append(depths[above] + 1 if above >= 0 else 0)
    to = pl.Series(stays, dtype=pl.Int64)
    on_path = (
        pl.DataFrame({"row": to, "nano": rows["on_path_nano"]}).group_by("row").agg(pl.col("nano").sum()).sort("row")
    )
    shown = rows[kept].with_columns(
        row=pl.int_range(len(kept), dtype=pl.Int64),
        parent=pl.Series(parents, dtype=pl.Int64),
        depth=pl.Series(depths, dtype=rows.schema["depth"]),
        on_path_nano=on_path["nano"],
    )
    sections = answer.sections.with_columns(row=to.gather(answer.sections["row"]))
    return replace(answer, rows=shown, sections=sections)
