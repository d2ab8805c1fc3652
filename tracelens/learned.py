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

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

import polars as pl

MAX_ROUTES = 200  # of a workload, which has tens: hundreds are ids that no rule caught
ENOUGH_IDS = 50  # fewer say too little about a rate
DOUBT = 0.001  # how often the true rate may lie outside the interval
PARTS = 10_000  # Envoy's resolution: a hundredth of a percent
COARSE_SHARE = 0.99  # of a service's starts on whole milliseconds; by chance it is one in a thousand

ENVOYS = pl.Schema({"node": pl.String(), "inbound": pl.Int64()})  # spans that are not outbound for certain
CLUSTERS = pl.Schema({"node": pl.String(), "cluster": pl.String(), "taken": pl.Int64()})  # requests taken for it
ROUTES = pl.Schema({"workload": pl.String(), "operation": pl.String(), "spans": pl.Int64()})
ECHOES = pl.Schema({"workload": pl.String(), "taken": pl.Int64(), "bare": pl.Int64()})  # bare: no app span below
DRAWS = pl.Schema({"begins": pl.String(), "traces": pl.Int64(), "greatest": pl.Int64()})
CLOCKS = pl.Schema({"service": pl.String(), "spans": pl.Int64(), "whole": pl.Int64()})  # whole: on a millisecond
RATES = pl.Schema({"begins": pl.String(), "rate": pl.Float64()})
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


def knows_others(new: Evidence, known: Evidence) -> bool:
    """Whether some evidence is of anybody of whom other evidence, of many more traces, says nothing."""
    owners = {"envoys": ["node"], "clusters": ["node", "cluster"], "routes": ["workload"], "echoes": ["workload"]}
    return any(
        len(getattr(new, name).join(getattr(known, name), on=keys, how="anti", nulls_equal=True))
        for name, keys in {**owners, "draws": ["begins"]}.items()
    )


def _added(frames: list[pl.DataFrame]) -> pl.DataFrame:
    keys = [name for name, dtype in frames[0].schema.items() if dtype == pl.String]
    counters = [name for name in frames[0].columns if name not in keys]
    how = [pl.col(name).max() if name in GREATEST else pl.col(name).sum() for name in counters]
    return pl.concat(frames).group_by(keys).agg(how).sort(keys)


def rare_routes(routes: pl.DataFrame) -> pl.DataFrame:
    """Return (workload, operation) of names beyond MAX_ROUTES of a workload, rarest first."""
    return (
        routes.lazy()
        .sort("spans", "operation", descending=[True, False])
        .filter(pl.int_range(pl.len()).over("workload") >= MAX_ROUTES)
        .select("workload", "operation")
        .collect()
    )


def dropping(echoes: pl.DataFrame) -> pl.Series:
    """Return the workloads whose apps begin traces of their own for requests that their proxies told already.

    So they do where at least half of the requests that a sidecar took have no span of the app below them:
    everything passes the sidecar, and the app reads no headers.
    """
    drops = (pl.col("bare") > 0) & (2 * pl.col("bare") >= pl.col("taken"))
    return echoes.filter(drops)["workload"]


def ticking(clocks: pl.DataFrame) -> pl.Series:
    """Return the services whose clocks tick in milliseconds."""
    return clocks.filter(pl.col("whole") >= COARSE_SHARE * pl.col("spans"))["service"]


def rate_of(draws: int, greatest: int) -> float:
    """Return the rate that draws below PARTS times it show: the roundest within its interval of confidence.

    The greatest of n draws bounds it from below, and is less than a share DOUBT^(1/n) of it in DOUBT of all cases.
    """
    least = greatest + 1
    most = min(PARTS, math.floor(least * DOUBT ** (-1 / draws)))
    step = PARTS
    while True:
        candidate = -(-least // step) * step
        if candidate <= most:
            return candidate / PARTS
        step = step // 2 if str(step)[0] == "1" and step > 1 else step // 5 if step > 1 else 1


def rates(draws: pl.DataFrame, begins: pl.Series) -> pl.DataFrame:
    """Return (begins, rate): the share of requests kept, of traces that begin at a workload; null when not known.

    Where a workload has few ids, it is that of all of them together.
    """
    every = int(draws["traces"].sum())
    if every < ENOUGH_IDS:
        return pl.DataFrame({"begins": begins.unique(), "rate": None}, schema=RATES)
    together = rate_of(every, int(draws["greatest"].max()))  # type: ignore[arg-type]  # Int64
    enough = draws.filter(pl.col("traces") >= ENOUGH_IDS)
    known = {name: rate_of(n, greatest) for name, n, greatest in enough.iter_rows()}
    names = begins.unique().to_list()
    return pl.DataFrame({"begins": names, "rate": [known.get(name, together) for name in names]}, schema=RATES)


def judged(own: Evidence, known: Evidence) -> str:
    """Return a digest of what `known` decides about the names in `own`: where it is the same, labels are."""
    decided = [
        known.envoys.filter(pl.col("inbound") > 0).join(own.envoys, on="node", how="semi").select("node"),
        known.clusters.join(own.envoys, on="node", how="semi").select("node", "cluster"),
        rare_routes(known.routes).join(own.routes, on=["workload", "operation"], how="semi", nulls_equal=True),
        dropping(known.echoes).to_frame().join(own.routes, on="workload", how="semi"),
        rates(known.draws, own.draws["begins"]),
        ticking(known.clocks).to_frame().join(own.clocks, on="service", how="semi"),
    ]
    text = "\n".join(frame.sort(frame.columns).write_json() for frame in decided)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
