"""Jaeger JSON: the UI's download, an answer of the API, or one trace, become spans.

Owns what Jaeger calls things: references, tags, logs, processes. The spans
are written as OTLP and read by `otlp`, so that the same span is the same row
whichever way it came. Times are whole microseconds there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from tracelens.errors import DecodeError
from tracelens.wire import otlp
from tracelens.wire._encode import Encoder, Json, listed, whole
from tracelens.wire.decoded import Decoded
from tracelens.wire.otlp_json import each

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


def decode(bodies: Sequence[bytes], received_unix_nano: Sequence[int] | None = None) -> Decoded:
    """Return the spans of some documents.

    Raises DecodeError for the first that is no Jaeger JSON.
    """
    encoder = Encoder()
    followers: list[str] = []
    requests = [each(body, i, lambda found: _request(found, encoder, followers)) for i, body in enumerate(bodies)]
    decoded = otlp.decode(requests, received_unix_nano)
    if not followers:
        return decoded
    identity = pl.concat_str(pl.col("trace_id").bin.encode("hex"), pl.col("span_id").bin.encode("hex"))
    spans = decoded.spans.with_columns(follows_from=identity.is_in(followers))
    return Decoded(spans, decoded.rejected)


def _request(document: Any, encoder: Encoder, followers: list[str]) -> bytes:
    """Return a document as ExportTraceServiceRequest; add (trace, span) of those that follow from their parents."""
    return b"".join(part for trace in _traces(document) for part in _trace(trace, encoder, followers))


def _traces(document: Any) -> list[Json]:
    """Return the traces of a document in any of its forms."""
    if isinstance(document, list):
        return listed(document, "the document")
    if not isinstance(document, Mapping):
        raise DecodeError(f"a {type(document).__name__} where Jaeger JSON has an object with data")
    if "data" in document:
        return listed(document["data"], "data")
    if "spans" in document:
        return [document]
    raise DecodeError(f"neither data nor spans among the keys {sorted(map(str, document))[:5]}")


def _trace(trace: Json, encoder: Encoder, followers: list[str]) -> Iterator[bytes]:
    spans = listed(trace.get("spans"), "spans")
    processes = trace.get("processes")
    known = processes if isinstance(processes, Mapping) else {}
    present = {_padded(span.get("spanID"), 16) for span in spans}
    groups: dict[tuple[str, str, str], list[Json]] = defaultdict(list)
    for span in spans:
        all_tags = listed(span.get("tags"), "tags")
        tags = {str(tag.get("key")): tag for tag in all_tags}
        converted, follows = _span(span, tags, all_tags, present)
        if follows:
            followers.append(converted["traceId"] + converted["spanId"])
        scope = (_first(tags, SCOPE_NAME), _first(tags, SCOPE_VERSION))
        groups[str(span.get("processID", "")), *scope].append(converted)
    for (process, name, version), members in groups.items():
        own = members[0].get("process") or known.get(process)
        yield encoder.resource_spans(_resource(own), [({"name": name, "version": version}, members)])


def _span(span: Json, tags: dict[str, Json], all_tags: list[Json], present: set[str]) -> tuple[dict[str, Any], bool]:
    """Return a span as OTLP JSON has it, and whether it follows from its parent."""
    start = whole(span.get("startTime"), "startTime") * MICROSECOND
    trace = _padded(span.get("traceID"), 32)
    parent, follows, links = _references(span, trace, present)
    attributes = [_attribute(tag) for tag in all_tags if not _is_field(tag)]
    return {
        "traceId": trace,
        "spanId": _padded(span.get("spanID"), 16),
        "parentSpanId": parent,
        "traceState": _value(tags, "w3c.tracestate"),
        "name": span.get("operationName"),
        "kind": KINDS.get(_value(tags, "span.kind").lower(), 0),
        "startTimeUnixNano": start,
        "endTimeUnixNano": start + whole(span.get("duration"), "duration") * MICROSECOND,
        "attributes": attributes,
        "events": [_event(log) for log in listed(span.get("logs"), "logs")],
        "links": links,
        "flags": span.get("flags"),
        "status": {"code": _status(tags, all_tags), "message": _value(tags, "otel.status_description")},
        "process": span.get("process"),
    }, follows


def _references(span: Json, trace: str, present: set[str]) -> tuple[str, bool, list[Json]]:
    """Return the parent's id, whether it did not wait, and the other references as links.

    The parent is the first CHILD_OF whose span is in the trace, else the first
    other reference whose span is, else the first reference of this trace.
    """
    references = listed(span.get("references"), "references")
    if not references and span.get("parentSpanID"):  # Jaeger before 1.3
        references = [{"refType": "CHILD_OF", "traceID": trace, "spanID": span["parentSpanID"]}]
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


def _value(tags: dict[str, Json], key: str) -> str:
    return str(tags[key].get("value", "")) if key in tags else ""


def _first(tags: dict[str, Json], keys: Sequence[str]) -> str:
    return next((_value(tags, key) for key in keys if key in tags), "")


def _is_field(tag: Json) -> bool:
    """Whether a tag is one that Jaeger makes of a field of OTLP."""
    return tag.get("key") in FIELDS or _is_error(tag)


def _is_error(tag: Json) -> bool:
    """Whether a tag is Jaeger's own mark of a failed span; proxies write "error" as text, which is theirs."""
    return tag.get("key") == "error" and isinstance(tag.get("value"), bool)


def _status(tags: dict[str, Json], all_tags: list[Json]) -> int:
    stated = STATUSES.get(_value(tags, "otel.status_code").upper(), 0)
    return stated or (2 if any(_is_error(tag) and tag["value"] for tag in all_tags) else 0)


def _attribute(tag: Json) -> Json:
    """Return a tag as an attribute; a value whose type is not said has the type JSON gives it."""
    value = tag.get("value")
    kind = VALUES.get(str(tag.get("type", "")).lower())
    if kind is None:
        kind = "boolValue" if isinstance(value, bool) else "intValue" if isinstance(value, int) else "stringValue"
        kind = "doubleValue" if isinstance(value, float) else kind
    return {"key": tag.get("key"), "value": {kind: value}}


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
