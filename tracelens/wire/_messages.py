"""OTLP messages as OTLP JSON text: what the kernels leave to protobuf's runtime.

Owns the text of arrays, maps and bytes, and of events and links, by the rules
of `decoded`. Costs some microseconds a message, so only what has no column
type comes here.
"""

from __future__ import annotations

import base64
import math
from functools import cache
from typing import Any

import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

Json = dict[str, Any]


@cache
def lenient_pool() -> descriptor_pool.DescriptorPool:
    """Return OTLP's messages with bytes where they have text.

    protobuf refuses a whole request for one byte that is not UTF-8; these
    messages read it, and the text is repaired.
    """
    field = descriptor_pb2.FieldDescriptorProto
    pool = descriptor_pool.DescriptorPool()
    for module in (common_pb2, resource_pb2, trace_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        left = list(file.message_type)
        while left:
            message = left.pop()
            left += message.nested_type
            for entry in message.field:
                if entry.type == field.TYPE_STRING:
                    entry.type = field.TYPE_BYTES
        pool.Add(file)
    return pool


@cache
def lenient(name: str) -> Any:
    """Return the class of such a message; name: "trace.v1.Span"."""
    return message_factory.GetMessageClass(lenient_pool().FindMessageTypeByName(f"opentelemetry.proto.{name}"))


class Text:
    """Bytes to text; remembers whether any had to be repaired."""

    def __init__(self) -> None:
        self.bad = False

    def __call__(self, raw: bytes) -> str:
        """Return the text; each bad sequence becomes U+FFFD."""
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.bad = True
            return raw.decode(errors="replace")


def finite(value: float) -> float | str:
    """Return a number as JSON can hold it: as protobuf's JSON does, by name where there is none."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def any_value(value: Any, text: Text) -> Json:
    """Return an AnyValue as OTLP JSON; {} when nothing is set."""
    match value.WhichOneof("value"):
        case "string_value":
            return {"stringValue": text(value.string_value)}
        case "bool_value":
            return {"boolValue": value.bool_value}
        case "int_value":
            return {"intValue": str(value.int_value)}
        case "double_value":
            return {"doubleValue": finite(value.double_value)}
        case "array_value":
            return {"arrayValue": {"values": [any_value(item, text) for item in value.array_value.values]}}
        case "kvlist_value":
            return {"kvlistValue": {"values": attributes(value.kvlist_value.values, text)}}
        case "bytes_value":
            return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
        case "string_value_strindex":
            return {"stringValueStrindex": value.string_value_strindex}
        case _:
            return {}


def attributes(pairs: Any, text: Text) -> list[Json]:
    """Return KeyValues as OTLP JSON."""
    return [{"key": text(pair.key), "value": any_value(pair.value, text)} for pair in pairs]


def said(fields: Json) -> Json:
    """Leave out what protobuf's JSON leaves out: fields that have their default."""
    return {name: value for name, value in fields.items() if value}


def key_value(raw: bytes) -> tuple[bytes, bool]:
    """Return (JSON of the value, whether text was repaired) of the bytes of a KeyValue."""
    text = Text()
    value = any_value(lenient("common.v1.KeyValue").FromString(raw).value, text)
    return orjson.dumps(value), text.bad


def event(message: Any, text: Text) -> Json:
    """Return a Span.Event as OTLP JSON."""
    return said(
        {
            "timeUnixNano": str(message.time_unix_nano) if message.time_unix_nano else "",
            "name": text(message.name),
            "attributes": attributes(message.attributes, text),
            "droppedAttributesCount": message.dropped_attributes_count,
        }
    )


def link(message: Any, text: Text) -> Json:
    """Return a Span.Link as OTLP JSON."""
    return said(
        {
            "traceId": message.trace_id.hex(),
            "spanId": message.span_id.hex(),
            "traceState": text(message.trace_state),
            "attributes": attributes(message.attributes, text),
            "droppedAttributesCount": message.dropped_attributes_count,
            "flags": message.flags,
        }
    )


def events_and_links(raw: bytes) -> tuple[bytes | None, bytes | None, bool]:
    """Return (events, links, whether text was repaired) of the bytes of a Span; None where it has none."""
    text = Text()
    span = lenient("trace.v1.Span").FromString(raw)
    events = [event(message, text) for message in span.events]
    links = [link(message, text) for message in span.links]
    return orjson.dumps(events) if events else None, orjson.dumps(links) if links else None, text.bad
