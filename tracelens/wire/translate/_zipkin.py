"""Zipkin's spans as OTLP's: every rule about one of them.

Owns the mapping from a v2 span, as JSON has it, to OTLP bytes. `zipkin` brings
v1 spans into that shape, `zipkin_proto` protobuf.

    localEndpoint   the resource's service.name; net.host.ip and net.host.port
    remoteEndpoint  peer.service, net.peer.ip, net.peer.port: unless a tag says so
    no kind         the one the tag span.kind names, else INTERNAL
    tags            attributes, all text, but for FIELDS
    annotations     events
    error           status ERROR, unless it says "false" or otel.status_code says more; it stays an attribute
    debug, shared   zipkin.debug, zipkin.shared, where true
    duration        zipkin.duration as well, where there is no timestamp to count it from

Sources: OpenTelemetry's "OpenTelemetry to Zipkin Transformation" and "Transformation
to non-OTLP Formats"; for endpoints and w3c.tracestate the names that the OpenTelemetry
Collector gives them; zipkin.proto and Zipkin's own reader for what may be absent.

Nothing raises: a field that cannot be read is left out or becomes text, an id
that is none is written as none, so that the decoder refuses this span alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from tracelens.wire._encode import UNREADABLE, message, number, utf8

Json = Mapping[str, Any]
MICROSECOND = 1_000
LAST = (1 << 64) - 1  # what a time on the wire can say; the decoder cuts it to its own limit, and marks that
TIMES = struct.Struct("<BQBQ")
START, END = 7 << 3 | 1, 8 << 3 | 1
EVENT_TIME = struct.Struct("<BQ")
DIGITS = 20  # of the largest 64-bit number
TRACE_DIGITS, SPAN_DIGITS = 32, 16
ATTRIBUTE = 9  # the field of a span
KINDS = {name: n for n, name in enumerate(("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"), 1)}
NO_KIND = 15  # outside OTLP's: the decoder makes it unspecified, and marks that
CODES = {
    "OK": 1,
    "ERROR": 2,
    "UNSET": 0,
    "STATUS_CODE_OK": 1,
    "STATUS_CODE_ERROR": 2,
    "STATUS_CODE_UNSET": 0,
}
KNOWN = 20_000  # attributes remembered, all together at most
SHORT = 200  # characters of one that is remembered: longer ones rarely come again

SCOPE_NAME = ("otel.scope.name", "otel.library.name")
SCOPE_VERSION = ("otel.scope.version", "otel.library.version")
DROPPED = {
    "otel.dropped_attributes_count": 10,
    "otel.dropped_events_count": 12,
    "otel.dropped_links_count": 14,
}
# Tags that say what OTLP's span has a field for. All but `error` are no attributes besides.
FIELDS = frozenset(
    {
        "error",
        "span.kind",
        "otel.status_code",
        "otel.status_description",
        "w3c.tracestate",
        *SCOPE_NAME,
        *SCOPE_VERSION,
        *DROPPED,
    }
)


def words(value: Any) -> str:
    """Return what stands where text should: itself as JSON writes it; nothing for null."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):  # nested deeper than it writes, or text that is no Unicode
        return f"a {type(value).__name__} that cannot be written"


def microseconds(value: Any) -> int | None:
    """Return a number of microseconds, which may be text; none for what is no number."""
    if value.__class__ is int:
        return int(value)
    if value.__class__ is str and len(value) <= DIGITS and value.isascii() and value.isdigit():
        return int(value)
    if value.__class__ is float and abs(value) < LAST:  # neither infinite nor none
        return int(value)
    return None


def attribute(field: int, key: str, value: str) -> bytes:
    """Return an attribute of text as a field of its owner."""
    return message(field, message(1, utf8(key)) + message(2, message(1, utf8(value))))


class _Tags(dict[tuple[str, Any], bytes]):
    """Tags as attributes of a span, by key and value: most come again and again."""

    def __missing__(self, tag: tuple[str, Any]) -> bytes:
        key, value = tag
        found = attribute(ATTRIBUTE, key, words(value))
        # Only text is found again by what equals it: 1 is True, and 1.0.
        if value.__class__ is str and len(found) <= SHORT:
            if len(self) >= KNOWN:
                self.clear()
            self[tag] = found
        return found


class Spans:
    """The spans of one request, being written."""

    def __init__(self) -> None:
        self._tags = _Tags()
        # By service, then by name and version of the scope: written, for objects of their own take many times the room.
        self._services: dict[str, dict[tuple[str, str], bytearray]] = {}

    def add(self, span: Any) -> None:
        """Write a span; what is no span is written as one without ids."""
        if span.__class__ is not dict or not span:
            self._put("", "", "", b"")
            return
        field = span.get
        tags, local = field("tags"), field("localEndpoint")
        if tags.__class__ is not dict:
            tags = {"zipkin.tags": tags} if tags else {}
        own: Json = tags
        kind = field("kind")
        scope = version = ""
        parts = [_ids(field("traceId"), field("id"), field("parentId"))]
        if name := field("name"):
            parts.append(message(5, utf8(words(name))))
        if not FIELDS.isdisjoint(tags):
            own, scope, version, kind, more = _fields(tags, kind)
            parts.append(more)
        parts.append(number(6, _kind(kind)))
        start, duration = microseconds(field("timestamp")) or 0, field("duration")
        if start > 0:
            parts.append(_times(start, microseconds(duration)))
        elif duration:
            parts.append(attribute(ATTRIBUTE, "zipkin.duration", words(duration)))
        parts.append(self._attributes(own))
        service: Any = ""
        if local.__class__ is dict:
            service = local.get("serviceName")
            parts.append(self._address(local, "net.host.ip", "net.host.port", tags))
        elif local:
            parts.append(attribute(ATTRIBUTE, "zipkin.localEndpoint", words(local)))
        if remote := field("remoteEndpoint"):
            parts.append(self._remote(remote, tags))
        if (debug := field("debug")) or field("shared"):
            parts.append(_marks(debug, field("shared")))
        if annotations := field("annotations"):
            parts.append(_events(annotations))
        self._put(service if service.__class__ is str else words(service), scope, version, b"".join(parts))

    def request(self) -> bytes:
        """Return what was written: the body of an ExportTraceServiceRequest."""
        return b"".join([_resource_spans(service, scopes) for service, scopes in self._services.items()])

    def _put(self, service: str, scope: str, version: str, span: bytes) -> None:
        scopes = self._services.setdefault(service, {})
        written = scopes.get((scope, version))
        if written is None:
            written = scopes[scope, version] = bytearray()
        written += message(2, span)

    def _attributes(self, tags: Json) -> bytes:
        try:
            return b"".join(map(self._tags.__getitem__, tags.items()))
        except TypeError:  # a list or an object cannot be looked up
            return b"".join([self._tags[key, words(value)] for key, value in tags.items()])

    def _address(self, endpoint: Json, ip: str, port: str, tags: Json) -> bytes:
        """Return address and port of an endpoint, but what a tag says already."""
        found = b""
        if (address := endpoint.get("ipv4") or endpoint.get("ipv6")) and ip not in tags:
            found = self._tags[ip, words(address)]
        if (said := endpoint.get("port")) and port not in tags:
            value = microseconds(said) or 0
            whole = message(2, number(3, value)) if 0 < value < 1 << 16 else message(2, message(1, utf8(words(said))))
            found += message(ATTRIBUTE, message(1, port.encode()) + whole)
        return found

    def _remote(self, remote: Any, tags: Json) -> bytes:
        if remote.__class__ is not dict:
            return attribute(ATTRIBUTE, "zipkin.remoteEndpoint", words(remote))
        found = self._address(remote, "net.peer.ip", "net.peer.port", tags)
        if (service := remote.get("serviceName")) and "peer.service" not in tags:
            found += self._tags["peer.service", words(service)]
        return found


def _resource_spans(service: str, scopes: Mapping[tuple[str, str], bytearray]) -> bytes:
    parts = [message(1, attribute(1, "service.name", service))] if service else []
    for (name, version), spans in scopes.items():
        scope = (message(1, utf8(name)) if name else b"") + (message(2, utf8(version)) if version else b"")
        parts.append(message(2, (message(1, scope) if scope else b"") + spans))
    return message(1, b"".join(parts))


def _ids(trace: Any, span: Any, parent: Any) -> bytes:
    """Return the three ids; of a trace's, Zipkin's older tracers send the lower half only."""
    found = message(1, identifier(trace, TRACE_DIGITS)) + message(2, identifier(span, SPAN_DIGITS))
    return found + message(4, identifier(parent, SPAN_DIGITS) or UNREADABLE) if parent else found


def identifier(value: Any, digits: int) -> bytes:
    """Return an id, with the zeros that were left out before it; what is no id is nothing, or of another length."""
    if value.__class__ is not str or not value:
        return b""
    try:
        return bytes.fromhex(value.rjust(digits, "0"))
    except ValueError:
        return b""


def _kind(kind: Any) -> int:
    """Return OTLP's number: of an absent one INTERNAL's, of one there is not, one there is not."""
    if kind is None or kind == "":
        return KINDS["INTERNAL"]
    if kind.__class__ is not str:
        return NO_KIND
    return KINDS.get(kind) or KINDS.get(kind.upper(), NO_KIND)


def _times(start: int, duration: int | None) -> bytes:
    """Return start and end; an end of 0 where the duration is unknown."""
    end = max(start + duration, 1) * MICROSECOND if duration is not None else 0
    return TIMES.pack(START, min(start * MICROSECOND, LAST), END, min(end, LAST))


def _fields(tags: Json, kind: Any) -> tuple[Json, str, str, Any, bytes]:
    """Return (other tags, scope's name, its version, kind, fields of OTLP) of tags among which are some of FIELDS."""
    said = {key: words(value) for key, value in tags.items() if key in FIELDS}
    gone = FIELDS - {"error"}
    if not kind and said.get("span.kind", "").upper() in KINDS:
        kind = said["span.kind"]
    else:
        gone -= {"span.kind"}
    error = said.get("error")
    code = CODES.get(said.get("otel.status_code", "").upper())
    if code is None:
        code = 2 if error is not None and error.lower() != "false" else 0
        if "otel.status_code" in said:  # a code there is not stays for who reads it
            gone -= {"otel.status_code"}
    why = said.get("otel.status_description") or (error if code == 2 and error and error.lower() != "true" else "")
    found = [message(15, (message(2, utf8(why)) if why else b"") + number(3, code))] if code or why else []
    if state := said.get("w3c.tracestate"):
        found.append(message(3, utf8(state)))
    for name, field in DROPPED.items():
        if 0 < (count := microseconds(said.get(name)) or 0) < 1 << 32:
            found.append(number(field, count))
    name = next((said[key] for key in SCOPE_NAME if said.get(key)), "")
    version = next((said[key] for key in SCOPE_VERSION if said.get(key)), "")
    return {key: value for key, value in tags.items() if key not in gone}, name, version, kind, b"".join(found)


def _marks(debug: Any, shared: Any) -> bytes:
    """Return which of the two marks are set."""
    true = message(2, number(2, 1))
    found = message(ATTRIBUTE, message(1, b"zipkin.debug") + true) if debug is True else b""
    return found + message(ATTRIBUTE, message(1, b"zipkin.shared") + true) if shared is True else found


def _events(annotations: Any) -> bytes:
    """Return annotations as events; what is none of them is the name of one without a time."""
    if not isinstance(annotations, list | Iterator):
        annotations = [annotations]
    found = bytearray()
    for annotation in annotations:
        if annotation.__class__ is dict:
            time, name = microseconds(annotation.get("timestamp")) or 0, annotation.get("value")
        else:
            time, name = 0, annotation
        body = EVENT_TIME.pack(1 << 3 | 1, min(time * MICROSECOND, LAST)) if time > 0 else b""
        found += message(11, body + message(2, utf8(words(name))))
    return bytes(found)
