"""The scan accepts and refuses what protobuf's runtime does, and counts the spans that will be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.messages import damaged, delimited, facts, refused, requests, varint
from tracelens.wire import _scan
from tracelens.wire._messages import lenient


@settings(deadline=None)  # a first call compiles
@given(st.one_of(requests(), damaged(), st.binary(max_size=60)))
def test_the_scan_agrees_with_the_runtime(body: bytes) -> None:
    verdict = _scan.validate(body)
    assert (verdict.error_byte >= 0) == refused(body)
    if verdict.error_byte < 0:
        accepted, rejected = facts(body)
        assert verdict.spans == len(accepted) + sum(rejected.values())
        assert verdict.rejected == sum(rejected.values())
        assert (verdict.reason != "") == (verdict.rejected > 0)
    else:
        assert 0 <= verdict.error_byte <= len(body)
        assert (verdict.spans, verdict.rejected) == (0, 0)
        assert verdict.reason.startswith(f"byte {verdict.error_byte}: ")


def nested(levels: int, content: bytes = b"") -> bytes:
    """A request with that many messages inside each other: a span's attribute of arrays of arrays."""
    for i in range(levels - 4):
        content = delimited((1, 5)[(levels - i) % 2], content)
    for number in (2, 9, 2, 2, 1):
        content = delimited(number, content)
    return content


SPAN_AT = delimited(1, delimited(2, delimited(2, b"")))

EDGES = {
    "nothing": b"",
    "an empty span": SPAN_AT,
    "a tag of 5 bytes": b"\xf8\x80\x80\x80\x00\x00",
    "a tag of 6 bytes": b"\xf8\x80\x80\x80\x80\x00\x00",
    "the highest field number": b"\xf8\xff\xff\xff\x0f\x00",
    "a tag beyond 32 bits": b"\xf8\xff\xff\xff\x1f\x00",
    "field number 0": b"\x00\x00",
    "field number 0, written longer": b"\x80\x00\x00",
    "a varint of 10 bytes": b"\xf8\x01" + b"\xff" * 9 + b"\x7f",
    "a varint of 11 bytes": b"\xf8\x01" + b"\xff" * 10 + b"\x01",
    "a varint cut off": b"\xf8\x01\xff",
    "a length of 5 bytes": b"\x0a\x80\x80\x80\x80\x00",
    "a length of 6 bytes": b"\x0a\x80\x80\x80\x80\x80\x00",
    "a length of 4 GiB": b"\x0a\xff\xff\xff\xff\x0f",
    "a length beyond the end": b"\x0a\x01",
    "a length beyond the message around it": delimited(1, b"\x12\x05") + b"12345",
    "fixed32 cut off": b"\x0d123",
    "fixed64 cut off": b"\x091234567",
    "wire type 6": b"\x0e\x00",
    "wire type 7": b"\x0f\x00",
    "an empty group": b"\x0b\x0c",
    "a group that ends as another": b"\x0b\x14",
    "a group without an end": b"\x0b",
    "an end without a group": b"\x0c",
    "a group that ends in the message around it": delimited(1, b"\x0b") + b"\x0c",
    "field number 0 in a group": b"\x0b\x00\x00\x0c",
    "group number 0 in a group": b"\x0b\x03\x04\x0c",
    "wire type 6 in a group": b"\x0b\x0e\x00\x0c",
    "a long tag in a group": b"\x0b\xf8\x80\x80\x80\x80\x00\x00\x0c",
    "a group in a group that ends as another": b"\x0b\x13\x0c\x14",
    "a length in a group beyond the message": delimited(1, b"\x0b\x12\x02") + b"\x00\x00\x0c",
    "100 groups": b"\x0b" * 100 + b"\x0c" * 100,
    "101 groups": b"\x0b" * 101 + b"\x0c" * 101,
    "99 messages": nested(99),
    "100 messages": nested(100),
    "101 messages": nested(101),
    "100 messages and a group": nested(100, b"\x0b\x0c"),
    "a message where another type is expected": b"\x08\x01",
}


@pytest.mark.parametrize("body", EDGES.values(), ids=EDGES.keys())
def test_edges_of_the_format_are_the_runtimes(body: bytes) -> None:
    assert (_scan.validate(body).error_byte >= 0) == refused(body)


def test_every_reason_can_happen() -> None:
    said = {_scan.validate(body).reason.partition(": ")[2] for body in EDGES.values()}
    assert said >= set(_scan.REASONS[1:])


def test_an_error_is_told_where_it_is() -> None:
    """The byte is that of the field, in the body, not in the message around it."""
    body = delimited(1, delimited(2, delimited(2, b"\x2a\x05name"))) + b"!"
    assert body.index(b"\x2a") == 6
    assert _scan.validate(body)[2:] == (6, "byte 6: the message is longer than what holds it")


def test_ids_are_judged_by_their_last_value() -> None:
    """As protobuf does with a scalar that comes twice."""
    span = lenient("trace.v1.Span")(trace_id=b"1" * 16, span_id=b"2" * 8).SerializeToString()
    good = delimited(1, delimited(2, delimited(2, delimited(1, b"short") + span)))
    bad = delimited(1, delimited(2, delimited(2, span + delimited(1, b"short"))))
    assert _scan.validate(good) == (1, 0, -1, "")
    assert _scan.validate(bad) == (1, 1, -1, "spans rejected: 1 with a trace_id that is not 16 bytes, or all zero")


def test_kernels_are_compiled_once() -> None:
    """Of read-only bytes; a second kind of array would compile for seconds while a sender waits."""
    _scan.warm()
    for body in (b"", bytes(3), SPAN_AT):
        _scan.validate(body)
    assert len(_scan.scan.signatures) == 1  # type: ignore[attr-defined]  # numba's


def test_a_tag_may_be_longer_than_it_need_be() -> None:
    longer = varint(10, 2) + varint(0, 4)
    assert _scan.validate(longer) == (0, 0, -1, "")
    assert not refused(longer)
