"""OpenCensus requests: what becomes of each field, of what a stream says once, and of broken bytes."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.opencensus_messages import Request
from tracelens.errors import DecodeError
from tracelens.spans import CLIENT, MARK, SERVER, STATUS_ERROR, UNSPECIFIED, check
from tracelens.wire import opencensus, otlp
from tracelens.wire._scan import validate
from tracelens.wire.translate.opencensus import Sticky, translate

TRACE, SPAN, PARENT = bytes(range(16)), bytes(range(1, 9)), bytes(range(11, 19))


def request(*, node: bool = True) -> Any:
    message = Request()
    if node:
        message.node.service_info.name = "cart"
    span = message.spans.add(trace_id=TRACE, span_id=SPAN, kind=1)
    span.name.value = "GET /cart"
    span.start_time.seconds, span.start_time.nanos = 1_700_000_000, 5
    span.end_time.seconds, span.end_time.nanos = 1_700_000_001, 7
    return message


def rows(*messages: Any) -> list[dict[str, Any]]:
    return list(check(opencensus.decode([one.SerializeToString() for one in messages]).spans).iter_rows(named=True))


def one(message: Any) -> dict[str, Any]:
    (row,) = rows(message)
    return row


def test_a_span() -> None:
    message = request()
    span = message.spans[0]
    span.parent_span_id = PARENT
    span.tracestate.entries.add(key="a", value="1")
    span.tracestate.entries.add(key="b", value="2")
    row = one(message)
    assert (row["trace_id"], row["span_id"], row["parent_span_id"]) == (TRACE, SPAN, PARENT)
    assert (row["name"], row["kind"], row["service_name"], row["repairs"]) == ("GET /cart", SERVER, "cart", 0)
    assert row["start_time_unix_nano"] == 1_700_000_000_000_000_005
    assert row["end_time_unix_nano"] == 1_700_000_001_000_000_007
    assert row["trace_state"] == "a=1,b=2"


def test_kinds_and_statuses() -> None:
    message = request()
    message.spans[0].kind = 2
    assert one(message)["kind"] == CLIENT
    message.spans[0].kind = 0
    assert one(message)["kind"] == UNSPECIFIED
    message.spans[0].status.message = "fine"
    assert one(message)["status_code"] == 0
    message.spans[0].status.code = 5
    assert (one(message)["status_code"], one(message)["status_message"]) == (STATUS_ERROR, "fine")


def test_attributes_keep_their_types() -> None:
    message = request()
    attributes = message.spans[0].attributes
    attributes.attribute_map["s"].string_value.value = "x"
    attributes.attribute_map["i"].int_value = -7
    attributes.attribute_map["b"].bool_value = True
    attributes.attribute_map["d"].double_value = 0.5
    attributes.dropped_attributes_count = 3
    message.spans[0].same_process_as_parent_span.value = True
    message.spans[0].child_span_count.value = 2
    row = one(message)
    assert (row["attr:s"], row["attr:i#int"], row["attr:b#bool"], row["attr:d#double"]) == ("x", -7, True, 0.5)
    assert row["dropped_attributes_count"] == 3
    assert row["attr:opencensus.same_process_as_parent_span#bool"] is True
    assert row["attr:opencensus.child_span_count#int"] == 2


def test_time_events_and_links() -> None:
    message = request()
    span = message.spans[0]
    event = span.time_events.time_event.add()
    event.time.seconds = 3
    event.annotation.description.value = "cache miss"
    event.annotation.attributes.attribute_map["n"].int_value = 1
    sent = span.time_events.time_event.add()
    sent.time.nanos = 9
    sent.message_event.type, sent.message_event.id, sent.message_event.uncompressed_size = 1, 4, 100
    span.time_events.dropped_annotations_count = 2
    span.time_events.dropped_message_events_count = 3
    link = span.links.link.add(trace_id=TRACE, span_id=PARENT)
    link.attributes.attribute_map["why"].string_value.value = "batch"
    span.links.dropped_links_count = 1
    row = one(message)
    events = orjson.loads(row["events"])
    assert [event["name"] for event in events] == ["cache miss", "message"]
    assert [event["timeUnixNano"] for event in events] == ["3000000000", "9"]
    assert {pair["key"] for pair in events[1]["attributes"]} == {
        "message.type",
        "message.id",
        "message.uncompressed_size",
    }
    assert (row["dropped_events_count"], row["dropped_links_count"]) == (5, 1)
    assert orjson.loads(row["links"])[0]["spanId"] == PARENT.hex()


def test_the_node_and_the_resource_are_the_resource() -> None:
    message = request()
    message.node.identifier.host_name = "pod-1"
    message.node.identifier.pid = 42
    message.node.identifier.start_timestamp.seconds = 1
    message.node.library_info.language = 4
    message.node.library_info.exporter_version = "0.4"
    message.node.library_info.core_library_version = "0.22"
    message.node.attributes["zone"] = "a"
    message.resource.type = "k8s"
    message.resource.labels["k8s.pod.name"] = "cart-7"
    row = one(message)
    found = {name: row[f"res:{name}"] for name in ("host.name", "telemetry.sdk.language", "zone", "k8s.pod.name")}
    assert found == {
        "host.name": "pod-1",
        "telemetry.sdk.language": "go",
        "zone": "a",
        "k8s.pod.name": "cart-7",
    }
    assert (row["res:process.pid#int"], row["res:process.start_time#int"]) == (42, 10**9)
    assert (row["res:opencensus.resourcetype"], row["res:telemetry.sdk.version"]) == ("k8s", "0.22")


def test_a_span_of_another_resource() -> None:
    message = request()
    message.resource.labels["zone"] = "a"
    other = message.spans.add(trace_id=TRACE, span_id=PARENT)
    other.resource.labels["zone"] = "b"
    assert {row["span_id"]: row["res:zone"] for row in rows(message)} == {SPAN: "a", PARENT: "b"}


def test_what_a_stream_said_once_holds_for_what_follows() -> None:
    first = request()
    first.resource.labels["zone"] = "a"
    second = request(node=False)
    third = request(node=False)
    third.node.service_info.name = "frontend"
    fourth = request(node=False)
    found = [(row["service_name"], row["res:zone"]) for row in rows(first, second, third, fourth)]
    assert found == [("cart", "a"), ("cart", "a"), ("frontend", "a"), ("frontend", "a")]


def test_times_beyond_what_there_is_are_cut() -> None:
    message = request()
    message.spans[0].start_time.seconds = -(2**62)
    message.spans[0].end_time.seconds = 2**62
    assert one(message)["repairs"] & (MARK["time_range"] | MARK["one_time"])


def test_a_broken_span_costs_itself() -> None:
    message = request()
    for n in range(1, 100):
        message.spans.add(trace_id=TRACE, span_id=n.to_bytes(8, "big"))
    body = message.SerializeToString() + b"\x12\x03\x0a\xff\xff"
    found = opencensus.decode([body])
    assert found.spans.height == 100
    assert sum(found.rejected.values()) == 1


@pytest.mark.parametrize("body", [b"\xff", b"\x12\x7f", b"\x0b\x0c", b"\x00\x00"])
def test_what_is_no_protobuf_is_told(body: bytes) -> None:
    with pytest.raises(DecodeError):
        translate(body)


def test_mutated_requests_are_refused_or_read() -> None:
    rng = random.Random(7)
    message = request()
    message.spans[0].attributes.attribute_map["s"].string_value.value = "x" * 30
    message.spans[0].time_events.time_event.add().annotation.description.value = "y"
    good = message.SerializeToString()
    for _ in range(10_000):
        body = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        try:
            written = translate(bytes(body[: rng.randrange(1, len(body) + 1)]), Sticky())
        except DecodeError:
            continue
        assert validate(written).error_byte < 0


@given(st.binary(max_size=200))
def test_whatever_comes_is_refused_or_read(body: bytes) -> None:
    try:
        written = translate(body)
    except DecodeError:
        return
    otlp.decode([written])


def test_translators_import_no_frames() -> None:
    """They run in ingest workers, of which there is one a core."""
    names = ("otlp_json", "zipkin", "zipkin_proto", "opencensus")
    code = f"import sys, importlib; [importlib.import_module('tracelens.wire.translate.' + n) for n in {names}]; "
    code += "print('polars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
