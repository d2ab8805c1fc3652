"""Zipkin protobuf as OTLP: zipkin.proto3.ListOfSpans.

Owns the reading of that protobuf, into the shape that JSON has; what a span
becomes is `_zipkin`'s. Fields that are unknown, or of another wire type than
theirs, are skipped; a span whose bytes are no protobuf costs itself alone.

Source: zipkin.proto of Zipkin's API. Groups, which proto3 has no more, are refused.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

from tracelens.errors import DecodeError
from tracelens.wire.translate._fields import BYTES, FIXED64, fields
from tracelens.wire.translate._zipkin import Spans

KINDS = {0: None, 1: "CLIENT", 2: "SERVER", 3: "PRODUCER", 4: "CONSUMER"}
NO_KIND = "none of them"
NO_ID = "?"
KNOWN = 20_000  # tags remembered, all together at most
SHORT = 200  # bytes of one that is remembered


def translate(body: bytes) -> bytes:
    """Return a ListOfSpans as ExportTraceServiceRequest.

    Raises DecodeError when the body is no protobuf, or none of its spans is.
    """
    spans, tags = Spans(), _Tags()
    failed: DecodeError | None = None
    read = 0
    try:
        for tag, value, end in fields(body):
            if tag != 1 << 3 | BYTES:
                continue
            try:
                spans.add(_span(value, tags) if value else None)
                read += 1
            except DecodeError as error:
                failed = failed or _inside(error, value, end)
                spans.add(None)
        if failed and not read:
            raise failed
    except DecodeError as error:
        raise DecodeError(f"no protobuf: byte {error.byte}: {error.reason}", byte=error.byte) from None
    return spans.request()


def _inside(error: DecodeError, value: bytes, end: int) -> DecodeError:
    """Return an error of a field as one of what holds it; end: where the field ends there."""
    return DecodeError(error.reason, byte=end - len(value) + error.byte)


class _Tags(dict[bytes, tuple[str, str]]):
    """Key and value of tags, by their bytes: most come again and again."""

    def __missing__(self, entry: bytes) -> tuple[str, str]:
        key, value = _entry(entry)
        pair = _text(key), _text(value)
        if len(entry) <= SHORT:
            if len(self) >= KNOWN:
                self.clear()
            self[entry] = pair
        return pair


def _entry(body: bytes) -> tuple[bytes, bytes]:
    """Return key and value of an entry of a map."""
    length = len(body)
    if 4 <= length < SHORT and body[0] == 0x0A and body[1] < min(length - 3, 0x80):
        at = body[1] + 2  # as writers write it: the key, then the value, and nothing else; in a third of the time
        if body[at] == 0x12 and body[at + 1] == length - at - 2 < 0x80:
            return body[2:at], body[at + 2 :]
    key = value = b""
    for tag, found, _ in fields(body):
        if tag == 1 << 3 | BYTES:
            key = found
        elif tag == 2 << 3 | BYTES:
            value = found
    return key, value


def _span(body: bytes, known: _Tags) -> dict[str, Any]:
    """Return a Span as JSON has it. Raises DecodeError with the byte of the span."""
    span: dict[str, Any] = {}
    tags = []
    annotated = False
    for tag, value, end in fields(body):
        try:
            match tag:
                case 0x5A:  # 11, tags: most fields are
                    tags.append(known[value])
                case 0x0A:  # 1, trace_id
                    span["traceId"] = value.hex() if len(value) in (8, 16) else NO_ID
                case 0x12:  # 2, parent_id
                    span["parentId"] = value.hex() if len(value) in (0, 8) else NO_ID
                case 0x1A:  # 3, id
                    span["id"] = value.hex() if len(value) == 8 else NO_ID
                case 0x20:  # 4, kind
                    span["kind"] = KINDS.get(value, NO_KIND)
                case 0x2A:  # 5, name
                    span["name"] = _text(value)
                case 0x31:  # 6, timestamp
                    span["timestamp"] = value
                case 0x38:  # 7, duration
                    span["duration"] = value
                case 0x42:  # 8, local_endpoint
                    span["localEndpoint"] = _endpoint(value)
                case 0x4A:  # 9, remote_endpoint
                    span["remoteEndpoint"] = _endpoint(value)
                case 0x52:  # 10, annotations
                    annotated = True
                case 0x60:  # 12, debug
                    span["debug"] = value != 0
                case 0x68:  # 13, shared
                    span["shared"] = value != 0
        except DecodeError as error:
            raise _inside(error, value, end) from None
    span["tags"] = dict(tags)
    if annotated:  # read when they are written: there may be millions
        span["annotations"] = (_annotation(value, end) for tag, value, end in fields(body) if tag == 10 << 3 | BYTES)
    return span


def _endpoint(body: bytes) -> dict[str, Any]:
    endpoint: dict[str, Any] = {}
    for tag, value, _ in fields(body):
        match tag:
            case 0x0A:
                endpoint["serviceName"] = _text(value)
            case 0x12:
                endpoint["ipv4"] = ".".join(map(str, value)) if len(value) == 4 else value.hex()
            case 0x1A:
                endpoint["ipv6"] = IPv6Address(value).compressed if len(value) == 16 else value.hex()
            case 0x20:
                endpoint["port"] = value
    return endpoint


def _annotation(body: bytes, end: int) -> dict[str, Any]:
    """Return an annotation; end: where it ends in its span."""
    annotation: dict[str, Any] = {}
    try:
        for tag, value, _ in fields(body):
            if tag == 1 << 3 | FIXED64:
                annotation["timestamp"] = value
            elif tag == 2 << 3 | BYTES:
                annotation["value"] = _text(value)
    except DecodeError as error:
        raise _inside(error, body, end) from None
    return annotation


def _text(raw: bytes) -> str:
    """Return text; bytes that are no UTF-8 are kept in it, see `_encode.utf8`."""
    return raw.decode("utf-8", "surrogateescape")
