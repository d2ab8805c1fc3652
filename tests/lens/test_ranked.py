"""Calls on disk in the order of their durations: as sorting all of them would have it, ties and all."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tracelens import histogram
from tracelens.analysis.bands import by_rank
from tracelens.lens.ranked import ORDER, RANKED, Ranked

CALL = st.tuples(
    st.binary(min_size=16, max_size=16), st.integers(0, 3), st.sampled_from([0, 1, 2, 1_000, 1_001, 1_002, 10**9])
)


@given(
    st.lists(CALL, max_size=60, unique_by=lambda call: call[:2]),
    st.integers(1, 4),
    st.lists(st.sampled_from([0.0, 10.0, 33.3, 50.0, 90.0, 99.0, 100.0]), min_size=2, unique=True).map(sorted),
)
def test_groups_are_those_of_all_calls_sorted(
    calls: list[tuple[bytes, int, int]], units: int, cuts: list[float]
) -> None:
    every = pl.DataFrame(calls, RANKED, orient="row").with_columns(unit=pl.int_range(pl.len(), dtype=pl.Int64) % units)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{unit}.parquet") for unit in range(units)]
        for unit, file in enumerate(files):
            every.filter(pl.col("unit") == unit).drop("unit").write_parquet(file)
        ranked = Ranked(files)
        assert len(ranked) == len(every)
        expected = every.sort(ORDER).with_columns(
            rank=pl.int_range(pl.len(), dtype=pl.Int64),
            group=pl.Series(by_rank(len(every), cuts), dtype=pl.Int64),
            bucket=histogram.bucket(pl.col("duration_nano")),
        )
        groups = ranked.groups(cuts)
        some = np.arange(0, len(every), 3)
        if len(some):
            assert ranked.at(some).equals(expected.select(*RANKED.names(), "unit", "rank")[some])
    told = expected.with_columns(of_call=groups.of_call(), of_bucket=groups.of_bucket())
    assert told["of_call"].equals(told["group"])
    divided = set(expected.group_by("bucket").agg(pl.col("group").n_unique()).filter(pl.col("group") > 1)["bucket"])
    assert set(groups.divided) == divided
    whole = told.filter(~pl.col("bucket").is_in(list(divided)))
    assert whole["of_bucket"].equals(whole["group"])
