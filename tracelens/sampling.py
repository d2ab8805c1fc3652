"""Sampling: how many requests a trace stands for.

Owns the rate of each trace, by the first that tells it:

    tracestate   the rejection threshold `ot=th:…` that SDKs pass on (OpenTelemetry's consistent sampling): exact
    configured   what the mesh's owner says (`[sampling]`)
    request_id   Envoy keeps a request when the first eight digits of its x-request-id, modulo 10,000, are below
                 10,000 times the rate, and writes 9 as the id's 15th character; so the ids that were kept show
                 the rate. Requests that somebody forced to be traced (a, b) stand for themselves
    unknown      then a trace is counted once, and answers say so
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens import semconv
from tracelens._request_ids import read_request_ids
from tracelens.columns import Buffers
from tracelens.forest import Forest
from tracelens.learned import DRAWS, PARTS, rates
from tracelens.spans import attribute, owned
from tracelens.taught import Taught

TOLD_BY = ("unknown", "tracestate", "configured", "request_id")  # by code
BY_CHANCE, FORCED = ord("9"), (ord("a"), ord("b"))  # the mark of a request id
UNKNOWN, TRACESTATE, CONFIGURED, REQUEST_ID = range(4)
THRESHOLD = r"(?:^|,)\s*ot=(?:[^,]*;)?th:([0-9a-f]{1,14})(?:;|,|\s|$)"


@dataclass(frozen=True, slots=True)
class Sampling:
    """The weight of each trace: 1 / the rate it was kept at."""

    weight: npt.NDArray[np.float64]  # [T]
    told_by: npt.NDArray[np.int8]  # [T] codes of TOLD_BY

    @property
    def varies(self) -> bool:
        """Whether traces stand for different numbers of requests."""
        return bool(len(self.weight)) and bool((self.weight != self.weight[0]).any())

    @property
    def rate(self) -> float | None:
        """The share of requests that traces were kept of; None when nothing tells it."""
        known = self.told_by != UNKNOWN
        return float(known.sum() / self.weight[known].sum()) if known.any() else None

    @property
    def sources(self) -> tuple[str, ...]:
        """What told it."""
        return tuple(name for code, name in enumerate(TOLD_BY) if (self.told_by == code).any())


def draws(told: pl.DataFrame) -> pl.DataFrame:
    """Return the counts of DRAWS. told: as `request_ids` has it."""
    drawn = told.drop_nulls("drawn")
    return drawn.group_by("begins").agg(traces=pl.len(), greatest=pl.col("drawn").max()).cast(DRAWS)


def sampling(forest: Forest, told: pl.DataFrame, taught: Taught, learned: pl.DataFrame) -> Sampling:
    """Return the sampling of a forest's traces. told: as `request_ids` has it; learned: DRAWS."""
    weight, told_by = np.ones(forest.traces), np.zeros(forest.traces, np.int8)
    if not forest.traces:
        return Sampling(weight, told_by)
    _by_request_id(told, learned, weight, told_by)
    rates = told["begins"].replace_strict(taught.rates, default=taught.rate, return_dtype=pl.Float64)
    configured = np.array(rates.is_not_null().to_numpy(), np.bool_)
    weight[configured] = 1 / rates.drop_nulls().to_numpy()
    told_by[configured] = CONFIGURED
    _by_tracestate(forest, weight, told_by)
    return Sampling(weight, told_by)


def _by_tracestate(forest: Forest, weight: npt.NDArray[np.float64], told_by: npt.NDArray[np.int8]) -> None:
    state = forest.told.column("trace_state")
    if state.null_count() == len(state):
        return
    digits = state.str.extract(THRESHOLD).str.pad_end(14, "0")
    rows = np.flatnonzero(digits.is_not_null().to_numpy())
    threshold = np.array([int(text, 16) for text in digits.drop_nulls()], np.float64)
    trace, first = np.unique(forest.trace_of(rows), return_index=True)
    weight[trace] = 2.0**56 / (2.0**56 - threshold[first])
    told_by[trace] = TRACESTATE


def request_ids(forest: Forest, workload: pl.Series) -> pl.DataFrame:
    """Return what the request id of each trace's root says: trace, begins, drawn (null unless by chance), forced.

    workload: of each span; begins: that of the root.
    """
    begins = workload.gather(forest.entry)
    columns = forest.told.columns
    held = forest.told.gather(["kind", *owned(columns, "attr", semconv.ENVOY_REQUEST_ID)], forest.entry)
    ids = held.select("kind", id=attribute(columns, semconv.ENVOY_REQUEST_ID))["id"]
    told = pl.DataFrame({"begins": begins}).with_row_index("trace")
    if ids.null_count() == len(ids):
        return told.select("trace", "begins", drawn=pl.lit(None, pl.Int64), forced=pl.lit(value=False))
    read = told.hstack(_read(ids))
    return read.select(
        "trace",
        "begins",
        drawn=pl.when((pl.col("mark") == BY_CHANCE) & (pl.col("number") >= 0)).then(pl.col("number") % PARTS),
        forced=pl.col("mark").is_in(FORCED),
    )


def _read(ids: pl.Series) -> pl.DataFrame:
    """Return the mark and the number of request ids."""
    mark, number = np.empty(len(ids), np.int8), np.empty(len(ids), np.int64)
    texts = Buffers.of(ids)
    read_request_ids(texts.views, mark, number)
    return pl.DataFrame({"mark": mark, "number": number})


def warm() -> None:
    """Compile the kernel, or load it from its cache."""
    _read(pl.Series([""]))


def _by_request_id(
    told: pl.DataFrame, learned: pl.DataFrame, weight: npt.NDArray[np.float64], told_by: npt.NDArray[np.int8]
) -> None:
    """Estimate the rate of each workload that traces begin at; where it has few ids, of all of them together."""
    forced = told.filter("forced")["trace"].to_numpy()
    weight[forced], told_by[forced] = 1.0, REQUEST_ID
    drawn = told.drop_nulls("drawn")
    found = rates(learned, drawn["begins"])
    rate = drawn.join(found, on="begins", how="left", validate="m:1", maintain_order="left", nulls_equal=True)["rate"]
    if rate.is_null().all():
        return
    weight[drawn["trace"].to_numpy()] = 1 / rate.to_numpy()
    told_by[drawn["trace"].to_numpy()] = REQUEST_ID
