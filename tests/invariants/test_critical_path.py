"""What holds for every trace, however dirty."""

from __future__ import annotations

import os
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import frame, span_id, trace_id
from tests.plain_walk import PlainWalk
from tests.test_forest import assert_same
from tracelens.analysis.critical_path import Sections, exclusive, sections
from tracelens.analysis.profile import accumulate, cut, merge, profile
from tracelens.forest import Forest, link
from tracelens.spans import MARK

Rows = list[dict[str, Any]]
BANDS = ((0.0, 50.0), (50.0, 90.0), (90.0, 99.0), (99.0, 100.0))
PROVE = bool(os.environ.get("TRACELENS_PROVE"))
SETTINGS = settings(max_examples=2_000 if PROVE else 80)


@st.composite
def span_rows(draw: st.DrawFn, *, dirty: bool = True, most: int = 12) -> Rows:
    """Spans of up to three traces: any parents, ties, gaps; when dirty also duplicates, cycles and timeless spans."""
    rows = []
    for index in range(draw(st.integers(1, most))):
        start = draw(st.integers(0, 30))
        number = draw(st.integers(1, most)) if dirty else index + 1
        parents = st.integers(1, most + 1) if dirty else st.integers(1, max(index, 1))
        is_root = draw(st.integers(0, 3)) == 0 if dirty else index == 0
        rows.append(
            {
                "trace_id": trace_id(draw(st.integers(1, 3)) if dirty else 1),
                "span_id": span_id(number),
                "parent_span_id": None if is_root else span_id(draw(parents)),
                "follows_from": draw(st.integers(0, 5)) == 0,
                "name": draw(st.sampled_from("ab")),
                "service_name": draw(st.sampled_from("xy")),
                "kind": draw(st.integers(0, 5)) if dirty else 1,
                "start_time_unix_nano": start,
                "end_time_unix_nano": start + draw(st.integers(0, 20)),
                "repairs": MARK["no_time"] if dirty and draw(st.integers(0, 7)) == 0 else 0,
                "res:host.name": draw(st.sampled_from([None, "h1", "h2"])) if dirty else None,
            }
        )
    return rows


def stretched(row: dict[str, Any], *, by: int = 1, plus: int = 0) -> dict[str, Any]:
    """A span at other times."""
    return row | {name: row[name] * by + plus for name in ("start_time_unix_nano", "end_time_unix_nano")}


TOLERANCES = st.one_of(st.just("auto"), st.integers(0, 40))


def spelled(forest: Forest, found: Sections) -> list[tuple[bytes, bytes, int, int, int]]:
    """Sections by ids instead of rows, with the kind, for halves of a shared span have one id."""
    ids = forest.spans.select("trace_id", "span_id", "kind")[found.span].rows()
    return [(*row, a, b) for row, a, b in zip(ids, found.start.tolist(), found.end.tolist(), strict=True)]


def arguments(forest: Forest) -> dict[str, Any]:
    """What profile takes: the path of every root, with the entry's name for a route."""
    entries = np.flatnonzero(forest.parent < 0)
    return {
        "forest": forest,
        "sections": sections(forest, entries),
        "entries": entries,
        "route": forest.spans["name"].gather(entries),
        "service": forest.spans["service_name"],
        "operation": forest.spans["name"],
        "layer": forest.spans["kind"].cast(pl.String),
    }


@SETTINGS
@given(span_rows(), TOLERANCES, st.booleans(), st.booleans())
def test_sections_tile_every_entry(rows: Rows, tolerance: Any, asynchronous: bool, skew: bool) -> None:
    """Rule 14: disjoint, contiguous, exactly the entry, for any entry, tolerance and flag."""
    forest = link(frame(rows), skew=skew)
    entries = np.arange(len(forest.parent))
    found = sections(forest, entries, tolerance=tolerance, asynchronous=asynchronous)
    for k, entry in enumerate(entries):
        own = slice(*found.offsets[k : k + 2])
        edges = [int(forest.start[entry]), *found.end[own].tolist()]
        assert edges[:-1] == found.start[own].tolist()
        assert edges[-1] == forest.end[entry]
        assert (found.end[own] > found.start[own]).all()


@settings(SETTINGS, max_examples=4_000 if PROVE else 400)  # the one that compares with another implementation
@given(span_rows(), st.one_of(st.none(), st.integers(0, 40)))
def test_the_kernel_does_what_the_rules_say(rows: Rows, tolerance: int | None) -> None:
    """Compared with the walk in plain Python, from every span."""
    # Odd nanoseconds keep every clock fine, and make overlaps that are less than 1 % of a window.
    forest = link(frame(stretched(row, by=100, plus=1 + 2 * (i % 3)) for i, row in enumerate(rows)))
    entries = np.arange(len(forest.parent))
    found = sections(forest, entries, tolerance="auto" if tolerance is None else tolerance)
    columns = found.entry_index.tolist(), found.span.tolist(), found.start.tolist(), found.end.tolist()
    ours = list(zip(*columns, strict=True))
    slow = PlainWalk(forest)
    assert ours == [(k, *section) for k in entries.tolist() for section in slow.sections(k, tolerance)]


@SETTINGS
@given(st.data(), span_rows())
def test_order_of_arrival_does_not_matter(data: st.DataObject, rows: Rows) -> None:
    """Rule 3 and all others: whole results are equal for every permutation."""
    shuffled = data.draw(st.permutations(rows))
    a, b = link(frame(rows)), link(frame(shuffled))
    assert_same(a, b)
    assert profile(**arguments(a), bands=BANDS).equals(profile(**arguments(b), bands=BANDS))


@SETTINGS
@given(span_rows(), st.integers(-(10**18), 10**18))
def test_time_shift(rows: Rows, by: int) -> None:
    """Moving all spans moves all sections, and nothing else."""
    timed = [row for row in rows if not row["repairs"]]
    moved = [stretched(row, plus=by) for row in timed]
    a, b = link(frame(timed)), link(frame(moved))
    found, other = sections(a, tolerance=3), sections(b, tolerance=3)
    assert np.array_equal(found.span, other.span)
    assert np.array_equal(found.start + by, other.start)
    assert np.array_equal(found.end + by, other.end)
    assert a.repairs() == b.repairs()


@SETTINGS
@given(span_rows(), st.integers(1, 1000))
def test_scaling(rows: Rows, by: int) -> None:
    """Without a tolerance the unit does not matter."""
    larger = [stretched(row, by=by) for row in rows]
    a, b = link(frame(rows)), link(frame(larger))
    found, other = sections(a, tolerance=0), sections(b, tolerance=0)
    assert np.array_equal(found.span, other.span)
    assert np.array_equal(found.start * by, other.start)
    assert np.array_equal(found.end * by, other.end)


@SETTINGS
@given(st.data(), span_rows(dirty=False))
def test_what_nobody_waits_for_changes_nothing(data: st.DataObject, rows: Rows) -> None:
    """An empty, an outside or a non-blocking child more, anywhere: the same sections."""
    parent = data.draw(st.sampled_from(rows))
    start, end = parent["start_time_unix_nano"], parent["end_time_unix_nano"]
    at = data.draw(st.integers(start, end))
    more = data.draw(
        st.sampled_from(
            [
                {"start_time_unix_nano": at, "end_time_unix_nano": at},
                {"start_time_unix_nano": end, "end_time_unix_nano": end + 5},
                {"start_time_unix_nano": start - 5, "end_time_unix_nano": start},
                {"start_time_unix_nano": start, "end_time_unix_nano": end, "follows_from": True},
            ]
        )
    )
    child = {"span_id": span_id(99), "parent_span_id": parent["span_id"], "name": "more", **more}
    before, after = link(frame(rows)), link(frame([*rows, child]))
    assert spelled(before, sections(before, tolerance=2)) == spelled(after, sections(after, tolerance=2))


@SETTINGS
@given(span_rows())
def test_every_span_stays_or_is_counted(rows: Rows) -> None:
    """Nothing is dropped silently, and the forest is one: rows, subtrees, children and roots agree."""
    forest = link(frame(rows))
    n = len(forest.parent)
    assert n + sum(forest.dropped.values()) == len(rows)
    assert forest.spans.height == n
    row = np.arange(n)
    has_parent = forest.parent >= 0
    assert (forest.parent[has_parent] < row[has_parent]).all()
    assert (row[has_parent] < forest.until[forest.parent[has_parent]]).all()
    assert sorted(forest.children.tolist()) == row[has_parent].tolist()
    assert (forest.lo <= forest.hi).all()
    tops = np.add.reduceat(~has_parent, forest.trace_offsets[:-1])
    assert (forest.n_roots + forest.n_orphans <= np.maximum(tops, 1)).all()
    assert (np.diff(forest.trace_offsets) > 0).all()
    assert (forest.n_cycles <= forest.n_orphans).all()


@SETTINGS
@given(span_rows())
def test_node_sums_add_up(rows: Rows) -> None:
    """Rules 15 and 19: per band and route exclusive times sum to the entries' durations, in integers."""
    given_ = arguments(link(frame(rows)))
    forest, entries = given_["forest"], given_["entries"]
    duration = int((forest.end - forest.start)[entries].sum())
    assert int(exclusive(forest, given_["sections"]).sum()) == duration
    exact, rough = profile(**given_, bands=BANDS), cut(accumulate(**given_), BANDS)
    for found in (exact, rough):
        assert found["exclusive_nano"].sum() == duration
        tops = found.filter(pl.col("parent").is_null())
        assert tops["inclusive_nano"].sum() == duration
        assert tops.group_by("band", "route").agg(pl.col("entries").first())["entries"].sum() == len(entries)


@SETTINGS
@given(span_rows(), span_rows(), span_rows())
def test_shards_merge_to_one_run(first: Rows, second: Rows, third: Rows) -> None:
    """Rule 19: merging is associative and commutative, and equals one run over everything."""
    shards = [
        [{**row, "trace_id": bytes([shard]) + row["trace_id"][1:]} for row in rows]
        for shard, rows in enumerate((first, second, third))
    ]
    a, b, c = (accumulate(**arguments(link(frame(rows)))) for rows in shards)
    whole = accumulate(**arguments(link(frame(chain.from_iterable(shards)))))
    assert merge([a, b, c]).equals(whole)
    assert merge([merge([c, a]), b]).equals(whole)
    assert merge([a, merge([b, c])]).equals(whole)
