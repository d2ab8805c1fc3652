"""OpenCensus as OTLP: requests of the agent's trace service.

Owns the mapping. A stream says its node and its resource once, and what it
said holds for what follows: `Sticky` keeps that.

    node.service_info.name      the resource's service.name
    node.identifier             host.name, process.pid, process.start_time
    node.library_info           telemetry.sdk.language, .version, opencensus.exporterversion
    node.attributes, labels     attributes of the resource; resource.type is opencensus.resourcetype
    span.resource               in the place of the request's
    annotations                 events, named by their description
    message events              events named `message`: message.type, .id and sizes
    status                      a code other than 0 is an error, whatever gRPC calls it
    same_process_as_parent_span, child_span_count   attributes `opencensus.…`

A span whose bytes are no protobuf becomes one without ids, which is rejected
and counted as such. Source: trace.proto, common.proto and resource.proto of
opencensus-proto 0.3; the names of attributes are the OpenTelemetry Collector's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tracelens.errors import DecodeError
from tracelens.wire._encode import U64, fixed64, message, number, varint
from tracelens.wire.translate._fields import BYTES, FIXED64, VARINT, fields

SERVER, CLIENT = 1, 2
KINDS = {SERVER: 2, CLIENT: 3}  # OTLP's numbers
LANGUAGES = ("", "cpp", "dotnet", "erlang", "go", "java", "nodejs", "php", "python", "ruby", "webjs")
MESSAGE_TYPES = {1: "SENT", 2: "RECEIVED"}
LAST = (1 << 64) - 1
SECOND = 10**9
ERROR = 2
KNOWN = 20_000  # attributes remembered
SHORT = 200  # bytes of one that is


@dataclass(slots=True)
class Sticky:
    """What a stream said that holds for what follows on it."""

    node: bytes = b""
    resource: bytes = b""


def translate(body: bytes, sticky: Sticky | None = None) -> bytes:
    """Return an ExportTraceServiceRequest of OpenCensus as OTLP's.

    sticky: of the stream; a node or resource in the body replaces it.
    Raises DecodeError when the body is no protobuf.
    """
    sticky = sticky or Sticky()
    spans: list[bytes] = []
    for tag, value, _ in fields(body):
        if tag == 1 << 3 | BYTES:
            sticky.node = value
        elif tag == 2 << 3 | BYTES:
            spans.append(value)
        elif tag == 3 << 3 | BYTES:
            sticky.resource = value
    by_resource: dict[bytes, list[bytes]] = {}
    known: dict[bytes, bytes] = {}
    for span in spans:
        try:
            written, resource = _span(span, known)
        except DecodeError:
            written, resource = b"", None
        by_resource.setdefault(sticky.resource if resource is None else resource, []).append(message(2, written))
    of_node = _readable(_node, sticky.node)
    return b"".join(
        [
            message(1, message(1, of_node + _readable(_resource, resource)) + message(2, b"".join(written)))
            for resource, written in by_resource.items()
        ]
    )


def _readable(read: Any, body: bytes) -> bytes:
    """Return what is written of a message; nothing when it is no protobuf."""
    try:
        found: bytes = read(body)
    except DecodeError:
        return b""
    return found


def _attribute(field: int, key: bytes, value: bytes) -> bytes:
    """Return a KeyValue as a field of its owner; value: the body of an AnyValue."""
    return message(field, message(1, key) + message(2, value))


def _text(field: int, key: str, value: bytes) -> bytes:
    return _attribute(field, key.encode(), message(1, value)) if value else b""


def _integer(field: int, key: str, value: int) -> bytes:
    return _attribute(field, key.encode(), varint(3 << 3) + varint(value))


def _node(body: bytes) -> bytes:
    """Return a node as attributes of a resource."""
    found = b""
    for tag, value, _ in fields(body):
        if tag == 1 << 3 | BYTES:
            for inner, one, _ in fields(value):
                if inner == 1 << 3 | BYTES:
                    found += _text(1, "host.name", one)
                elif inner == 2 << 3 | VARINT:
                    found += _integer(1, "process.pid", one)
                elif inner == 3 << 3 | BYTES:
                    found += _integer(1, "process.start_time", _time(one))
        elif tag == 2 << 3 | BYTES:
            for inner, one, _ in fields(value):
                if inner == 1 << 3 | VARINT and 0 < one < len(LANGUAGES):
                    found += _text(1, "telemetry.sdk.language", LANGUAGES[one].encode())
                elif inner == 2 << 3 | BYTES:
                    found += _text(1, "opencensus.exporterversion", one)
                elif inner == 3 << 3 | BYTES:
                    found += _text(1, "telemetry.sdk.version", one)
        elif tag == 3 << 3 | BYTES:
            for inner, one, _ in fields(value):
                if inner == 1 << 3 | BYTES:
                    found += _text(1, "service.name", one)
        elif tag == 4 << 3 | BYTES:
            found += _label(value)
    return found


def _resource(body: bytes) -> bytes:
    """Return a resource as attributes of one."""
    found = b""
    for tag, value, _ in fields(body):
        if tag == 1 << 3 | BYTES:
            found += _text(1, "opencensus.resourcetype", value)
        elif tag == 2 << 3 | BYTES:
            found += _label(value)
    return found


def _label(entry: bytes) -> bytes:
    key, value = _entry(entry)
    return _attribute(1, key, message(1, value))


def _entry(body: bytes) -> tuple[bytes, bytes]:
    """Return key and value of an entry of a map."""
    key = value = b""
    for tag, found, _ in fields(body):
        if tag == 1 << 3 | BYTES:
            key = found
        elif tag == 2 << 3 | BYTES:
            value = found
    return key, value


def _span(body: bytes, known: dict[bytes, bytes]) -> tuple[bytes, bytes | None]:
    """Return a Span's body, and its own resource; None when it has none. Raises DecodeError."""
    parts = []
    resource = None
    for tag, value, _ in fields(body):
        match tag:
            case 0x0A:  # 1, trace_id
                parts.append(message(1, value))
            case 0x12:  # 2, span_id
                parts.append(message(2, value))
            case 0x1A:  # 3, parent_span_id
                parts.append(message(4, value) if value else b"")
            case 0x22:  # 4, name
                parts.append(message(5, _truncatable(value)))
            case 0x2A:  # 5, start_time
                parts.append(fixed64(7, _time(value)))
            case 0x32:  # 6, end_time
                parts.append(fixed64(8, _time(value)))
            case 0x3A:  # 7, attributes
                parts.append(_attributes(value, 9, 10, known))
            case 0x4A:  # 9, time_events
                parts.append(_events(value, known))
            case 0x52:  # 10, links
                parts.append(_links(value, known))
            case 0x5A:  # 11, status
                parts.append(_status(value))
            case 0x62:  # 12, same_process_as_parent_span
                same = any(inner == 1 << 3 | VARINT and one for inner, one, _ in fields(value))
                key = b"opencensus.same_process_as_parent_span"
                parts.append(_attribute(9, key, varint(2 << 3) + varint(int(same))))
            case 0x6A:  # 13, child_span_count
                count = next((one for inner, one, _ in fields(value) if inner == 1 << 3 | VARINT), 0)
                parts.append(_integer(9, "opencensus.child_span_count", count))
            case 0x70:  # 14, kind
                parts.append(number(6, KINDS.get(value, 0)))
            case 0x7A:  # 15, tracestate
                parts.append(message(3, _tracestate(value)))
            case 0x82:  # 16, resource: a tag of two bytes
                resource = value
    return b"".join(parts), resource


def _truncatable(body: bytes) -> bytes:
    return next((value for tag, value, _ in fields(body) if tag == 1 << 3 | BYTES), b"")


def _time(body: bytes) -> int:
    """Return a Timestamp in nanoseconds; one before 1970, or beyond 64 bits, as the nearest there is."""
    seconds = nanos = 0
    for tag, value, _ in fields(body):
        if tag == 1 << 3 | VARINT:
            seconds = value - (1 << 64) if value >> 63 else value
        elif tag == 2 << 3 | VARINT:
            nanos = value - (1 << 64) if value >> 63 else value
    return min(max(seconds * SECOND + nanos, 0), LAST)


def _attributes(body: bytes, field: int, dropped: int, known: dict[bytes, bytes]) -> bytes:
    """Return Attributes as fields of their owner: the attributes, and how many the sender dropped."""
    parts = []
    for tag, value, _ in fields(body):
        if tag == 1 << 3 | BYTES:
            name = bytes((field,)) + value
            written = known.get(name)
            if written is None:
                key, inner = _entry(value)
                written = _attribute(field, key, _value(inner))
                if len(value) <= SHORT:
                    if len(known) >= KNOWN:
                        known.clear()
                    known[name] = written
            parts.append(written)
        elif tag == 2 << 3 | VARINT:
            parts.append(number(dropped, value & 0xFFFFFFFF))
    return b"".join(parts)


def _value(body: bytes) -> bytes:
    """Return an AttributeValue as the body of an AnyValue."""
    found = b""
    for tag, value, _ in fields(body):
        if tag == 1 << 3 | BYTES:
            found = message(1, _truncatable(value))
        elif tag == 2 << 3 | VARINT:
            found = varint(3 << 3) + varint(value)
        elif tag == 3 << 3 | VARINT:
            found = varint(2 << 3) + varint(int(value != 0))
        elif tag == 4 << 3 | FIXED64:
            found = varint(4 << 3 | 1) + U64.pack(value)
    return found


def _events(body: bytes, known: dict[bytes, bytes]) -> bytes:
    """Return TimeEvents as events of a span."""
    parts = []
    dropped = 0
    for tag, value, _ in fields(body):
        if tag == 1 << 3 | BYTES:
            parts.append(message(11, _event(value, known)))
        elif tag in (2 << 3 | VARINT, 3 << 3 | VARINT):
            dropped += value & 0xFFFFFFFF
    return b"".join(parts) + number(12, min(dropped, 0xFFFFFFFF))


def _event(body: bytes, known: dict[bytes, bytes]) -> bytes:
    found = b""
    for tag, value, _ in fields(body):
        if tag == 1 << 3 | BYTES:
            found += fixed64(1, _time(value))
        elif tag == 2 << 3 | BYTES:
            for inner, one, _ in fields(value):
                if inner == 1 << 3 | BYTES:
                    found += message(2, _truncatable(one))
                elif inner == 2 << 3 | BYTES:
                    found += _attributes(one, 3, 4, known)
        elif tag == 3 << 3 | BYTES:
            found += message(2, b"message")
            names = {2: "message.id", 3: "message.uncompressed_size", 4: "message.compressed_size"}
            for inner, one, _ in fields(value):
                if inner == 1 << 3 | VARINT:
                    found += _text(3, "message.type", MESSAGE_TYPES.get(one, "").encode())
                elif inner & 7 == VARINT and inner >> 3 in names:
                    found += _integer(3, names[inner >> 3], one)
    return found


def _links(body: bytes, known: dict[bytes, bytes]) -> bytes:
    """Return Links as links of a span."""
    parts = []
    for tag, value, _ in fields(body):
        if tag == 1 << 3 | BYTES:
            link = b""
            for inner, one, _ in fields(value):
                if inner in (0x0A, 0x12):  # trace_id, span_id
                    link += message(inner >> 3, one)
                elif inner == 0x22:  # attributes
                    link += _attributes(one, 4, 5, known)
                elif inner == 0x2A:  # tracestate
                    link += message(3, _tracestate(one))
            parts.append(message(13, link))
        elif tag == 2 << 3 | VARINT:
            parts.append(number(14, value & 0xFFFFFFFF))
    return b"".join(parts)


def _tracestate(body: bytes) -> bytes:
    """Return a Tracestate as W3C writes it."""
    return b",".join([b"=".join(_entry(value)) for tag, value, _ in fields(body) if tag == 1 << 3 | BYTES])


def _status(body: bytes) -> bytes:
    code, said = 0, b""
    for tag, value, _ in fields(body):
        if tag == 1 << 3 | VARINT:
            code = value
        elif tag == 2 << 3 | BYTES:
            said = value
    return message(15, message(2, said) + number(3, ERROR)) if code else b""
