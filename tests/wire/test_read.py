"""Reading checks what it walks through: it refuses what the scan refuses, and too little room changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.bench import decode as bench
from tests.wire.messages import damaged, delimited, requests
from tests.wire.test_scan import EDGES
from tracelens.errors import DecodeError
from tracelens.wire import _chunk, _read, _scan, otlp
from tracelens.wire._chunk import Stretches
from tracelens.wire.decoded import Decoded


def outcome(bodies: Sequence[bytes]) -> int:
    """Return what the reader by itself says of bodies, with room for all there may be."""
    stretches = Stretches.joined(bodies)
    found = _chunk._read_into(stretches, *(sum(map(len, bodies)),) * 3)
    return _read.UNSOUND if found is None else _read.READ


@pytest.mark.parametrize("body", EDGES.values(), ids=EDGES.keys())
@pytest.mark.parametrize(
    "around", [(), (1,), (2, 1), (2, 2, 1), (15, 2, 2, 1), (9, 2, 2, 1), (1, 1), (1, 2, 1)], ids=str
)
def test_edges_are_refused_wherever_they_stand(body: bytes, around: tuple[int, ...]) -> None:
    """In a request, in a resource's or a scope's spans, in a span, its status, an attribute, a resource, a scope."""
    for number in around:
        body = delimited(number, body)
    assert (outcome([body]) == _read.READ) == (_scan.validate(body).error_byte < 0)


@settings(deadline=None)  # a first call compiles
@given(st.lists(st.one_of(requests(), damaged(), st.binary(max_size=60)), min_size=1, max_size=3))
def test_the_reader_refuses_what_the_scan_refuses(bodies: list[bytes]) -> None:
    sound = all(_scan.validate(body).error_byte < 0 for body in bodies)
    assert (outcome(bodies) == _read.READ) == sound


def test_every_byte_of_a_request_may_be_another() -> None:
    """What is one byte off is judged alike by both, and tells where it is broken."""
    (body,) = bench.requests(1)
    chance = np.random.default_rng(7)
    refused = 0
    for at, value in zip(
        chance.integers(0, len(body), 600).tolist(), chance.integers(0, 256, 600).tolist(), strict=True
    ):
        changed = body[:at] + bytes([value]) + body[at + 1 :]
        verdict = _scan.validate(changed)
        if verdict.error_byte < 0:
            assert len(otlp.decode([changed]).spans) == verdict.spans - verdict.rejected
        else:
            with pytest.raises(DecodeError) as error:
                otlp.decode([changed])
            assert error.value.byte == verdict.error_byte
            refused += 1
    assert refused > 20


@settings(deadline=None)  # a first call compiles
@given(st.lists(requests(), max_size=3))
def test_a_glance_counts_no_fewer_spans_than_there_are(bodies: list[bytes]) -> None:
    stretches = Stretches.joined(bodies)
    found = _scan.glance(np.frombuffer(stretches.raw, np.uint8), stretches.starts, stretches.ends)
    assert found in (-1, sum(_scan.validate(body).spans for body in bodies))


def test_requests_that_are_unlike_those_that_were_looked_at_are_read_whole() -> None:
    """Room is made for spans as dense as in every fourth request; here the others hold forty times as many."""
    dense = bench.requests(1000)[0]
    few = delimited(
        1,
        delimited(2, delimited(2, b"\x0a\x10" + b"t" * 16 + b"\x12\x08" + b"s" * 8 + b"\x2a\xe0\x5d" + b"n" * 12_000)),
    )
    bodies = [few if i % 4 == 0 else dense for i in range(16)]
    assert _chunk._guess(Stretches.joined(bodies)) < 12 * 1000
    assert len(otlp.decode(bodies).spans) == 4 + 12 * 1000


@pytest.mark.parametrize(("least", "keys"), [(1 << 30, 1 << 12), (16, 3), (1 << 30, 0)])
def test_room_that_was_too_little_changes_nothing(monkeypatch: pytest.MonkeyPatch, least: int, keys: int) -> None:
    bodies = bench.requests(2000)

    def decoded() -> Decoded:
        return otlp.decode(bodies)

    expected = decoded()
    monkeypatch.setattr(_chunk, "LEAST_ATTRIBUTE", least)
    monkeypatch.setattr(_chunk, "KEYS", keys)
    assert_frame_equal(decoded().spans, expected.spans)


def test_a_disagreement_is_a_bug_and_no_damage() -> None:
    """Were the reader stricter than the scan, nobody would hear of it as of a broken file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_chunk, "_read_into", lambda *_: None)
        with pytest.raises(RuntimeError, match="do not agree"):
            otlp.decode(bench.requests(1))


def test_a_key_is_entered_once_whatever_its_length() -> None:
    """And wherever it stands; in kernels that were compiled now, and in those of the cache."""
    keys = [bytes([97 + i % 26]) * i for i in range(1, 60)]
    spans = []
    for turn in range(40):
        held = b"".join(delimited(9, delimited(1, key) + delimited(2, delimited(1, b"v"))) for key in keys)
        keys = keys[7:] + keys[:7] if turn % 2 else keys[::-1]
        spans.append(delimited(2, delimited(1, b"t" * 16) + delimited(2, b"s" * 8) + held))
    body = delimited(1, delimited(2, b"".join(spans)))
    chunk, _ = _chunk.read(Stretches.joined([body]), 0)
    assert (chunk.counts[0], chunk.attributes, chunk.distinct) == (40, 40 * len(keys), len(keys))
