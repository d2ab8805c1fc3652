"""Answers of one page are of one moment, though spans come meanwhile."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from dashboard import queries
from tests.builders import synthetic
from tests.lens.memory import FrameSource
from tracelens.lens import Lens, Question
from tracelens.lens.sources import Loaded


class Growing(FrameSource):
    """A source to which a trace is added whenever it is looked at."""

    shown = 100

    def version(self) -> str:
        self.shown += 10  # spans of a trace
        return str(self.shown)

    def load(self, start_nano: int | None, end_nano: int | None, keys: Collection[str]) -> Loaded:
        del start_nano, end_nano, keys
        return Loaded(self.spans.head(self.shown))


def growing() -> Lens:
    return Lens(Growing(synthetic(10_000).sort("start_time_unix_nano", "trace_id", maintain_order=True)))


def test_a_still_lens_answers_of_one_moment() -> None:
    lens = growing()
    moved = [lens.routes(Question()).source.spans for _ in range(3)]
    assert len(set(moved)) == 3
    still = lens.still()
    told = [
        still.routes(Question()).source,
        still.series(Question(), None, 10).source,
        still.summary(Question()).source,
    ]
    assert told[0] == told[1] == told[2]
    assert lens.still().routes(Question()).source.spans > told[0].spans


def test_courses_of_a_page_are_of_its_window() -> None:
    """The stretches of a course are told by the window: of another moment, none of them would be found."""
    shown = queries.overview(growing().still(), Question())
    assert sum(shown.course.calls) == shown.summary["calls"]
    assert pl.Series(shown.course.p50).is_not_null().any()
