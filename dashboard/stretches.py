"""Stretches: the part of a long window that is looked at span by span.

Owns how much that is, and the words for it. Percentiles of a long window come
from rollups; what attributes and hops tell is in no rollup, and a whole day
would keep somebody waiting for minutes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import tzinfo

from dashboard.format import clock, compact
from dashboard.state import to_datetime
from tracelens.lens import Lens, Question, SourceInfo

MOST_SPANS = 500_000  # so many are read in two seconds, and are remembered after that
MINUTE_NANO = 60_000_000_000
DAY_NANO = 1_440 * MINUTE_NANO


@dataclass(frozen=True, slots=True)
class Stretch:
    """From when to when; whole: that is all of the window."""

    start_nano: int
    end_nano: int
    spans: int
    of_spans: int  # of the window
    whole: bool
    dated: bool = False  # the window is longer than a day: a time alone names no moment of it

    def narrow(self, question: Question) -> Question:
        """Return a question about the stretch only."""
        return question if self.whole else replace(question, start_nano=self.start_nano, end_nano=self.end_nano)

    def when(self, zone: tzinfo) -> str:
        """Return from when to when."""
        day = f"{to_datetime(self.start_nano, zone):%Y-%m-%d} " if self.dated else ""
        return f"{day}{clock(self.start_nano, zone)} – {clock(self.end_nano, zone)}"

    def said(self, zone: tzinfo) -> str | None:
        """Return which spans were looked at; None when all were."""
        if self.whole:
            return None
        return f"{self.when(zone)}: {compact(self.spans)} of {compact(self.of_spans)} spans"


def bounds(question: Question, source: SourceInfo) -> tuple[int, int]:
    """Return where a question's window begins and ends; an open end is the data's."""
    start = question.start_nano if question.start_nano is not None else source.start_unix_nano or 0
    end = question.end_nano if question.end_nano is not None else (source.end_unix_nano or 0) + 1
    return start, max(end, start + 1)


def stretch(lens: Lens, question: Question, until_nano: int | None, most: int | None = None) -> Stretch:
    """Return the newest whole minutes of a window, until a moment of it, that hold no more than so many spans.

    most: spans; MOST_SPANS when not given.
    """
    most = most or MOST_SPANS
    whole = lens.routes(question).source
    start, end = bounds(question, whole)
    if whole.spans <= most:
        return Stretch(start, end, whole.spans, whole.spans, whole=True)
    last = min(end, max(until_nano or end, start + 1))
    last = -(-last // MINUTE_NANO) * MINUTE_NANO
    length = max((end - start) * most // whole.spans // MINUTE_NANO, 1)
    while True:
        made = replace(question, start_nano=last - length * MINUTE_NANO, end_nano=last)
        spans = lens.routes(made).source.spans
        if spans <= most or length == 1:
            dated = end - start > DAY_NANO
            return Stretch(last - length * MINUTE_NANO, last, spans, whole.spans, whole=False, dated=dated)
        length = max(min(length * most // spans, length - 1), 1)
