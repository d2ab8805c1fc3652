"""OTLP JSON objects as OTLP protobuf: so that every format is read by one decoder.

Owns the encoding. What spans look like in JSON is `otlp_json`'s and
`jaeger`'s; everything that is decided about a span (columns, repairs,
rejections, limits) is decided once, in `otlp`, whichever door it came through.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from tracelens.errors import DecodeError
from tracelens.wire._scan import MAX_DEPTH

Json = Mapping[str, Any]
MASK = (1 << 64) - 1
SMALL = tuple(bytes((n,)) for n in range(0x80))  # varints of one byte
U64, U32, DOUBLE = struct.Struct("<Q"), struct.Struct("<I"), struct.Struct("<d")
KNOWN = 50_000  # attributes remembered; ids never come again and would be kept for ever
DICTIONARIES = frozenset({dict})
UNREADABLE = b"?"  # a parent id that is none: of a wrong length, so that it is marked
DOUBLES = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf")}


def varint(number: int) -> bytes:
    """Return an unsigned number; a negative one as 64 bits of two's complement."""
    if 0 <= number < 0x80:
        return SMALL[number]
    number &= MASK
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


TAGS = tuple(varint(field << 3 | 2) for field in range(32))  # of length-delimited fields


def message(field: int, body: bytes) -> bytes:
    """Return a length-delimited field."""
    return TAGS[field] + varint(len(body)) + body


def number(field: int, value: int) -> bytes:
    """Return a varint field; nothing for 0, as protobuf does."""
    return varint(field << 3) + varint(value) if value else b""


def fixed64(field: int, value: int) -> bytes:
    return SMALL[field << 3 | 1] + U64.pack(value & MASK) if value else b""


def utf8(text: str) -> bytes:
    """Return text as bytes; such as were no UTF-8 when they came are what they were, for the decoder to mark."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair
        return text.encode("utf-8", "surrogatepass")


def text(field: int, value: Any) -> bytes:
    """Return a string field; what JSON has instead of a string is written as text."""
    if not value:
        return b""
    return message(field, utf8(value if isinstance(value, str) else str(value)))


def get(json: Json, camel: str, snake: str) -> Any:
    """Return a field by its JSON name, or by its name in the protobuf file."""
    found = json.get(camel)
    return json.get(snake) if found is None else found


def renamed(json: Json) -> Json:
    """Return an object whose fields are named as in the protobuf file with the names of JSON."""
    found: dict[str, Any] = {}
    for name, value in json.items():
        first, *rest = name.split("_")
        found.setdefault(first + "".join(map(str.capitalize, rest)), value)
    return found


def whole(value: Any, what: str) -> int:
    """Return an integer that JSON may hold as a number or as text; absent is 0. Raises DecodeError."""
    if value is None or value == "":
        return 0
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise DecodeError(f"{what} is {value!r:.60}, and should be a whole number") from None


def listed(value: Any, what: str) -> list[Json]:
    """Return a list of objects; absent is empty. Raises DecodeError."""
    if value is None:
        return []
    if value.__class__ is not list or not DICTIONARIES.issuperset(map(type, value)):
        raise DecodeError(f"{what} should be a list of objects")
    return value


def identifier(value: Any) -> bytes:
    """Return an id that JSON has in hexadecimal, or against the specification in base64; anything else is no id."""
    if not isinstance(value, str):
        return b""
    try:
        return bytes.fromhex(value)
    except ValueError:
        pass
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:  # not base64 either, or not ASCII
        return b""


class Encoder:
    """Writes spans; remembers attributes it has written, for most come again and again."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str, str, Any], bytes] = {}

    def key_values(self, field: int, attributes: Any) -> bytes:
        """Return attributes as repeated fields of their owner."""
        known = self._known
        parts = []
        for pair in listed(attributes, "attributes"):
            key, value = pair.get("key"), pair.get("value")
            if value.__class__ is not dict or len(value) != 1:
                parts.append(message(field, text(1, key) + self._value(value)))
                continue
            ((kind, inner),) = value.items()
            # What `attribute` would find; a call for each costs as much as the look-up.
            found = known.get((field, key, kind, inner)) if inner.__class__ is str and key.__class__ is str else None
            parts.append(found or self.attribute(field, key, kind, inner))
        return b"".join(parts)

    def attribute(self, field: int, key: Any, kind: str, inner: Any) -> bytes:
        """Return an attribute as a field of its owner; kind and inner: the value as OTLP JSON has it."""
        # Only what is equal when it compares equal can be looked up: True is 1, and -0.0 is 0.0.
        if key.__class__ is not str or (inner.__class__ is not str and inner.__class__ is not int):
            return message(field, text(1, key) + self._value({kind: inner}))
        name = (field, key, kind, inner)
        found = self._known.get(name)
        if found is None:
            found = message(field, text(1, key) + self._value({kind: inner}))
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[name] = found
        return found

    def _value(self, value: Any) -> bytes:
        """Return a KeyValue's value; nothing when there is none."""
        return message(2, self._any_value(value, 0)) if isinstance(value, Mapping) else b""

    def _any_value(self, value: Json, depth: int) -> bytes:
        """Return an AnyValue's body; one of none of the kinds is empty."""
        if depth > MAX_DEPTH // 2:
            raise DecodeError(f"an attribute is nested more than {depth} deep")
        for kind, inner in value.items():
            if inner is None:
                continue
            if kind in ("stringValue", "string_value"):
                return message(1, utf8(str(inner)))
            if kind in ("boolValue", "bool_value"):
                return varint(2 << 3) + varint(int(inner is True or inner == "true"))
            if kind in ("intValue", "int_value"):
                return varint(3 << 3) + varint(whole(inner, "an intValue"))
            if kind in ("doubleValue", "double_value"):
                return varint(4 << 3 | 1) + DOUBLE.pack(_double(inner))
            if kind in ("arrayValue", "array_value"):
                return message(5, self._array(inner, depth))
            if kind in ("kvlistValue", "kvlist_value"):
                return message(6, self._pairs(inner, depth))
            if kind in ("bytesValue", "bytes_value"):
                return message(7, _base64(inner))
        return b""

    def _array(self, inner: Any, depth: int) -> bytes:
        values = listed(inner.get("values") if isinstance(inner, Mapping) else inner, "arrayValue.values")
        return b"".join([message(1, self._any_value(value, depth + 1)) for value in values])

    def _pairs(self, inner: Any, depth: int) -> bytes:
        pairs = listed(inner.get("values") if isinstance(inner, Mapping) else inner, "kvlistValue.values")
        written = []
        for pair in pairs:
            body = text(1, pair.get("key"))
            if isinstance(pair.get("value"), Mapping):
                body += message(2, self._any_value(pair["value"], depth + 1))
            written.append(message(1, body))
        return b"".join(written)

    def span(self, json: Json, attributes: bytes | None = None) -> bytes:
        """Return a Span's body; attributes: its own, where they are written already."""
        if "traceId" not in json:
            json = renamed(json)
        field = json.get
        status, parent = field("status"), field("parentSpanId")
        parts = [
            message(1, identifier(field("traceId"))),
            message(2, identifier(field("spanId"))),
            text(3, field("traceState")),
            message(4, identifier(parent) or UNREADABLE) if parent else b"",
            text(5, field("name")),
            number(6, _enum(field("kind"), KINDS, "kind")),
            fixed64(7, whole(field("startTimeUnixNano"), "startTimeUnixNano")),
            fixed64(8, whole(field("endTimeUnixNano"), "endTimeUnixNano")),
            self.key_values(9, field("attributes")) if attributes is None else attributes,
            number(10, whole(field("droppedAttributesCount"), "droppedAttributesCount")),
            *[message(11, self._event(event)) for event in listed(field("events"), "events")],
            number(12, whole(field("droppedEventsCount"), "droppedEventsCount")),
            *[message(13, self._link(link)) for link in listed(field("links"), "links")],
            number(14, whole(field("droppedLinksCount"), "droppedLinksCount")),
            message(15, _status(status)) if isinstance(status, Mapping) else b"",
            _flags(16, field("flags")),
        ]
        return b"".join(parts)

    def _event(self, json: Json) -> bytes:
        return (
            fixed64(1, whole(get(json, "timeUnixNano", "time_unix_nano"), "timeUnixNano"))
            + text(2, json.get("name"))
            + self.key_values(3, json.get("attributes"))
            + number(
                4, whole(get(json, "droppedAttributesCount", "dropped_attributes_count"), "droppedAttributesCount")
            )
        )

    def _link(self, json: Json) -> bytes:
        return (
            message(1, identifier(get(json, "traceId", "trace_id")))
            + message(2, identifier(get(json, "spanId", "span_id")))
            + text(3, get(json, "traceState", "trace_state"))
            + self.key_values(4, json.get("attributes"))
            + number(
                5, whole(get(json, "droppedAttributesCount", "dropped_attributes_count"), "droppedAttributesCount")
            )
            + _flags(6, json.get("flags"))
        )

    def resource_spans(self, resource: Any, scopes: Iterable[tuple[Json, Iterable[bytes]]]) -> bytes:
        """Return a field of the request: a resource, and its spans by scope."""
        body = message(1, self.key_values(1, resource.get("attributes"))) if isinstance(resource, Mapping) else b""
        for scope, spans in scopes:
            inner = (
                text(1, scope.get("name")) + text(2, scope.get("version")) + self.key_values(3, scope.get("attributes"))
            )
            body += message(2, message(1, inner) + b"".join([message(2, span) for span in spans]))
        return message(1, body)


KINDS = {
    f"SPAN_KIND_{name}": n
    for n, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
}
STATUSES = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}


def _enum(value: Any, names: Mapping[str, int], what: str) -> int:
    if isinstance(value, str) and value in names:
        return names[value]
    return whole(value, what)


def _status(json: Json) -> bytes:
    return text(2, json.get("message")) + number(3, _enum(json.get("code"), STATUSES, "status.code"))


def _flags(field: int, value: Any) -> bytes:
    flags = whole(value, "flags") & 0xFFFFFFFF
    return varint(field << 3 | 5) + U32.pack(flags) if flags else b""


def _double(value: Any) -> float:
    if isinstance(value, str) and value in DOUBLES:
        return DOUBLES[value]
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise DecodeError(f"a doubleValue is {value!r:.60}, and should be a number") from None


def _base64(value: Any) -> bytes:
    try:
        return base64.b64decode(value)
    except (TypeError, ValueError):
        raise DecodeError(f"a bytesValue is {value!r:.60}, and should be base64") from None
