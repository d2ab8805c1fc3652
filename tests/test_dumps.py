"""Dumps: every format and compression by its content, and what is said of the rest."""

from __future__ import annotations

import gzip
import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import zstandard
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from tests.ledger import request
from tests.wire.test_jaeger import span as jaeger_span
from tests.wire.test_jaeger import trace as jaeger_trace
from tests.wire.test_otlp_json import document, span
from tests.wire.test_zipkin import ENVOY, HERE, said, v1
from tracelens import dumps
from tracelens.errors import InputError, UsageError
from tracelens.spans import concat

MESSAGES = [request(3)[0] for _ in range(4)]
LINE = orjson.dumps(document(span()))
ZIPKIN = [ENVOY, v1(said("cs", 0))]
JAEGER = orjson.dumps({"data": [jaeger_trace(jaeger_span("1"), jaeger_span("2"))]})


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


CONTENTS = {
    "lines": (LINE + b"\n" + LINE + b"\n\n", "otlp-json", 2),
    "one line": (LINE, "otlp-json", 1),
    "pretty": (orjson.dumps(document(span()), option=orjson.OPT_INDENT_2), "otlp-json", 1),
    "array": (b"[" + LINE + b",\n" + LINE + b"]", "otlp-json", 2),
    "byte order mark": (b"\xef\xbb\xbf" + LINE, "otlp-json", 1),
    "message": (MESSAGES[0], "otlp-proto", 3),
    "after varints": (b"".join(varint(len(body)) + body for body in MESSAGES), "otlp-proto", 12),
    "after four bytes": (b"".join(struct.pack(">I", len(body)) + body for body in MESSAGES), "otlp-proto", 12),
    "jaeger": (JAEGER, "jaeger-json", 2),
    "jaeger, pretty": (orjson.dumps(orjson.loads(JAEGER), option=orjson.OPT_INDENT_2), "jaeger-json", 2),
    "jaeger, lines": (orjson.dumps(jaeger_trace(jaeger_span("1"))) + b"\n" + JAEGER, "jaeger-json", 3),
    "jaeger, one trace": (orjson.dumps(jaeger_trace(jaeger_span("1"))), "jaeger-json", 1),
    "zipkin": (orjson.dumps(ZIPKIN), "zipkin-json", 2),
    "zipkin, pretty": (orjson.dumps(ZIPKIN, option=orjson.OPT_INDENT_2), "zipkin-json", 2),
    "zipkin, lines": (b"".join(orjson.dumps(ZIPKIN) + b"\n" for _ in range(3)), "zipkin-json", 6),
    "zipkin, a span a line": (b"[" + b",\n".join(map(orjson.dumps, ZIPKIN)) + b"]", "zipkin-json", 2),
    "zipkin, traces": (orjson.dumps([ZIPKIN, ZIPKIN]), "zipkin-json", 4),
    "zipkin, a trace a line": (b"[[" + orjson.dumps(ENVOY) + b"],\n" + orjson.dumps(ZIPKIN) + b"]", "zipkin-json", 3),
    "zipkin, long lines": ((orjson.dumps(ZIPKIN * 500) + b"\n\n") * 2, "zipkin-json", 2_000),
    "zipkin, a trace between brackets": (b"[\n" + orjson.dumps(ZIPKIN) + b"\n]", "zipkin-json", 2),
    "zipkin, traces, pretty": (orjson.dumps([ZIPKIN, ZIPKIN], option=orjson.OPT_INDENT_2), "zipkin-json", 4),
    "zipkin, v1": (
        orjson.dumps([{"annotations": [], "binaryAnnotations": [], "id": "1", "traceId": "2"}]),
        "zipkin-json",
        1,
    ),
    "zipkin, long": (orjson.dumps(ZIPKIN * 500), "zipkin-json", 1_000),
    "zipkin, endpoint first": (orjson.dumps([{"localEndpoint": HERE, "tags": {"data": ""}} | ENVOY]), "zipkin-json", 1),
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip in parts": lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]),
    "zstd": zstandard.compress,
    "zstd in parts": lambda data: zstandard.compress(data[:50]) + zstandard.compress(data[50:]),
}


def read(path: Path | str, **options: object) -> tuple[int, set[str], list[str]]:
    """Return (spans, formats, losses)."""
    batches = list(dumps.read(path, **options))  # type: ignore[arg-type]  # options by name
    losses = [loss for batch in batches for loss in batch.losses]
    return sum(len(batch.spans) for batch in batches), {batch.format for batch in batches if batch.format}, losses


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("content", CONTENTS)
def test_every_format_in_every_packing(tmp_path: Path, content: str, packed: str) -> None:
    data, kind, spans = CONTENTS[content]
    path = tmp_path / "misleading.txt"
    path.write_bytes(PACKED[packed](data))
    assert read(path) == (spans, {kind}, [])


@pytest.mark.parametrize("packed", PACKED)
def test_files_beyond_a_buffer_and_in_several_batches(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dumps, "BATCH_BYTES", 100_000)
    path = tmp_path / "dump"
    path.write_bytes(PACKED[packed]((LINE + b"\n") * 3_000))
    assert read(path) == (3_000, {"otlp-json"}, [])


@pytest.mark.parametrize("prefix", [varint, struct.Struct(">I").pack], ids=["varint", "four bytes"])
@pytest.mark.parametrize("size", range(7, 45))
def test_how_messages_follow_each_other_is_told_whatever_they_begin_with(
    tmp_path: Path, size: int, prefix: Any
) -> None:
    """A first resource of every small size: a byte of its length may look like a tag."""
    body = TracesData()
    body.resource_spans.add().resource.attributes.add(key="k" * (size - 6)).value.string_value = "v"
    body.MergeFromString(MESSAGES[0])
    raw = body.SerializeToString()
    path = tmp_path / "dump"
    path.write_bytes((prefix(len(raw)) + raw) * 2)
    assert read(path) == (6, {"otlp-proto"}, [])
    path.write_bytes(raw)
    assert read(path) == (3, {"otlp-proto"}, [])


def test_batches_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dumps, "BATCH_BYTES", 2 * len(LINE))
    path = tmp_path / "dump"
    path.write_bytes((LINE + b"\n") * 10)
    assert [len(batch.spans) for batch in dumps.read(path)] == [2] * 5


def test_folders_and_patterns_are_read_in_order_without_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.json", "sub/a.json", ".hidden"):
        (tmp_path / name).write_bytes(LINE)
    assert [batch.file for batch in dumps.read(tmp_path)] == [
        str(tmp_path / "b.json"),
        str(tmp_path / "sub" / "a.json"),
    ]
    assert read(str(tmp_path / "*.json"))[0] == 1


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(gzip.compress(LINE))))
    assert read("-") == (1, {"otlp-json"}, [])


def test_a_bad_record_among_good_ones_is_a_loss_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(LINE + b"\n{broken}\n" + LINE)
    spans, _, losses = read(path)
    assert spans == 2
    assert losses == [f"{path}: record 2, byte {len(LINE) + 2}: no JSON: unexpected character, expected a string key"]
    with pytest.raises(InputError, match="record 2, byte"):
        read(path, strict=True)


@pytest.mark.parametrize("bad", [b"{bad", LINE[:40]])
def test_many_bad_records_cost_no_more_than_themselves(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "dump"
    path.write_bytes((bad + b"\n" + LINE + b"\n") * 200)
    spans, _, losses = read(path)
    assert (spans, len(losses)) == (200, 200)
    assert all(f"{path}: record {2 * n + 1}, byte " in loss for n, loss in enumerate(losses))


LONG = orjson.dumps({"data": [jaeger_trace(jaeger_span("1"), jaeger_span("2"))] * 3_000, "total": 3_000})


def test_a_long_document_of_jaeger_is_read_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "dump"
    path.write_bytes(LONG)
    (whole,) = dumps.read(path)
    monkeypatch.setattr(dumps, "BATCH_BYTES", len(LONG) // 3)
    batches = list(dumps.read(path))
    assert 2 <= len(batches) <= 4
    assert concat([batch.spans for batch in batches]).equals(whole.spans)
    assert read(path) == (6_000, {"jaeger-json"}, [])


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (LONG[:-20], "no JSON: unexpected end of data"),
        (LONG[:-20] + b"}" + LONG[-20:], "no JSON: unexpected character"),
        (LONG.replace(b'"startTime":1', b'"startTime":"x1', 1).replace(b"0001,", b'0001",', 1), "startTime is 'x17"),
    ],
    ids=["cut off", "broken", "no time"],
)
def test_a_long_document_is_lost_as_a_short_one_is(
    tmp_path: Path, data: bytes, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "dump"
    path.write_bytes(data)
    said = []
    for size in (dumps.BATCH_BYTES, len(LONG) // 3):
        monkeypatch.setattr(dumps, "BATCH_BYTES", size)
        with pytest.raises(InputError, match=complaint) as raised:
            read(path)
        said.append(str(raised.value))
    assert said[0] == said[1]


def test_what_came_before_damage_is_read(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    lines = (LINE + b"\n") * 3
    for packed in (
        gzip.compress(lines) + b"rubbish",
        gzip.compress(lines)[:-6],
        zstandard.compress(lines) + b"rubbish",
    ):
        path.write_bytes(packed)
        spans, _, losses = read(path)
        assert spans == 3
        assert "Was it copied whole?" in losses[0]


def test_a_file_cut_off_gives_what_came_whole(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(CONTENTS["after varints"][0][:-5])
    spans, _, (loss,) = read(path)
    assert spans == 9
    assert "record 4" in loss
    assert "cut off" in loss
    path.write_bytes(gzip.compress((LINE + b"\n") * 5_000, 0)[:-20])
    spans, _, (loss,) = read(path)
    assert spans >= 4_800
    assert "Was it copied whole?" in loss


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "empty"),
        (bytes(range(256)), "no format of spans"),
        (b"hello", "no format of spans"),
        (b'{"a": 1}', "no format of spans"),
        (gzip.compress(LINE)[:-20], "copied whole"),
        (zstandard.compress(LINE)[:-5], "copied whole"),
        (b"\x1f\x8brubbish", "copied whole"),
        (MESSAGES[0][:-4], "record 1, byte"),
        (b'{"resourceSpans": [}', "record 1, byte 19"),
    ],
)
def test_what_cannot_be_read_says_which_file_and_why(tmp_path: Path, data: bytes, complaint: str) -> None:
    path = tmp_path / "dump"
    path.write_bytes(data)
    with pytest.raises(InputError, match=complaint) as raised:
        read(path)
    assert str(path) in str(raised.value)


def test_nothing_there_says_what_to_name(tmp_path: Path) -> None:
    for source in (tmp_path / "absent", tmp_path / "*.json"):
        with pytest.raises(InputError, match="no such file"):
            read(str(source))
    with pytest.raises(InputError, match="empty folder"):
        read(tmp_path)


def test_one_unreadable_file_of_a_folder_is_a_loss(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(LINE)
    (tmp_path / "b").write_bytes(b"notes")
    spans, _, (loss,) = read(tmp_path)
    assert spans == 1
    assert "no format of spans" in loss


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="otlp-json, otlp-proto, jaeger-json, zipkin-json"):
        read(tmp_path, input_format="xml")


def test_a_line_of_zipkin_that_is_no_list_is_a_loss_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    line = orjson.dumps(ZIPKIN)
    path.write_bytes(line + b"\n[7\n" + line)
    assert read(path) == (
        4,
        {"zipkin-json"},
        [f"{path}: record 2, byte {len(line) + 4}: no JSON: Expecting ',' delimiter"],
    )
    path.write_bytes(b"[7\n" + line + b"\n" + line)
    assert read(path, input_format="zipkin-json")[0] == 4
    path.write_bytes(line + b"\n{}\n")
    assert read(path)[2] == [f"{path}: record 2, byte {len(line) + 1}: a dict where Zipkin JSON has a list of spans"]
