from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import MILLISECOND, frame, traces
from tests.invariants.test_critical_path import SETTINGS, Rows, span_rows, stretched
from tracelens.analysis.bands import Band
from tracelens.analysis.critical_path import sections
from tracelens.analysis.explain import EXPLAIN, SLOW, TYPICAL, Totals, explain, groups, slow_band
from tracelens.analysis.profile import accumulate
from tracelens.errors import UsageError
from tracelens.forest import Forest, link


def explained(
    spans: pl.DataFrame, typical: Band = TYPICAL, slow: Band = (90.0, 100.0), **options: Any
) -> tuple[pl.DataFrame, Totals, Forest, Any]:
    """Explain the primary roots; also the forest, and the band of each root by duration ascending."""
    forest = link(spans)
    order = forest.entry[np.lexsort((forest.entry, (forest.end - forest.start)[forest.entry]))]
    group = groups(len(order), typical, slow)
    name = forest.spans["name"]
    sums = accumulate(
        forest,
        sections(forest, order, **options),
        entries=order,
        route=None,
        service=forest.spans["service_name"],
        operation=name,
        layer=pl.repeat("app", len(name), eager=True),
        group=group,
    )
    return *explain(sums, typical, slow), forest, order[group == 1]


def test_the_node_that_makes_the_tail_comes_first_and_differences_add_up():
    """Nine calls of 6, and one whose database takes 20 longer."""
    fast = "web |-----|\n db  |--|"
    slow = "web |-------------------------|\n db  |----------------------|"
    rows, totals, *_ = explained(traces(*[fast] * 9, slow))
    assert (totals.typical_calls, totals.slow_calls) == (4, 2)  # of ten, positions 0 to 3, and 8 and 9
    assert (totals.typical_nano, totals.slow_nano) == (6 * MILLISECOND, 16 * MILLISECOND)
    told = rows.select("path", "typical_nano", "slow_nano", "difference_nano", "share").rows()
    assert told == [
        (["web web", "db db"], 3 * MILLISECOND, 13 * MILLISECOND, 10 * MILLISECOND, 1.0),
        (["web web"], 3 * MILLISECOND, 3 * MILLISECOND, 0, 0.0),
    ]
    first = rows.row(0, named=True)
    assert first["exemplar_trace_id"] == (10).to_bytes(16, "big")
    assert first["typical_exemplar_trace_id"] == (1).to_bytes(16, "big")
    assert first["low_nano"] < first["difference_nano"] < first["high_nano"]
    assert rows.schema == EXPLAIN


def test_a_node_that_one_band_lacks_counts_as_nothing_there():
    fast = "web |-----|"
    slow = "web |----------|\n retry  |---|"
    rows, totals, *_ = explained(traces(*[fast] * 9, slow))
    told = dict(rows.select(pl.col("path").list.last(), "difference_nano").rows())
    assert told == {"retry retry": 2 * MILLISECOND, "web web": 500_000}
    assert totals.difference_nano == 2_500_000
    retry = rows.row(0, named=True)
    assert (retry["typical_traces"], retry["slow_traces"], retry["typical_exemplar_trace_id"]) == (0, 1, None)


def test_an_interval_is_that_of_welch():
    """Two variances of their own, and Student's t for the degrees of freedom that Welch and Satterthwaite give."""
    lengths = [10, 11, 12, 10, 11, 12, 10, 11, 13, 20, 30]
    drawings = [f"web |{'-' * n}|" for n in lengths]
    rows, totals, *_ = explained(traces(*drawings), (0.0, 80.0), (80.0, 100.0))
    assert (totals.typical_calls, totals.slow_calls) == (8, 3)
    row = rows.row(0, named=True)
    values = sorted(n + 1 for n in lengths)
    low, high = values[:8], values[8:]
    variance = np.var(high, ddof=1) / 3 + np.var(low, ddof=1) / 8
    half = (row["high_nano"] - row["low_nano"]) / 2 / MILLISECOND
    # 2.0 degrees of freedom: t is 4.28, of which the approximation is up to 4 % off, on the wide side.
    assert half == pytest.approx(4.28 * variance**0.5, rel=0.05)


def test_with_one_call_in_a_band_there_is_no_interval():
    """Of three calls the typical band has the first, the slow one the other two."""
    rows, totals, *_ = explained(traces("web |--|", "web |---|", "web |-----|"), (0.0, 50.0), (50.0, 100.0))
    assert (totals.typical_calls, totals.slow_calls) == (1, 2)
    assert rows.select("difference_nano", "low_nano", "high_nano").rows() == [(2 * MILLISECOND, None, None)]


def test_no_calls_explain_nothing():
    forest = link(frame([]))
    sums = accumulate(
        forest,
        sections(forest),
        entries=forest.entry,
        route=None,
        service=forest.spans["service_name"],
        operation=forest.spans["name"],
        layer=forest.spans["name"],
        group=groups(0, *(TYPICAL, SLOW[0])),
    )
    rows, totals = explain(sums, TYPICAL, SLOW[0])
    assert rows.is_empty()
    assert totals.difference_nano == totals.slow_calls == 0


def test_the_slow_band_is_as_narrow_as_thirty_calls_allow():
    assert slow_band(2_902) == (99, 100)
    assert slow_band(2_000) == (95, 100)
    assert slow_band(400) == (90, 100)
    assert slow_band(10) == (90, 100)
    assert int((groups(2_902, TYPICAL, (99.0, 100.0)) == 1).sum()) == 31


def test_bands_that_overlap_are_refused():
    with pytest.raises(UsageError, match="reaches into the slow band"):
        groups(10, (0.0, 95.0), (90.0, 100.0))


@SETTINGS
@given(span_rows(), st.integers(0, 50), st.integers(50, 99), st.booleans())
def test_differences_sum_to_the_difference_of_the_means(rows: Rows, below: int, above: int, asynchronous: bool):
    """To the nanosecond, for any bands of any traces; shares sum to one."""
    spans = frame(stretched(row, by=997) for row in rows)
    bands = (0.0, float(max(below, 1))), (float(above), 100.0)
    found, totals, forest, slow = explained(spans, *bands, asynchronous=asynchronous)
    assert int(found["difference_nano"].sum()) == totals.difference_nano
    if len(slow):
        assert totals.slow_nano == int((forest.end - forest.start)[slow].sum()) // len(slow)
    if totals.difference_nano:
        assert found["share"].sum() == pytest.approx(1)
    intervals = found.drop_nulls("low_nano")
    assert (intervals["low_nano"] <= intervals["difference_nano"]).all()
