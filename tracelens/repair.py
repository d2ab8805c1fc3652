"""Repairs: what dirty spans and traces are mended for, and marked with.

Owns the repairs that need one span only, which every decoder applies before
it hands spans over, and the marks of those that need a whole trace, which
`forest` makes in the order its docstring states. The marks of the first kind
are declared beside the table they stand in: `spans.SPAN_MARKS`.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from tracelens.spans import CONSUMER, MARK, STATUS_ERROR, STATUS_UNSET, UNKNOWN_SERVICE, UNSPECIFIED

# -- repairs of a span, at decode

LAST_NANO = 2**63 - 1  # 2262-04-11: beyond it a time is no signed 64-bit number
ZERO_ID = bytes(8)
START, END = pl.col("start_time_unix_nano"), pl.col("end_time_unix_nano")
PARENT = pl.col("parent_span_id")


class Repair(NamedTuple):
    """One mark, which spans deserve it, and the columns that change for those."""

    mark: str
    needed: pl.Expr
    mended: dict[str, pl.Expr]


SPAN_REPAIRS = (
    Repair(
        "bad_parent",
        (PARENT.bin.size() != len(ZERO_ID)) | (pl.col("span_id") == PARENT),
        {"parent_span_id": pl.lit(None, pl.Binary)},
    ),
    Repair(
        "bad_kind",
        ~pl.col("kind").is_between(UNSPECIFIED, CONSUMER),
        {"kind": pl.lit(UNSPECIFIED)},
    ),
    Repair(
        "bad_status",
        ~pl.col("status_code").is_between(STATUS_UNSET, STATUS_ERROR),
        {"status_code": pl.lit(STATUS_UNSET)},
    ),
    Repair(
        "no_service",
        pl.col("service_name").fill_null("") == "",
        {"service_name": pl.lit(UNKNOWN_SERVICE)},
    ),
    Repair(  # before the times are compared: as signed numbers they would be negative
        "time_range",
        (START > LAST_NANO) | (END > LAST_NANO) | (START < 0) | (END < 0),
        {"start_time_unix_nano": START.clip(0, LAST_NANO), "end_time_unix_nano": END.clip(0, LAST_NANO)},
    ),
    Repair("no_time", (START == 0) & (END == 0), {}),
    Repair(  # before neg_duration: an absent end is no end before the start
        "one_time",
        (START == 0) ^ (END == 0),
        {"start_time_unix_nano": pl.max_horizontal(START, END), "end_time_unix_nano": pl.max_horizontal(START, END)},
    ),
    Repair("neg_duration", END < START, {"end_time_unix_nano": START}),
)

NARROW = {
    "kind": pl.Int8,
    "status_code": pl.Int8,
    "start_time_unix_nano": pl.Int64,
    "end_time_unix_nano": pl.Int64,
    "repairs": pl.Int32,
}


def mend(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the spans after SPAN_REPAIRS, in that order, each marked in `repairs`.

    frame: spans as received. Its numbers may be wider than SPANS says (times
    unsigned, kinds of 32 bits), a parent of zero bytes means none, an absent
    service name is null, and `repairs` holds what the decoder marked itself.
    Returns the same rows with the types of SPANS.
    """
    zero = (PARENT == ZERO_ID).any()
    asked = frame.select(zero.alias("zero"), any=pl.any_horizontal(needed.any() for _, needed, _ in SPAN_REPAIRS))
    if asked["zero"].item():
        frame = frame.with_columns(parent_span_id=pl.when(PARENT != ZERO_ID).then(PARENT))
    # The usual case costs one query. What is not needed before the first repair is not needed without one.
    for mark, needed, mended in SPAN_REPAIRS if asked["any"].item() else ():
        where = frame.select(needed.fill_null(value=False)).to_series()
        if not where.any():
            continue
        frame = frame.with_columns(
            pl.when(where).then(pl.col("repairs") | MARK[mark]).otherwise(pl.col("repairs")).alias("repairs"),
            *(pl.when(where).then(value).otherwise(pl.col(name)).alias(name) for name, value in mended.items()),
        )
    return frame.cast(NARROW)  # type: ignore[arg-type]  # a dict of names to types is what cast takes


# -- marks of a trace, made by forest

# Marks of repairs that need a trace; bit n of `Forest.marks` is TRACE_MARKS[n].
TRACE_MARKS = (
    "orphan",  # its parent is referred to and absent
    "cycle",  # its ancestors led back to it: the edge to its parent was cut
    "shared_split",  # one of two halves, client and server, that came with one id
    "skew_shifted",  # moved by the least amount that puts it inside its parent
    "skew_aligned",  # longer than its parent and earlier: moved to its parent's start
    "skew_capped",  # would have to be moved by more than a clock may be wrong: untouched
    "skew_moved",  # moved along with an ancestor on the same clock
    "clip_before",  # starts before its parent's window: the window is cut, the span is not
    "clip_after",  # ends after it
    "outside",  # has no time inside it: off the path, with its subtree
)
TRACE_MARK = {name: 1 << bit for bit, name in enumerate(TRACE_MARKS)}
