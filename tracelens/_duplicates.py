"""Which of the spans that share an id stay.

Owns the choice; finding them is a kernel's, and `forest` drops the others.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tracelens._link import I8, I64, U64, Bool
from tracelens.spans import CLIENT, SERVER


def settle(spans: pl.DataFrame, rows: I64, trace: I64, span: U64) -> tuple[Bool, I8, dict[str, int]]:
    """Decide which of the spans that share an id stay: (keep, half) per span, and what was dropped.

    rows: the spans that share their id with another; trace and span: their ids
    as numbers. half: 1 and 2 for client and server of a shared span, else 0.

    CLIENT and SERVER with one id are the halves of a Zipkin shared span: both
    stay. Of others the longest, then earliest, then smallest (service, name);
    when all that is equal the content decides, so that the order of arrival
    never does. Identical: equal in everything but when it was received.
    """
    some = spans[rows]
    number = _numbered(trace, span)
    half, stray = _halves(some["kind"], number)
    slot = number * 3 + half
    content = some.select(sorted(name for name in spans.columns if name != "received_unix_nano")).hash_rows()
    length = pl.col("end_time_unix_nano") - pl.col("start_time_unix_nano")
    ranked = some.select(
        pl.Series("slot", slot),
        pl.Series("stray", stray),
        length.fill_null(-1).neg().alias("length"),
        "start_time_unix_nano",
        "service_name",
        "name",
        content.alias("content"),
        "received_unix_nano",
        pl.Series("row", rows),
        pl.Series("half", half),
    )
    ranked = ranked.sort(ranked.columns[:-2])
    slots = ranked["slot"].to_numpy()
    first = np.flatnonzero(np.diff(slots, prepend=-1))
    contents = ranked["content"].to_numpy()
    identical = contents == np.repeat(contents[first], np.diff(first, append=len(slots)))
    sorted_rows = ranked["row"].to_numpy()
    keep = np.ones(spans.height, np.bool_)
    keep[sorted_rows] = False
    keep[sorted_rows[first]] = True
    halves = np.zeros(spans.height, np.int8)
    halves[rows] = half
    same = int(identical.sum()) - len(first)
    return keep, halves, {"dup_identical": same, "dup_conflict": len(rows) - len(first) - same}


def _numbered(trace: I64, span: U64) -> I64:
    """Return a number per distinct (trace, span)."""
    order = np.lexsort((span, trace))
    new = np.diff(trace[order], prepend=-1) != 0
    new[1:] |= span[order][1:] != span[order][:-1]
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(new)
    return number


def _halves(kinds: pl.Series, number: I64) -> tuple[I8, Bool]:
    """Return (half, whether it is neither client nor server of a shared span) per row."""
    kind = kinds.fill_null(0).to_numpy()
    has = np.zeros((2, int(number.max(initial=0)) + 1), np.bool_)
    has[0, number[kind == CLIENT]] = True
    has[1, number[kind == SERVER]] = True
    shared = (has[0] & has[1])[number]
    half = np.where(shared, np.where(kind == SERVER, 2, 1), 0).astype(np.int8)
    return half, shared & (kind != CLIENT) & (kind != SERVER)
