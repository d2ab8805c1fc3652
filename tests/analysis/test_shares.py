from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given

from tests.builders import MILLISECOND, frame, traces
from tests.invariants.test_critical_path import SETTINGS, Rows, span_rows
from tracelens.analysis.critical_path import sections
from tracelens.analysis.profile import profile
from tracelens.analysis.shares import SHARES, in_order, shares, times
from tracelens.calls import calls
from tracelens.forest import Forest, link
from tracelens.histogram import rank


def told(forest: Forest, entries: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """SHARES and PROFILE of some entries."""
    labels = calls(forest)
    found = sections(forest, entries)
    named = profile(
        forest,
        found,
        entries=entries,
        route=None,
        service=labels.service,
        operation=labels.operation,
        layer=labels.layer,
    )
    return in_order(shares(times(forest, found, labels).lazy(), named, len(entries)).collect()), named


def test_percentiles_of_a_node_count_calls_without_it():
    """db is in one call of four: its p50 is nothing, and its greatest 6."""
    fast = "web |-----|"
    forest = link(traces(fast, fast, fast, "web |-----------|\n db  |-----|"))
    found, _ = told(forest, forest.entry)
    assert found.schema == SHARES
    row = found.filter(pl.col("service") == "db").row(0, named=True)
    assert (row["calls"], row["traces"], row["path"]) == (4, 1, ["web web", "db db"])
    assert (row["exclusive_p50_nano"], row["exclusive_p99_nano"], row["exclusive_max_nano"]) == (0, 0, 6 * MILLISECOND)
    row = found.filter(pl.col("service") == "web").row(0, named=True)
    assert row["inclusive_max_nano"] == 12 * MILLISECOND
    assert row["inclusive_p50_nano"] == 6 * MILLISECOND
    assert row["exclusive_max_nano"] == 6 * MILLISECOND


def test_a_node_that_is_repeated_in_a_call_is_one():
    forest = link(traces("web |-------------|\n db  |--|\n db      |--|\n db          |--|"))
    found, _ = told(forest, forest.entry)
    row = found.filter(pl.col("service") == "db").row(0, named=True)
    assert (row["traces"], row["exclusive_p50_nano"]) == (1, 9 * MILLISECOND)


@SETTINGS
@given(span_rows())
def test_times_are_those_of_the_profile(rows: Rows):
    """Per node they add up to its sums, and its percentiles are those of all entries, zeros included."""
    forest = link(frame(rows))
    entries = np.arange(len(forest.parent))
    found, named = told(forest, entries)
    every = times(forest, sections(forest, entries), calls(forest))
    summed = every.group_by("node").agg(
        pl.col("exclusive_nano", "inclusive_nano").sum(), most=pl.col("exclusive_nano").max()
    )
    both = named.join(summed, on="node", suffix="_told", validate="1:1")
    assert len(both) == len(named) == len(summed) == len(found)
    assert both["exclusive_nano"].equals(both["exclusive_nano_told"])
    assert both["inclusive_nano"].equals(both["inclusive_nano_told"])
    assert both["max_nano"].equals(both["most"].rename("max_nano"))
    for node, group in every.group_by("node"):
        row = found.filter(pl.col("node") == node[0]).row(0, named=True)
        for part in ("exclusive", "inclusive"):
            values = sorted([0] * (len(entries) - len(group)) + group[f"{part}_nano"].to_list())
            assert [row[f"{part}_p{p}_nano"] for p in (50, 90, 99)] == [
                values[rank(len(values), p)] for p in (50, 90, 99)
            ]
