"""Spans of a window, linked and folded: what every answer starts from.

Owns the way from a source to calls, and the memory of it: dashboards ask many
questions of one window.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens import forest as forests
from tracelens.analysis import hops
from tracelens.analysis.clocks import clocks
from tracelens.calls import Calls, calls
from tracelens.forest import Forest
from tracelens.learned import Evidence, knows_others, merge
from tracelens.lens.question import Method, Question, SourceInfo
from tracelens.lens.sources import Description, Loaded, Source
from tracelens.lens.where import select
from tracelens.names import NOTHING
from tracelens.taught import Taught

# Envoy flushes every 5 s, Linkerd every 10 s: after 15 s without a span a trace has all it will get.
SETTLE_NANO = 15_000_000_000
REMEMBERED = 3  # windows: the one shown, the one before, and one to come back to


class Kept:
    """The last few frames that answers about a window have made of more than its spans. Safe to ask from threads."""

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._frames: OrderedDict[object, pl.DataFrame] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """Return the frame of that key, made when it is first asked for."""
        with self._lock:
            if key not in self._frames:
                self._frames[key] = make()
            self._frames.move_to_end(key)
            while len(self._frames) > self._most:
                self._frames.popitem(last=False)
            return self._frames[key]


@dataclass(frozen=True)
class Analysed:
    """A window's forest and calls. Safe to share: what is worked out when first asked is the same every time."""

    forest: Forest
    calls: Calls
    settled: npt.NDArray[np.bool_]  # of each trace: nothing came for SETTLE_NANO
    info: SourceInfo
    next_settle_nano: int | None  # when the next open trace settles
    kept: Kept = field(default_factory=Kept, compare=False, repr=False)  # what was read of it besides

    @property
    def weighted(self) -> bool:
        """Whether traces stand for different numbers of requests."""
        return self.calls.sampling.varies

    @property
    def method(self) -> Method:
        """How numbers of this window are computed."""
        rate = self.info.sampling_rate
        return Method(sampled=rate is not None and rate < 1)

    @cached_property
    def requests(self) -> pl.DataFrame:
        """REQUESTS of `analysis/hops.py`."""
        return hops.requests(self.forest, self.calls, cut=self.info.kind == "dump")

    @cached_property
    def clocks(self) -> pl.DataFrame:
        """CLOCKS of `analysis/clocks.py`."""
        return clocks(self.forest, self.calls)

    def selected(self, question: Question, *, echoes: bool = False) -> pl.DataFrame:
        """Return CALLS of settled traces that a question is about. echoes: with those told a second time."""
        table = self.calls.table if echoes else self.calls.table.filter(~pl.col("echo"))
        return self.about(question, table)

    def about(self, question: Question, table: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of CALLS or REQUESTS that belong to settled traces and that a question is about."""
        if question.conditions:  # or no column of the spans is looked at
            table = select(table, self.calls, self.forest.spans, question.conditions)
        kept = pl.Series(self.settled).gather(table["trace"])
        start = pl.col("start_unix_nano")
        window = pl.lit(value=True)
        if question.start_nano is not None:
            window &= start >= question.start_nano
        if question.end_nano is not None:
            window &= start < question.end_nano
        return table.filter(kept).filter(window)


def analyse(
    source: Source, question: Question, now_nano: int, *, taught: Taught = NOTHING, skew: bool = True
) -> Analysed:
    """Load, link and fold the spans of a question's window."""
    loaded = source.load(question.start_nano, question.end_nano, question.keys)
    return analysed(loaded, source.describe(), live=source.live, now_nano=now_nano, taught=taught, skew=skew)


def analysed(
    loaded: Loaded,
    described: Description,
    *,
    live: bool,
    now_nano: int,
    taught: Taught = NOTHING,
    skew: bool = True,
    learned: Evidence | None = None,
) -> Analysed:
    """Link and fold spans. learned: the evidence of more spans than these."""
    forest = forests.link(loaded.spans, skew=skew)
    settled, next_settle = _settled(forest, now_nano) if live else (np.ones(forest.traces, np.bool_), None)
    times = forest.told.select("start_time_unix_nano", "end_time_unix_nano")
    folded = calls(forest, taught, learned or loaded.learned, loaded.draws)
    if loaded.learned is not None and knows_others(folded.evidence, loaded.learned):
        folded = calls(forest, taught, merge([loaded.learned, folded.evidence]), loaded.draws)
    info = SourceInfo(
        kind=described.kind,
        format=described.format,
        files=described.files,
        spans=len(times),
        traces=forest.traces,
        complete_traces=int(forest.complete.sum()),
        start_unix_nano=times["start_time_unix_nano"].min() if len(times) else None,  # type: ignore[arg-type]  # Int64
        end_unix_nano=times["end_time_unix_nano"].max() if len(times) else None,  # type: ignore[arg-type]  # Int64
        open_traces=int((~settled).sum()),
        repairs=forest.repairs(),
        rejected_spans=loaded.rejected,
        late_spans=loaded.late,
        losses=loaded.losses,
        sampling_rate=folded.sampling.rate,
        sampling_told_by=folded.sampling.sources,
    )
    return Analysed(forest, folded, settled, info, next_settle)


def _settled(forest: Forest, now_nano: int) -> tuple[npt.NDArray[np.bool_], int | None]:
    """Return which traces are settled, and when the next one will be."""
    if forest.traces == 0:
        return np.zeros(0, np.bool_), None
    received = forest.told.column("received_unix_nano").fill_null(0).to_numpy()
    last = np.maximum.reduceat(received, forest.trace_offsets[:-1])
    settled = last <= now_nano - SETTLE_NANO
    waiting = last[~settled]
    return settled, int(waiting.min()) + SETTLE_NANO if len(waiting) else None


class Memory:
    """The last few windows analysed; forgets the oldest. Safe to ask from several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], Analysed] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, source: Source, question: Question, *, taught: Taught = NOTHING, skew: bool = True) -> Analysed:
        """Return the analysis of a question's window, made anew when the source has changed."""
        key = (source.part, source.version(), question.start_nano, question.end_nano, question.keys, skew)
        now = time.time_ns()
        with self._lock:
            found = self._kept.get(key)
            if found is None or (found.next_settle_nano is not None and found.next_settle_nano <= now):
                found = analyse(source, question, now, taught=taught, skew=skew)
                self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > REMEMBERED:
                self._kept.popitem(last=False)
            return found


class Still:
    """What a memory gives first of each window, again and again. Safe to ask from several threads."""

    def __init__(self, memory: Memory | Still) -> None:
        self._memory = memory
        self._given: dict[tuple[object, ...], Analysed] = {}
        self._lock = threading.Lock()

    def get(self, source: Source, question: Question, *, taught: Taught = NOTHING, skew: bool = True) -> Analysed:
        """Return the analysis of a question's window as it was when it was first asked for."""
        key = (source.part, question.start_nano, question.end_nano, question.keys, skew)
        with self._lock:
            if key not in self._given:
                self._given[key] = self._memory.get(source, question, taught=taught, skew=skew)
            return self._given[key]
