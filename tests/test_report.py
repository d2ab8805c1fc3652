"""Answers as people and scripts read them."""

from __future__ import annotations

import io

import orjson
import polars as pl
import pytest

from tests.builders import trace
from tracelens.lens import Answer, SourceInfo
from tracelens.report import document, text, units

INFO = SourceInfo(
    kind="dump",
    format="otlp-json",
    files=1,
    spans=2,
    traces=1,
    complete_traces=1,
    start_unix_nano=0,
    end_unix_nano=5,
    open_traces=0,
    repairs={"orphan": 3},
    rejected_spans=0,
)


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [
        (None, "–"),
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (412_000, "412 µs"),
        (999_400, "999 µs"),
        (999_600, "1.00 ms"),
        (8_210_000, "8.21 ms"),
        (61_900_000, "61.9 ms"),
        (1_230_000_000, "1.23 s"),
        (4_800_000_000_000, "4,800 s"),
        (-1_600_000, "-1.60 ms"),
    ],
)
def test_durations_have_three_digits_and_a_unit(nanoseconds: float | None, shown: str) -> None:
    assert units.duration(nanoseconds) == shown


def test_a_share_that_is_not_nothing_is_not_shown_as_nothing() -> None:
    assert [units.percent(share) for share in (None, 0.0, 0.0004, 0.0123, 1.0)] == [
        "–",
        "0.0 %",
        "<0.1 %",
        "1.2 %",
        "100.0 %",
    ]


def test_moments_no_calendar_has_are_shown_as_they_are() -> None:
    assert units.instant(1_500_000_000) == "1970-01-01 00:00:01.500Z"
    assert units.instant(2**63 - 1) == "2262-04-11 23:47:16.854Z"


def answer(rows: pl.DataFrame) -> Answer:
    return Answer(rows=rows, source=INFO)


def test_json_rounds_nothing_and_writes_ids_in_hexadecimal() -> None:
    rows = pl.DataFrame({"trace_id": [b"\xab" * 16], "p99_nano": [2**62 + 1], "share": [0.1], "none": [None]})
    found = orjson.loads(document.json(answer(rows)))
    assert found["rows"] == [{"trace_id": "ab" * 16, "p99_nano": 2**62 + 1, "share": 0.1, "none": None}]
    assert found["source"]["repairs"] == {"orphan": 3}
    assert found["method"] == {"percentile": "exact", "relative_error": 0.0, "sampled": False}


def test_csv_defuses_formulas() -> None:
    rows = pl.DataFrame({"route": ["=HYPERLINK(1)", "GET /, x"], "path": [["-a", "b"], ["c"]]})
    assert document.table(rows) == "route,path\n'=HYPERLINK(1),'-a > b\n\"GET /, x\",c\n"


def test_text_cannot_steer_a_terminal() -> None:
    assert text.plain("a\x1b[2Jb\u202ec\n") == "a\ufffd[2Jb\ufffdc\ufffd"


def test_a_pipe_gets_every_column_whole() -> None:
    out = io.StringIO()
    rows = pl.DataFrame({name: ["x" * 200] for name in ("service", "route")})
    text.answer(answer(rows), text.ROUTES[:2], out, empty="")
    assert "x" * 200 in out.getvalue()
    assert "repaired: orphan 3" in out.getvalue()


def test_no_rows_say_so() -> None:
    out = io.StringIO()
    text.answer(answer(trace("a |-|").clear()), text.ROUTES, out, empty="no calls in this window.")
    assert out.getvalue().startswith("no calls in this window.")
