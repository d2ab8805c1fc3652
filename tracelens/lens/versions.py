"""Versions: which of them served a service's calls, and when."""

from __future__ import annotations

import polars as pl

from tracelens.lens.analysed import Analysed
from tracelens.lens.question import Answer, Question
from tracelens.semconv import SERVICE_VERSION
from tracelens.spans import attribute

VERSIONS = pl.Schema(
    {
        "service": pl.String(),
        "key": pl.String(),  # as filters have it: res.service.version
        "version": pl.String(),
        "calls": pl.Int64(),  # seen in which a span of that version works
        "first_unix_nano": pl.Int64(),  # start of the first of them
        "last_unix_nano": pl.Int64(),
    }
)


def versions(window: Analysed, question: Question) -> Answer:
    """Return VERSIONS, of each service the latest to come first."""
    table = window.selected(question).select("span", "service", "start_unix_nano").lazy()
    spans, calls = window.forest.spans, window.calls
    of_call = pl.Series("span", calls.call).cast(calls.table.schema["span"])
    told = []
    for name in SERVICE_VERSION:
        values = spans.select("kind", version=attribute(spans.columns, (name,), "res"))[
            "version"
        ]  # as long as the spans
        one = pl.DataFrame([of_call.cast(table.collect_schema()["span"]), values]).drop_nulls().unique()
        told.append(one.lazy().with_columns(key=pl.lit(f"res.{name}")))
    rows = (
        table.join(pl.concat(told), on="span", validate="1:m")
        .group_by("service", "key", "version")
        .agg(
            calls=pl.len().cast(pl.Int64),
            first_unix_nano=pl.col("start_unix_nano").min(),
            last_unix_nano=pl.col("start_unix_nano").max(),
        )
        .sort("service", "key", "first_unix_nano", "version", descending=[False, False, True, False])
        .select(VERSIONS.names())
        .cast(VERSIONS)
    )
    return Answer(rows=rows.collect(), source=window.info, method=window.method)
