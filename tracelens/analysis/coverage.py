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
LATE_NANO = 15_000_000_000  # Envoy flushes every 5 s, Linkerd every 10 s


def explained(table: pl.DataFrame, *, sampled: bool, cut: bool) -> pl.DataFrame:
    """Return REQUESTS of `hops.py` with MISSING.

    sampled: some traces stand for more requests than their own. cut: the data ends where it does by chance, as a
    dump's does, so that spans at its end may be missing.
    """
    ended = pl.col("start_unix_nano") + pl.col("duration_nano")
    lost = pl.col("expected") & ~pl.col("covered")
    known = (
        table.lazy()
        .group_by("service")
        .agg(
            newest=pl.col("start_unix_nano").filter("covered").max(),
            begun=(pl.col("covered") & pl.col("is_root")).sum(),
            lost=lost.sum(),
        )
        .filter(pl.col("service").is_not_null())
    )
    last = table.select(ended.max()).item()
    # Who tells of calls that it makes writes spans, even where none tells of a call that it takes.
    calls = pl.col("service").is_in(table["caller"].drop_nulls().unique().implode()).fill_null(value=False)
    silent = pl.col("newest").is_null() & ~calls
    reason = (
        pl.when(~lost)
        .then(None)
        .when(silent)
        .then(pl.lit("no_sidecar"))
        # A sender's spans come in their order: what is older than one that came will not come.
        .when(pl.lit(cut) & (ended > pl.col("newest")) & (ended > (last or 0) - LATE_NANO))
        .then(pl.lit("late"))
        .when(2 * pl.col("begun") >= pl.col("lost_of_service"))
        .then(pl.lit("propagation"))
        .when(pl.lit(sampled))
        .then(pl.lit("sampling"))
        .otherwise(pl.lit("unknown"))
    )
    called = table.filter("covered")["service"].unique().implode()
    unlinked = pl.col("caller").is_in(called) & pl.col("caller_call").is_null()
    return (
        table.lazy()
        .join(
            known.rename({"lost": "lost_of_service"}), on="service", how="left", validate="m:1", maintain_order="left"
        )
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
