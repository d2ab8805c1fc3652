"""OTLP wire scan: whether a request is sound, and how many spans it holds.

Owns the structural check of ExportTraceServiceRequest bytes, by one numba
pass that makes no object. Accepts and refuses exactly what protobuf's own
runtime (upb) does, except text that is not UTF-8, which the decoder repairs.
Turning bytes into columns is left to `otlp`.

Sources: protobuf.dev "Encoding"; upb's wire decoder for the limits: a tag or
a length takes at most 5 bytes, any other varint 10; 100 nested messages.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import inline, kernel
from tracelens.wire._memory import ZERO, Word, address, byte, signed

Bytes = NDArray[np.uint8]  # always read-only, as np.frombuffer gives it: kernels compile once per kind

MAX_DEPTH = 100  # upb's kUpb_WireFormat_DefaultDepthLimit
MAX_LENGTH = 2**31 - 1  # of one length-delimited field

# Message types the scan descends into. Everything else is skipped as one field.
REQUEST, RESOURCE_SPANS, SCOPE_SPANS, SPAN, KEY_VALUE, ANY_VALUE, ARRAY, KEY_VALUES = range(8)
EVENT, LINK, STATUS, RESOURCE, SCOPE, ENTITY, UNKNOWN = range(8, 15)


def _children() -> NDArray[np.int8]:
    """Return [message type, field number] -> message type of that field, -1 when it is none."""
    table = np.full((15, 16), -1, np.int8)
    table[REQUEST, 1] = RESOURCE_SPANS
    table[RESOURCE_SPANS, 1] = RESOURCE
    table[RESOURCE_SPANS, 2] = SCOPE_SPANS
    table[SCOPE_SPANS, 1] = SCOPE
    table[SCOPE_SPANS, 2] = SPAN
    table[SPAN, 9] = KEY_VALUE
    table[SPAN, 11] = EVENT
    table[SPAN, 13] = LINK
    table[SPAN, 15] = STATUS
    table[KEY_VALUE, 2] = ANY_VALUE
    table[ANY_VALUE, 5] = ARRAY
    table[ANY_VALUE, 6] = KEY_VALUES
    table[ARRAY, 1] = ANY_VALUE
    table[KEY_VALUES, 1] = KEY_VALUE
    table[EVENT, 3] = KEY_VALUE
    table[LINK, 4] = KEY_VALUE
    table[RESOURCE, 1] = KEY_VALUE
    table[RESOURCE, 3] = ENTITY
    table[SCOPE, 3] = KEY_VALUE
    return table


CHILDREN = _children()

REASONS = (
    "",
    "the field is cut off",
    "a varint is longer than 10 bytes",
    "a tag is longer than 5 bytes or beyond 32 bits",
    "a length is longer than 5 bytes or beyond 31 bits",
    "field number 0 does not exist",
    "wire types 6 and 7 do not exist",
    "a group ends that was not begun",
    "a group is not ended",
    f"messages are nested deeper than {MAX_DEPTH}",
    "the message is longer than what holds it",
)
CUT, VARINT, TAG, LENGTH, FIELD_ZERO, WIRE_TYPE, GROUP_END, GROUP_OPEN, DEPTH, OVERRUN = range(1, 11)


class Verdict(NamedTuple):
    """What one pass over a body found."""

    spans: int  # in the body, the rejected ones included; 0 when undecodable
    rejected: int  # without a valid trace id or span id: the decoder will refuse these
    error_byte: int  # where the body stops being protobuf; -1 when it is sound
    reason: str  # why undecodable, or why spans are rejected; "" when all is well


@inline
def varint(at: int, end: int, longest: int) -> tuple[Word, int]:
    """Return (value, next position) of the varint at `at`; the position is -CUT or -VARINT on error.

    Bits above 64 are dropped, as upb does.
    """
    if at < end:
        found = byte(at)
        if found < 128:  # most are
            return np.uint64(found), at + 1
    value = ZERO
    shift = ZERO
    stop = at + longest
    while True:
        if at >= end:
            return value, -CUT
        if at >= stop:
            return value, -VARINT
        found = byte(at)
        at += 1
        value |= np.uint64(found & 0x7F) << shift
        if found < 128:
            return value, at
        shift += np.uint64(7)


@inline
def valid_id(at: int, length: int, wanted: int) -> bool:
    """Whether the id of `length` bytes at `at` has `wanted` bytes, not all zero."""
    some = 0
    if length == wanted:
        for i in range(at, at + length):
            some |= byte(i)
    return some != 0


@inline
def short(at: int, end: int) -> tuple[int, int]:
    """Return (length, next position) of a length of one or two bytes, of which one at least stands before `end`.

    The length is -1 when it is longer than that.
    """
    length = byte(at)
    at += 1
    if length >= 128:
        if at < end and byte(at) < 128:
            length = (length & 127) | (byte(at) << 7)
            at += 1
        else:
            length = -1
    return length, at


@inline
def plain(at: int, end: int) -> tuple[int, int, int]:
    """Look for a KeyValue at [at, end) as everybody writes it: a key, then one value that is text or a number.

    Returns (bytes of the key, tag of the value, where it begins: its text, or its number). The tag is 0 for all
    others, which are not wrong for that. The key begins at at + 2, and text ends at `end`.
    """
    key = 0
    tag = 0
    place = at
    if end - at >= 6 and byte(at) == 0x0A:
        key = byte(at + 1)
        p = at + 2 + key
        if key < 128 and p + 4 <= end and byte(p) == 0x12:
            length, p = short(p + 1, end)
            if length == end - p and length >= 2:
                first = byte(p)
                if first == 0x0A:
                    length, p = short(p + 1, end)
                    if length == end - p:
                        tag = first
                        place = p
                elif first in (0x18, 0x10) and length <= 11 and byte(end - 1) < 128:
                    tag = first
                    place = p + 1
                    for i in range(p + 1, end - 1):
                        if byte(i) < 128:  # another field begins there
                            tag = 0
                elif first == 0x21 and length == 9:
                    tag = first
                    place = p + 1
    return key, tag, place


@kernel
def scan(
    buffer: Bytes, start: int, stop: int, of: int, outside: int, group: int
) -> tuple[int, int, int, int, int, int]:
    """Check the message at [start, stop).

    of: its type; outside: messages around it; group: its field number when it is a
    group, which may end before `stop`; -1 when it is none.
    Returns (spans, spans without a trace id, spans with one but without a span
    id, attributes of spans, resources and scopes, position of the error or -1,
    index into REASONS).
    """
    ends = np.empty(MAX_DEPTH + 2, np.int64)  # where the message at each depth ends
    types = np.empty(MAX_DEPTH + 2, np.int64)
    groups = np.empty(MAX_DEPTH + 2, np.int64)  # field number when it is a group, else -1
    base = address(buffer)
    depth = outside
    end = base + stop
    ends[depth] = end
    types[depth] = of
    groups[depth] = group
    spans = bad_trace = bad_span = attributes = 0
    trace_ok = span_ok = False
    at = base + start
    kind = of
    while True:
        while at == end:  # this message is complete; so may be those around it
            if groups[depth] >= 0:
                return spans, bad_trace, bad_span, attributes, at - base, GROUP_OPEN
            if depth == outside:
                return spans, bad_trace, bad_span, attributes, -1, 0
            if kind == SPAN:
                spans += 1
                if not trace_ok:
                    bad_trace += 1
                elif not span_ok:
                    bad_span += 1
            depth -= 1
            end = ends[depth]
            kind = types[depth]
        field_at = at
        tag, at = varint(at, end, 5)
        if at < 0:
            return spans, bad_trace, bad_span, attributes, field_at - base, CUT if at == -CUT else TAG
        if tag > np.uint64(0xFFFFFFFF):
            return spans, bad_trace, bad_span, attributes, field_at - base, TAG
        number = int(np.int64(tag >> np.uint64(3)))
        wire = int(np.int64(tag & np.uint64(7)))
        if number == 0 and kind != UNKNOWN:  # upb skips what is in a group without a look at its numbers
            return spans, bad_trace, bad_span, attributes, field_at - base, FIELD_ZERO
        if wire == 2:
            length_at = at
            size, at = varint(at, end, 5)
            if at < 0:
                return spans, bad_trace, bad_span, attributes, length_at - base, CUT if at == -CUT else LENGTH
            if size > np.uint64(MAX_LENGTH):
                return spans, bad_trace, bad_span, attributes, length_at - base, LENGTH
            length = int(np.int64(size))
            if length > end - at:
                return spans, bad_trace, bad_span, attributes, field_at - base, OVERRUN
            child = -1
            if number < 16:
                child = int(CHILDREN[kind, number])
            if child < 0:
                if kind == SPAN:
                    if number == 1:
                        trace_ok = valid_id(at, length, 16)
                    elif number == 2:
                        span_ok = valid_id(at, length, 8)
                at += length
                continue
            if depth == MAX_DEPTH:
                return spans, bad_trace, bad_span, attributes, field_at - base, DEPTH
            if child == KEY_VALUE and (kind in (SPAN, RESOURCE, SCOPE)):
                attributes += 1
                _, value, _ = plain(at, at + length)
                if value != 0:
                    at += length
                    continue
            elif child == SPAN:
                trace_ok = span_ok = False
            depth += 1
            end = at + length
            kind = child
            ends[depth] = end
            types[depth] = kind
            groups[depth] = -1
        elif wire == 0:
            _, at = varint(at, end, 10)
            if at < 0:
                return spans, bad_trace, bad_span, attributes, field_at - base, CUT if at == -CUT else VARINT
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
            if at > end:
                return spans, bad_trace, bad_span, attributes, field_at - base, CUT
        elif wire == 3:
            if depth == MAX_DEPTH:
                return spans, bad_trace, bad_span, attributes, field_at - base, DEPTH
            depth += 1
            kind = UNKNOWN
            ends[depth] = end
            types[depth] = kind
            groups[depth] = number
        elif wire == 4:
            if groups[depth] != number:
                return spans, bad_trace, bad_span, attributes, field_at - base, GROUP_END
            if depth == outside:
                return spans, bad_trace, bad_span, attributes, -1, 0
            depth -= 1
            end = ends[depth]
            kind = types[depth]
        else:
            return spans, bad_trace, bad_span, attributes, field_at - base, WIRE_TYPE


@inline
def sound(buffer: Bytes, start: int, stop: int, of: int, outside: int, group: int) -> bool:
    """Whether `scan` finds no error."""
    # A constant is a type of its own, for which numba would compile the kernel anew.
    return scan(buffer, start, stop, signed(of), signed(outside), signed(group))[4] < 0


@kernel
def scan_all(
    buffer: Bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[int, int, int, int, int, int, int]:
    """Check the requests at [starts[i], ends[i]).

    Returns (spans, …, attributes) as `scan`, summed, then (request, position,
    reason) of the first error; request is -1 when there is none.
    """
    spans = bad_trace = bad_span = attributes = 0
    for i in range(len(starts)):
        some, no_trace, no_span, held, error, reason = scan(
            buffer, starts[i], ends[i], signed(REQUEST), signed(0), signed(-1)
        )
        if error >= 0:
            return spans, bad_trace, bad_span, attributes, i, error - starts[i], reason
        spans += some
        bad_trace += no_trace
        bad_span += no_span
        attributes += held
    return spans, bad_trace, bad_span, attributes, -1, -1, 0


@kernel
def glance(buffer: Bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> int:
    """Return how many spans the requests at [starts[i], ends[i]) hold, without a look into them; -1 where that fails.

    Of requests that are not sound the number means nothing.
    """
    base = address(buffer)
    stops = np.empty(2, np.int64)
    spans = 0
    for i in range(len(starts)):
        at = base + starts[i]
        end = base + ends[i]
        depth = 0
        while True:
            while at == end and depth > 0:
                depth -= 1
                end = stops[depth]
            if at == end:
                break
            tag, at = varint(at, end, 5)
            if at < 0 or tag & np.uint64(7) != np.uint64(2):
                return -1
            size, at = varint(at, end, 5)
            if at < 0 or size > np.uint64(end - at):
                return -1
            inner = tag == np.uint64(0x12 if depth else 0x0A)
            if inner and depth < 2:
                stops[depth] = end
                end = at + signed(size)
                depth += 1
            else:
                spans += inner
                at += signed(size)
    return spans


def readable(body: bytes) -> Bytes:
    """Return the bytes as the one kind of array that the kernels take."""
    return np.frombuffer(body, np.uint8) if body else np.frombuffer(b"\0", np.uint8)[:0]


def validate(body: bytes) -> Verdict:
    """Check an ExportTraceServiceRequest and count its spans, without decoding it. Raises nothing."""
    spans, bad_trace, bad_span, _, error, reason = scan(readable(body), 0, len(body), REQUEST, 0, -1)
    if error >= 0:
        return Verdict(0, 0, error, f"byte {error}: {REASONS[reason]}")
    return Verdict(spans, bad_trace + bad_span, -1, refusals(bad_trace, bad_span))


def refusals(bad_trace: int, bad_span: int) -> str:
    """Say why spans are rejected; "" when none is."""
    said = [
        f"{count} with a {what} that is not {size} bytes, or all zero"
        for count, what, size in ((bad_trace, "trace_id", 16), (bad_span, "span_id", 8))
        if count
    ]
    return "spans rejected: " + "; ".join(said) if said else ""


def warm() -> None:
    """Compile the kernel, or load it from its cache."""
    validate(b"\x0a\x00")
