"""Jaeger JSON as OTLP protobuf: what a document says, whatever stands in it.

Owns what Jaeger calls things: references, tags, logs, processes. Times are
whole microseconds there. What is as Jaeger writes it the kernels of `_jaeger`
write faster, and the same bytes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tracelens.errors import DecodeError
from tracelens.wire._encode import Encoder, Json, identifier, listed, whole
from tracelens.wire._jaeger_tables import FOLLOWER

MICROSECOND = 1_000
KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
STATUSES = {"OK": 1, "ERROR": 2}
SCOPE_NAME = ("otel.scope.name", "otel.library.name")
SCOPE_VERSION = ("otel.scope.version", "otel.library.version")
# Tags that stand for a field of OTLP's span: they become that field, and no attribute besides.
FIELDS = {"span.kind", "otel.status_code", "otel.status_description", "w3c.tracestate", *SCOPE_NAME, *SCOPE_VERSION}
VALUES = {
    "string": "stringValue",
    "bool": "boolValue",
    "int64": "intValue",
    "float64": "doubleValue",
    "binary": "bytesValue",
}


def request(document: Any, encoder: Encoder, followers: bytearray) -> bytes:
    """Return a document as ExportTraceServiceRequest; add (trace, span) of those that follow from their parents."""
    return b"".join(part for trace in _traces(document) for part in _trace(trace, encoder, followers))


def _traces(document: Any) -> list[Json]:
    """Return the traces of a document in any of its forms."""
    if isinstance(document, list):
        return listed(document, "the document")
    if not isinstance(document, Mapping):
        raise DecodeError(f"a {type(document).__name__} where Jaeger JSON has an object with data")
    if "data" in document:
        if not document["data"] and document.get("errors"):
            raise DecodeError(f"an answer of Jaeger's API without traces; it says: {document['errors']!r:.200}")
        return listed(document["data"], "data")
    if "spans" in document:
        return [document]
    raise DecodeError(f"neither data nor spans among the keys {sorted(map(str, document))[:5]}")


def _trace(trace: Json, encoder: Encoder, followers: bytearray) -> Iterator[bytes]:
    spans = listed(trace.get("spans"), "spans")
    processes = trace.get("processes")
    known = processes if isinstance(processes, Mapping) else {}
    present = {_padded(span.get("spanID"), 16) for span in spans}
    groups: dict[tuple[str, str, str], list[bytes]] = defaultdict(list)
    inline: dict[str, Any] = {}  # processes that stand in the spans themselves
    for span in spans:
        tags = _tags(listed(span.get("tags"), "tags"), encoder)
        process = str(span.get("processID", ""))
        if isinstance(span.get("process"), Mapping):
            process = f"inline {json.dumps(span['process'], sort_keys=True)}"
            inline[process] = span["process"]
        converted, follows = _span(span, tags, present)
        if follows and len(identity := identifier(converted["traceId"]) + identifier(converted["spanId"])) == FOLLOWER:
            followers += identity
        group = (process, tags.first(SCOPE_NAME), tags.first(SCOPE_VERSION))
        groups[group].append(encoder.span(converted, tags.attributes))
    for (process, name, version), members in groups.items():
        own = inline.get(process) or known.get(process)
        yield encoder.resource_spans(_resource(own), [({"name": name, "version": version}, members)])


class _Tags(NamedTuple):
    """The tags of a span."""

    fields: dict[str, str]  # those of FIELDS
    failed: bool  # Jaeger's own mark of a failed span: "error" as a boolean; proxies write text, which is theirs
    attributes: bytes  # the others, encoded

    def first(self, keys: Sequence[str]) -> str:
        return next((self.fields[key] for key in keys if key in self.fields), "")


def _tags(tags: list[Json], encoder: Encoder) -> _Tags:
    fields: dict[str, str] = {}
    failed = False
    parts = []
    for tag in tags:
        key, value = tag.get("key"), tag.get("value")
        if key.__class__ is str and key in FIELDS:
            fields[key] = str(value)
        elif key == "error" and isinstance(value, bool):
            failed |= value
        else:
            parts.append(encoder.attribute(9, key, _kind(tag.get("type"), value), value))
    return _Tags(fields, failed, b"".join(parts))


def _kind(said: Any, value: Any) -> str:
    """Return what OTLP JSON calls a value; one whose type is not said has the type JSON gives it."""
    if said.__class__ is str and (kind := VALUES.get(said) or VALUES.get(said.lower())):
        return kind
    if isinstance(value, bool):
        return "boolValue"
    return "intValue" if isinstance(value, int) else "doubleValue" if isinstance(value, float) else "stringValue"


def _span(span: Json, tags: _Tags, present: set[str]) -> tuple[dict[str, Any], bool]:
    """Return a span as OTLP JSON has it, without its attributes, and whether it follows from its parent."""
    start = whole(span.get("startTime"), "startTime") * MICROSECOND
    trace = _padded(span.get("traceID"), 32)
    parent, follows, links = _references(span, trace, present)
    status = STATUSES.get(tags.first(("otel.status_code",)).upper(), 0) or (STATUSES["ERROR"] if tags.failed else 0)
    return {
        "traceId": trace,
        "spanId": _padded(span.get("spanID"), 16),
        "parentSpanId": parent,
        "traceState": tags.first(("w3c.tracestate",)),
        "name": span.get("operationName"),
        "kind": KINDS.get(tags.first(("span.kind",)).lower(), 0),
        "startTimeUnixNano": start,
        "endTimeUnixNano": start + whole(span.get("duration"), "duration") * MICROSECOND,
        "events": [_event(log) for log in listed(span.get("logs"), "logs")],
        "links": links,
        "flags": span.get("flags"),
        "status": {"code": status, "message": tags.first(("otel.status_description",))},
    }, follows


def _references(span: Json, trace: str, present: set[str]) -> tuple[str, bool, list[Json]]:
    """Return the parent's id, whether it did not wait, and the other references as links.

    The parent is the first CHILD_OF whose span is in the trace, else the first
    other reference whose span is, else the first reference of this trace.
    """
    references = listed(span.get("references"), "references")
    if not references and span.get("parentSpanID"):  # Jaeger before 1.3
        references = [{"refType": "CHILD_OF", "traceID": trace, "spanID": span["parentSpanID"]}]
    if not references:
        return "", False, []
    ranked = sorted(
        (reference for reference in references if _padded(reference.get("traceID"), 32) in (trace, "")),
        key=lambda reference: (
            _padded(reference.get("spanID"), 16) not in present,
            reference.get("refType") != "CHILD_OF",
        ),
    )
    chosen = ranked[0] if ranked else None
    links: list[Json] = [
        {"traceId": _padded(other.get("traceID"), 32), "spanId": _padded(other.get("spanID"), 16)}
        for other in references
        if other is not chosen
    ]
    if chosen is None:
        return "", False, links
    return _padded(chosen.get("spanID"), 16), chosen.get("refType") == "FOLLOWS_FROM", links


def _padded(identifier: Any, digits: int) -> str:
    """Return an id in lower case; some backends drop leading zeros."""
    return identifier.lower().rjust(digits, "0") if isinstance(identifier, str) and identifier else ""


def _attribute(tag: Json) -> Json:
    """Return a tag as an attribute of OTLP JSON."""
    return {"key": tag.get("key"), "value": {_kind(tag.get("type"), tag.get("value")): tag.get("value")}}


def _event(log: Json) -> Json:
    """Return a log entry; its field `event` is the name."""
    fields = listed(log.get("fields"), "fields")
    name = next((str(f.get("value")) for f in fields if f.get("key") == "event"), "")
    return {
        "timeUnixNano": whole(log.get("timestamp"), "timestamp") * MICROSECOND,
        "name": name,
        "attributes": [_attribute(f) for f in fields if f.get("key") != "event"],
    }


def _resource(process: Any) -> Json:
    """Return a process as a resource."""
    if not isinstance(process, Mapping):
        return {"attributes": []}
    attributes = [_attribute(tag) for tag in listed(process.get("tags"), "process tags")]
    if process.get("serviceName"):
        attributes.append({"key": "service.name", "value": {"stringValue": process["serviceName"]}})
    return {"attributes": attributes}
