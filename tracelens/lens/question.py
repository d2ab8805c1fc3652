"""What is asked and what is answered: plain values, validated when made."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens.analysis.explain import Totals
from tracelens.errors import UsageError
from tracelens.lens.where import Condition, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which calls an answer is about: those that start in [start_nano, end_nano) and match every filter.

    None is an open end. where: filters of the language in `where.py`, ANDed. also: attributes that an answer looks at
    beside those of filters.
    Raises UsageError for a window that holds nothing or a filter that cannot be read.
    """

    start_nano: int | None = None
    end_nano: int | None = None
    where: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.start_nano is not None and self.end_nano is not None and self.start_nano >= self.end_nano:
            raise UsageError("the window ends before it starts. Give --start before --end.")
        object.__setattr__(self, "conditions", tuple(c for text in self.where for c in parse(text)))

    @property
    def keys(self) -> tuple[str, ...]:
        """The attributes that are looked at."""
        return tuple(sorted({*self.also, *(c.attribute_key[1] for c in self.conditions if c.attribute_key)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """What an answer was computed from."""

    kind: str  # "dump" or "store"
    format: str
    files: int
    spans: int  # linked, in the window and its margin
    traces: int
    complete_traces: int  # one root, no orphan, no cycle
    start_unix_nano: int | None  # earliest start of a span
    end_unix_nano: int | None  # latest end of a span
    open_traces: int  # spans may still come: not in any percentile
    repairs: dict[str, int]  # mark -> spans
    rejected_spans: int
    late_spans: int = 0  # came after their trace was settled, and are not in an answer from rollups
    losses: tuple[str, ...] = ()  # records that could not be read, each with its place
    sampling_rate: float | None = None  # share of requests that traces were kept of; None when nothing tells it
    sampling_told_by: tuple[str, ...] = ()  # sampling.TOLD_BY
    coverage: float | None = None  # of calls that should have a callee's span, those that have one; None: not asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How numbers were computed."""

    percentile: str = "exact"
    relative_error: float = 0.0
    sampled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Rows, what they were computed from, and how."""

    rows: pl.DataFrame
    source: SourceInfo
    method: Method = field(default_factory=Method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why the slow band of a route is slow."""

    rows: pl.DataFrame  # EXPLAIN
    marks: pl.DataFrame  # MARKS: attribute values over-represented among slow calls
    totals: Totals
    looked_at: tuple[int, int]  # slow and other calls whose attributes were read
    source: SourceInfo
    method: Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle of the heatmap: calls by start and duration, half-open in time, closed in latency."""

    start_nano: int
    end_nano: int
    low_nano: int
    high_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap:
    """Calls by start (columns) and duration (rows, logarithmic, lowest first)."""

    start_nano: int
    end_nano: int
    low_nano: int
    high_nano: int
    counts: npt.NDArray[np.int64]  # [rows, columns]
    calls: int  # whole calls in it
    source: SourceInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceAnswer:
    """One trace in tree order, and the sections of its critical path."""

    rows: pl.DataFrame
    sections: pl.DataFrame
    source: SourceInfo
