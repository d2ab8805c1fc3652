"""Which of the spans that share an id stay.

Owns the choice; finding them is a kernel's, and `forest` drops the others.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tracelens._link import I8, I64, Bool
from tracelens.spans import CLIENT, SERVER


def settle(spans: pl.DataFrame, rows: I64) -> tuple[Bool, I8, dict[str, int]]:
    """Decide which of the spans that share an id stay: (keep, half) per span, and what was dropped.

    CLIENT and SERVER with one id are the halves of a Zipkin shared span: both
    stay. Of others the longest, then earliest, then smallest (service, name);
    when all that is equal the content decides, so that the order of arrival
    never does. Identical: equal in everything but when it was received.
    """
    content = sorted(name for name in spans.columns if name != "received_unix_nano")
    same = ("trace_id", "span_id")
    kind = pl.col("kind")
    shared = (kind == CLIENT).any().over(same) & (kind == SERVER).any().over(same)
    half = pl.when(shared & (kind == SERVER)).then(2).when(shared).then(1).otherwise(0)
    some = spans[rows]
    ranked = (
        some.with_columns(
            _row=pl.Series(rows),
            _content=some.select(content).hash_rows(),
            _half=half.cast(pl.Int8),
            _stray=shared & ~kind.is_in([CLIENT, SERVER]),
            _length=(pl.col("end_time_unix_nano") - pl.col("start_time_unix_nano")).fill_null(-1),
        )
        .sort(
            *same,
            "_half",
            "_stray",
            "_length",
            "start_time_unix_nano",
            "service_name",
            "name",
            "_content",
            "received_unix_nano",
            descending=[False, False, False, False, True, False, False, False, False, False],
        )
        .with_columns(
            _keep=pl.int_range(pl.len()).over(*same, "_half") == 0,
            _identical=pl.col("_content") == pl.col("_content").first().over(*same, "_half"),
        )
    )
    keep = np.ones(spans.height, np.bool_)
    keep[ranked.filter(~pl.col("_keep"))["_row"].to_numpy()] = False
    halves = np.zeros(spans.height, np.int8)
    halves[ranked["_row"].to_numpy()] = ranked["_half"].to_numpy()
    lost = ranked.filter(~pl.col("_keep"))
    identical = int(lost["_identical"].sum())
    return keep, halves, {"dup_identical": identical, "dup_conflict": lost.height - identical}
