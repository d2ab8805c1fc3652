"""OTLP requests for tests: any message at all, and what protobuf's runtime reads in it.

`requests` makes bytes that a sender may write: every field and kind of value,
text that is not UTF-8, ids of odd lengths, fields in any order, messages in
several pieces, unknown fields and groups, numbers longer than they need be.
`damaged` breaks them. `facts` says what a request holds, by walking the
runtime's objects; it shares no code with the decoder but the message classes.
"""

from __future__ import annotations

import base64
import math
import random
from typing import Any

from google.protobuf.message import DecodeError as Refused
from hypothesis import strategies as st

from tracelens.spans import MARK, column
from tracelens.wire._messages import lenient

ZERO = bytes(8)
LAST = 2**63 - 1

TEXT = st.one_of(
    st.sampled_from([b"", b"a", b"GET", b"twelve bytes", b"thirteen byte", b"a text of more than twelve bytes"]),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "ignore")),
    st.sampled_from(
        ["æøå".encode(), "€uro sign after ASCII".encode(), "\U0001f600".encode(), b"\0", "\ufffd".encode()]
    ),
    st.sampled_from(
        [b"\xff", b"ok\xc3", b"\xed\xa0\x80 surrogate", b"\xc0\x80", b"\xf4\x90\x80\x80", b"sixteen byte tex\x80"]
    ),
)
KEYS = st.one_of(
    st.sampled_from(
        [b"service.name", b"a", b"b", b"A", b"http.method", b"k#int", b"k", b"k#json", b"#int", b"with space"]
    ),
    st.sampled_from([b"", b"\xff", b"x" * 300, b"a=b", "ключ".encode()]),
)
U64 = st.one_of(st.sampled_from([0, 1, 5, 127, 128, 2**31, 2**63 - 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))
I64 = st.one_of(st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]), st.integers(-(2**63), 2**63 - 1))
U32 = st.one_of(st.sampled_from([0, 0, 1, 2**32 - 1]), st.integers(0, 2**32 - 1))
DOUBLES = st.floats(width=64)
TRACE_IDS = st.one_of(st.binary(min_size=16, max_size=16), st.sampled_from([bytes(16), b"", b"short", bytes(17)]))
SPAN_IDS = st.one_of(
    st.binary(min_size=8, max_size=8), st.sampled_from([ZERO, b"", b"short", b"nine byte", b"the same"])
)


@st.composite
def values(draw: st.DrawFn, depth: int = 3) -> Any:
    """An AnyValue, perhaps with nothing set."""
    value = lenient("common.v1.AnyValue")()
    kinds = ["none", "string", "bool", "int", "double", "bytes", "strindex"]
    kind = draw(st.sampled_from(["string", *kinds, *(["array", "kvlist"] if depth else [])]))
    if kind == "string":
        value.string_value = draw(TEXT)
    elif kind == "bool":
        value.bool_value = draw(st.booleans())
    elif kind == "int":
        value.int_value = draw(I64)
    elif kind == "double":
        value.double_value = draw(DOUBLES)
    elif kind == "bytes":
        value.bytes_value = draw(st.binary(max_size=20))
    elif kind == "strindex":
        value.string_value_strindex = draw(st.integers(-3, 3))
    elif kind == "array":
        value.array_value.SetInParent()
        value.array_value.values.extend(draw(st.lists(values(depth - 1), max_size=3)))
    elif kind == "kvlist":
        value.kvlist_value.SetInParent()
        value.kvlist_value.values.extend(draw(attributes(depth - 1)))
    return value


@st.composite
def attributes(draw: st.DrawFn, depth: int = 3, most: int = 5) -> list[Any]:
    """Some KeyValues; keys may repeat."""
    pairs = []
    for key in draw(st.lists(KEYS, max_size=most)):
        pair = lenient("common.v1.KeyValue")(key=key)
        if draw(st.booleans()):
            pair.value.CopyFrom(draw(values(depth)))
        pairs.append(pair)
    return pairs


@st.composite
def spans(draw: st.DrawFn) -> Any:
    """A Span, with valid ids more often than not."""
    span = lenient("trace.v1.Span")(
        trace_id=draw(TRACE_IDS),
        span_id=draw(SPAN_IDS),
        parent_span_id=draw(st.one_of(st.just(b""), SPAN_IDS)),
        trace_state=draw(st.one_of(st.just(b""), TEXT)),
        name=draw(TEXT),
        kind=draw(st.one_of(st.integers(0, 5), st.sampled_from([6, -1, 2**31 - 1, -(2**31)]))),
        start_time_unix_nano=draw(U64),
        end_time_unix_nano=draw(U64),
        flags=draw(U32),
        dropped_attributes_count=draw(U32),
        dropped_events_count=draw(U32),
        dropped_links_count=draw(U32),
        attributes=draw(attributes(most=8)),
    )
    if draw(st.booleans()):
        span.status.code = draw(st.sampled_from([0, 1, 2, 3, -1]))
        span.status.message = draw(TEXT)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        event = span.events.add(time_unix_nano=draw(U64), name=draw(TEXT), dropped_attributes_count=draw(U32))
        event.attributes.extend(draw(attributes(2, 2)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        link = span.links.add(trace_id=draw(TRACE_IDS), span_id=draw(SPAN_IDS), trace_state=draw(TEXT))
        link.flags, link.dropped_attributes_count = draw(U32), draw(U32)
        link.attributes.extend(draw(attributes(2, 2)))
    return span


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """The bytes of a request; half of them written as no library of ours would."""
    request = lenient("trace.v1.TracesData")()
    for _ in range(draw(st.integers(0, 2))):
        of_resource = request.resource_spans.add(schema_url=b"\xff")
        if draw(st.booleans()):
            of_resource.resource.attributes.extend(draw(attributes()))
            of_resource.resource.entity_refs.add(type=b"service", id_keys=[b"service.name"])
        for _ in range(draw(st.integers(0, 2))):
            of_scope = of_resource.scope_spans.add()
            if draw(st.booleans()):
                of_scope.scope.name, of_scope.scope.version = draw(TEXT), draw(TEXT)
                of_scope.scope.attributes.extend(draw(attributes(most=2)))
            of_scope.spans.extend(draw(st.lists(spans(), max_size=3)))
    raw: bytes = request.SerializeToString()
    return (
        scrambled(raw, "trace.v1.TracesData", random.Random(draw(st.integers(0, 99)))) if draw(st.booleans()) else raw
    )


def varint(value: int, longer: int = 0) -> bytes:
    """Return a varint, `longer` bytes longer than it need be."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    if longer:
        out[-1] |= 128
        out += b"\x80" * (longer - 1) + b"\0"
    return bytes(out)


def delimited(number: int, content: bytes) -> bytes:
    """Return a length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def pieces(raw: bytes) -> list[tuple[int, int, bytes]]:
    """Return the fields of a sound message without groups: (number, wire type, content)."""
    found = []
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = raw[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(raw):
        tag = number()
        start = at
        if tag & 7 == 2:
            size = number()
            start, at = at, at + size
        elif tag & 7 == 0:
            number()
        else:
            at += 8 if tag & 7 == 1 else 4
        found.append((tag >> 3, tag & 7, raw[start:at]))
    return found


def scrambled(raw: bytes, name: str, chance: random.Random) -> bytes:
    """Write a message anew: another order, longer numbers, in pieces, with fields nobody knows."""
    fields = lenient(name).DESCRIPTOR.fields_by_number
    parts = []
    for number, wire, content in pieces(raw):
        kind = fields[number].message_type
        tag = varint(number << 3 | wire, chance.choice([0, 0, 0, 1, 2]))
        if wire != 2:
            parts.append(tag + content)
            continue
        inner = [content]
        if kind is not None:
            full = kind.full_name.removeprefix("opentelemetry.proto.")
            inner = [scrambled(content, full, chance)]
            if not fields[number].is_repeated and chance.random() < 0.3:
                inner.append(scrambled(content, full, chance))  # protobuf merges them
        parts += [tag + varint(len(part), chance.choice([0, 0, 0, 1, 2])) + part for part in inner]
    if chance.random() < 0.3:
        parts.append(chance.choice([varint(100 << 3) + b"\x96\x01", delimited(200, b"?"), group(chance), b"\x0d1234"]))
    if chance.random() < 0.5:
        chance.shuffle(parts)
    return b"".join(parts)


def group(chance: random.Random) -> bytes:
    """Return a group of a field number of its own, or of a known one."""
    number = chance.choice([1, 2, 9, 77])
    return varint(number << 3 | 3) + delimited(3, b"in a group") + b"\x08\x01" + varint(number << 3 | 4)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A request cut, with bytes changed, left out or put in."""
    raw = bytearray(draw(requests()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(raw) - 1, 0)))
        match draw(st.sampled_from(["change", "cut", "drop", "insert"])):
            case "change":
                raw[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "cut":
                del raw[at:]
            case "drop":
                del raw[at : at + draw(st.integers(1, 3))]
            case _:
                raw[at:at] = draw(
                    st.sampled_from([b"\0", b"\x0b", b"\x0c", b"\xff\xff", b"\x80", b"\x2a\x00", b"\x12\x00"])
                )
    return bytes(raw)


# -- what the runtime reads


def refused(body: bytes) -> bool:
    """Whether protobuf's runtime refuses a request for its structure."""
    try:
        lenient("trace.v1.TracesData").FromString(body)
    except Refused:
        return True
    return False


class Repairs:
    """The marks that a span deserves."""

    def __init__(self) -> None:
        self.bits = 0

    def mark(self, name: str, needed: bool = True) -> bool:
        self.bits |= MARK[name] if needed else 0
        return needed

    def text(self, raw: bytes) -> str:
        text = raw.decode(errors="replace")
        self.mark("bad_utf8", text.encode() != raw)
        return text


def number(value: float) -> Any:
    """Return a double so that equal ones compare equal, NaN too."""
    return "NaN" if math.isnan(value) else value


def json_value(value: Any, repairs: Repairs) -> Any:
    """Return an AnyValue as OTLP JSON."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return {"stringValue": repairs.text(value.string_value)}
    if kind == "array_value":
        return {"arrayValue": {"values": [json_value(item, repairs) for item in value.array_value.values]}}
    if kind == "kvlist_value":
        return {"kvlistValue": {"values": json_pairs(value.kvlist_value.values, repairs)}}
    if kind == "bytes_value":
        return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
    if kind == "int_value":
        return {"intValue": str(value.int_value)}
    if kind == "double_value":
        held = value.double_value
        return {
            "doubleValue": held
            if math.isfinite(held)
            else {"nan": "NaN", "inf": "Infinity"}.get(str(held), "-Infinity")
        }
    if kind == "bool_value":
        return {"boolValue": value.bool_value}
    return {} if kind is None else {"stringValueStrindex": value.string_value_strindex}


def json_pairs(pairs: Any, repairs: Repairs) -> list[Any]:
    return [{"key": repairs.text(pair.key), "value": json_value(pair.value, repairs)} for pair in pairs]


def held(owner: str, pairs: Any, repairs: Repairs) -> list[tuple[str, Any]]:
    """Return (column name, value) of an owner's attributes, sorted by name."""
    last: dict[bytes, Any] = {}
    for pair in pairs:
        repairs.text(pair.key)
        repairs.mark("duplicate_key", pair.key in last)
        last[pair.key] = pair.value
    found = []
    for key, value in last.items():
        name = key.decode(errors="replace")
        match value.WhichOneof("value"):
            case "string_value":
                found.append((column(owner, name), repairs.text(value.string_value)))
            case "int_value":
                found.append((column(owner, name, "int"), value.int_value))
            case "double_value":
                found.append((column(owner, name, "double"), number(value.double_value)))
            case "bool_value":
                found.append((column(owner, name, "bool"), value.bool_value))
            case _:
                found.append((column(owner, name, "json"), json_value(value, repairs)))
    return found


def nothing(raw: bytes) -> bytes | None:
    """Return None for an id of no bytes, or of zeros only."""
    return raw if raw.strip(b"\0") else None


def fact(span: Any, of_resource: Any, of_scope: Any) -> dict[str, Any]:
    """Return what a span says: the columns of SPANS but `overflow`, and all its attributes as `attributes`."""
    repairs = Repairs()
    found = [
        *held("res", of_resource.resource.attributes, repairs),
        *held("scope", of_scope.scope.attributes, repairs),
        *held("attr", span.attributes, repairs),
    ]
    parent = nothing(span.parent_span_id)
    if repairs.mark("bad_parent", parent is not None and (len(parent) != 8 or parent == span.span_id)):
        parent = None
    services = [value for name, value in found if name == "res:service.name"]
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    repairs.mark("no_service", services in ([], [""]))
    repairs.mark("time_range", max(start, end) > LAST)
    start, end = min(start, LAST), min(end, LAST)
    repairs.mark("no_time", start == end == 0)
    if repairs.mark("one_time", (start == 0) != (end == 0)):
        start = end = max(start, end)
    repairs.mark("neg_duration", end < start)
    events = [
        {
            "timeUnixNano": str(event.time_unix_nano) if event.time_unix_nano else "",
            "name": repairs.text(event.name),
            "attributes": json_pairs(event.attributes, repairs),
            "droppedAttributesCount": event.dropped_attributes_count,
        }
        for event in span.events
    ]
    links = [
        {
            "traceId": link.trace_id.hex(),
            "spanId": link.span_id.hex(),
            "traceState": repairs.text(link.trace_state),
            "attributes": json_pairs(link.attributes, repairs),
            "droppedAttributesCount": link.dropped_attributes_count,
            "flags": link.flags,
        }
        for link in span.links
    ]
    return {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": parent,
        "follows_from": False,
        "trace_state": repairs.text(span.trace_state) or None,
        "flags": span.flags,
        "name": repairs.text(span.name),
        "kind": 0 if repairs.mark("bad_kind", not 0 <= span.kind <= 5) else span.kind,
        "start_time_unix_nano": start,
        "end_time_unix_nano": max(start, end),
        "status_code": 0 if repairs.mark("bad_status", not 0 <= span.status.code <= 2) else span.status.code,
        "status_message": repairs.text(span.status.message) or None,
        "service_name": (services and services[-1]) or "unknown_service",
        "scope_name": repairs.text(of_scope.scope.name) or None,
        "scope_version": repairs.text(of_scope.scope.version) or None,
        "events": [{name: value for name, value in event.items() if value} for event in events] or None,
        "links": [{name: value for name, value in link.items() if value} for link in links] or None,
        "dropped_attributes_count": span.dropped_attributes_count,
        "dropped_events_count": span.dropped_events_count,
        "dropped_links_count": span.dropped_links_count,
        "received_unix_nano": None,
        "attributes": sorted(found, key=repr),
        "repairs": repairs.bits,
    }


def facts(body: bytes) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return (what each accepted span says, spans refused by reason), as the runtime reads them."""
    found = []
    rejected: dict[str, int] = {}
    for of_resource in lenient("trace.v1.TracesData").FromString(body).resource_spans:
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                wrong = [
                    name
                    for name, size in (("trace_id", 16), ("span_id", 8))
                    if len(getattr(span, name)) != size or nothing(getattr(span, name)) is None
                ]
                if wrong:
                    rejected[wrong[0]] = rejected.get(wrong[0], 0) + 1
                else:
                    found.append(fact(span, of_resource, of_scope))
    return found, rejected
