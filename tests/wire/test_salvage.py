"""A span that is no protobuf costs itself, and none of its neighbours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ledger import request
from tracelens.wire import otlp
from tracelens.wire._encode import message
from tracelens.wire._scan import MAX_DEPTH, validate
from tracelens.wire.salvage import fields, salvage


def spans_of(body: bytes) -> list[bytes]:
    """Return the bytes of the spans of a request of one resource and one scope."""
    (resource_spans,) = (content for number, _, _, content in fields(body) if number == 1)
    (scope_spans,) = (content for number, _, _, content in fields(resource_spans) if number == 2)
    return [content for number, _, _, content in fields(scope_spans) if number == 2]


def request_of(*spans: bytes) -> bytes:
    return message(1, message(2, b"".join(message(2, span) for span in spans)))


def nested(depth: int) -> bytes:
    """Return a span with an attribute of lists in lists."""
    value = b""
    for _ in range(depth):
        value = message(5, message(1, value))
    return spans_of(request(1)[0])[0] + message(9, message(1, b"deep") + message(2, value))


BROKEN = {
    "cut off within a field": lambda span: span[:-3],
    "a length beyond its end": lambda span: span + b"\x4a\xff\x01",
    "a wire type that is none": lambda span: span + b"\x0f",
    "a tag of six bytes": lambda span: span + b"\xff\xff\xff\xff\xff\xff",
    "nested too deep": lambda _span: nested(MAX_DEPTH),
    "a group that ends": lambda span: span + b"\x0c",
}


@pytest.mark.parametrize("how", [*BROKEN])
def test_the_others_are_saved(how: str) -> None:
    spans = spans_of(request(100)[0])
    spans[41] = BROKEN[how](spans[41])
    body = request_of(*spans)
    assert validate(body).error_byte >= 0
    found = salvage(body)
    assert found is not None
    saved, verdict = found
    assert (verdict.spans, verdict.rejected) == (100, 1)
    assert "1 broken" in verdict.reason
    assert otlp.decode([saved]).spans.height == 99


def test_what_else_is_wrong_with_spans_is_counted_too() -> None:
    spans = spans_of(request(5)[0])
    spans[0] = spans[0][:-3]
    spans[1] = spans[1].replace(spans[1][2:18], bytes(16), 1)
    found = salvage(request_of(*spans))
    assert found is not None
    assert (found[1].spans, found[1].rejected) == (5, 2)
    assert "trace_id" in found[1].reason


@pytest.mark.parametrize(
    "body",
    [
        b"\xff" * 100,
        request(3)[0][:-3],
        message(1, message(1, b"\xff")) + request(1)[0],
        message(1, message(2, message(1, b"\xff"))),
        b"\x0b\x0c",
    ],
    ids=["rubbish", "cut off", "a resource", "a scope", "a group"],
)
def test_more_than_spans_cannot_be_saved(body: bytes) -> None:
    assert validate(body).error_byte >= 0 or body == b"\x0b\x0c"
    assert salvage(body) is None


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 3))
def test_it_answers_whatever_comes(rubbish: bytes, at: int, cut: int) -> None:
    body = bytearray(request(3)[0])
    at %= len(body)
    body[at : at + cut] = rubbish
    found = salvage(bytes(body))
    if found is not None:
        saved, verdict = found
        assert validate(saved).error_byte < 0
        assert otlp.decode([saved]).spans.height == verdict.spans - verdict.rejected
