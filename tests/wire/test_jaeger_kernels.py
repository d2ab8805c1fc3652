"""Jaeger JSON by kernels and by Python: one document, the same bytes of OTLP, whatever stands in it."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.wire.test_jaeger import FIELDS, TRACE, reference, span, tag, trace
from tests.wire.test_otlp_json import JSON
from tracelens.errors import DecodeError
from tracelens.wire import jaeger, otlp
from tracelens.wire._encode import Encoder
from tracelens.wire.otlp_json import each
from tracelens.wire.translate.jaeger import request

SAMPLE = gzip.decompress((Path(__file__).parents[2] / "samples" / "dumps" / "shop.jaeger.json.gz").read_bytes())
SETTINGS = settings(deadline=None)  # the first example compiles
FEW = orjson.dumps({"data": orjson.loads(SAMPLE)["data"][:3]})
Outcome = tuple[Any, ...]  # requests and ids of followers, or why there are none


def ids(followers: bytes) -> set[bytes]:
    return {followers[at : at + 24] for at in range(0, len(followers), 24)}


def by_hand(bodies: Sequence[bytes]) -> Outcome:
    """Return what Python makes of documents."""
    followers = bytearray()
    try:
        requests = [each(body, i, lambda found: request(found, Encoder(), followers)) for i, body in enumerate(bodies)]
    except DecodeError as error:
        return error.reason, error.record, error.byte
    return requests, ids(bytes(followers))


def by_kernels(bodies: Sequence[bytes]) -> tuple[Outcome, int]:
    """Return (what kernels make of documents, and Python of the rest; how much the rest is)."""
    try:
        written = jaeger.write(bodies)
    except DecodeError as error:
        return (error.reason, error.record, error.byte), 1
    return (written.requests, ids(written.followers)), written.by_hand


def assert_same(*bodies: bytes) -> int:
    """Compare both; return how much was left to Python."""
    found, left = by_kernels(bodies)
    assert found == by_hand(bodies)
    return left


def written_as(document: Any) -> list[bytes]:
    """Return a document in the spellings of several writers."""
    return [
        json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(),
        json.dumps(document).encode(),
        json.dumps(document, ensure_ascii=False, indent="\t").encode(),
        b"\xef\xbb\xbf \r\n" + json.dumps(document, separators=(" ,", "\n: ")).encode() + b"\n",
    ]


# -- what is as Jaeger writes it is left to nobody


@pytest.mark.parametrize("wrap", [lambda data: {"data": data, "total": 0}, lambda data: data, lambda data: data[3]])
def test_the_recorded_dump(wrap: Any) -> None:
    for body in (SAMPLE, *written_as(wrap(orjson.loads(SAMPLE)["data"][:20]))):
        assert assert_same(body) == 0


# What Jaeger's own JSON may hold; numbers as its browser can say them.
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
SPAN_IDS = st.sampled_from(["1", "2", "a", "00f067aa0ba902b7", "B7AD6B7169203331", "0"])
TRACE_IDS = st.sampled_from([TRACE, "ff", "0af7651916cd43dd8448eb211c80319c"])
FIELD_TAGS = st.one_of(
    st.builds(
        tag, st.just("span.kind"), st.sampled_from(["client", "SERVER", "internal", "producer", "consumer", "x"])
    ),
    st.builds(tag, st.just("otel.status_code"), st.sampled_from(["OK", "error", "Unset", "three"])),
    st.builds(tag, st.sampled_from(["otel.status_description", "w3c.tracestate", "otel.scope.version"]), TEXT),
    st.builds(tag, st.sampled_from(["otel.scope.name", "otel.library.name", "otel.library.version"]), TEXT),
    st.builds(tag, st.just("error"), st.booleans(), st.just("bool")),
)


def lies_half_way(value: float) -> bool:
    """Whether the shortest decimal of a double lies half way between two: kernels leave such a one to Python."""
    return 2 * abs(Fraction(repr(value)) - Fraction(value)) == Fraction(math.ulp(value))


FLOATS = st.floats(1e-40, 1e40) | st.floats(-1e40, -1e-40)
DOUBLES = FLOATS.filter(lambda value: not lies_half_way(value)) | st.integers(-(2**53), 2**53)
UNESCAPED = st.characters(codec="ascii", exclude_characters='"\\', exclude_categories=["Cc"])
KEYS = st.text(UNESCAPED, max_size=30)
VALUE_TAGS = st.one_of(
    st.builds(tag, KEYS, TEXT, st.sampled_from(["string", "String"])),
    st.builds(tag, KEYS, st.integers(-(2**63), 2**63 - 1), st.sampled_from(["int64", None])),
    st.builds(tag, KEYS, st.integers(0, 10**18 - 1).map(str), st.just("int64")),
    st.builds(tag, KEYS, DOUBLES, st.just("float64")),
    st.builds(tag, KEYS, st.booleans() | st.sampled_from(["true", "false"]), st.just("bool")),
    st.builds(tag, KEYS, st.none() | TEXT | st.booleans()),
)
LOGS = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": st.integers(0, 10**15),
        "fields": st.lists(VALUE_TAGS | st.builds(tag, st.just("event"), TEXT), max_size=3) | st.none(),
    },
)
REFERENCES = st.builds(reference, SPAN_IDS, st.sampled_from(["CHILD_OF", "FOLLOWS_FROM", "MENTIONS"]), TRACE_IDS)
ORDINARY_SPANS = st.fixed_dictionaries(
    {"traceID": TRACE_IDS, "spanID": SPAN_IDS, "processID": st.sampled_from(["p1", "p2", "gone", ""])},
    optional={
        "operationName": TEXT | st.none(),
        "references": st.lists(REFERENCES, max_size=3) | st.none(),
        "parentSpanID": SPAN_IDS | st.sampled_from([None, ""]),
        "startTime": st.integers(0, 9 * 10**15),
        "duration": st.integers(0, 9 * 10**15) | st.none(),
        "tags": st.lists(FIELD_TAGS | VALUE_TAGS, max_size=4) | st.none(),
        "logs": st.lists(LOGS, max_size=2) | st.none(),
        "flags": st.integers(0, 2**33) | st.none(),
        "process": st.none() | st.just(7),
        "warnings": st.none() | st.dictionaries(KEYS, st.lists(TEXT | st.integers() | st.booleans())),
    },
)
PROCESSES = st.fixed_dictionaries(
    {}, optional={"serviceName": TEXT | st.none(), "tags": st.lists(VALUE_TAGS, max_size=2) | st.none()}
)
ORDINARY = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "spans": st.lists(ORDINARY_SPANS, max_size=5) | st.none(),
            "processes": st.dictionaries(st.sampled_from(["p1", "p2", "p3"]), PROCESSES) | st.none(),
            "warnings": st.none(),
        },
    ),
    min_size=1,
    max_size=3,
)


@SETTINGS
@given(ORDINARY, st.integers(0, 3))
def test_ordinary_documents(traces: list[Any], spelling: int) -> None:
    for document in ({"total": 3, "data": traces, "errors": None}, traces, {"spans": None} | traces[0]):
        assert assert_same(written_as(document)[spelling]) == 0


@pytest.mark.parametrize(("value", "by_hand"), [(-1.925394792746361e16, 1), (1.925394792746361e17, 0)])
def test_a_decimal_half_way_between_two_doubles_is_left_to_python(value: float, by_hand: int) -> None:
    assert lies_half_way(value) == bool(by_hand)
    document = trace(span("1", tags=[tag("k", value, "float64")]))
    assert assert_same(orjson.dumps(document)) == by_hand


@SETTINGS
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 17), st.sampled_from("eEfg"))
@example(5e-324, 16, "e")
@example(9007199254740993.0, 0, "f")
@example(1.7976931348623157e308, 17, "g")
def test_every_decimal_is_the_double_that_it_is_in_python(value: float, digits: int, sort: str) -> None:
    said = [f"{value:.{digits}{sort}}", repr(value), f"{value:.{digits}f}"[:20].rstrip(".")]
    tags = ",".join(f'{{"key":"k{i}","type":"float64","value":{text}}}' for i, text in enumerate(said))
    assert_same(orjson.dumps(trace(span("1", tags=[]))).replace(b'"tags":[]', f'"tags":[{tags}]'.encode()))


def test_a_trace_of_many_processes_scopes_and_references() -> None:
    """More than any table begins with, and ids that are there only later."""
    spans = [
        span(
            f"{n + 1:x}",
            *(reference(f"{(n * k) % 700 + 1:x}", kind) for k, kind in ((7, "FOLLOWS_FROM"), (3, "CHILD_OF"))),
            processID=f"p{n % 150}",
            tags=[tag("otel.scope.name", f"s{n % 4}")],
        )
        for n in range(600)
    ]
    processes = {f"p{n}": {"serviceName": f"svc{n}"} for n in range(150)}
    assert assert_same(orjson.dumps({"data": [trace(*spans) | {"processes": processes}] * 2})) == 0


# -- what is not: Python says what it is, for that trace only

ORDINARY_TRACE = trace(
    span("1", tags=[tag("k", "v", "string")], logs=[{"timestamp": 7, "fields": [tag("event", "e")]}])
)
AWKWARD = {
    "binary": span("1", tags=[tag("y", "AP8=", "binary")]),
    "a list as a tag": span("1", tags=[tag("y", [1, "x"])]),
    "text that is a number": span("1", tags=[tag("y", "1_0", "float64"), tag("z", " 5", "int64")]),
    "a number that is text": span("1", tags=[tag("y", 1.50, "string"), tag("span.kind", 7)]),
    "base64 ids": span("AAECAwQFBgc="),
    "no id": span(""),
    "its process in it": span("1", process={"serviceName": "own"}),
    "no process": span("1", processID=None),
    "times as text": span("1", startTime="5", duration=1.5),
    "before 1970": span("1", startTime=-5),
    "beyond a word": span("1", startTime=2**64, duration=10**17, flags=-1),
    "a name that is none": span("1", operationName=7),
    "an event that is none": span("1", logs=[{"fields": [tag("event", 7), tag("event", "x")]}]),
    "a reference to nothing": span("1", {"refType": 7}),
    "an old parent that is none": span("1", parentSpanID=7),
}


@pytest.mark.parametrize("awkward", AWKWARD.values(), ids=AWKWARD)
def test_only_the_trace_that_is_awkward_is_left(awkward: dict[str, Any]) -> None:
    document = {"data": [ORDINARY_TRACE, trace(awkward), ORDINARY_TRACE, trace(awkward)]}
    for body in written_as(document):
        assert assert_same(body, body) == 4
        assert assert_same(FEW, body, FEW, body) == 4


PLAIN = orjson.dumps({"data": [ORDINARY_TRACE]})
ODD = {
    "spans and data": PLAIN[:-1] + b',"spans":[]}',
    "data behind spans": b'{"spans":[],' + PLAIN[1:],
    "data twice": PLAIN[:-1] + b',"data":[]}',
    "a key twice": PLAIN.replace(b'"spanID":"1"', b'"spanID":"1","spanID":"2"'),
    "a key with an escape": PLAIN.replace(b'"spanID"', b'"span\\u0049D"'),
    "half of a pair": PLAIN.replace(b'"op"', b'"\\ud800"'),
    "the other half": PLAIN.replace(b'"op"', b'"\\udc00x"'),
    "no UTF-8": PLAIN.replace(b'"op"', b'"\xff"'),
    "no UTF-8 outside": PLAIN[:-1] + b',"errors":"\xff"}',
    "NaN": PLAIN.replace(b"1700000000000001", b"NaN"),
    "a number beyond doubles": PLAIN.replace(b'"v"', b"1e999"),
    "-0": PLAIN.replace(b'"v"', b"-0"),
    "deep": PLAIN.replace(b'"v"', b"[" * 200 + b"]" * 200),
    "deeper": PLAIN.replace(b'"v"', b"[" * 1_020 + b"]" * 1_020),
    "deeper than Python": PLAIN.replace(b'"v"', b"[" * 100_000 + b"]" * 100_000),
    "deep where nobody looks": PLAIN[:-1] + b',"errors":' + b"[" * 1_023 + b"]" * 1_023 + b"}",
    "a zero byte": PLAIN.replace(b'"op"', b'"o\0p"'),
    "rubbish behind": PLAIN + b"x",
    "a comma too many": PLAIN.replace(b"]}", b"],}"),
    "no traces": b'{"data":[]}',
    "no traces, and why": b'{"data":[],"errors":[{"msg":"gone"}]}',
    "no trace": b'{"data":[{},7]}',
    "nothing": b"",
    "empty": b"{}",
    "an empty list": b"[]",
    "a word": b"nul",
    "a mark of byte order": b"\xef\xbb\xbf" + PLAIN,
    "a mark of byte order behind white space": b" \xef\xbb\xbf" + PLAIN,
    "two marks of byte order": 2 * b"\xef\xbb\xbf" + PLAIN,
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_documents_that_nobody_should_write(odd: bytes) -> None:
    assert_same(odd)
    assert_same(FEW, odd)
    for at in range(len(PLAIN), 0, -7):
        assert_same(odd[:at])


def test_the_first_bad_document_is_named_with_its_byte() -> None:
    bad = orjson.dumps(trace(span("1", startTime="x")))
    assert assert_same(PLAIN, b'{"data": [}', bad) == 1
    assert by_kernels([PLAIN, bad, b"{"])[0] == ("startTime is 'x', and should be a whole number", 1, -1)


TAGS = st.lists(st.fixed_dictionaries({}, optional={"key": JSON, "type": JSON, "value": JSON}), max_size=3)
BROKEN = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON) | {"tags": TAGS, "process": JSON})


@SETTINGS
@given(ORDINARY, BROKEN, JSON, st.integers(0, 3))
def test_whatever_stands_in_a_document(traces: list[Any], broken: dict[str, Any], other: Any, spelling: int) -> None:
    spans = [span("1", **broken), span("2")]
    for document in (
        {"data": [*traces, trace(*spans), other]},
        [*traces, {"spans": spans, "processes": other}],
        {"spans": other, "processes": {"p1": other}},
        other,
    ):
        assert_same(written_as(document)[spelling])


@SETTINGS
@given(st.data())
def test_bytes_changed_at_random(data: st.DataObject) -> None:
    body = bytearray(data.draw(st.sampled_from([*written_as({"data": [ORDINARY_TRACE]}), PLAIN])))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"\\u0"])
        )
    assert_same(bytes(body))


# -- frames, and parts


def frame_by_hand(body: bytes) -> pl.DataFrame:
    """Return the spans as Python reads them, those that follow looked up one by one."""
    requests, followers = by_hand([body])
    spans = otlp.decode(requests).spans
    follows = [one + other in followers for one, other in spans.select("trace_id", "span_id").iter_rows()]
    return spans.with_columns(follows_from=pl.Series(follows, dtype=pl.Boolean))


def test_frames_are_the_same() -> None:
    for awkward in (*AWKWARD.values(), span("1", reference("2", "FOLLOWS_FROM"))):
        spans = [awkward, span("2", reference("1", "FOLLOWS_FROM")), span("2"), span("3", reference("2"))]
        body = written_as({"data": [trace(*spans), *orjson.loads(FEW)["data"]]})[0]
        found = jaeger.decode([body]).spans
        assert found.equals(frame_by_hand(body))
        assert found["follows_from"].any()


@pytest.mark.parametrize("size", [1, 300_000, 1_000_000, 10_000_000])
def test_a_document_in_parts_is_the_document(size: int) -> None:
    for body in written_as(orjson.loads(SAMPLE)):
        parts = jaeger.parts(body, size, map)
        assert parts
        assert (len(parts) > 1) == (size < 2_000_000)
        assert sum(part.by_hand for part in parts) == 0
        assert b"".join(request for part in parts for request in part.requests) == by_hand([body])[0][0]


def test_a_span_has_its_like_in_another_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """One says that it follows, the other does not: they are one, as in a document that is read whole."""
    monkeypatch.setattr(jaeger, "PORTION", 1)
    document = {"data": [trace(span("1")), trace(span("2", reference("1", "FOLLOWS_FROM"))), trace(span("2"))]}
    parts = jaeger.parts(orjson.dumps(document), 1, map)
    assert parts
    assert [jaeger.decode([part]).spans["follows_from"].to_list() for part in parts] == [[False], [True], [True]]


@pytest.mark.parametrize("odd", [*ODD.values(), *written_as({"data": [trace(found) for found in AWKWARD.values()]})])
def test_odd_documents_in_parts_are_the_document_or_none(odd: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaeger, "PORTION", 1)
    for body in (odd, *(odd[:at] for at in range(0, len(odd), 97))):
        if parts := jaeger.parts(body, 1, map):
            assert b"".join(request for part in parts for request in part.requests) == by_hand([body])[0][0]
