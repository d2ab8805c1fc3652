"""What calls make: the requests of each call, summed by it, or by it and whom or what they ask.

Owns the sums. What many or serial calls mean is said by the patterns.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tracelens._link import I64, Bool
from tracelens.calls import Calls

# One row a call that makes others, and group of these.
MADE = pl.Schema(
    {
        "row": pl.Int64(),  # the call that makes them: its entry span
        "until": pl.Int64(),  # one past the last row below them
        "trace": pl.Int64(),
        "maker": pl.String(),  # its workload and its route
        "maker_route": pl.String(),
        "caller": pl.String(),  # of the first one, as REQUESTS has it
        "service": pl.String(),
        "route": pl.String(),
        "made": pl.Int64(),
        "serial": pl.Boolean(),  # none begins before the one before has ended
        "cost": pl.Int64(),  # nanoseconds of all but the longest
        "path": pl.Int64(),  # of these on the critical path
        "path_beyond": pl.Int64(),  # on the critical path, but for the one longest there
        "first": pl.Int64(),  # the first and the last row that one begins at
        "last": pl.Int64(),
    }
)


def by_call(requests: pl.DataFrame) -> pl.DataFrame:
    """Return the whole requests that calls make, by call and start. requests: as `on_path.measured` has them."""
    kept = pl.col("caller_call").is_not_null() & ~pl.col("censored")
    numbers = ("caller_call", "start_unix_nano", "duration_nano", "path_nano", "top", "until", "kind", "callee")
    chosen = requests.lazy().filter(kept).select("trace", "caller", "service", "route", *numbers)
    return chosen.sort("caller_call", "start_unix_nano", "top").collect()


def made(requests: pl.DataFrame, calls: Calls, by: str | None = None) -> pl.DataFrame:
    """Return MADE by call and then by a number that its requests have: `kind`, `callee`, or none.

    requests: as `by_call` has them.
    """
    if requests.is_empty():
        return MADE.to_frame()
    group = np.array(requests["caller_call"], np.int64)
    if by is not None:
        number = requests[by].to_numpy()
        group = group * (int(number.max()) + 1) + number
        order = np.argsort(group, kind="stable")
        group, requests = group[order], requests[order]
    call, start, length, path, top, until = (
        np.array(requests[name], np.int64)
        for name in ("caller_call", "start_unix_nano", "duration_nano", "path_nano", "top", "until")
    )
    begins = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    in_time: Bool = np.ones(len(start), np.bool_)
    in_time[1:] = start[1:] >= (start + length)[:-1]
    in_time[begins] = True
    longest = np.maximum.reduceat(length, begins)
    sizes = np.diff(begins, append=len(group))
    of = np.repeat(np.arange(len(begins)), sizes)
    places = np.flatnonzero(length == longest[of])[::-1]
    first_longest: I64 = np.empty(len(begins), np.int64)
    first_longest[of[places]] = places  # of several the first, which is written last
    on_path = np.add.reduceat(path, begins)
    row = call[begins]
    return (
        requests.select("trace", "caller", "service", "route")[begins]
        .with_columns(
            row=pl.Series(row),
            until=pl.Series(np.maximum.reduceat(until, begins)),
            maker=calls.service.gather(row),
            maker_route=calls.operation.gather(row),
            made=pl.Series(sizes),
            serial=pl.Series(np.logical_and.reduceat(in_time, begins)),
            cost=pl.Series(np.add.reduceat(length, begins) - longest),
            path=pl.Series(on_path - path[first_longest]),
            path_beyond=pl.Series(on_path - np.maximum.reduceat(path, begins)),
            first=pl.Series(np.minimum.reduceat(top, begins)),
            last=pl.Series(np.maximum.reduceat(top, begins)),
        )
        .select(MADE.names())
        .cast(MADE)
    )
