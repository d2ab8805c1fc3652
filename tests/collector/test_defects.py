"""One bad span in a hundred, of every kind of bad, through every door: it costs itself at most."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.ledger import request
from tests.running import Up, eventually, up
from tests.senders import JSON, SENDERS, by_http, otlp_json
from tracelens.store import Store
from tracelens.wire._encode import message
from tracelens.wire.salvage import fields

pytestmark = pytest.mark.process

Raw = Callable[[bytes], bytes]  # a span's bytes, as they should not be
Written = Callable[[dict[str, Any]], object]  # a span's JSON, made so in place


def nested(depth: int) -> bytes:
    """Return an attribute of lists in lists."""
    value = b""
    for _ in range(depth):
        value = message(5, message(1, value))
    return message(9, message(1, b"deep") + message(2, value))


def nested_json(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(depth):
        value = {"arrayValue": {"values": [value]}}
    return {"key": "deep", "value": value}


def attribute(key: bytes, value: bytes) -> bytes:
    return message(9, message(1, key) + message(2, message(1, value)))


def times(start: int, end: int) -> Raw:
    """Return a span's bytes with other times: of a field that comes twice, the last one stands."""
    return lambda span: span + b"\x39" + start.to_bytes(8, "little") + b"\x41" + end.to_bytes(8, "little")


def put(**values: Any) -> Written:
    return lambda span: span.update(values)


DUPLICATED = [{"key": "k", "value": {"stringValue": one}} for one in "ab"]
DEFECTS: dict[str, tuple[Raw, Written]] = {
    "trace id of zeros": (lambda span: span + message(1, bytes(16)), put(traceId="0" * 32)),
    "trace id short": (lambda span: span + message(1, b"short"), put(traceId="abcd")),
    "span id of zeros": (lambda span: span + message(2, bytes(8)), put(spanId="0" * 16)),
    "span id long": (lambda span: span + message(2, bytes(range(1, 10))), put(spanId="0" * 15 + "123")),
    "parent of 3 bytes": (lambda span: span + message(4, b"abc"), put(parentSpanId="abcdef")),
    "bad UTF-8 in the name": (lambda span: span + message(5, b"caf\xe9"), put(name="\ud800")),
    "bad UTF-8 in a key": (
        lambda span: span + attribute(b"\xff\xfe", b"x"),
        put(attributes=[{"key": "\udfff", "value": {"stringValue": "x"}}]),
    ),
    "bad UTF-8 in a value": (
        lambda span: span + attribute(b"k", b"\xc3\x28"),
        put(attributes=[{"key": "k", "value": {"stringValue": "\ud800"}}]),
    ),
    "nested 65 deep": (lambda span: span + nested(32), put(attributes=[nested_json(65)])),
    "nested 200 deep": (lambda span: span + nested(200), put(attributes=[nested_json(200)])),
    "an end before its start": (times(2_000, 1_000), put(startTimeUnixNano="2000", endTimeUnixNano="1000")),
    "times of 0": (times(0, 0), put(startTimeUnixNano="0", endTimeUnixNano=0)),
    "times beyond 63 bits": (times(2**64 - 1, 2**64 - 1), put(startTimeUnixNano=str(2**64 - 1), endTimeUnixNano="x")),
    "keys twice": (lambda span: span + attribute(b"k", b"a") + attribute(b"k", b"b"), put(attributes=DUPLICATED)),
    "an unknown kind": (lambda span: span + b"\x30\x63", put(kind="SPAN_KIND_NOBODY")),
    "an unknown status": (lambda span: span + message(15, b"\x18\x63"), put(status={"code": 99})),
    "a wire type that is none": (lambda span: span + b"\x0f", put(attributes=7)),
    "cut off": (lambda span: span[:-3], put(events=[[]])),
}


@pytest.fixture(scope="module")
def collectors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Up]]:
    folder = tmp_path_factory.mktemp("defects")
    on = ("--otlp-http", "127.0.0.1:0")
    with (
        up(folder / "grpcio", *on, "--grpc-engine", "grpcio") as grpcio,
        up(folder / "asgi", *on, "--grpc-engine", "asgi") as asgi,
    ):
        yield {"grpcio": grpcio, "asgi": asgi}


def with_one(defect: str) -> tuple[bytes, list[bytes]]:
    """Return a request of a hundred spans, the 42nd of which is not as it should be, and all ids."""
    body, ids = request(100)
    (resource_spans,) = (content for _, _, _, content in fields(body))
    parts = []
    for number, _, whole, content in fields(resource_spans):
        if number != 2:
            parts.append(whole)
            continue
        spans = [span for inner, _, _, span in fields(content) if inner == 2]
        spans[41] = DEFECTS[defect][0](spans[41])
        parts.append(message(2, b"".join(message(2, span) for span in spans)))
    return message(1, b"".join(parts)), ids


def with_one_json(defect: str) -> tuple[bytes, list[bytes]]:
    body, ids = request(100)
    document = json.loads(otlp_json(body))
    DEFECTS[defect][1](document["resourceSpans"][0]["scopeSpans"][0]["spans"][41])
    return json.dumps(document).encode(), ids


def stored(collector: Up, ids: list[bytes]) -> int:
    spans = Store.open(collector.data_dir / "store").scan(columns=["span_id"]).collect()
    return int(spans["span_id"].is_in(ids).sum())


@pytest.mark.parametrize("sender", [*SENDERS])
def test_each_defect_costs_its_span_at_most(collectors: dict[str, Up], sender: str) -> None:
    """What was rejected and what is stored are a hundred, always."""
    way = SENDERS[sender]
    collector = collectors[way.engine]
    sent: dict[str, tuple[int, list[bytes]]] = {}
    for defect in DEFECTS:
        if sender == "http-json":
            body, ids = with_one_json(defect)
            told = by_http(collector.addresses["otlp_http"], body, JSON)
        else:
            body, ids = with_one(defect)
            told = way.send(collector.addresses[way.door], body)
        assert told.word == "ok", (defect, told)
        assert told.rejected in (0, 1), (defect, told)
        # A span with another span id is none of those we know; it is rejected, or one of the 99.
        sent[defect] = (told.rejected, ids)

    def wrong() -> dict[str, tuple[int, int]]:
        found = {defect: (rejected, stored(collector, ids)) for defect, (rejected, ids) in sent.items()}
        return {defect: (rejected, count) for defect, (rejected, count) in found.items() if rejected + count != 100}

    assert eventually(wrong, lambda found: not found, seconds=20) == {}


def test_a_request_with_every_defect_at_once(collectors: dict[str, Up]) -> None:
    body = b"".join(with_one(defect)[0] for defect in DEFECTS)
    parsed = ExportTraceServiceRequest.FromString(request(1)[0])
    assert parsed.resource_spans
    told = SENDERS["grpcio"].send(collectors["grpcio"].addresses["otlp_grpc"], body)
    assert told.word == "ok"
    assert 4 <= told.rejected <= len(DEFECTS)
