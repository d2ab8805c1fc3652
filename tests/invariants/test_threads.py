"""What threads share out is, put together again, what one makes of it: bit by bit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import frame, synthetic
from tests.invariants.test_critical_path import BANDS, SETTINGS, Rows, arguments, span_rows
from tests.test_forest import assert_same
from tracelens import columns, forest
from tracelens.analysis import _sums
from tracelens.analysis.critical_path import sections
from tracelens.analysis.profile import accumulate, profile
from tracelens.calls import calls
from tracelens.forest import link


def results(spans: pl.DataFrame) -> tuple[Any, ...]:
    """Everything from spans to profiles."""
    given_ = arguments(link(spans))
    linked = given_["forest"]
    folded = calls(linked)
    frames = (
        profile(**given_, bands=BANDS),
        accumulate(**given_),
        folded.table,
        pl.DataFrame([folded.service, folded.operation, folded.rule, folded.layer]),
    )
    arrays = (*(getattr(given_["sections"], name) for name in ("entry_index", "span", "start", "end")), folded.call)
    return linked, frames, arrays


def assert_equal(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert_same(one[0], other[0])
    for mine, theirs in zip(one[1], other[1], strict=True):
        assert mine.equals(theirs)
    for mine, theirs in zip(one[2], other[2], strict=True):
        assert np.array_equal(mine, theirs)


@SETTINGS
@given(span_rows(most=30), st.integers(2, 5))
def test_threads_change_nothing(rows: Rows, threads: int) -> None:
    """Links, sections, calls and profiles are those of one thread, in whatever stretches they are made."""
    alone = results(frame(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forest, "THREADS_FROM", 1)
        patch.setattr(columns, "THREADS_FROM", 1)
        patch.setattr("os.cpu_count", lambda: threads)
        assert_equal(results(frame(rows)), alone)


@SETTINGS
@given(span_rows(most=30), st.data())
def test_sums_of_stretches_add_up_to_one_run(rows: Rows, data: st.DataObject) -> None:
    """Nodes and cells, in their order, ties of exemplars and both words of the squares: whatever the cuts are."""
    linked = link(frame({**row, "end_time_unix_nano": row["end_time_unix_nano"] << 40} for row in rows))
    entries = np.arange(len(linked.parent))
    found = sections(linked, entries, tolerance=0)
    n = len(entries)
    label = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.int32)
    group = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n)), np.int64)
    route = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), np.int64)
    trace = linked.trace_of(entries)
    stretches = found.entry_index, found.span, found.start, found.end, entries, linked.parent
    deepest = int(linked.depth.max())
    limit = data.draw(st.integers(0, 5))

    def summed(first: int, last: int) -> tuple[Any, Any]:
        return _sums.sum_paths(*stretches, label, 3, route, 2, group, 3, trace, deepest, limit, first, last)

    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, n), max_size=4))), n]
    parts = [summed(a, b) for a, b in pairwise(cuts)]
    nodes, cells = parts[0]
    for more in parts[1:]:
        nodes, cells = _sums.add_parts(nodes, cells, *more, 3, 2, 3)
    whole_nodes, whole_cells = summed(0, n)
    columns_of_a_path = [_sums.ABOVE, _sums.LABEL, _sums.DEPTH]
    assert np.array_equal(nodes[:, columns_of_a_path], whole_nodes[:, columns_of_a_path])
    assert np.array_equal(cells, whole_cells)


def test_many_nodes_and_cells_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables grow in each part and in what they are put together to."""
    spans = synthetic(30_000).with_columns(name=pl.col("span_id").bin.encode("hex"))
    alone = results(spans)
    monkeypatch.setattr(forest, "THREADS_FROM", 1)
    monkeypatch.setattr(columns, "THREADS_FROM", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert_equal(results(spans), alone)
