"""What is learned from many traces, and decided for each of them.

Owns the evidence: counts by name that add up, so that traces looked at a part
at a time are labelled as if they had been looked at together; and what is
decided by it. Most of what spans mean they tell by themselves. The rest:

    envoys    which Envoys carry requests inbound, and are no gateways
    clusters  which clusters an Envoy takes requests for: its own app's
    routes    which names of a workload are too many, and become one
    echoes    in which workloads apps begin traces of their own for what their proxies told already
    draws     which share of its requests a mesh keeps, by the request ids of those kept
    clocks    which services' clocks tick in milliseconds

Counting is done where the spans are looked at: `_direction.py`, `calls.py`,
`sampling.py`, and `analysis/critical_path.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

import polars as pl

MAX_ROUTES = 200  # of a workload, which has tens: hundreds are ids that no rule caught
COARSE_SHARE = 0.99  # of a service's starts on whole milliseconds; by chance it is one in a thousand

ENVOYS = pl.Schema({"node": pl.String(), "inbound": pl.Int64()})  # spans that are not outbound for certain
CLUSTERS = pl.Schema({"node": pl.String(), "cluster": pl.String(), "taken": pl.Int64()})  # requests taken for it
ROUTES = pl.Schema({"workload": pl.String(), "operation": pl.String(), "spans": pl.Int64()})
ECHOES = pl.Schema({"workload": pl.String(), "taken": pl.Int64(), "bare": pl.Int64()})  # bare: no app span below
DRAWS = pl.Schema({"begins": pl.String(), "traces": pl.Int64(), "greatest": pl.Int64()})
CLOCKS = pl.Schema({"service": pl.String(), "spans": pl.Int64(), "whole": pl.Int64()})  # whole: on a millisecond
GREATEST = {"greatest"}  # counters of which the most is kept, not the sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Counts by name, of some traces."""

    envoys: pl.DataFrame = field(default_factory=ENVOYS.to_frame)
    clusters: pl.DataFrame = field(default_factory=CLUSTERS.to_frame)
    routes: pl.DataFrame = field(default_factory=ROUTES.to_frame)
    echoes: pl.DataFrame = field(default_factory=ECHOES.to_frame)
    draws: pl.DataFrame = field(default_factory=DRAWS.to_frame)
    clocks: pl.DataFrame = field(default_factory=CLOCKS.to_frame)


def merge(parts: Iterable[Evidence]) -> Evidence:
    """Return the evidence of all parts together."""
    every = list(parts)
    if not every:
        return Evidence()
    return Evidence(**{one.name: _added([getattr(part, one.name) for part in every]) for one in fields(Evidence)})


def _added(frames: list[pl.DataFrame]) -> pl.DataFrame:
    keys = [name for name, dtype in frames[0].schema.items() if dtype == pl.String]
    counters = [name for name in frames[0].columns if name not in keys]
    how = [pl.col(name).max() if name in GREATEST else pl.col(name).sum() for name in counters]
    return pl.concat(frames).group_by(keys).agg(how).sort(keys)
