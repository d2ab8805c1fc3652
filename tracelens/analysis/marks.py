"""Marks: attribute values that are over-represented among the slow calls of a route.

Owns the counting and the test. Which calls are slow, and what their spans say,
is given: one row a value that a call's spans have.

A value is asked about where its spans are there at all: of the calls in which a
service works (or an operation is run) that many have the value. Fisher's exact
test, one-sided, corrected for all values asked about (Benjamini & Hochberg);
never from fewer than ENOUGH calls that have the value, nor from fewer slow or
other calls than that. A call that runs an operation many times has many
chances to say anything: so a value must be commoner among the spans, too.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from tracelens.analysis.routes import Z95
from tracelens.analysis.significance import benjamini_hochberg

FACTS = pl.Schema(
    {
        "call": pl.Int64(),  # any number of it
        "slow": pl.Boolean(),
        "service": pl.String(),  # of the span that says it
        "operation": pl.String(),  # null: what its whole workload says
        "attribute": pl.String(),  # SPANS_A_CALL once for each call and place
        "value": pl.String(),
        "spans": pl.Int64(),  # of the call at that place that say it; for SPANS_A_CALL all of them
    }
)

MARKS = pl.Schema(
    {
        "service": pl.String(),
        "operation": pl.String(),
        "attribute": pl.String(),
        "value": pl.String(),
        "slow": pl.Float64(),  # share of the slow calls with such spans that have the value
        "rest": pl.Float64(),  # share of the other calls with such spans
        "slow_calls": pl.Int64(),  # that have it
        "rest_calls": pl.Int64(),
        "lift": pl.Float64(),  # slow / rest; null when no other call has it
        "lift_low": pl.Float64(),  # 95 % interval (Katz, half a call added where none has it)
        "lift_high": pl.Float64(),
        "p_value": pl.Float64(),  # adjusted
    }
)

SPANS_A_CALL = "spans a call"  # how often an operation is run for a call; no attribute's name holds spaces
PLACE = ("service", "operation")
ENOUGH = 30  # calls
LEAST_ODDS = 1.5  # of a span to say it in slow calls, against the others
LEVEL = 0.01  # of adjusted p-values: hundreds of values are asked about, and somebody acts on them


def marks(facts: pl.LazyFrame) -> pl.DataFrame:
    """Return MARKS, those that set most of the slow calls apart first.

    facts: FACTS of all calls looked at, slow and other ones; a row a call, place, attribute and value.
    """
    present = facts.filter(pl.col("attribute") == SPANS_A_CALL).group_by(PLACE).agg(**_sides("all_"), **_spans("all_"))
    asked = (
        facts.group_by(*PLACE, "attribute", "value")
        .agg(**_sides(""), **_spans(""))
        .join(present, on=PLACE, how="inner", validate="m:1", nulls_equal=True)
        .filter(
            (pl.col("slow_calls") + pl.col("rest_calls") >= ENOUGH)
            & (pl.col("all_slow_calls") >= ENOUGH)
            & (pl.col("all_rest_calls") >= ENOUGH)
            # What all say sets nobody apart.
            & ((pl.col("slow_calls") < pl.col("all_slow_calls")) | (pl.col("rest_calls") < pl.col("all_rest_calls")))
            & ((pl.col("attribute") == SPANS_A_CALL) | (_odds("slow") >= LEAST_ODDS * _odds("rest")))
        )
        .with_columns(
            slow=pl.col("slow_calls") / pl.col("all_slow_calls"), rest=pl.col("rest_calls") / pl.col("all_rest_calls")
        )
        .sort(*PLACE, "attribute", "value")
        .collect()
    )
    counts = asked.select("slow_calls", "rest_calls", "all_slow_calls", "all_rest_calls")
    tested = np.array([over_represented(*row) for row in counts.iter_rows()], np.float64)
    intervals = [_lift_interval(*row) for row in counts.iter_rows()]
    apart = pl.col("slow") - pl.col("rest")
    times = pl.col("attribute") == SPANS_A_CALL
    return (
        asked.with_columns(
            lift=pl.when(pl.col("rest_calls") > 0).then(pl.col("slow") / pl.col("rest")),
            lift_low=pl.Series([low for low, _ in intervals], dtype=pl.Float64),
            lift_high=pl.Series([high for _, high in intervals], dtype=pl.Float64),
            p_value=pl.Series(benjamini_hochberg(tested), dtype=pl.Float64),
        )
        .filter((pl.col("p_value") <= LEVEL) & (apart > 0) & (times.not_() | pl.col("operation").is_not_null()))
        # Of those that set as many calls apart, what a span says tells more than that there is another one.
        .sort(apart, times, *PLACE, "attribute", "value", descending=[True, *[False] * 5])
        .select(MARKS.names())
        .cast(MARKS)
    )


def _sides(prefix: str) -> dict[str, pl.Expr]:
    return {
        f"{prefix}slow_calls": pl.col("slow").sum().cast(pl.Int64),
        f"{prefix}rest_calls": pl.col("slow").not_().sum().cast(pl.Int64),
    }


def _spans(prefix: str) -> dict[str, pl.Expr]:
    return {
        f"{prefix}slow_spans": pl.col("spans").filter("slow").sum(),
        f"{prefix}rest_spans": pl.col("spans").filter(pl.col("slow").not_()).sum(),
    }


def _odds(side: str) -> pl.Expr:
    """Return the odds of a span to say it; half a span is added on both sides, for none or all may."""
    says, every = pl.col(f"{side}_spans"), pl.col(f"all_{side}_spans")
    return (says + 0.5) / (every - says + 0.5)


def over_represented(slow_calls: int, rest_calls: int, all_slow: int, all_rest: int) -> float:
    """Return the chance that so many of the slow calls, or more, have the value if slow calls are any calls.

    The upper tail of the hypergeometric distribution (Fisher's exact test, one-sided).
    """
    have, every = slow_calls + rest_calls, all_slow + all_rest
    most = min(all_slow, have)
    whole = _choose(every, all_slow)
    logs = [
        _choose(have, hits) + _choose(every - have, all_slow - hits) - whole for hits in range(slow_calls, most + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))


def _choose(n: int, k: int) -> float:
    """Return the logarithm of n over k; minus infinity when there is no way."""
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _lift_interval(slow_calls: int, rest_calls: int, all_slow: int, all_rest: int) -> tuple[float, float]:
    """Return the 95 % interval of slow / rest (Katz et al. 1978, by logarithms)."""
    half = 0.5 if 0 in (slow_calls, rest_calls) else 0.0
    a, b, n, m = slow_calls + half, rest_calls + half, all_slow + half, all_rest + half
    middle = math.log((a / n) / (b / m))
    width = Z95 * math.sqrt(max(1 / a - 1 / n + 1 / b - 1 / m, 0))
    return math.exp(middle - width), math.exp(middle + width)
