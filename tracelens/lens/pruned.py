"""Filters on attributes over a long window: traces with a matching span are found first, and only they are read.

Owns the choice. What is left out has no matching call; but what all traces tell
together (how many of them a mesh keeps, by their request ids) would be told by
fewer. That is what settled traces told of the window, or the last of them; where
rollups of before do not say it, and the mesh keeps a part, it is read whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import polars as pl

from tracelens.analysis import rollups
from tracelens.analysis.rollups import HOUR_NANO
from tracelens.lens.question import Question
from tracelens.lens.sources import Loaded, Source, StoreSource
from tracelens.lens.where import Condition, of_span, trace_id
from tracelens.needed import is_needed, with_left_out
from tracelens.sampling import REQUEST_ID, TOLD_BY

LEAST_SPANS = 500_000  # in a window: fewer are read at once
REMEMBERED = 3  # filters


@dataclass
class Pruned(StoreSource):
    """Whole traces of a store that have spans for each of some conditions."""

    conditions: tuple[Condition, ...] = field(kw_only=True)
    _found: tuple[object, pl.Series] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.part = f"where {self.conditions!r}"

    def version(self) -> str:
        return f"{super().version()} {self.part}"

    def load(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Loaded:
        columns = [name for name in self.store.columns() if is_needed(name, keys)]
        spans = self.scan(start_nano, end_nano, columns).filter(self._among(start_nano, end_nano))
        return Loaded(with_left_out(spans).collect(), draws=self.draws(start_nano, end_nano))

    def parts(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Iterator[Loaded]:
        among = self._among(start_nano, end_nano)
        for part in super().parts(start_nano, end_nano, keys):
            yield Loaded(part.spans.filter(among))

    def weight(self, start_nano: int | None, end_nano: int | None) -> int:
        """Return about how many bytes it takes: traces are as large as all of them."""
        found = len(self._ids(start_nano, end_nano))
        known = self.rollups.facts["hours"].scan(start_nano, end_nano).filter(what=rollups.TRACES)
        traces = max(known.select(pl.col("n").sum()).collect().item() or 0, 1)
        every = super().weight(start_nano, end_nano)
        return min(every, every * found // traces)

    def draws(self, start_nano: int | None, end_nano: int | None) -> pl.DataFrame | None:
        """Return DRAWS of all settled traces of a window; None where nothing tells it."""
        found = rollups.draws_of(_facts(self, start_nano, end_nano))
        return found if len(found) else None

    def _among(self, start_nano: int | None, end_nano: int | None) -> pl.Expr:
        return pl.col("trace_id").is_in(self._ids(start_nano, end_nano).implode())

    def _ids(self, start_nano: int | None, end_nano: int | None) -> pl.Series:
        """Return the traces that have a span near the window for each condition."""
        key = (self.version(), start_nano, end_nano)
        if self._found is None or self._found[0] != key:
            columns = self.store.columns()
            every: pl.Series | None = None
            for condition in self.conditions:
                if condition.key == "trace":
                    ids = pl.Series("trace_id", [trace_id(condition.value)], pl.Binary())
                else:
                    spans = self.scan(start_nano, end_nano, columns).filter(of_span(columns, condition))
                    ids = spans.select("trace_id").unique().collect()["trace_id"]
                every = ids if every is None else every.filter(every.is_in(ids.implode()))
            assert every is not None
            self._found = key, every
        return self._found[1]


class Pruning:
    """What was found of the last few filters."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Condition, ...], Pruned] = {}

    def of(self, source: Source, question: Question) -> Source:
        """Return a source that has what a question is about: only traces that may match, where that is less to read."""
        found = pruned(source, question)
        if not isinstance(found, Pruned):
            return found
        kept = self._kept.pop(found.conditions, found)
        self._kept[found.conditions] = kept
        for oldest in [*self._kept][:-REMEMBERED]:
            self._kept.pop(oldest, None)
        return kept


def pruned(source: Source, question: Question) -> Source:
    """Return `Pruned` where it is less to read, else the source."""
    window = question.start_nano, question.end_nano
    if not isinstance(source, StoreSource) or source.rows(*window) <= LEAST_SPANS:
        return source
    kept = tuple(one for one in question.conditions if _is_pruning(one))
    if not kept or source.rollups.settled() < 0 or not _is_rate_known(_facts(source, *window)):
        return source
    return Pruned(source.path, conditions=kept)


def _is_pruning(condition: Condition) -> bool:
    """Whether a call that matches has a span that does."""
    of_spans = condition.attribute_key is not None or condition.key == "name"
    return (of_spans and not condition.operator.startswith("!")) or (condition.key, condition.operator) == (
        "trace",
        "=",
    )


def _facts(source: StoreSource, start_nano: int | None, end_nano: int | None) -> pl.DataFrame:
    """Return FACTS of the hours of a window, or of the last hour before it that is settled."""
    last = source.rollups.settled() * HOUR_NANO
    start = None if start_nano is None else min(start_nano // HOUR_NANO * HOUR_NANO, last)
    # What began in the window may have come in the hour after it.
    return source.rollups.facts["hours"].scan(start, None if end_nano is None else end_nano + HOUR_NANO).collect()


def _is_rate_known(facts: pl.DataFrame) -> bool:
    """Whether FACTS say what the request ids of all traces tell together."""
    by_ids = facts.filter((pl.col("what") == f"{rollups.TOLD}{TOLD_BY[REQUEST_ID]}") & (pl.col("weight") != 1))
    return bool(by_ids["n"].sum() <= rollups.draws_of(facts)["traces"].sum())
