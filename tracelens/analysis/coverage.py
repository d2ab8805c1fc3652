"""Coverage: which spans should be there and are not, and why.

Owns the reasons. That a callee's span is missing, and whether one is to be
expected, is told by `hops.py`; a missing one is no time on the network.

    no_sidecar   nobody writes spans for the callee, neither of calls it takes nor of those it makes
    late         nothing newer of the callee has come, and the request ended in the last seconds of the data
    propagation  the callee begins about as many traces of its own: what it is called with is lost on the way to it
    sampling     less than all is kept, and the callee decided otherwise than its caller
    unknown      none of these: lost on the way, or its sender is broken
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

REASONS = ("no_sidecar", "late", "propagation", "sampling", "unknown")
COVERAGE = pl.Schema(
    {
        "coverage": pl.Float64(),  # calls with the callee's span, of those that should have one; null when none should
        **{f"missing_{reason}": pl.Int64() for reason in REASONS},  # calls without it, of n
    }
)
MISSING = pl.Schema(
    {
        "missing": pl.Enum(REASONS),  # why the callee's span is not there; null when it is, or none is expected
        "unlinked": pl.Boolean(),  # begins a trace of its own though its caller was called
    }
)
LOST = pl.col("expected") & ~pl.col("covered")
LATE_NANO = 15_000_000_000  # Envoy flushes every 5 s, Linkerd every 10 s


@dataclass(frozen=True, slots=True)
class Reasons:
    """What all requests together tell of those whose callee's span is missing."""

    services: pl.DataFrame  # service -> newest start of a request that it told of, begun traces, lost spans
    callers: pl.Series  # who tells of calls that it makes
    called: pl.Series  # who tells of calls that it takes
    last_nano: int  # the end of the data
    sampled: bool  # some traces stand for more requests than their own
    cut: bool  # the data ends where it does by chance, as a dump's does, so that spans at its end may be missing


def reasons(kinds: pl.DataFrame, *, sampled: bool, cut: bool) -> Reasons:
    """Return what decides why spans are missing. kinds: KINDS of `kinds.py`, named."""
    n = pl.col("n")
    services = (
        kinds.lazy()
        .group_by("service")
        .agg(
            newest=pl.col("newest").filter("covered").max(),
            begun=n.filter(pl.col("covered") & pl.col("is_root")).sum(),
            lost_of_service=n.filter(LOST).sum(),
        )
        .filter(pl.col("service").is_not_null())
        .collect()
    )
    return Reasons(
        services,
        callers=kinds["caller"].drop_nulls().unique(),
        called=kinds.filter("covered")["service"].unique(),
        last_nano=kinds["ended"].max() or 0,  # type: ignore[arg-type]  # Int64
        sampled=sampled,
        cut=cut,
    )


def explained(table: pl.DataFrame, known: Reasons) -> pl.DataFrame:
    """Return REQUESTS of `hops.py` with MISSING."""
    ended = pl.col("start_unix_nano") + pl.col("duration_nano")
    # Who tells of calls that it makes writes spans, even where none tells of a call that it takes.
    calls = pl.col("service").is_in(known.callers.implode()).fill_null(value=False)
    silent = pl.col("newest").is_null() & ~calls
    reason = (
        pl.when(~LOST)
        .then(None)
        .when(silent)
        .then(pl.lit("no_sidecar"))
        # A sender's spans come in their order: what is older than one that came will not come.
        .when(pl.lit(known.cut) & (ended > pl.col("newest")) & (ended > known.last_nano - LATE_NANO))
        .then(pl.lit("late"))
        .when(2 * pl.col("begun") >= pl.col("lost_of_service"))
        .then(pl.lit("propagation"))
        .when(pl.lit(known.sampled))
        .then(pl.lit("sampling"))
        .otherwise(pl.lit("unknown"))
    )
    unlinked = pl.col("caller").is_in(known.called.implode()) & pl.col("caller_call").is_null()
    return (
        table.lazy()
        .join(known.services.lazy(), on="service", how="left", validate="m:1", maintain_order="left")
        .with_columns(missing=reason.cast(MISSING["missing"]), unlinked=unlinked.fill_null(value=False))
        .drop("newest", "begun", "lost_of_service")
        .collect()
    )


def coverage() -> dict[str, pl.Expr]:
    """Return COVERAGE as named expressions of a group of requests."""
    expected = pl.col("expected").sum()
    return {
        "coverage": pl.when(expected > 0).then((pl.col("covered") & pl.col("expected")).sum() / expected),
        **{f"missing_{reason}": (pl.col("missing") == reason).sum().cast(pl.Int64) for reason in REASONS},
    }
