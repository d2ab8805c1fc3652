"""`tracelens compare`: sides, exit statuses, files."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest

from tracelens import cli

DUMPS = Path(__file__).parents[1] / "samples" / "dumps"
DUMP = str(DUMPS / "shop.otlp.jsonl.gz")
JAEGER = str(DUMPS / "shop.jaeger.json.gz")


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        assert (self.status, self.err) == (0, "")
        found: dict[str, Any] = json.loads(self.out)
        return found


Run = Callable[..., Done]


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the verb in this process: a start of Python takes longer than all it does here."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["tracelens", "compare", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The dump with other traces, in which all takes three times as long."""
    path = tmp_path_factory.mktemp("slower") / "slower.jsonl"
    requests = [orjson.loads(line) for line in gzip.decompress(Path(DUMP).read_bytes()).splitlines()]
    scopes = [
        scope for request in requests for resource in request["resourceSpans"] for scope in resource["scopeSpans"]
    ]
    spans = [span for scope in scopes for span in scope["spans"]]
    origin = min(int(span["startTimeUnixNano"]) for span in spans)
    for span in spans:
        span["traceId"] = "f" + span["traceId"][1:]
        for name in ("startTimeUnixNano", "endTimeUnixNano"):
            span[name] = str(origin + 3 * (int(span[name]) - origin))
    path.write_bytes(b"\n".join(map(orjson.dumps, requests)))
    return str(path)


def test_a_check_fails_with_1_and_says_which_route_and_why(compare: Run, slower: str, tmp_path: Path) -> None:
    file = tmp_path / "compare.xml"
    rule = "p50>100% & significant"
    done = compare(DUMP, slower, "--fail-on-regression", rule, "--junit", str(file))
    said = done.err
    assert done.status == 1
    assert "tracelens: regression: " in said
    assert f"({rule})" in said
    assert "p50 rose" in said
    assert "slower" in done.out
    suites = ElementTree.parse(file).getroot()
    failed = {case.get("name") for case in suites.iter("testcase") if case.find("failure") is not None}
    assert len(failed) > 1
    assert all(str(name) in said for name in failed)


def test_a_check_that_holds_ends_with_0(compare: Run, slower: str) -> None:
    for sides in ((slower, DUMP), (DUMP, JAEGER)):
        done = compare(*sides, "--fail-on-regression", "significant", "--fail-on-regression", "p99>1%")
        assert (done.status, done.err) == (0, "")


def test_json_has_the_keys_that_are_promised(compare: Run, slower: str) -> None:
    document = compare(DUMP, slower, "--format", "json").document
    assert {"key", "a", "b", "difference_nano", "low_nano", "high_nano", "significant"} <= set(document["rows"][0])
    assert {row["kind"] for row in document["rows"]} == {"route", "node"}
    assert document["source_b"]["traces"] == document["source"]["traces"] == 112
    assert document["method"]["tests"]
    first = compare(DUMP, slower, "--limit", "1", "--format", "json").document["rows"]
    assert first == document["rows"][: len(first)]
    assert len({(row["service"], row["route"]) for row in first}) == 1


def test_lines_and_tables_have_a_row_each(compare: Run) -> None:
    rows = len(compare(DUMP, JAEGER, "--format", "json").document["rows"])
    lines = compare(DUMP, JAEGER, "--format", "jsonl").out.splitlines()
    table = compare(DUMP, JAEGER, "--format", "csv").out.splitlines()
    assert len(lines) == rows == len(table) - 1
    assert table[0].startswith("key,kind,service")


def test_sides_of_one_source_by_filter(compare: Run) -> None:
    sides = ("--where-a", "service=cart", "--where-b", "service=db", "--where", "route~^POST")
    rows = compare(DUMP, *sides, "--format", "json").document["rows"]
    assert {row["route"] for row in rows} == {"POST /reservations", "POST /tables/reservations", "POST /ledger"}
    assert {(row["service"], row["n_a"] == 0, row["n_b"] == 0) for row in rows} == {
        ("cart", False, True),
        ("db", True, False),
    }


def test_sides_of_one_source_by_window(compare: Run) -> None:
    sides = ("--window-a", "..2200-01-01", "--window-b", "2200-01-01..2201-01-01")
    rows = compare(DUMP, *sides, "--format", "json").document["rows"]
    assert {row["note"] for row in rows} == {"vanished"}
    assert len({row["key"] for row in rows}) == len(rows)


def test_a_route_is_shown_with_its_nodes_even_if_it_did_not_change(compare: Run) -> None:
    rows = compare(DUMP, JAEGER, "--route", "gateway POST /checkout", "--format", "json").document["rows"]
    assert {(row["service"], row["route"]) for row in rows} == {("gateway", "POST /checkout")}
    nodes = [row for row in rows if row["kind"] == "node"]
    mean = next(row for row in rows if (row["kind"], row["measure"]) == ("route", "mean"))
    assert sum(node["a"] for node in nodes) == mean["a"]


def test_what_cannot_be_read_is_told_and_a_failed_check_tells_more(compare: Run, slower: str, tmp_path: Path) -> None:
    """Exit 4 for losses on either side; 1 when a check failed, for that is what was asked."""
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(Path(slower).read_bytes() + b"\n{broken}\n")
    for sides in ((DUMP, str(torn)), (str(torn), DUMP)):
        done = compare(*sides)
        assert (done.status, "lost: " in done.err) == (4, True)
    once = compare(str(torn), "--where-a", "service=cart", "--where-b", "service=db")
    assert (once.status, once.err.count("lost: ")) == (4, 1)
    failed = compare(DUMP, str(torn), "--fail-on-regression", "significant")
    assert (failed.status, "lost: " in failed.err, "regression: " in failed.err) == (1, True, True)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([DUMP], 2, "A and B are the same"),
        ([DUMP, DUMP], 2, "A and B are the same"),
        ([DUMP, "--window-a", "2020-01-01.."], 2, "A and B are the same"),
        ([DUMP, JAEGER, "--window-a", "2020-01-01"], 2, "no window"),
        ([DUMP, JAEGER, "--window-a", ".."], 2, "no window"),
        ([DUMP, JAEGER, "--window-a", "2020-01-01..", "--since", "1h"], 2, "Give either"),
        ([DUMP, JAEGER, "--fail-on-regression", "p98>1%"], 2, "no measure"),
        ([DUMP, JAEGER, "--where-b", "colour=red"], 2, "no key"),
        ([DUMP, JAEGER, "--route", "GET /nowhere"], 2, "no route"),
        ([DUMP, JAEGER, "--junit", "/absent/folder/file.xml"], 2, "cannot be written"),
        ([DUMP, "absent.json"], 3, "no such file"),
    ],
)
def test_exit_statuses(compare: Run, arguments: list[str], status: int, said: str) -> None:
    done = compare(*arguments)
    assert (done.status, said in done.err) == (status, True), done.err
