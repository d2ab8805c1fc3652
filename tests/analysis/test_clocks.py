"""Offsets of hosts' clocks, from calls whose clocks are known to be off."""

from __future__ import annotations

import random

import polars as pl
import pytest

from tests.builders import frame, span_id, trace_id
from tracelens.analysis.clocks import CLOCKS, ENOUGH, clocks
from tracelens.analysis.findings import FINDINGS, findings
from tracelens.analysis.hops import requests
from tracelens.calls import calls
from tracelens.forest import link

MICROSECOND = 1_000


def mesh(ahead: int, n: int, *, back: bool = False, leg: int = 500) -> pl.DataFrame:
    """Return n calls of web on host a to cat on host b, whose clock is `ahead` nanoseconds, and `back` again."""
    draw = random.Random(n)
    rows = []
    for number in range(1, n + 1):
        begin, work = number * 10**8, draw.randrange(1, 9) * 1_000_000
        out, home = (draw.randrange(leg) * MICROSECOND for _ in range(2))
        ways = [("a", "b", ahead)] + ([("b", "a", -ahead)] if back else [])
        for way, (one, other, offset) in enumerate(ways):
            own = 0 if one == "a" else ahead
            at = begin + own + way * 5 * 10**7
            for half, (host, kind, start, end) in enumerate(
                [(one, 3, at, at + out + work + home), (other, 2, at + offset + out, at + offset + out + work)]
            ):
                identity = 4 * number + 2 * way + half
                rows.append(
                    {
                        "trace_id": trace_id(2 * number + way),
                        "span_id": span_id(identity),
                        "parent_span_id": span_id(identity - 1) if half else None,
                        "service_name": "web" if host == "a" else "cat",
                        "kind": kind,
                        "start_time_unix_nano": 10**15 + start,
                        "end_time_unix_nano": 10**15 + end,
                        "res:host.name": host,
                    }
                )
    return frame(rows)


def told(spans: pl.DataFrame) -> pl.DataFrame:
    forest = link(spans)
    found = clocks(forest, calls(forest))
    assert found.schema == CLOCKS
    return found


@pytest.mark.parametrize("ahead", [0, 3_000_000, -3_000_000, 40_000_000])
@pytest.mark.parametrize("back", [False, True])
def test_the_offset_lies_within_its_bounds(ahead: int, back: bool) -> None:
    (row,) = told(mesh(ahead, 400, back=back)).to_dicts()
    assert (row["host"], row["other"], row["n"]) == ("a", "b", 800 if back else 400)
    assert row["low_nano"] <= ahead <= row["high_nano"]
    assert abs(row["offset_nano"] - ahead) < 30 * MICROSECOND
    assert (row["shifted"] > 0) == (ahead != 0)


def test_a_few_calls_say_nothing() -> None:
    assert told(mesh(3_000_000, ENOUGH - 1)).is_empty()


def test_bounds_that_contradict_each_other_give_no_offset() -> None:
    """A clock that was set in between."""
    before, after = mesh(5_000_000, 100), mesh(-5_000_000, 101)
    moved = after.with_columns(
        trace_id=pl.Series([(number + 5_000).to_bytes(16, "big") for number in range(len(after) // 2) for _ in "12"])
    )
    (row,) = told(pl.concat([before, moved])).to_dicts()
    assert row["offset_nano"] is None
    assert row["low_nano"] > row["high_nano"]


@pytest.mark.parametrize(("ahead", "service"), [(3_000_000, "b"), (-3_000_000, "a"), (0, None)])
def test_a_clock_that_is_off_for_certain_is_a_finding(ahead: int, service: str | None) -> None:
    spans = mesh(ahead, 100)
    forest = link(spans)
    folded = calls(forest)
    rows = findings(forest, folded, requests(forest, folded), clocks=clocks(forest, folded))
    assert rows.schema == FINDINGS
    skewed = rows.filter(kind="clock_skew").to_dicts()
    assert [row["service"] for row in skewed] == ([service] if service else [])
    assert all("3.0" in row["evidence"] or "2.9" in row["evidence"] for row in skewed)
