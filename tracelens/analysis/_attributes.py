"""What attributes tell of single requests: sent again, with another id, to nobody, to a database.

Owns the reading of these attributes; requests are `hops.py`'s.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracelens import semconv
from tracelens._link import I64, Bool
from tracelens.forest import Forest
from tracelens.names import has_flag, is_wanted
from tracelens.spans import attribute, owned, whole


def resent(forest: Forest, side: I64) -> pl.Series:
    """Return whether the caller's span of each request says that it was sent before."""
    keys = owned(forest.told.columns, "attr", semconv.RESEND_COUNT)
    if not keys:
        return pl.repeat(value=False, n=len(side), dtype=pl.Boolean, eager=True)
    told = forest.told.gather(keys, np.maximum(side, 0))
    again = told.select(again=whole(keys, semconv.RESEND_COUNT) > 0)["again"]
    return again.fill_null(value=False) & pl.Series(side >= 0)


def new_request_id(forest: Forest, sender: I64, caller_call: I64) -> pl.Series:
    """Return whether each request has another x-request-id than the call that made it; null where one is unknown."""
    keys = owned(forest.told.columns, "attr", semconv.ENVOY_REQUEST_ID)
    both = (sender >= 0) & (caller_call >= 0)
    if not keys or not both.any():
        return pl.repeat(None, len(sender), dtype=pl.Boolean, eager=True)
    own = attribute(keys, semconv.ENVOY_REQUEST_ID)
    sent, taken = (
        forest.told.gather(keys, np.maximum(rows, 0)).select(own).to_series() for rows in (sender, caller_call)
    )
    # Envoy writes its decision into the 15th character.
    one, other = (part.str.slice(0, 14) + part.str.slice(15) for part in (sent, taken))
    return (one != other).set(pl.Series(~both), None)


def refused(forest: Forest, sender: I64, reached: Bool) -> Bool:
    """Return which requests without a callee the sending proxy says to have reached nobody."""
    refused = np.zeros(len(sender), np.bool_)
    asked = np.flatnonzero(~reached & (sender >= 0))
    if len(asked):
        flags = [name for name in forest.told.columns if is_wanted(name, semconv.ENVOY_RESPONSE_FLAGS)]
        told = forest.told.gather(["kind", *flags], sender[asked])
        refused[asked] = _flags(told.with_columns(refused=has_flag(flags, semconv.NO_CALLEE))["refused"])
    return refused


def to_database(forest: Forest, side: I64, reached: Bool) -> Bool:
    """Return which requests without a callee are a client's to a database, which writes no spans."""
    found = np.zeros(len(side), np.bool_)
    keys = [name for name in forest.told.columns if is_wanted(name, semconv.DB_SYSTEM)]
    asked = np.flatnonzero(~reached & (side >= 0))
    if keys and len(asked):
        told = forest.told.gather(["kind", *keys], side[asked])
        found[asked] = _flags(told.select(pl.any_horizontal(pl.col(keys).is_not_null())).to_series())
    return found


def _flags(series: pl.Series) -> NDArray[np.bool_]:
    return np.array(series.fill_null(value=False).to_numpy(), np.bool_)
