"""OTLP JSON as OTLP protobuf: documents of ExportTraceServiceRequest or TracesData.

Owns the JSON side of it. Ids are hexadecimal in any case, enums numbers or
names, 64-bit integers text or numbers, names lowerCamelCase or as in the
protobuf file; what is unknown is ignored. A span that cannot be written
becomes one without ids, which is rejected and counted as such; it costs no
other. Everything that is decided about a span is decided in `otlp`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from tracelens.errors import DecodeError
from tracelens.wire._encode import Encoder, Json, get, listed

BROKEN = (DecodeError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


def translate(body: bytes) -> bytes:
    """Return a document as ExportTraceServiceRequest.

    Raises DecodeError when it is no JSON, or none of OTLP's.
    """
    return request(loaded(body), Encoder())


def loaded(body: bytes) -> Any:
    """Return the JSON of a body; text that is no Unicode is kept as it came, see `_encode.utf8`.

    Raises DecodeError, with the byte where JSON ends to be JSON.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        first = error
    try:
        return json.loads(body.decode(errors="surrogateescape"))
    except (ValueError, RecursionError):
        # orjson counts characters: what stands before it, encoded again, tells the bytes.
        byte = len(first.doc[: first.pos].encode(errors="replace")) if isinstance(first.doc, str) else first.pos
        raise DecodeError(f"no JSON: {first.msg}", byte=byte) from None


def request(document: Any, encoder: Encoder) -> bytes:
    """Return one document as ExportTraceServiceRequest."""
    if not isinstance(document, Mapping):
        raise DecodeError(f"a {type(document).__name__} where OTLP JSON has an object with resourceSpans")
    found = get(document, "resourceSpans", "resource_spans")
    if found is None and document:
        raise DecodeError(f"no resourceSpans among the keys {sorted(map(str, document))[:5]}")
    return b"".join([_resource_spans(each_resource, encoder) for each_resource in listed(found, "resourceSpans")])


def _resource_spans(each: Json, encoder: Encoder) -> bytes:
    # "instrumentationLibrarySpans" is what scopeSpans was called before OTLP 0.19.
    scopes = get(each, "scopeSpans", "scope_spans")
    scopes = each.get("instrumentationLibrarySpans") if scopes is None else scopes
    pairs = []
    for scope_spans in listed(scopes, "scopeSpans"):
        scope = scope_spans.get("scope") or scope_spans.get("instrumentationLibrary")
        spans = scope_spans.get("spans")
        if spans is not None and spans.__class__ is not list:
            raise DecodeError("spans should be a list of objects")
        pairs.append((_readable(scope, encoder), [_span(span, encoder) for span in spans or ()]))
    return encoder.resource_spans(_readable(each.get("resource"), encoder), pairs)


def _span(span: Any, encoder: Encoder) -> bytes:
    """Return a span's body; nothing, which has no ids, when it cannot be written."""
    try:
        return encoder.span(span)
    except BROKEN:
        return b""


def _readable(owner: Any, encoder: Encoder) -> Json:
    """Return a resource or scope; without the attributes that cannot be written, or nothing when it is no object."""
    if not isinstance(owner, Mapping):
        return {}
    attributes = owner.get("attributes")
    kept = []
    for pair in attributes if isinstance(attributes, list) else ():
        try:
            encoder.key_values(1, [pair])
        except BROKEN:
            continue
        kept.append(pair)
    texts = {name: str(value) for name in ("name", "version") if (value := owner.get(name))}
    return {**texts, "attributes": kept}
