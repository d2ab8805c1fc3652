"""Kinds of requests: what many requests tell of each.

Owns the counts that are enough to decide what no single request shows: whom it
went to when the callee wrote no span, why that is so, and whether an app tells
a second time what its proxy told. They add up, so that requests looked at a
part at a time are judged as if they had been looked at together. The decisions
are `_callees.py`'s and `coverage.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from tracelens.analysis import _callees, coverage
from tracelens.analysis._callees import Names
from tracelens.analysis.coverage import Reasons

# What a request that is not judged yet has beside the columns of REQUESTS.
RAW = pl.Schema(
    {
        "peer": pl.String(),  # the cluster or host that its sender names; null for none
        "asked": pl.String(),  # the operation as its sender knows it; null without a sender
        "sent": pl.Boolean(),  # a span of the sender is there
        "unseen": pl.Boolean(),  # none of the callee is
        "bare": pl.Boolean(),  # an app says it makes it, and nothing else tells of it
    }
)
KEY = pl.Schema(
    {
        **dict.fromkeys(("caller", "service", "route", "level"), pl.String()),
        **RAW,
        **dict.fromkeys(("echo", "covered", "expected", "is_root"), pl.Boolean()),
    }
)
# One row a kind.
KINDS = pl.Schema(
    {
        **KEY,
        "n": pl.Int64(),
        "newest": pl.Int64(),  # of their starts, and of their ends
        "ended": pl.Int64(),
    }
)
# One row a workload: what its proxies send.
SENDS = pl.Schema({"workload": pl.String(), "every": pl.Int64(), "alone": pl.Int64()})  # alone: begins a trace


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is decided by all requests together."""

    dropping: pl.Series  # workloads whose apps pass no headers on: at least half that they send begins a trace
    names: Names
    reasons: Reasons


def kinds(requests: pl.DataFrame) -> pl.DataFrame:
    """Return KINDS. requests: of REQUESTS and RAW."""
    ended = pl.col("start_unix_nano") + pl.col("duration_nano")
    newest = pl.col("start_unix_nano").max()
    return requests.lazy().group_by(KEY.names()).agg(n=pl.len(), newest=newest, ended=ended.max()).collect().cast(KINDS)


def merge(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return KINDS of all parts together."""
    every = pl.concat([KINDS.to_frame(), *parts])
    return every.group_by(KEY.names()).agg(pl.col("n").sum(), pl.col("newest", "ended").max())


def judge(every: pl.DataFrame, sends: pl.DataFrame, *, sampled: bool, cut: bool) -> Judgement:
    """Return what kinds of requests decide.

    every: KINDS; sends: SENDS, of which a workload may have several rows. sampled, cut: see `coverage.Reasons`.
    """
    sums = sends.group_by("workload").agg(pl.col("every", "alone").sum())
    dropping = sums.filter((pl.col("alone") > 0) & (2 * pl.col("alone") >= pl.col("every")))["workload"]
    names = _callees.names(every)
    told = _callees.named(_heard(every, dropping), names)
    return Judgement(dropping, names, coverage.reasons(told, sampled=sampled, cut=cut))


def judged(requests: pl.DataFrame, judgement: Judgement) -> pl.DataFrame:
    """Return REQUESTS as they are judged. requests: of REQUESTS and RAW."""
    named = _callees.named(_heard(requests, judgement.dropping), judgement.names)
    return coverage.explained(named.drop(RAW.names()), judgement.reasons)


def _heard(requests: pl.DataFrame, dropping: pl.Series) -> pl.DataFrame:
    """Return requests, or kinds of them, without those that are told a second time."""
    echo = pl.col("echo")
    if len(dropping):
        echo |= pl.col("bare") & pl.col("caller").is_in(dropping.implode()).fill_null(value=False)
    return requests.filter(~echo)
