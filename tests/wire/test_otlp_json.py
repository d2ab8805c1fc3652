"""OTLP JSON: as the specification has it, as older writers had it, and as nobody should."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelens.errors import DecodeError
from tracelens.spans import MARK, check
from tracelens.wire import otlp_json

TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7", "b7ad6b7169203331"


def span(**more: Any) -> dict[str, Any]:
    times = {"startTimeUnixNano": "1700000000000000001", "endTimeUnixNano": 1700000000000000009}
    return {"traceId": TRACE, "spanId": SPAN, "name": "work", "kind": 2, **times, **more}


def document(*spans: Any, **resource: Any) -> dict[str, Any]:
    attributes = [{"key": "service.name", "value": {"stringValue": "web"}}]
    return {
        "resourceSpans": [{"resource": {"attributes": attributes, **resource}, "scopeSpans": [{"spans": list(spans)}]}]
    }


def decode(*documents: Any) -> pl.DataFrame:
    return check(otlp_json.decode([orjson.dumps(found) for found in documents]).spans)


def one(found: dict[str, Any]) -> dict[str, Any]:
    (row,) = decode(document(found)).iter_rows(named=True)
    return row


def test_a_span_as_the_specification_has_it() -> None:
    row = one(span(parentSpanId=PARENT, traceState="a=1", flags=257, status={"code": 2, "message": "no"}))
    assert row["trace_id"].hex() == TRACE
    assert row["span_id"].hex() == SPAN
    assert row["parent_span_id"].hex() == PARENT
    assert (row["start_time_unix_nano"], row["end_time_unix_nano"]) == (1700000000000000001, 1700000000000000009)
    assert (row["kind"], row["status_code"], row["status_message"]) == (2, 2, "no")
    assert (row["service_name"], row["trace_state"], row["flags"], row["repairs"]) == ("web", "a=1", 257, 0)


def test_every_kind_of_attribute_keeps_its_type() -> None:
    values = {
        "s": {"stringValue": "x"},
        "i": {"intValue": "-9007199254740993"},
        "j": {"intValue": 7},
        "d": {"doubleValue": 0.5},
        "n": {"doubleValue": "NaN"},
        "b": {"boolValue": False},
        "a": {"arrayValue": {"values": [{"intValue": 1}, {"stringValue": "y"}]}},
        "m": {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": True}}]}},
        "y": {"bytesValue": base64.b64encode(b"\x00\xff").decode()},
    }
    row = one(span(attributes=[{"key": key, "value": value} for key, value in values.items()]))
    assert (row["attr:s"], row["attr:i#int"], row["attr:j#int"], row["attr:d#double"]) == (
        "x",
        -9007199254740993,
        7,
        0.5,
    )
    assert row["attr:n#double"] != row["attr:n#double"]
    assert row["attr:b#bool"] is False
    assert orjson.loads(row["attr:a#json"]) == {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "y"}]}}
    assert orjson.loads(row["attr:m#json"])["kvlistValue"]["values"] == [{"key": "k", "value": {"boolValue": True}}]
    assert orjson.loads(row["attr:y#json"]) == {"bytesValue": "AP8="}


def test_older_and_looser_writers_are_read() -> None:
    """Ids in capitals or base64, enums by name, names as in the protobuf file, scopes by their old name."""
    loose = {
        "trace_id": TRACE.upper(),
        "span_id": base64.b64encode(bytes.fromhex(SPAN)).decode(),
        "kind": "SPAN_KIND_CLIENT",
        "start_time_unix_nano": 5,
        "end_time_unix_nano": "6",
        "status": {"code": "STATUS_CODE_ERROR"},
        "unknown": {"x": [1]},
    }
    old = {
        "resource_spans": [
            {"instrumentationLibrarySpans": [{"instrumentationLibrary": {"name": "lib"}, "spans": [loose]}]}
        ]
    }
    (row,) = decode(old).iter_rows(named=True)
    assert (row["trace_id"].hex(), row["span_id"].hex(), row["kind"], row["status_code"]) == (TRACE, SPAN, 3, 2)
    assert (row["scope_name"], row["end_time_unix_nano"]) == ("lib", 6)
    assert row["repairs"] == MARK["no_service"]


def test_events_and_links_are_kept() -> None:
    events = [{"timeUnixNano": "7", "name": "e", "attributes": [{"key": "k", "value": {"intValue": "1"}}]}]
    row = one(span(events=events, links=[{"traceId": TRACE, "spanId": PARENT}]))
    assert orjson.loads(row["events"]) == events
    assert orjson.loads(row["links"]) == [{"traceId": TRACE, "spanId": PARENT}]


def test_spans_without_ids_are_rejected_and_their_neighbours_are_not() -> None:
    found = [span(), span(traceId="xyz"), span(spanId=""), span(spanId=None), span(traceId="0" * 32), span(traceId="ü")]
    decoded = otlp_json.decode([orjson.dumps(document(*found))])
    assert len(decoded.spans) == 1
    assert sum(decoded.rejected.values()) == 5


def test_broken_spans_are_mended_and_marked() -> None:
    assert one(span(endTimeUnixNano=1))["repairs"] == MARK["neg_duration"]
    assert one(span(kind=99))["repairs"] == MARK["bad_kind"]
    assert one(span(parentSpanId="abc"))["repairs"] == MARK["bad_parent"]
    assert one(span(startTimeUnixNano=-5))["repairs"] & MARK["time_range"]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{", "no JSON"),
        (b"[1]", "a list where"),
        (b'"x"', "a str where"),
        (b'{"data": []}', "no resourceSpans among"),
        (b'{"resourceSpans": 7}', "should be a list"),
        (b'{"resourceSpans": [7]}', "should be a list"),
        (b'{"resourceSpans": [{"scopeSpans": {}}]}', "should be a list"),
    ],
)
def test_what_is_no_otlp_json_says_why(body: bytes, complaint: str) -> None:
    with pytest.raises(DecodeError, match=complaint) as raised:
        otlp_json.decode([orjson.dumps(document(span())), body])
    assert raised.value.record == 1


DEEP: dict[str, Any] = {"stringValue": "x"}
for _ in range(65):
    DEEP = {"arrayValue": {"values": [DEEP]}}


@pytest.mark.parametrize(
    "broken",
    [
        span(startTimeUnixNano=[]),
        span(attributes=7),
        span(attributes=[{"key": "k", "value": {"intValue": "x"}}]),
        span(attributes=[{"key": "k", "value": {"bytesValue": 5}}]),
        span(attributes=[{"key": "k", "value": DEEP}]),
        span(kind="SPAN_KIND_NOBODY_KNOWS"),
        span(traceId="abc"),
        7,
        None,
        [],
        {},
    ],
)
def test_a_span_that_cannot_be_written_costs_itself(broken: Any) -> None:
    good = [span(spanId=f"{n:016x}") for n in range(1, 100)]
    spans = [*good[:50], broken, *good[50:]]
    found = otlp_json.decode([json.dumps(document(*spans)).encode()])
    assert found.spans.height == 99
    assert sum(found.rejected.values()) == 1


@pytest.mark.parametrize(("raw", "read"), [(b"caf\xe9", "caf\ufffd"), (b"\\ud800 alone", "\ufffd\ufffd\ufffd alone")])
def test_text_that_is_no_unicode_is_repaired_and_marked(raw: bytes, read: str) -> None:
    said = span(name="?n?", attributes=[{"key": "k", "value": {"stringValue": "?v?"}}])
    body = json.dumps(document(said, span(spanId="00000000000000aa"))).encode()
    spans = otlp_json.decode([body.replace(b"?n?", raw).replace(b"?v?", raw)]).spans
    assert spans.row(0, named=True)["name"] == spans.row(0, named=True)["attr:k"] == read
    assert spans["repairs"].to_list() == [MARK["bad_utf8"], 0]


@pytest.mark.parametrize(
    "owner", [7, [], "x", {"attributes": 7}, {"attributes": [{"key": "k", "value": {"intValue": "x"}}]}]
)
def test_a_resource_or_scope_that_cannot_be_written_costs_what_is_wrong_in_it(owner: Any) -> None:
    written = document(span())
    written["resourceSpans"][0]["resource"] = owner
    written["resourceSpans"][0]["scopeSpans"][0]["scope"] = owner
    assert decode(written).height == 1


def test_the_byte_where_json_ends_to_be_json_is_told() -> None:
    with pytest.raises(DecodeError) as raised:
        otlp_json.decode(['{"ä": 1, ä}'.encode()])
    assert raised.value.byte == 10


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5)
KEYS = st.sampled_from(["spans", "attributes", "key", "value", "x"])
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
FIELDS = ("traceId", "name", "kind", "attributes", "events", "status", "flags")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)))
def test_whatever_stands_in_a_span_is_read_or_refused(broken: dict[str, Any]) -> None:
    """Nothing but a DecodeError may come out of it."""
    with contextlib.suppress(DecodeError):
        decode(document(span(**broken)))
