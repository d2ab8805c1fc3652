"""Which columns of the spans answers look at, so that a store's others are not read.

Owns the choice: the fixed ones but the heavy, the attributes that name and
tell, and those a filter asks for.
"""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from tracelens import semconv
from tracelens.names import is_wanted, wanted_columns
from tracelens.spans import SPANS, is_attribute

# Columns that no answer about many traces looks at; of events those of proxies, which tell their phases, are read.
HEAVY = ("links", "overflow", "status_message", "scope_version")


def is_needed(name: str, keys: Collection[str] = ()) -> bool:
    """Whether answers look at a column: `keys` are attributes that filters ask for."""
    if not is_attribute(name):
        return name in SPANS and name not in HEAVY
    return is_wanted(name, wanted_columns() | set(keys))


def with_left_out(spans: pl.LazyFrame) -> pl.LazyFrame:
    """Return spans in the whole schema; a heavy column that was not read is null, and so are events of apps."""
    left_out = {name: pl.lit(None, SPANS[name]) for name in HEAVY}
    of_proxies = pl.when(pl.col("scope_name") == semconv.ENVOY_SCOPE).then("events")
    return spans.with_columns(events=of_proxies, **left_out)
