"""Messages after their length: cut from a stream whatever its parts are, and decoded where they stand."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from tracelens.errors import DecodeError
from tracelens.framed import messages
from tracelens.wire import otlp
from tracelens.wire._chunk import Stretches


class Parts(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes = io.BytesIO(data), sizes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = self._sizes.pop(0) if self._sizes else len(buffer)
        part = self._data.read(min(size, len(buffer)))
        buffer[: len(part)] = part
        return len(part)


def framed(bodies: list[bytes], how: str) -> bytes:
    def length(n: int) -> bytes:
        if how == "fixed":
            return n.to_bytes(4, "big")
        return bytes([n]) if n < 128 else bytes([n & 127 | 128, n >> 7])

    return b"".join(length(len(body)) + body for body in bodies)


SETTINGS = settings(deadline=None)
HOW = st.sampled_from(["varint", "fixed"])
BODIES = st.lists(st.binary(max_size=300), max_size=12)


@SETTINGS
@given(BODIES, HOW, st.integers(1, 400), st.lists(st.integers(1, 50), max_size=30))
def test_messages_are_those_that_were_written(bodies: list[bytes], how: str, room: int, sizes: list[int]) -> None:
    """Longer than a block, empty, or cut between two reads."""
    found = list(messages(io.BufferedReader(Parts(framed(bodies, how), sizes), 16), how, room))
    assert [bytes(body) for _, _, body in found] == bodies
    assert [number for number, _, _ in found] == [*range(1, len(bodies) + 1)]
    whole = framed(bodies, how)
    assert all(whole[offset : offset + len(body)] == body for _, offset, body in found)


@SETTINGS
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6), HOW, st.integers(1, 400), st.data())
def test_a_stream_cut_off_within_a_message_says_where(
    bodies: list[bytes], how: str, room: int, data: st.DataObject
) -> None:
    """What stands before the last message is given."""
    whole = framed(bodies, how)
    last = len(framed(bodies[:-1], how))
    begin = last + len(framed([bodies[-1]], how)) - len(bodies[-1])
    cut = data.draw(st.integers(begin, len(whole) - 1))
    stream = messages(io.BufferedReader(Parts(whole[:cut], []), 16), how, room)
    assert [bytes(next(stream)[2]) for _ in bodies[:-1]] == bodies[:-1]
    with pytest.raises(DecodeError, match=f"^record {len(bodies)}, byte {begin}: {cut - begin} of {len(bodies[-1])} "):
        next(stream)


def test_a_length_cut_off_is_said() -> None:
    stream = messages(io.BytesIO(b"\0\0\0"), "fixed", 100)  # type: ignore[arg-type]  # reads as a buffered file does
    with pytest.raises(DecodeError, match="record 1, byte 3: 0 of 0 bytes"):
        next(stream)


def test_messages_are_decoded_where_they_stand() -> None:
    """Nothing is copied, and the spans are those of copies."""
    bodies = []
    for number in range(1, 4):
        request = TracesData()
        span = request.resource_spans.add().scope_spans.add().spans.add(
            trace_id=number.to_bytes(16, "big"), span_id=number.to_bytes(8, "big"), name="a name that is no short one"
        )  # fmt: skip
        span.attributes.add(key="key").value.string_value = "a value that is no short one either"
        bodies.append(request.SerializeToString())
    views = [body for _, _, body in messages(io.BytesIO(framed(bodies, "fixed")), "fixed", 10_000)]  # type: ignore[arg-type]
    together = Stretches.joined(views)
    block = views[0].obj
    assert isinstance(block, np.ndarray)
    assert np.shares_memory(np.frombuffer(together.raw, np.uint8), block)
    assert [bytes(together.raw[a:b]) for a, b in zip(together.starts, together.ends, strict=True)] == bodies
    assert otlp.decode(views).spans.equals(otlp.decode(bodies).spans)
    mixed = [views[0], bodies[1], views[2]]
    assert otlp.decode(mixed).spans.equals(otlp.decode(bodies).spans)
