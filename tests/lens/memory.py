"""A source of spans that are in memory already."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import polars as pl

from tracelens.lens.sources import Description, Loaded


@dataclass
class FrameSource:
    """A frame of spans behind the face of a dump."""

    spans: pl.DataFrame
    live: bool = field(default=False, init=False)
    part: str = field(default="", init=False)

    def describe(self) -> Description:
        return Description("dump", "frame", 1)

    def version(self) -> str:
        return str(id(self.spans))

    def range(self) -> tuple[int, int] | None:
        return self.spans.select(pl.col("start_time_unix_nano").min(), pl.col("end_time_unix_nano").max()).row(0)

    def load(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Loaded:
        del start_nano, end_nano, keys
        return Loaded(self.spans)

    def weight(self, start_nano: int | None, end_nano: int | None) -> int:
        del start_nano, end_nano
        return int(self.spans.estimated_size())

    def parts(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Iterator[Loaded]:
        for part in self.spans.iter_slices(1_000):
            yield Loaded(part)
        del start_nano, end_nano, keys

    def whole(self, trace_ids: pl.Series, start_nano: int | None, end_nano: int | None) -> pl.DataFrame:
        del start_nano, end_nano
        return self.spans.filter(pl.col("trace_id").is_in(trace_ids.implode()))

    def trace(self, trace_id: bytes) -> pl.DataFrame:
        return self.spans.filter(pl.col("trace_id") == pl.lit(trace_id))
