"""Jaeger JSON: references, tags, logs and processes as spans."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.test_otlp_json import JSON
from tracelens.errors import DecodeError
from tracelens.spans import MARK, check
from tracelens.wire import jaeger

TRACE = "af7651916cd43dd8448eb211c80319c"  # a leading zero dropped, as some backends do


def tag(key: str, value: Any, kind: str | None = None) -> dict[str, Any]:
    return {"key": key, "type": kind, "value": value} if kind else {"key": key, "value": value}


def reference(span: str, kind: str = "CHILD_OF", trace: str = TRACE) -> dict[str, Any]:
    return {"refType": kind, "traceID": trace, "spanID": span}


def span(number: str, *references: dict[str, Any], **more: Any) -> dict[str, Any]:
    times = {"startTime": 1_700_000_000_000_001, "duration": 5}
    return {
        "traceID": TRACE,
        "spanID": number,
        "operationName": "op",
        "processID": "p1",
        "references": list(references),
        **times,
        **more,
    }


def trace(*spans: dict[str, Any]) -> dict[str, Any]:
    process = {"serviceName": "web", "tags": [tag("host.name", "h1", "string")]}
    return {"traceID": TRACE, "spans": list(spans), "processes": {"p1": process}}


def decode(document: Any) -> pl.DataFrame:
    return check(jaeger.decode([orjson.dumps(document)]).spans)


def row(document: Any, span_id: str) -> dict[str, Any]:
    (found,) = decode(document).filter(pl.col("span_id") == bytes.fromhex(span_id.rjust(16, "0"))).iter_rows(named=True)
    return found


def test_a_span_with_its_process() -> None:
    found = row(trace(span("1")), "1")
    assert found["trace_id"].hex() == "0" + TRACE
    assert (found["start_time_unix_nano"], found["end_time_unix_nano"]) == (
        1_700_000_000_000_001_000,
        1_700_000_000_000_006_000,
    )
    assert (found["service_name"], found["res:host.name"], found["name"]) == ("web", "h1", "op")
    assert (found["parent_span_id"], found["follows_from"], found["repairs"]) == (None, False, 0)


@pytest.mark.parametrize("wrap", [lambda t: {"data": [t], "errors": None}, lambda t: [t], lambda t: t])
def test_every_form_of_a_document_is_read(wrap: Any) -> None:
    assert len(decode(wrap(trace(span("1"), span("2", reference("1")))))) == 2


def test_tags_keep_their_types_and_fields_are_no_attributes() -> None:
    tags = [
        tag("s", "x", "string"),
        tag("i", 5, "int64"),
        tag("f", 0.5, "float64"),
        tag("b", True, "bool"),
        tag("y", "AP8=", "binary"),
        tag("untyped", 7),
        tag("span.kind", "server", "string"),
        tag("otel.status_code", "ERROR", "string"),
        tag("otel.status_description", "no", "string"),
        tag("w3c.tracestate", "a=1", "string"),
        tag("otel.scope.name", "lib", "string"),
        tag("error", True, "bool"),
    ]
    found = row(trace(span("1", tags=tags)), "1")
    assert {name: value for name, value in found.items() if name.startswith("attr:")} == {
        "attr:s": "x",
        "attr:i#int": 5,
        "attr:f#double": 0.5,
        "attr:b#bool": True,
        "attr:y#json": '{"bytesValue":"AP8="}',
        "attr:untyped#int": 7,
    }
    assert (found["kind"], found["status_code"], found["status_message"]) == (2, 2, "no")
    assert (found["trace_state"], found["scope_name"]) == ("a=1", "lib")


def test_a_proxys_own_error_tag_is_an_attribute() -> None:
    found = row(trace(span("1", tags=[tag("error", "true", "string")])), "1")
    assert (found["attr:error"], found["status_code"]) == ("true", 0)


@pytest.mark.parametrize(
    ("references", "parent", "follows"),
    [
        ([reference("a")], "a", False),
        ([reference("b", "FOLLOWS_FROM"), reference("a")], "a", False),
        ([reference("9"), reference("b", "FOLLOWS_FROM")], "b", True),
        ([reference("b", "FOLLOWS_FROM"), reference("9")], "b", True),
        ([reference("9")], "9", False),
        ([reference("a", trace="ff"), reference("b")], "b", False),
    ],
    ids=["child", "child-before-follower", "absent-child", "follower-first", "orphan", "other-trace"],
)
def test_the_parent_is_the_first_child_of_that_is_there(references: list[Any], parent: str, follows: bool) -> None:
    found = row(trace(span("a"), span("b"), span("c", *references)), "c")
    assert found["parent_span_id"].hex().lstrip("0") == parent
    assert found["follows_from"] is follows
    assert len(orjson.loads(found["links"] or "[]")) == len(references) - 1


def test_the_parent_of_old_documents() -> None:
    assert row(trace(span("a"), span("c", parentSpanID="a")), "c")["parent_span_id"].hex().endswith("a")


def test_logs_are_events() -> None:
    fields = [tag("event", "retry", "string"), tag("n", 2, "int64")]
    found = row(trace(span("1", logs=[{"timestamp": 7, "fields": fields}])), "1")
    assert orjson.loads(found["events"]) == [
        {"timeUnixNano": "7000", "name": "retry", "attributes": [{"key": "n", "value": {"intValue": "2"}}]}
    ]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{}", "neither data nor spans"),
        (b"7", "a int where"),
        (b'{"data": 7}', "data should be"),
        (b'{"data": null, "errors": [{"code": 404, "msg": "trace not found"}]}', "trace not found"),
        (b'{"spans": [7]}', "spans should be"),
        (orjson.dumps(trace(span("1", startTime="x"))), "startTime is"),
        (orjson.dumps(trace(span("1", tags={"a": 1}))), "tags should be"),
    ],
)
def test_what_is_no_jaeger_json_says_why(body: bytes, complaint: str) -> None:
    with pytest.raises(DecodeError, match=complaint):
        jaeger.decode([body])


def test_a_process_may_stand_in_its_span() -> None:
    """As Jaeger's storage has it: two spans without a process id are not one process."""
    spans = [span(n, processID=None, process={"serviceName": name}) for n, name in (("1", "a"), ("2", "b"))]
    assert decode({"traceID": TRACE, "spans": spans})["service_name"].to_list() == ["a", "b"]


FIELDS = ("traceID", "spanID", "operationName", "references", "startTime", "duration", "tags", "logs", "processID")
TAGS = st.lists(st.fixed_dictionaries({}, optional={"key": JSON, "type": JSON, "value": JSON}), max_size=3)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON) | {"tags": TAGS, "process": JSON}))
def test_whatever_stands_in_a_span_is_read_or_refused(broken: dict[str, Any]) -> None:
    """Nothing but a DecodeError may come out of it."""
    with contextlib.suppress(DecodeError):
        decode(trace(span("1", **broken)))


@given(JSON)
def test_whatever_a_document_is_it_is_read_or_refused(broken: Any) -> None:
    for document in (broken, {"data": broken}, {"spans": [span("1")], "processes": broken}):
        with contextlib.suppress(DecodeError):
            decode(document)


def test_text_that_is_no_unicode_is_repaired_and_marked() -> None:
    said = span("1") | {"operationName": "?", "tags": [tag("k", "?")], "process": {"serviceName": "?"}}
    body = orjson.dumps({"data": [trace(said)]}).replace(b'"?"', b'"\\ud800"')
    (found,) = jaeger.decode([body]).spans.iter_rows(named=True)
    assert found["name"] == found["attr:k"] == "\ufffd" * 3
    assert found["repairs"] & MARK["bad_utf8"]
