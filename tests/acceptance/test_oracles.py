"""Facts from other projects' test fixtures, beside the project in ../shared/oracles.

Critical paths: jaeger-ui, Jaeger's Go tool and CRISP; clock skew: Jaeger and
Zipkin. Ours are compared literally, span by span, at the tolerance stated.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.builders import frame, span_id
from tracelens.analysis.critical_path import exclusive, sections
from tracelens.forest import Forest, link
from tracelens.repair import TRACE_MARK
from tracelens.spans import KINDS

ORACLES = Path(__file__).resolve().parents[3] / "shared" / "oracles"
MICROSECOND, MILLISECOND = 1_000, 1_000_000
CAP = 1_000 * MILLISECOND

pytestmark = pytest.mark.skipif(not ORACLES.is_dir(), reason=f"no oracles: {ORACLES} is absent")


NONE: dict[str, Any] = {"cases": [], "jaeger": {"cases": []}, "zipkin": {"cases": []}}


def load(name: str) -> Any:
    path = ORACLES / name
    return json.loads(path.read_text()) if path.is_file() else NONE


PATHS = load("critical_path_cases.json")["cases"]
SKEWS = load("clock_skew_cases.json")


def spans_of(case: dict[str, Any]) -> tuple[pl.DataFrame, dict[bytes, str]]:
    """Return the spans of a case, and its name of each id: ids are numbered in the order of their bytes."""
    names = sorted({span["span_id"] for span in case["spans"]}, key=str.encode)
    ids = {name: span_id(number) for number, name in enumerate(names, 1)}
    rows = [
        {
            "trace_id": span["trace_id"].encode()[-16:].rjust(16, b"\0"),
            "span_id": ids[span["span_id"]],
            "parent_span_id": ids.get(span["parent_span_id"]),
            "follows_from": span.get("refType") == "FOLLOWS_FROM",
            "service_name": span["service"],
            "name": span["operation"],
            "kind": KINDS.index(span.get("kind", "INTERNAL")),
            "start_time_unix_nano": span["start_us"] * MICROSECOND,
            "end_time_unix_nano": (span["start_us"] + span["duration_us"]) * MICROSECOND,
        }
        for span in case["spans"]
    ]
    return frame(rows), {number: name for name, number in ids.items()}


def walked(forest: Forest, names: dict[bytes, str], tolerance: int) -> list[dict[str, Any]]:
    found = sections(forest, tolerance=tolerance)
    rows = zip(forest.spans["span_id"].gather(found.span), found.start.tolist(), found.end.tolist(), strict=True)
    return [
        {"span_id": names[identity], "start_us": start / MICROSECOND, "end_us": end / MICROSECOND}
        for identity, start, end in rows
    ]


@pytest.mark.parametrize("case", PATHS, ids=lambda case: case["name"])
@pytest.mark.parametrize("skew", [True, False], ids=["skew", "no-skew"])
def test_critical_path(case: dict[str, Any], skew: bool) -> None:
    """The sections are the ones stated, at no tolerance and at 50 µs."""
    spans, names = spans_of(case)
    # The one case whose server runs early (by 5 µs), which the fixture leaves so.
    forest = link(spans, skew=skew and case["name"] != "crisp/26")
    assert walked(forest, names, 0) == case["proposed_spec"]
    tolerant = case.get("proposed_spec_tolerance_50us", case["proposed_spec"])
    assert walked(forest, names, 50 * MICROSECOND) == tolerant


@pytest.mark.parametrize(
    "case",
    [case for case in PATHS if case["spec_equals_expected"] and "expected_exclusive_by_span" in case],
    ids=lambda case: case["name"],
)
def test_exclusive_time(case: dict[str, Any]) -> None:
    """Each span's exclusive time is the fixture's own, where the rules agree."""
    spans, names = spans_of(case)
    forest = link(spans)
    times = exclusive(forest, sections(forest, tolerance=0)) / MICROSECOND
    ours = dict(zip((names[i] for i in forest.spans["span_id"]), times.tolist(), strict=True))
    assert {name: time for name, time in ours.items() if time} == {
        name: time for name, time in case["expected_exclusive_by_span"].items() if time
    }


def skewed(rows: list[dict[str, Any]]) -> Forest:
    """Link spans given as id, parent (0: none), start, end, host, kind in nanoseconds."""
    return link(
        frame(
            {
                "span_id": span_id(row["id"]),
                "parent_span_id": span_id(row["parent"]) if row["parent"] else None,
                "name": str(row["id"]),
                "kind": KINDS.index(row.get("kind", "INTERNAL")),
                "start_time_unix_nano": row["start"],
                "end_time_unix_nano": row["end"],
                "res:host.name": row["host"] or None,
            }
            for row in rows
        )
    )


def assert_mended(rows: list[dict[str, Any]], forest: Forest) -> None:
    """What skew correction promises, for any trace whose spans come parents first."""
    by_name = {row["id"]: row for row in rows}
    received = {str(row["id"]): (row["start"], row["end"]) for row in rows}
    for i, name in enumerate(forest.spans["name"].to_list()):
        start, end = received[name]
        assert forest.end[i] - forest.start[i] == end - start, "a duration changed"
        assert forest.start[i] - forest.skew[i] == start, "a shift is not kept"
        p = int(forest.parent[i])
        if p < 0:
            assert forest.skew[i] == 0
            continue
        above = by_name[int(forest.spans["name"][p])]
        if by_name[int(name)]["host"] == above["host"]:
            assert forest.skew[i] == forest.skew[p], "spans of one side moved apart"
            continue
        fits = end - start <= forest.end[p] - forest.start[p]
        least = max(forest.start[p] - start, 0) or (min(forest.end[p] - end, 0) if fits else 0)
        if abs(least) > CAP:
            assert forest.skew[i] == 0
            assert forest.marks[i] & TRACE_MARK["skew_capped"]
            continue
        assert forest.skew[i] == least, "not the least amount"
        if fits:
            assert forest.start[p] <= forest.start[i] <= forest.end[i] <= forest.end[p], "it fits and sticks out"


@pytest.mark.parametrize(
    "case", [c for c in SKEWS["jaeger"]["cases"] if c["max_adjust_ms"]], ids=lambda case: case["name"]
)
def test_jaeger_skew(case: dict[str, Any]) -> None:
    """A child that fits is contained, one side moves alike, beyond the cap nothing moves.

    Jaeger centres the child, ours moves it by the least amount, so the start is
    compared only where theirs leaves it alone or aligns it. Jaeger's cap is
    10 ms in some cases, ours is 1 s: times are scaled so that a shift over
    theirs (by our least amount or by their centring) is over ours.
    """
    scale = 201 * MILLISECOND if case["max_adjust_ms"] == 10 else MILLISECOND
    rows = [
        {**s, "start": s["start"] * scale, "end": (s["start"] + s["duration"]) * scale, "expected": s["expected_start"]}
        for s in case["spans"]
    ]
    forest = skewed(rows)
    assert_mended(rows, forest)
    over = case["warning_contains"] is not None
    assert forest.repairs().get("skew_capped", 0) == (1 if over else 0)
    moved = any(s["start"] != s["expected_start"] for s in case["spans"])
    assert bool(forest.skew.any()) == moved
    if "longer" in case["name"]:
        assert forest.start.tolist() == [row["expected"] * scale for row in rows]


@pytest.mark.parametrize(
    "case", [c for c in SKEWS["jaeger"]["cases"] if not c["max_adjust_ms"]], ids=lambda case: case["name"]
)
def test_jaeger_leaves_alone(case: dict[str, Any]) -> None:
    """Where Jaeger moves nothing for another reason than its switch, neither do we."""
    rows = [
        {**s, "start": s["start"] * MILLISECOND, "end": (s["start"] + s["duration"]) * MILLISECOND}
        for s in case["spans"]
    ]
    forest = skewed(rows)
    if case["name"] == "adjustment disabled":
        forest = link(forest.spans, skew=False)
    else:
        assert_mended(rows, forest)
    assert not forest.skew.any()
    assert forest.repairs().get("dup_identical", 0) == len(rows) - len({row["id"] for row in rows})
    absent = {row["parent"] for row in rows} - {row["id"] for row in rows} - {0}
    assert forest.repairs().get("orphan", 0) == len(absent)


@pytest.mark.parametrize("case", SKEWS["zipkin"]["cases"], ids=lambda case: case["name"])
def test_zipkin_skew(case: dict[str, Any]) -> None:
    """The server moves into its client when Zipkin sees a skew, and stays when it sees none."""
    rows = [
        {
            "id": number,
            "parent": number - 1,
            "kind": kind,
            "host": case[side]["host"],
            "start": case[side]["timestamp"] * MICROSECOND,
            "end": (case[side]["timestamp"] + (case[side]["duration"] or 0)) * MICROSECOND,
        }
        for number, (side, kind) in enumerate([("client", "CLIENT"), ("server", "SERVER")], 1)
    ]
    forest = skewed(rows)
    assert_mended(rows, forest)
    assert bool(forest.skew[1]) == (case["expected_skew"] is not None)
