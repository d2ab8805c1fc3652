"""Attempts: requests that were made again because the one before was in vain.

Owns what is an attempt in vain. Attempts of a proxy are told by `hops.py`: they
are one request. An app that tries again makes one request after the other; of
requests of one kind by one call, of which each begins when the one before has
ended, one is made again when its span says so (`resend_count`), or when all but
the last of that kind failed. A loop in which some fail is none.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tracelens._fold import ATTEMPT
from tracelens._link import I64
from tracelens.analysis.on_path import OnPath
from tracelens.calls import Calls

# One row an attempt in vain, in the order of their requests.
ATTEMPTS = pl.Schema(
    {
        "request": pl.Int64(),  # number of the request that was made in the end
        "lost": pl.Int64(),  # number of the request that was in vain; null: it is a proxy's attempt
        "trace": pl.Int64(),
        "row": pl.Int64(),  # its outermost span
        "number": pl.Int64(),  # from 1
        "timed": pl.Boolean(),  # both it and the next were told by who made them: the pause is exact
        "pause_nano": pl.Int64(),  # until the next; negative where that began before
        "pause_path_nano": pl.Int64(),  # of the pause, on the path: own time of the span above
        "path_nano": pl.Int64(),  # of the attempt itself
        "duration_nano": pl.Int64(),
    }
)
KIND = ("caller_call", "service", "route")


def attempts(requests: pl.DataFrame, calls: Calls, path: OnPath) -> pl.DataFrame:
    """Return ATTEMPTS. requests: REQUESTS as `on_path.measured` has them."""
    pairs = pl.concat([_of_proxies(requests, calls), _of_apps(requests)])
    row, after = (np.array(pairs[name], np.int64) for name in ("row", "after"))
    forest = path.forest
    ended, begins = forest.end[row], forest.start[after]
    above = np.maximum(forest.parent[after], 0)
    waited = path.within(above, ended, np.maximum(begins, ended))
    return (
        pairs.with_columns(
            trace=pl.Series(forest.trace_of(row)),
            pause_nano=pl.Series(begins - ended),
            pause_path_nano=pl.Series(np.where(forest.parent[after] >= 0, waited, 0)),
            path_nano=pl.Series(path.below(row)),
            duration_nano=pl.Series(ended - forest.start[row]),
        )
        .select(ATTEMPTS.names())
        .cast(ATTEMPTS)
    )


def _of_proxies(requests: pl.DataFrame, calls: Calls) -> pl.DataFrame:
    """Return the attempts of proxies: request, lost, row, after, number, timed."""
    found = (
        requests.lazy()
        .filter(pl.col("attempts").is_not_null())
        .select(
            "request",
            lost=pl.lit(None, pl.Int64),
            row=pl.col("attempts").list.head(pl.col("attempts").list.len() - 1),
            after=pl.col("attempts").list.tail(pl.col("attempts").list.len() - 1),
            number=pl.int_ranges(1, pl.col("attempts").list.len(), dtype=pl.Int64),
        )
        .explode("row", "after", "number")
        .collect()
    )
    return found.with_columns(timed=pl.Series(calls.role[found["row"].to_numpy()] == ATTEMPT))


def _of_apps(requests: pl.DataFrame) -> pl.DataFrame:
    """Return requests in vain that an app made again: as above."""
    failed = pl.col("error") | pl.col("timed_out") | pl.col("censored")
    suspects = requests.lazy().filter(pl.col("caller_call").is_not_null() & (failed | pl.col("resent")))
    ended = pl.col("start_unix_nano") + pl.col("duration_nano")
    follows = pl.col("start_unix_nano") >= ended.shift(1)
    last = pl.int_range(pl.len()) == pl.len() - 1
    one_chain = ((failed | last) & follows.fill_null(value=True)).all()
    return (
        requests.lazy()
        .join(suspects.select(KIND).unique(), on=KIND, how="semi", nulls_equal=True)
        .sort(*KIND, "start_unix_nano", "top", nulls_last=True)
        .with_columns(again=(follows & (pl.col("resent") | one_chain)).over(KIND).fill_null(value=False))
        .with_columns(chain=(~pl.col("again")).cum_sum())
        .select(
            pl.col("request").last().over("chain"),
            lost="request",
            row="top",
            after=pl.col("top").shift(-1).over("chain"),
            number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("chain"),
            timed=pl.lit(value=True),
        )
        .drop_nulls("after")
        .collect()
    )


def tried(requests: pl.DataFrame, attempts: pl.DataFrame) -> pl.DataFrame:
    """Return REQUESTS of `on_path.measured` in which an app's attempts are one: those in vain are left out.

    tries are those of all together; retried_nano and retried_path_nano: attempts in vain and pauses, and how much of
    that is on the path.
    """
    n = len(requests)
    by_app = attempts["lost"].is_not_null().to_numpy()
    number = attempts["request"].to_numpy()
    lost = attempts["lost"].fill_null(-1).to_numpy()
    pause = attempts["pause_nano"].to_numpy()
    own = pl.col("attempts_nano").fill_null(0) + pl.col("backoff_nano").fill_null(0)
    cost: I64 = np.array(requests.select(own).to_series(), np.int64)
    tries: I64 = np.array(requests["tries"], np.int64)
    on_path = np.zeros(n, np.int64)
    shown = attempts["path_nano"].to_numpy() + attempts["pause_path_nano"].to_numpy()
    np.add.at(on_path, number[~by_app], shown[~by_app])
    on_path = np.minimum(on_path, cost)  # where attempts overlap, or their pauses are not told
    np.add.at(on_path, number[by_app], shown[by_app])
    np.add.at(cost, number[by_app], (attempts["duration_nano"].to_numpy() + pause)[by_app])
    np.add.at(tries, number[by_app], np.maximum(tries[lost[by_app]], 1))
    kept = np.ones(n, np.bool_)
    kept[lost[by_app]] = False
    return requests.with_columns(
        tries=pl.Series(tries), retried_nano=pl.Series(cost), retried_path_nano=pl.Series(on_path)
    ).filter(pl.Series(kept))
