"""Courses: numbers over time as pages draw them, in equal stretches without a hole.

Owns which stretches are told: one that data ends in has but some of its calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True)
class Course:
    """Numbers over time, in equal stretches; None where there was no call."""

    starts: list[int]  # nanoseconds
    width_nano: int
    calls: list[int]
    errors: list[int]
    p50: list[int | None]
    p90: list[int | None]
    p99: list[int | None]

    @property
    def error_rate(self) -> list[float | None]:
        return [wrong / all_ if all_ else None for wrong, all_ in zip(self.errors, self.calls, strict=True)]


def course(series: pl.DataFrame, start: int, end: int, points: int, last: int | None) -> Course:
    """Return SERIES rows of one route with the stretches that have no row filled in.

    last: where the data ends. A stretch that reaches beyond it has no
    percentiles yet: those of its first few calls would look like a change.
    """
    width = max((end - start) // points, 1)
    starts = [start + at * width for at in range(points)]
    full = pl.DataFrame({"bucket_start_unix_nano": starts}, schema={"bucket_start_unix_nano": pl.Int64}).join(
        series, on="bucket_start_unix_nano", how="left", validate="1:1", maintain_order="left"
    )
    whole = pl.col("bucket_start_unix_nano") + width <= (last or 0) + 1
    known = full.select(
        pl.when(whole | (pl.col("bucket_start_unix_nano") == start)).then(f"{name}_nano").alias(name)
        for name in ("p50", "p90", "p99")
    )
    return Course(
        starts=starts,
        width_nano=width,
        calls=full["calls"].fill_null(0).to_list(),
        errors=full["errors"].fill_null(0).to_list(),
        p50=known["p50"].to_list(),
        p90=known["p90"].to_list(),
        p99=known["p99"].to_list(),
    )
