"""How long a span takes among those like it: of the same service, operation and layer."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from tracelens.lens.analysed import Analysed
from tracelens.weighing import SPAN_BYTES

HOUR_NANO = 3_600_000_000_000  # traces are ranked among those of the same hour: so they share what is read
MOST_BYTES = 100_000 * SPAN_BYTES  # of memory for it: a trace opens at once, and a dump may be larger than memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """Where a span stands among its peers."""

    shorter: int  # peers that take less
    n: int  # peers, itself among them
    start_nano: int  # when the traces begin that were looked at
    end_nano: int


def around(at_nano: int) -> tuple[int, int]:
    """Return the hour that a moment is in."""
    start = at_nano // HOUR_NANO * HOUR_NANO
    return start, start + HOUR_NANO


def rank(window: Analysed, like: tuple[str, str, str], nano: int, start_nano: int, end_nano: int) -> Rank:
    """Return the rank of a duration. like: service, operation and layer of the span."""
    labels, forest = window.calls, window.forest
    service, operation, layer = like
    spans = pl.DataFrame(
        [
            labels.service.cast(pl.String).alias("service"),
            labels.operation.cast(pl.String).alias("operation"),
            labels.layer.cast(pl.String).alias("layer"),
            pl.Series("nano", forest.end - forest.start),
        ]
    )
    peers = spans.filter(
        pl.col("service").eq_missing(pl.lit(service)),
        pl.col("operation").eq_missing(pl.lit(operation)),
        pl.col("layer").eq_missing(pl.lit(layer)),
    )["nano"]
    return Rank(shorter=int((peers < nano).sum()), n=len(peers), start_nano=start_nano, end_nano=end_nano)
