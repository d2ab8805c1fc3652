"""Profiles for the viewers of others: their formats, read back by readers that are not ours."""

from __future__ import annotations

import gzip
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.builders import traces
from tests.running import answer, tracelens
from tests.test_report import INFO
from tracelens.analysis.critical_path import sections
from tracelens.analysis.profile import profile
from tracelens.calls import calls
from tracelens.forest import link
from tracelens.lens import Answer
from tracelens.report import stacks

DUMP = str(Path(__file__).parents[1] / "samples" / "dumps" / "shop.otlp.jsonl.gz")
DRAWN = """
    web     |-------|  kind=server op=GET;/x
     cart   |---|      kind=server op=add
"""
PROXIED = """
    cart  |------|  kind=server attr:node_id=sidecar~10.0.0.1~cart-1.shop~shop.svc attr:component=proxy op=cart/*
     cart   |--|    kind=server op=GET
"""
# name number kind: i integer, s text, m:Message; * repeated
MESSAGES = {
    "ValueType": "type 1 i, unit 2 i",
    "Label": "key 1 i, str 2 i",
    "Sample": "*location_id 1 u, *value 2 i, *label 3 m:Label",
    "Line": "function_id 1 u",
    "Location": "id 1 u, *line 4 m:Line",
    "Function": "id 1 u, name 2 i, system_name 3 i",
    "Profile": (
        "*sample_type 1 m:ValueType, *sample 2 m:Sample, *location 4 m:Location, *function 5 m:Function, "
        "*string_table 6 s, time_nanos 9 i, duration_nanos 10 i, default_sample_type 14 i"
    ),
}


def profiled(*drawings: str, bands: tuple[tuple[float, float], ...] = ((0.0, 100.0),)) -> Answer:
    forest = link(traces(*drawings))
    labels = calls(forest)
    rows = profile(
        forest,
        sections(forest),
        entries=forest.entry,
        route=None,
        service=labels.service,
        operation=labels.operation,
        layer=labels.layer,
        bands=bands,
    )
    return Answer(rows=rows, source=INFO)


def message_type(name: str) -> Any:
    """Return a message of profile.proto, by field numbers of google/pprof: an encoding that is not ours."""
    field = descriptor_pb2.FieldDescriptorProto
    kinds = {"i": field.TYPE_INT64, "u": field.TYPE_UINT64, "s": field.TYPE_STRING, "m": field.TYPE_MESSAGE}
    file = descriptor_pb2.FileDescriptorProto(name="profile_for_tests.proto", package="pprof_test", syntax="proto3")
    for message, declared in MESSAGES.items():
        added = file.message_type.add(name=message)
        for words in declared.split(", "):
            label, number, kind = words.split()
            repeated = field.LABEL_REPEATED if label.startswith("*") else field.LABEL_OPTIONAL
            made = added.field.add(name=label.lstrip("*"), number=int(number), type=kinds[kind[0]], label=repeated)
            if kind[0] == "m":
                made.type_name = f".pprof_test.{kind[2:]}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"pprof_test.{name}"))


def decoded(raw: bytes) -> list[tuple[list[str], list[int], dict[str, str]]]:
    """Return (frames, entry first; values; labels) of each sample of a pprof file."""
    found = message_type("Profile").FromString(gzip.decompress(raw))
    text = list(found.string_table)
    assert text[0] == ""
    assert [(text[one.type], text[one.unit]) for one in found.sample_type] == [
        ("wall", "nanoseconds"),
        ("calls", "count"),
    ]
    assert text[found.default_sample_type] == "wall"
    names = {one.id: text[one.name] for one in found.function}
    lines = {one.id: names[one.line[0].function_id] for one in found.location}
    return [
        (
            [lines[one] for one in reversed(sample.location_id)],
            list(sample.value),
            {text[label.key]: text[label.str] for label in sample.label},
        )
        for sample in found.sample
    ]


def test_folded_stacks_weigh_what_each_frame_took_itself() -> None:
    found = profiled(DRAWN, DRAWN)
    assert stacks.folded(found).decode() == "web GET%3B/x 8000000\nweb GET%3B/x;cart add 8000000\n"


def test_what_breaks_a_line_is_written_as_in_an_address() -> None:
    found = profiled("web |-| kind=server").rows
    hostile = found.to_dicts()[0] | {"path": ["a b\nc;d\u2028e"]}
    rows = pl.DataFrame([hostile], schema=found.schema)
    assert stacks.folded(Answer(rows=rows, source=INFO)) == b"a b%0Ac%3Bd%E2%80%A8e 2000000\n"


def test_bands_are_told_apart() -> None:
    longer = DRAWN.replace("|-------|", "|-----------|")
    found = profiled(DRAWN, DRAWN, longer, bands=((0.0, 50.0), (50.0, 100.0)))
    assert stacks.folded(found).decode().splitlines() == [
        "band 0-50 %;web GET%3B/x 4000000",
        "band 0-50 %;web GET%3B/x;cart add 4000000",
        "band 50-100 %;web GET%3B/x 12000000",
        "band 50-100 %;web GET%3B/x;cart add 8000000",
    ]


def test_the_layer_of_a_proxy_is_seen() -> None:
    frames = [stack.frames for stack in stacks.stacks(profiled(PROXIED).rows)]
    assert len(frames) == 2
    assert frames[0][0].endswith(" [ingress proxy]")
    assert not frames[1][1].endswith("]")


def test_speedscope_has_what_its_schema_wants() -> None:
    """Required fields and their kinds, as file-format-schema.json of jlfwong/speedscope has them."""
    bands = ((0.0, 50.0), (50.0, 100.0))
    found = profiled(DRAWN, DRAWN, DRAWN, bands=bands)
    file = orjson.loads(stacks.speedscope(found))
    assert set(file) == {"$schema", "shared", "profiles", "name", "exporter"}
    assert file["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    frames = file["shared"]["frames"]
    assert frames == [{"name": "web GET;/x"}, {"name": "cart add"}]
    assert [one["name"] for one in file["profiles"]] == ["band 0-50 %", "band 50-100 %"]
    for one in file["profiles"]:
        assert set(one) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}
        assert (one["type"], one["unit"], one["startValue"]) == ("sampled", "nanoseconds", 0)
        assert len(one["samples"]) == len(one["weights"])
        assert all(0 <= frame < len(frames) for sample in one["samples"] for frame in sample)
        assert one["endValue"] == sum(one["weights"])
    assert sum(one["endValue"] for one in file["profiles"]) == 3 * 8_000_000


def test_pprof_is_read_by_protobuf() -> None:
    found = profiled(DRAWN, DRAWN)
    raw = stacks.pprof(found)
    labels = {"band": "0-100", "route": "web GET;/x"}
    assert decoded(raw) == [
        (["web GET;/x"], [8_000_000, 2], labels),
        (["web GET;/x", "cart add"], [8_000_000, 2], labels),
    ]
    assert raw == stacks.pprof(found)


@pytest.mark.skipif(shutil.which("go") is None, reason="no go here")
def test_pprof_is_read_by_pprof(tmp_path: Path) -> None:
    file = tmp_path / "path.pb.gz"
    file.write_bytes(stacks.pprof(profiled(DRAWN, DRAWN)))
    done = subprocess.run(["go", "tool", "pprof", "-raw", str(file)], capture_output=True, text=True, check=True)
    assert "wall/nanoseconds[dflt] calls/count" in done.stdout
    assert "band:[0-100]" in done.stdout


@pytest.mark.parametrize("written", ["folded", "speedscope", "pprof"])
def test_weights_add_up_to_what_json_says(written: str, tmp_path: Path) -> None:
    file = tmp_path / "out"
    done = tracelens("critical-path", DUMP, "--format", written, "-o", str(file), "--band", "0-50,50-100")
    assert (done.returncode, done.stdout) == (0, b""), done.stderr.decode()
    raw = file.read_bytes()
    weights = {
        "folded": lambda: [int(line.rsplit(b" ", 1)[1]) for line in raw.splitlines()],
        "speedscope": lambda: [weight for one in orjson.loads(raw)["profiles"] for weight in one["weights"]],
        "pprof": lambda: [values[0] for _, values, _ in decoded(raw)],
    }[written]()
    rows = answer("critical-path", DUMP, "--band", "0-50,50-100")["rows"]
    assert sum(weights) == sum(row["exclusive_nano"] for row in rows) > 0


def test_what_goes_to_stdout_is_what_goes_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "out"
    for written in ("text", "csv", "pprof"):
        direct = tracelens("critical-path", DUMP, "--format", written)
        assert tracelens("critical-path", DUMP, "--format", written, "--output", str(file)).returncode == 0
        assert direct.stdout == file.read_bytes() != b""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sections", "--format", "folded"], "are no stacks"),
        (["-o", "/absent/out"], "cannot be written"),
        (["--format", "jpeg"], "jpeg"),
    ],
)
def test_what_cannot_be_written(arguments: list[str], said: str) -> None:
    done = tracelens("critical-path", DUMP, *arguments)
    assert (done.returncode, said in done.stderr.decode()) == (2, True), done.stderr.decode()


def test_binary_is_not_written_to_a_terminal() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tracelens.cli", "critical-path", DUMP, "--format", "pprof"]
    try:
        done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, b"-o FILE" in done.stderr) == (2, True), done.stderr.decode()
