"""OTLP JSON: documents of ExportTraceServiceRequest or TracesData become spans.

Owns the JSON side of it. Ids are hexadecimal in any case, enums numbers or
names, 64-bit integers text or numbers, names lowerCamelCase or as in the
protobuf file; what is unknown is ignored. Everything that is decided about a
span is decided in `otlp`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from tracelens.errors import DecodeError
from tracelens.wire import otlp
from tracelens.wire._encode import Encoder, Json, get, listed
from tracelens.wire.decoded import Decoded


def decode(bodies: Sequence[bytes], received_unix_nano: Sequence[int] | None = None) -> Decoded:
    """Return the spans of some documents, in their order.

    Raises DecodeError for the first that is no OTLP JSON.
    """
    encoder = Encoder()
    return otlp.decode(
        [each(body, i, lambda found: request(found, encoder)) for i, body in enumerate(bodies)], received_unix_nano
    )


def each(body: bytes, record: int, encode: Callable[[Any], bytes]) -> bytes:
    """Return one JSON document encoded. Raises DecodeError with its number, and the byte where JSON ends to be JSON."""
    try:
        return encode(orjson.loads(body.removeprefix(b"\xef\xbb\xbf")))
    except orjson.JSONDecodeError as error:
        # orjson counts characters: what stands before it, encoded again, tells the bytes.
        byte = len(error.doc[: error.pos].encode()) if isinstance(error.doc, str) else error.pos
        raise DecodeError(f"no JSON: {error.msg}", record=record, byte=byte) from None
    except DecodeError as error:
        raise DecodeError(error.reason, record=record) from None
    except RecursionError:
        raise DecodeError("JSON nested too deep", record=record) from None


def request(document: Any, encoder: Encoder) -> bytes:
    """Return one document as ExportTraceServiceRequest."""
    if not isinstance(document, Mapping):
        raise DecodeError(f"a {type(document).__name__} where OTLP JSON has an object with resourceSpans")
    found = get(document, "resourceSpans", "resource_spans")
    if found is None and document:
        raise DecodeError(f"no resourceSpans among the keys {sorted(map(str, document))[:5]}")
    return b"".join([_resource_spans(each_resource, encoder) for each_resource in listed(found, "resourceSpans")])


def _resource_spans(json: Json, encoder: Encoder) -> bytes:
    # "instrumentationLibrarySpans" is what scopeSpans was called before OTLP 0.19.
    scopes = get(json, "scopeSpans", "scope_spans")
    scopes = json.get("instrumentationLibrarySpans") if scopes is None else scopes
    pairs = []
    for scope_spans in listed(scopes, "scopeSpans"):
        scope = scope_spans.get("scope") or scope_spans.get("instrumentationLibrary")
        spans = [encoder.span(span) for span in listed(scope_spans.get("spans"), "spans")]
        pairs.append((scope if isinstance(scope, Mapping) else {}, spans))
    return encoder.resource_spans(json.get("resource"), pairs)
