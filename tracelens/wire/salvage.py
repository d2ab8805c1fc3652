"""Salvage: the sound spans of a request in which some are broken.

Owns the way around a span whose bytes are no protobuf, or nested too deep,
while the request around it is whole. Requests that are sound never come here.
"""

from __future__ import annotations

from collections.abc import Iterator

from tracelens.wire._encode import message
from tracelens.wire._scan import Verdict, validate

RESOURCE_SPANS = 1
SCOPE_SPANS = SPANS = 2
SIZES = {1: 8, 5: 4}  # bytes by wire type


class Broken(Exception):
    """The bytes end within a field, or are no field."""


def salvage(body: bytes) -> tuple[bytes, Verdict] | None:
    """Return a request without its broken spans, and what is to be said of it; None when more is broken than spans.

    body: an ExportTraceServiceRequest that `validate` found an error in.
    """
    broken = 0
    found = []
    try:
        for number, wire, whole, resource_spans in fields(body):
            if (number, wire) != (RESOURCE_SPANS, 2):
                found.append(whole)
                continue
            parts = []
            for inner, inner_wire, inner_whole, scope_spans in fields(resource_spans):
                if (inner, inner_wire) != (SCOPE_SPANS, 2):
                    parts.append(inner_whole)
                    continue
                spans, lost = _sound(scope_spans)
                broken += lost
                parts.append(message(SCOPE_SPANS, spans))
            found.append(message(RESOURCE_SPANS, b"".join(parts)))
    except Broken:
        return None
    saved = b"".join(found)
    verdict = validate(saved)
    if verdict.error_byte >= 0:  # a resource or a scope is broken
        return None
    reasons = [f"spans rejected: {broken} broken or nested too deep", verdict.reason.removeprefix("spans rejected: ")]
    return saved, Verdict(verdict.spans + broken, verdict.rejected + broken, -1, "; ".join(filter(None, reasons)))


def _sound(scope_spans: bytes) -> tuple[bytes, int]:
    """Return ScopeSpans without broken spans, and how many were."""
    parts, lost = [], 0
    for number, wire, whole, _ in fields(scope_spans):
        # Checked where it stands, so that it is nested as deep as it was.
        if (number, wire) == (SPANS, 2) and validate(message(1, message(2, whole))).error_byte >= 0:
            lost += 1
        else:
            parts.append(whole)
    return b"".join(parts), lost


def fields(body: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Yield (number, wire type, the field with its tag, its content) of a message. Raises Broken."""
    at = 0
    while at < len(body):
        start = at
        tag, at = _varint(body, at, 5)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, at = _varint(body, at, 10)
            content = b""
        elif wire == 2:
            length, at = _varint(body, at, 5)
            content = body[at : at + length]
            at += length
        elif wire in SIZES:
            content = b""
            at += SIZES[wire]
        else:  # groups, which nobody sends
            raise Broken
        if at > len(body) or number == 0:
            raise Broken
        yield number, wire, body[start:at], content


def _varint(body: bytes, at: int, longest: int) -> tuple[int, int]:
    value = 0
    for i in range(longest):
        if at + i >= len(body):
            raise Broken
        byte = body[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise Broken
