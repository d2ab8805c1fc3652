"""Zipkin: v2, v1 and protobuf as spans, and whatever else comes to that door."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.test_otlp_json import JSON
from tracelens.errors import DecodeError
from tracelens.forest import link
from tracelens.spans import MARK, check
from tracelens.wire import zipkin
from tracelens.wire._scan import validate
from tracelens.wire.decoded import Decoded
from tracelens.wire.translate import zipkin as json_spans
from tracelens.wire.translate import zipkin_proto

TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7", "b7ad6b7169203331"
START = 1_700_000_000_000_001  # microseconds
HERE, THERE = {"serviceName": "web", "ipv4": "10.0.0.1", "port": 80}, {"serviceName": "cart", "ipv6": "2001:db8::c1"}


def span(**more: Any) -> dict[str, Any]:
    """Return a span of v2."""
    return {"traceId": TRACE, "id": SPAN, "name": "work", "timestamp": START, "duration": 5, **more}


def decoded(*spans: Any) -> Decoded:
    found = zipkin.decode([orjson.dumps(spans)])
    check(found.spans)
    return found


def decode(*spans: Any) -> pl.DataFrame:
    return decoded(*spans).spans


def one(found: Any) -> dict[str, Any]:
    (row,) = decode(found).iter_rows(named=True)
    return row


def attributes(row: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("attr:"): value for name, value in row.items() if name.startswith("attr:")}


def marks(row: dict[str, Any]) -> set[str]:
    return {name for name, bit in MARK.items() if row["repairs"] & bit}


# -- v2

ENVOY = {  # as Envoy's tracer with shared_span_context writes it
    "duration": 2841,
    "kind": "SERVER",
    "shared": True,
    "traceId": "6e0b4e3b2f2a9c11",
    "id": "9d8c7b6a59483726",
    "parentId": "6e0b4e3b2f2a9c11",
    "name": "cart.shop.svc.cluster.local:8080/*",
    "timestamp": START,
    "localEndpoint": {"port": 0, "ipv4": "10.244.1.7", "serviceName": "cart.shop"},
    "annotations": [{"value": "retry", "timestamp": START + 9}],
    "tags": {"node_id": "sidecar~10.244.1.7~cart-7d9~shop", "http.status_code": "503", "error": "true"},
}


def test_a_span_of_envoy() -> None:
    row = one(ENVOY)
    assert {name: value for name, value in row.items() if not name.startswith(("attr:", "res:"))} == {
        "trace_id": bytes(8) + bytes.fromhex("6e0b4e3b2f2a9c11"),
        "span_id": bytes.fromhex("9d8c7b6a59483726"),
        "parent_span_id": bytes.fromhex("6e0b4e3b2f2a9c11"),
        "follows_from": False,
        "trace_state": None,
        "flags": 0,
        "name": "cart.shop.svc.cluster.local:8080/*",
        "kind": 2,
        "start_time_unix_nano": START * 1_000,
        "end_time_unix_nano": (START + 2841) * 1_000,
        "status_code": 2,
        "status_message": None,
        "service_name": "cart.shop",
        "scope_name": None,
        "scope_version": None,
        "events": f'[{{"timeUnixNano":"{START + 9}000","name":"retry"}}]',
        "links": None,
        "dropped_attributes_count": 0,
        "dropped_events_count": 0,
        "dropped_links_count": 0,
        "received_unix_nano": None,
        "repairs": 0,
        "overflow": None,
    }
    assert attributes(row) == {
        "node_id": "sidecar~10.244.1.7~cart-7d9~shop",
        "http.status_code": "503",
        "error": "true",
        "net.host.ip": "10.244.1.7",
        "zipkin.shared#bool": True,
    }


def test_endpoints() -> None:
    row = one(span(localEndpoint=HERE, remoteEndpoint=THERE | {"port": "8080"}))
    assert row["service_name"] == row["res:service.name"] == "web"
    assert attributes(row) == {
        "net.host.ip": "10.0.0.1",
        "net.host.port#int": 80,
        "peer.service": "cart",
        "net.peer.ip": "2001:db8::c1",
        "net.peer.port#int": 8080,
    }


def test_a_tag_says_more_than_an_endpoint() -> None:
    row = one(span(remoteEndpoint=THERE, tags={"peer.service": "basket", "net.peer.ip": "::1"}))
    assert attributes(row) == {"peer.service": "basket", "net.peer.ip": "::1"}
    assert marks(row) == {"no_service"}


def test_spans_of_several_services_and_scopes() -> None:
    scope = {"otel.scope.name": "lib", "otel.scope.version": "2"}
    frame = decode(
        span(id="1" * 16, localEndpoint={"serviceName": "a"}),
        span(id="2" * 16, localEndpoint={"serviceName": "b"}, tags=scope),
        span(id="3" * 16, localEndpoint={"serviceName": "a"}, tags={"otel.library.name": "old"}),
    )
    rows = frame.sort("span_id").select("service_name", "scope_name", "scope_version").rows()
    assert rows == [("a", None, None), ("b", "lib", "2"), ("a", "old", None)]
    assert not [name for name in frame.columns if name.startswith("attr:")]


@pytest.mark.parametrize(
    ("fields", "kind", "marked"),
    [
        ({}, 1, set()),
        ({"kind": None}, 1, set()),
        ({"kind": "SERVER"}, 2, set()),
        ({"kind": "CLIENT"}, 3, set()),
        ({"kind": "PRODUCER"}, 4, set()),
        ({"kind": "CONSUMER"}, 5, set()),
        ({"kind": "client"}, 3, set()),
        ({"tags": {"span.kind": "server"}}, 2, set()),
        ({"kind": "BOTH"}, 0, {"bad_kind"}),
        ({"kind": 7}, 0, {"bad_kind"}),
        ({"kind": ["CLIENT"]}, 0, {"bad_kind"}),
    ],
)
def test_kinds(fields: dict[str, Any], kind: int, marked: set[str]) -> None:
    row = one(span(localEndpoint={"serviceName": "web"}, **fields))
    assert (row["kind"], marks(row), attributes(row)) == (kind, marked, {})


def test_a_kind_that_is_said_leaves_the_tag_alone() -> None:
    row = one(span(kind="CLIENT", tags={"span.kind": "server"}))
    assert (row["kind"], attributes(row)) == (3, {"span.kind": "server"})


@pytest.mark.parametrize(
    ("tags", "status", "kept"),
    [
        ({"error": ""}, (2, None), {"error": ""}),
        ({"error": "true"}, (2, None), {"error": "true"}),
        ({"error": "no route"}, (2, "no route"), {"error": "no route"}),
        ({"error": "false"}, (0, None), {"error": "false"}),
        ({"error": True}, (2, None), {"error": "true"}),
        ({"otel.status_code": "ERROR", "error": "full"}, (2, "full"), {"error": "full"}),
        ({"otel.status_code": "ERROR", "otel.status_description": "full"}, (2, "full"), {}),
        ({"otel.status_code": "OK"}, (1, None), {}),
        ({"otel.status_code": "STATUS_CODE_ERROR"}, (2, None), {}),
        ({"otel.status_code": "odd"}, (0, None), {"otel.status_code": "odd"}),
    ],
)
def test_status(tags: dict[str, Any], status: tuple[int, str | None], kept: dict[str, str]) -> None:
    row = one(span(tags=tags))
    assert ((row["status_code"], row["status_message"]), attributes(row)) == (status, kept)


def test_tags_that_are_fields_of_otlp() -> None:
    row = one(span(tags={"w3c.tracestate": "a=1", "otel.dropped_events_count": "3", "otel.dropped_links_count": "x"}))
    assert (row["trace_state"], row["dropped_events_count"], row["dropped_links_count"]) == ("a=1", 3, 0)
    assert attributes(row) == {}


def test_tags_are_text_whatever_they_are() -> None:
    """Also side by side: 1, true and 1.0 are equal, and are not the same."""
    tags = {"a": 1, "b": True, "c": 1.0, "d": None, "e": [1, {"x": None}], "f": {}, "g": "1"}
    frame = decode(span(tags=tags), span(id=PARENT, tags=tags | {"a": True, "b": 1}))
    texts = {"a": "1", "b": "true", "c": "1.0", "d": "", "e": '[1,{"x":null}]', "f": "{}", "g": "1"}
    assert [attributes(row) for row in frame.iter_rows(named=True)] == [texts, texts | {"a": "true", "b": "1"}]


@pytest.mark.parametrize(
    ("fields", "times", "marked"),
    [
        ({}, (START * 1_000, START * 1_000 + 5_000), set()),
        ({"timestamp": str(START), "duration": "5"}, (START * 1_000, START * 1_000 + 5_000), set()),
        ({"timestamp": 1.584324295476871e15}, (1584324295476871000, 1584324295476876000), set()),
        ({"duration": 0}, (START * 1_000, START * 1_000), set()),
        ({"duration": None}, (START * 1_000, START * 1_000), {"one_time"}),
        ({"duration": {}}, (START * 1_000, START * 1_000), {"one_time"}),
        ({"duration": -5}, (START * 1_000, START * 1_000), {"neg_duration"}),
        ({"timestamp": None}, (0, 0), {"no_time"}),
        ({"timestamp": -1}, (0, 0), {"no_time"}),
        ({"timestamp": "now"}, (0, 0), {"no_time"}),
        ({"timestamp": True}, (0, 0), {"no_time"}),
        ({"timestamp": 2**63}, (2**63 - 1, 2**63 - 1), {"time_range"}),
        ({"duration": 2**64 - 1}, (START * 1_000, 2**63 - 1), {"time_range"}),
        ({"timestamp": 10**17}, (2**63 - 1, 2**63 - 1), {"time_range"}),
    ],
)
def test_times(fields: dict[str, Any], times: tuple[int, int], marked: set[str]) -> None:
    row = one(span(localEndpoint=HERE, **fields))
    assert ((row["start_time_unix_nano"], row["end_time_unix_nano"]), marks(row)) == (times, marked)


def test_a_duration_without_a_timestamp_is_kept() -> None:
    assert attributes(one(span(timestamp=None)))["zipkin.duration"] == "5"


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (TRACE.upper(), TRACE),
        ("463ac35c9f6413ad", "0" * 16 + "463ac35c9f6413ad"),
        ("3ac35c9f6413ad", "0" * 18 + "3ac35c9f6413ad"),
    ],
    ids=["upper case", "64 bits", "leading zeros left out"],
)
def test_trace_ids(sent: str, read: str) -> None:
    assert one(span(traceId=sent))["trace_id"].hex() == read


def test_ids_of_spans() -> None:
    row = one(span(id="F067AA0BA902B7", parentId=PARENT.upper()))
    assert (row["span_id"].hex(), row["parent_span_id"].hex()) == (SPAN, PARENT)


@pytest.mark.parametrize("parent", [None, "", "0" * 16])
def test_a_root(parent: str | None) -> None:
    row = one(span(parentId=parent, localEndpoint=HERE))
    assert (row["parent_span_id"], marks(row)) == (None, set())


@pytest.mark.parametrize("parent", ["x", "1" * 17, TRACE, 7, [], SPAN])
def test_a_parent_that_is_none(parent: Any) -> None:
    row = one(span(parentId=parent, localEndpoint=HERE))
    assert (row["parent_span_id"], marks(row)) == (None, {"bad_parent"} if parent else set())


BROKEN = {
    "no object": 7,
    "null": None,
    "text": "span",
    "empty": {},
    "no trace id": span(traceId=None),
    "a long trace id": span(traceId="1" * 33),
    "a trace id with a blank": span(traceId="1" * 16 + " " + "1" * 15),
    "a trace id of zeros": span(traceId="0" * 32),
    "a number": span(traceId=7),
    "no id": span(id=""),
    "a long id": span(id="1" * 17),
    "no hexadecimal": span(id="xyz"),
    "a list": span(id=[SPAN]),
    "v1 without ids": {"binaryAnnotations": [{"key": "a", "value": "b", "endpoint": HERE}]},
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_span_without_ids_costs_itself_alone(broken: str) -> None:
    found = decoded(span(), BROKEN[broken], span(id=PARENT))
    assert found.spans["span_id"].to_list() == [bytes.fromhex(SPAN), bytes.fromhex(PARENT)]
    assert sum(found.rejected.values()) == 1
    verdict = validate(json_spans.translate(orjson.dumps([span(), BROKEN[broken]])))
    assert (verdict.spans, verdict.rejected, verdict.error_byte) == (2, 1, -1)


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"tags": ["a"]}, {"zipkin.tags": '["a"]'}),
        ({"localEndpoint": "web"}, {"zipkin.localEndpoint": "web"}),
        ({"remoteEndpoint": [1]}, {"zipkin.remoteEndpoint": "[1]"}),
        ({"remoteEndpoint": {"serviceName": 5, "ipv4": {}, "ipv6": [1], "port": "http"}},
         {"peer.service": "5", "net.peer.ip": "[1]", "net.peer.port": "http"}),
        ({"remoteEndpoint": {"port": 70_000}}, {"net.peer.port": "70000"}),
        ({"debug": "yes", "shared": 1}, {}),
        ({"debug": True}, {"zipkin.debug#bool": True}),
    ],
)  # fmt: skip
def test_what_is_of_a_wrong_type_is_kept_as_text(fields: dict[str, Any], kept: dict[str, Any]) -> None:
    assert attributes(one(span(**fields))) == kept


def test_annotations_of_any_kind_are_events() -> None:
    row = one(span(annotations=[{"timestamp": "7", "value": "a"}, "b", {"timestamp": {}, "value": 1}, {}]))
    assert orjson.loads(row["events"]) == [
        {"timeUnixNano": "7000", "name": "a"},
        {"name": "b"},
        {"name": "1"},
        {},
    ]
    assert orjson.loads(one(span(annotations="c"))["events"]) == [{"name": "c"}]


def test_a_service_that_is_no_text() -> None:
    assert one(span(localEndpoint={"serviceName": 5}))["service_name"] == "5"


def test_a_shared_span_is_both_sides_of_a_call() -> None:
    frame = decode(
        span(kind="CLIENT", localEndpoint=HERE, duration=100),
        span(kind="SERVER", localEndpoint={"serviceName": "cart"}, shared=True, timestamp=START + 10, duration=50),
        span(kind="CLIENT", localEndpoint={"serviceName": "cart"}, id=PARENT, parentId=SPAN, timestamp=START + 20),
    )
    linked = link(frame)
    services = linked.spans["service_name"].to_list()
    assert (services, linked.spans["kind"].to_list()) == (["web", "cart", "cart"], [3, 2, 3])
    assert linked.parent.tolist() == [-1, 0, 1]
    assert linked.repairs() == {"shared_split": 2}


# -- what is no list of spans


@pytest.mark.parametrize(
    ("body", "complaint", "byte"),
    [
        (b"", "no JSON", 0),
        (b"[", "no JSON", 1),
        (b'[{"name": "\xc3\xa9" 7}]', "no JSON", 15),
        (b'[{"name": "\xff" 7}]', "no JSON", 14),
        (b"{}", "a dict where", -1),
        (b"7", "a int where", -1),
        (b"null", "a NoneType where", -1),
        (b"[" * 100_000, "nested too deep", -1),
        (b"[" + b"9" * 10_000 + b", 1e999]", "thousands of digits", -1),
    ],
)
def test_what_is_no_list_of_spans_says_why_and_where(body: bytes, complaint: str, byte: int) -> None:
    with pytest.raises(DecodeError, match=complaint) as raised:
        json_spans.translate(body)
    assert raised.value.byte == byte
    with pytest.raises(DecodeError, match=complaint) as raised:
        zipkin.decode([b"[]", body])
    assert (raised.value.record, raised.value.byte) == (1, byte)


def test_no_spans() -> None:
    assert json_spans.translate(b" [] ") == b""
    assert decode().is_empty()


def test_lists_in_the_list_and_a_byte_order_mark() -> None:
    """As Zipkin's API answers for several traces; no deeper."""
    body = b"\xef\xbb\xbf" + orjson.dumps([[span()], [span(id=PARENT), [span()]]])
    found = zipkin.decode([body])
    assert (found.spans.height, sum(found.rejected.values())) == (2, 1)


@pytest.mark.parametrize("raw", [b"\xff", b"\\ud83d"], ids=["no UTF-8", "half of a pair"])
def test_text_that_is_no_unicode_is_repaired_and_marked(raw: bytes) -> None:
    good, bad = (
        orjson.dumps(span(localEndpoint=HERE)),
        orjson.dumps(span(id=PARENT, localEndpoint=HERE, tags={"t": "é?"})),
    )
    frame = zipkin.decode([b"[" + good + b"," + bad.replace(b"?", raw) + b"]"]).spans
    assert frame["repairs"].to_list() == [0, MARK["bad_utf8"]]
    assert frame["attr:t"][1].rstrip("�") == "é"


def test_a_number_beyond_all_costs_no_neighbour() -> None:
    body = orjson.dumps([span(), span(id=PARENT, duration=7)]).replace(b":7}", b":1e999}")
    assert [marks(row) for row in zipkin.decode([body]).spans.iter_rows(named=True)] == [
        {"no_service"},
        {"no_service", "one_time"},
    ]


# -- v1


def said(value: str, at: int, endpoint: Any = HERE) -> dict[str, Any]:
    return {"timestamp": START + at, "value": value, "endpoint": endpoint}


def noted(key: str, value: Any, endpoint: Any = HERE) -> dict[str, Any]:
    return {"key": key, "value": value, "endpoint": endpoint}


def v1(*annotations: Any, binary: Any = (), **more: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "id": SPAN,
        "name": "work",
        "annotations": annotations,
        "binaryAnnotations": binary,
    } | more


LOOP = {"serviceName": "web", "ipv4": "1.2.3.4"}  # some servers call their clients by their own name
PAIRS = {
    "client": (
        v1(said("cs", 0), said("cr", 9), binary=[noted("sa", True, THERE), noted("k", "v")]),
        span(kind="CLIENT", duration=9, localEndpoint=HERE, remoteEndpoint=THERE, tags={"k": "v"}),
    ),
    "server with its own times": (
        v1(said("sr", 1), said("ss", 2), binary=[noted("ca", True, THERE)], timestamp=START, duration=9),
        span(kind="SERVER", duration=9, localEndpoint=HERE, remoteEndpoint=THERE),
    ),
    "shared server": (
        v1(said("sr", 1), said("ss", 3)),
        span(kind="SERVER", shared=True, timestamp=START + 1, duration=2, localEndpoint=HERE),
    ),
    "client's address in the server's name": (
        v1(said("sr", 0), said("ss", 5), binary=[noted("ca", True, LOOP)], timestamp=1),
        span(kind="SERVER", localEndpoint=HERE, remoteEndpoint={"ipv4": "1.2.3.4"}),
    ),
    "not ended": (
        v1(said("cs", 0), parentId=PARENT),
        span(kind="CLIENT", duration=None, localEndpoint=HERE, parentId=PARENT),
    ),
    "not begun": (v1(said("cr", 4)), span(kind="CLIENT", timestamp=START + 4, duration=None, localEndpoint=HERE)),
    "producer": (
        v1(said("ms", 0), said("ws", 5), binary=[noted("ma", True, THERE)]),
        span(kind="PRODUCER", localEndpoint=HERE, remoteEndpoint=THERE),
    ),
    "consumer": (v1(said("wr", 0), said("mr", 5)), span(kind="CONSUMER", localEndpoint=HERE)),
    "local": (
        v1(said("wr", 1), binary=[noted("lc", ""), noted("k", 7)], timestamp=START, duration=5, debug=True),
        span(localEndpoint=HERE, tags={"k": "7"}, annotations=[{"timestamp": START + 1, "value": "wr"}], debug=True),
    ),
    "both addresses": (
        v1(binary=[noted("ca", True, HERE), noted("sa", True, THERE)], timestamp=START, duration=5),
        span(localEndpoint=HERE, remoteEndpoint=THERE),
    ),
    "a caller's address": (
        v1(binary=[noted("ca", "true", THERE), noted("lc", "x")], timestamp=str(START), duration="5"),
        span(kind="SERVER", localEndpoint=HERE, remoteEndpoint=THERE, tags={"lc": "x"}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS)
def test_a_span_of_v1_is_the_same_in_v2(pair: str) -> None:
    old, new = PAIRS[pair]
    assert one(old) == one(new)


def test_both_sides_in_one_span_of_v1() -> None:
    """As Zipkin's first storages merged them: the client's times are the span's, the server's its annotations'."""
    cart = {"serviceName": "cart"}
    merged = v1(
        said("cs", 0), said("sr", 10, cart), said("hit", 20, cart), said("ss", 60, cart), said("cr", 100),
        binary=[noted("sa", True, THERE), noted("ca", True, HERE), noted("q", "1", cart), noted("p", "2")],
        timestamp=START, duration=100,
    )  # fmt: skip
    events = [{"timestamp": START + 20, "value": "hit"}]
    client = span(kind="CLIENT", duration=100, localEndpoint=HERE, remoteEndpoint=THERE, tags={"p": "2"})
    server = span(kind="SERVER", shared=True, timestamp=START + 10, duration=50, localEndpoint=cart, annotations=events)
    server |= {"remoteEndpoint": HERE, "tags": {"q": "1"}}
    assert decode(merged).equals(decode(client, server), null_equal=True)
    assert link(decode(merged)).parent.tolist() == [-1, 0]


def test_versions_side_by_side() -> None:
    frame = decode(v1(said("cs", 0), said("cr", 5)), span(id=PARENT, kind="CLIENT", localEndpoint=HERE))
    assert frame.drop("span_id").n_unique() == 1


def test_an_endpoint_in_an_annotation_of_v2_makes_no_v1() -> None:
    row = one(span(kind="CLIENT", localEndpoint=HERE, annotations=[said("sr", 1)], tags={"k": "v"}))
    assert (row["kind"], row["attr:k"], orjson.loads(row["events"])[0]["name"]) == (3, "v", "sr")


# -- protobuf


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number: int, value: int | bytes, *, fixed: bool = False) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3 | 1) + struct.pack("<Q", value) if fixed else varint(number << 3) + varint(value)


LOCAL = field(1, b"web") + field(2, bytes([10, 0, 0, 1])) + field(4, 80)
REMOTE = field(1, b"cart") + field(3, bytes.fromhex("20010db80000000000000000000000c1"))
FIELDS = {
    "trace_id": field(1, bytes.fromhex(TRACE)),
    "parent_id": field(2, bytes.fromhex(PARENT)),
    "id": field(3, bytes.fromhex(SPAN)),
    "kind": field(4, 2),
    "name": field(5, b"work"),
    "timestamp": field(6, START, fixed=True),
    "duration": field(7, 300),
    "local_endpoint": field(8, LOCAL),
    "remote_endpoint": field(9, REMOTE),
    "annotation": field(10, field(1, START + 1, fixed=True) + field(2, b"hit")),
    "tags": field(11, field(1, b"a") + field(2, b"1")) + field(11, field(1, b"error") + field(2, b"full")),
    "debug": field(12, 1),
    "shared": field(13, 1),
}
MESSAGE = b"".join(FIELDS.values())


def of_proto(*spans: bytes) -> Decoded:
    found = zipkin.decode_proto([b"".join(field(1, body) for body in spans)])
    check(found.spans)
    return found


def only(*, without: str = "", more: bytes = b"") -> dict[str, Any]:
    (row,) = of_proto(b"".join(v for k, v in FIELDS.items() if k != without) + more).spans.iter_rows(named=True)
    return row


def test_protobuf_is_the_same_span() -> None:
    same = span(
        parentId=PARENT,
        kind="SERVER",
        duration=300,
        localEndpoint=HERE,
        remoteEndpoint=THERE,
        annotations=[{"timestamp": START + 1, "value": "hit"}],
        tags={"a": "1", "error": "full"},
        debug=True,
        shared=True,
    )
    assert of_proto(MESSAGE).spans.equals(decode(same), null_equal=True)


def test_protobuf_of_several_spans_with_what_is_unknown() -> None:
    unknown = field(99, 7) + field(98, b"x" * 300) + field(97, 1, fixed=True) + varint(96 << 3 | 5) + bytes(4)
    other_types = field(1, 7) + field(6, b"now") + field(4, b"") + field(8, 1)
    found = zipkin.decode_proto([unknown + field(1, MESSAGE) + field(1, unknown + MESSAGE + other_types)])
    assert (found.spans.height, found.spans.n_unique()) == (2, 1)


@pytest.mark.parametrize(
    ("entry", "pair"),
    [
        (field(1, b"k") + field(2, b"v"), ("k", "v")),
        (field(2, b"v") + field(1, b"k"), ("k", "v")),
        (field(1, b"k"), ("k", "")),
        (field(1, b"k") + field(2, b""), ("k", "")),
        (field(2, b"v"), ("", "v")),
        (field(1, b"k") + field(2, b"v") + field(3, b"w"), ("k", "v")),
        (field(1, b"j") + field(1, b"k") + field(2, b"u") + field(2, b"v"), ("k", "v")),
        (field(1, b"k" * 127) + field(2, b"v" * 60), ("k" * 127, "v" * 60)),
        (field(1, b"k" * 300) + field(2, b"v" * 300), ("k" * 300, "v" * 300)),
        (field(1, b"k") + field(2, b"v" * 130), ("k", "v" * 130)),
        (field(1, b"k") + field(2, b"v" * 127), ("k", "v" * 127)),
    ],
)
def test_tags_of_protobuf_however_they_are_written(entry: bytes, pair: tuple[str, str]) -> None:
    row = only(without="tags", more=field(11, entry) * 2)
    own = {name: value for name, value in attributes(row).items() if not name.startswith(("net.", "peer.", "zipkin."))}
    assert own == dict([pair]) or orjson.loads(row["overflow"]) == {f"attr:{pair[0]}": pair[1]}


def test_what_is_absent_in_protobuf() -> None:
    assert marks(only(without="duration")) == {"one_time"}
    assert marks(only(without="timestamp")) == {"no_time"}
    assert only(without="parent_id")["parent_span_id"] is None
    assert only(without="kind")["kind"] == 1
    assert only(more=field(4, 9))["kind"] == 0
    assert only(more=field(1, bytes.fromhex(TRACE)[8:]))["trace_id"].hex() == "0" * 16 + TRACE[16:]
    assert marks(only(more=field(2, b"123"))) == {"bad_parent"}
    assert marks(only(more=field(5, b"caf\xe9"))) == {"bad_utf8"}
    assert only(more=field(5, b"caf\xe9"))["name"] == "caf�"
    assert marks(only(more=field(6, 2**64 - 1, fixed=True))) == {"time_range"}
    assert only(more=field(8, field(4, 2**64 - 1)))["attr:net.host.port"] == str(2**64 - 1)
    assert only(more=field(8, field(2, b"12345") + field(3, b"6")))["attr:net.host.ip"] == b"12345".hex()


@pytest.mark.parametrize(
    "broken",
    [b"", field(1, b"123"), field(1, bytes(16)), FIELDS["trace_id"], FIELDS["trace_id"] + field(3, bytes(9)),
     MESSAGE[:-1], MESSAGE + b"\x00", field(11, b"\x0a\x05a"), field(8, b"\xff")],
)  # fmt: skip
def test_a_message_without_ids_costs_itself_alone(broken: bytes) -> None:
    found = of_proto(MESSAGE, broken, MESSAGE)
    assert (found.spans.height, sum(found.rejected.values())) == (2, 1)


@pytest.mark.parametrize(
    ("body", "complaint", "byte"),
    [
        (field(1, MESSAGE)[:-1], "are left", 0),
        (field(1, MESSAGE) + b"\x0a", "cut off", len(field(1, MESSAGE)) + 1),
        (field(1, MESSAGE) + b"\x00", "field number 0", len(field(1, MESSAGE))),
        (b"\x0b\x0c", "wire type 3", 0),
        (b"\x80" * 6, "longer than 5", 0),
        (b"\x08" + b"\x80" * 11, "longer than 10", 1),
        (b"\x09\x00", "of 8 bytes where 1", 0),
        (b"[{}]", "wire type 3", 0),
        (field(1, field(10, b"\x12\x05")), "of 5 bytes where 0", 4),
        (field(1, FIELDS["id"] + field(8, b"\x0a\x05")), "of 5 bytes where 0", 2 + len(FIELDS["id"]) + 2),
    ],
)  # fmt: skip
def test_what_is_no_protobuf_says_where(body: bytes, complaint: str, byte: int) -> None:
    with pytest.raises(DecodeError, match=f"no protobuf: byte {byte}: .*{complaint}") as raised:
        zipkin_proto.translate(body)
    assert raised.value.byte == byte


# -- whatever comes

V2 = ("traceId", "id", "parentId", "name", "kind", "timestamp", "duration", "shared", "debug")
ENDPOINT = JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(("serviceName", "ipv4", "ipv6", "port"), JSON))
TAGS = JSON | st.dictionaries(st.sampled_from(["error", "otel.status_code", "span.kind", "peer.service", "x"]), JSON)
NAMES = st.sampled_from(["cs", "sr", "ss", "cr", "ms", "mr", "ws", "wr", "sa", "ca", "ma", "lc", "x"]) | JSON
TIMES = st.integers(-(2**63), 2**64 - 1) | JSON
NOTES = st.fixed_dictionaries(
    {}, optional={"timestamp": TIMES, "key": NAMES, "value": NAMES | st.just(value=True), "endpoint": ENDPOINT}
)
SPANS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(V2, JSON)
    | {"timestamp": TIMES, "duration": TIMES, "tags": TAGS, "localEndpoint": ENDPOINT, "remoteEndpoint": ENDPOINT}
    | dict.fromkeys(("annotations", "binaryAnnotations"), JSON | st.lists(NOTES | JSON, max_size=6)),
)


def sound(request: bytes) -> int:
    """Return how many spans there are in what a translator wrote."""
    verdict = validate(request)
    assert verdict.error_byte == -1
    return verdict.spans


@given(SPANS)
def test_whatever_stands_in_a_span_costs_no_neighbour(broken: dict[str, Any]) -> None:
    """A span comes of it, or several of v1, or a refused one; and the same in slower ways."""
    body = orjson.dumps([span(), broken | {"traceId": TRACE, "id": PARENT}])
    assert bytes.fromhex(SPAN) in zipkin.decode([body]).spans["span_id"].to_list()
    assert 1 < sound(json_spans.translate(body)) <= 5
    assert json_spans.translate(body[:-1] + b",1e999]") == json_spans.translate(body[:-1] + b",7]")


@given(JSON)
def test_whatever_a_body_is_it_is_read_or_refused(broken: Any) -> None:
    assert sound(json_spans.translate(orjson.dumps([broken, span()]))) >= 1
    with contextlib.suppress(DecodeError):
        sound(json_spans.translate(orjson.dumps(broken)))


DEEP = b"[" * 900 + b"]" * 900


@pytest.mark.parametrize("name", [*V2, "tags", "annotations", "binaryAnnotations", "localEndpoint", "remoteEndpoint"])
def test_deep_nesting_costs_no_neighbour(name: str) -> None:
    places = (b"%s", b'{"key":"k","value":%s,"endpoint":%s}', b'[{"value":"sr","endpoint":{"serviceName":%s}},%s]')
    for place in places:
        deep = place.replace(b"%s", DEEP)
        found = zipkin.decode([b'[{"%s":%s},' % (name.encode(), deep) + orjson.dumps(span()) + b"]"])
        assert found.spans.height == 1


@given(st.binary(max_size=60))
def test_whatever_bytes_come_they_are_read_or_refused(body: bytes) -> None:
    for translate in (json_spans.translate, zipkin_proto.translate):
        with contextlib.suppress(DecodeError):
            sound(translate(body))
    sound(zipkin_proto.translate(field(1, MESSAGE) + field(1, body)))


@given(st.data())
def test_mutated_messages_are_read_or_refused(data: st.DataObject) -> None:
    body = bytearray(field(1, MESSAGE) * 2)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(DecodeError):
        sound(zipkin_proto.translate(bytes(body)))


def test_many_different_services_and_long_tags_grow_no_faster_than_the_body() -> None:
    many = [span(localEndpoint={"serviceName": f"s{i}"}, tags={f"k{i}": "v" * (i % 400)}) for i in range(25_000)]
    body = orjson.dumps(many)
    request = json_spans.translate(body)
    assert sound(request) == len(many)
    assert len(request) < len(body)


def test_no_polars_where_requests_are_taken() -> None:
    modules = "tracelens.wire.translate.zipkin, tracelens.wire.translate.zipkin_proto"
    code = f"import sys, {modules}; print(sorted({{'polars', 'pyarrow'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
