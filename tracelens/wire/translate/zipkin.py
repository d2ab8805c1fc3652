"""Zipkin JSON as OTLP: spans of v2 and of v1, side by side if need be.

Owns the JSON, and what v1 calls things: a span there is what its annotations
say, and may hold both sides of a call. What a span becomes is `_zipkin`'s.

A list of lists, as Zipkin's API answers for several traces, reads as one list.
Source of v1's rules: Zipkin's V1SpanConverter, which OpenTelemetry's mapping names.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from tracelens.errors import DecodeError
from tracelens.wire.translate._zipkin import Json, Spans, microseconds

# What annotations say of a side: (kind, begin, end, those of which one must be there, the other side's address).
SIDES = (
    ("CLIENT", "cs", "cr", ("cs", "cr"), "sa"),
    ("SERVER", "sr", "ss", ("sr", "ss"), "ca"),
    ("PRODUCER", "ms", "ws", ("ms",), "ma"),
    ("CONSUMER", "wr", "mr", ("mr",), "ma"),
)
CORE = frozenset({name for _, begin, end, _, _ in SIDES for name in (begin, end)})
ADDRESSES = frozenset({"ca", "sa", "ma"})
V2 = frozenset({"localEndpoint", "remoteEndpoint", "kind", "tags", "shared"})  # what v1 does not have
TRUE = (True, "true", "1", "\x01")


def translate(body: bytes) -> bytes:
    """Return a list of spans as ExportTraceServiceRequest.

    Raises DecodeError when the body is no JSON, or no list.
    """
    found = _loaded(body.removeprefix(b"\xef\xbb\xbf"))
    if found.__class__ is not list:
        raise DecodeError(f"a {type(found).__name__} where Zipkin JSON has a list of spans")
    spans = Spans()
    for span in found:
        if span.__class__ is list:
            for inner in span:
                _add(spans, inner)
        else:
            _add(spans, span)
    return spans.request()


def _loaded(body: bytes) -> Any:
    """Return the JSON of a body. Text that is no Unicode, or a number beyond a double's, costs no more than itself."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body.decode("utf-8", "surrogateescape"))  # reads those, many times slower
    except json.JSONDecodeError as error:
        # It counts characters: what stands before it, encoded again, tells the bytes.
        byte = len(error.doc[: error.pos].encode("utf-8", "surrogateescape"))
        raise DecodeError(f"no JSON: {error.msg}", byte=byte) from None
    except (ValueError, RecursionError):
        raise DecodeError("JSON nested too deep, or with a number of thousands of digits") from None


def _add(spans: Spans, span: Any) -> None:
    if span.__class__ is dict and _is_v1(span):
        for side in _sides(span):
            spans.add(side)
    else:
        spans.add(span)


def _is_v1(span: Json) -> bool:
    if not V2.isdisjoint(span):
        return False
    annotations = span.get("annotations")
    return "binaryAnnotations" in span or (
        annotations.__class__ is list and any(a.__class__ is dict and "endpoint" in a for a in annotations)
    )


def _sides(span: Json) -> list[dict[str, Any]]:
    """Return the sides of a v1 span as spans of v2: client, server, producer, consumer, or none of them."""
    annotations, tags, addresses = _said(span)
    core = {
        a["value"]: a
        for a in annotations
        if a.__class__ is dict and _text(a, "value") in CORE and a.get("endpoint").__class__ is dict
    }
    common = {key: span[key] for key in ("traceId", "id", "parentId", "name", "debug") if key in span}
    found: list[dict[str, Any]] = []
    used = set()
    for kind, begin, end, needed, address in SIDES:
        if any(name in core for name in needed):
            used |= {id(core[name]) for name in (begin, end) if name in core}
            side = common | {"kind": kind, "remoteEndpoint": addresses.get(address)}
            side |= _times(span, core.get(begin), core.get(end), alone=kind != "SERVER" or not found)
            side["localEndpoint"] = core.get(begin, core.get(end, {})).get("endpoint")
            if kind == "SERVER" and (found or not span.get("timestamp")):
                side["shared"] = True  # v1 has no flag: by convention a server with the client's id sends no timestamp
            found.append(_unlooped(side))
    if not found:
        found.append(common | _local(span, annotations, tags, addresses))
    for side in found:
        side |= {"annotations": [], "tags": {}}
    for annotation in annotations:
        if id(annotation) not in used:
            _nearest(found, annotation)["annotations"].append(annotation)
    for tag in tags:
        if tag.__class__ is not dict:
            found[0]["tags"]["zipkin.binaryAnnotation"] = tag
        elif tag.get("key") != "lc" or tag.get("value"):
            _nearest(found, tag)["tags"][_text(tag, "key")] = tag.get("value")
    return found


def _said(span: Json) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """Return (annotations, binary annotations that are tags, endpoints by the binary annotation that is an address)."""
    annotations, binary = span.get("annotations"), span.get("binaryAnnotations")
    tags = []
    addresses = {}
    for each in binary if binary.__class__ is list else [binary] if binary else []:
        if each.__class__ is dict and _text(each, "key") in ADDRESSES and each.get("value") in TRUE:
            addresses[each["key"]] = each.get("endpoint")
        else:
            tags.append(each)
    return annotations if annotations.__class__ is list else [annotations] if annotations else [], tags, addresses


def _times(span: Json, begin: Json | None, end: Json | None, *, alone: bool) -> dict[str, Any]:
    """Return timestamp and duration of a side; alone: whether the span's own are its."""
    own, duration = (microseconds(span.get(name)) if alone else 0 for name in ("timestamp", "duration"))
    first, last = (microseconds(a.get("timestamp")) if a else 0 for a in (begin, end))
    if first and last and not (own and duration):
        return {"timestamp": first, "duration": last - first}
    if own or first:
        return {"timestamp": own or first, "duration": duration or None}
    return {"timestamp": last}


def _local(span: Json, annotations: list[Any], tags: list[Any], addresses: Json) -> dict[str, Any]:
    """Return what is left to say of a span without a side: where it was, and what a lone address tells."""
    ends = [a.get("endpoint") for a in (*annotations, *tags) if a.__class__ is dict]
    local = next((end for end in ends if end.__class__ is dict), None)
    said = {"timestamp": span.get("timestamp"), "duration": span.get("duration"), "localEndpoint": local}
    if "sa" in addresses:
        return said | {"remoteEndpoint": addresses["sa"], "localEndpoint": addresses.get("ca") or local}
    return said | ({"kind": "SERVER", "remoteEndpoint": addresses["ca"]} if "ca" in addresses else {})


def _unlooped(side: dict[str, Any]) -> dict[str, Any]:
    """Return a side whose peer is not itself: some servers give the client's address their own name."""
    remote = side["remoteEndpoint"]
    if side["kind"] == "SERVER" and remote.__class__ is dict and _service(remote) == _service(side["localEndpoint"]):
        side["remoteEndpoint"] = {key: value for key, value in remote.items() if key != "serviceName"}
    return side


def _nearest(sides: list[dict[str, Any]], what: Any) -> dict[str, Any]:
    """Return the side that said something: the first of its service, else the first."""
    if len(sides) > 1 and what.__class__ is dict:
        service = _service(what.get("endpoint"))
        for side in sides:
            if _service(side["localEndpoint"]) == service:
                return side
    return sides[0]


def _service(endpoint: Any) -> str:
    return _text(endpoint, "serviceName") if endpoint.__class__ is dict else ""


def _text(json: Json, key: str) -> str:
    found = json.get(key)
    return found if isinstance(found, str) else ""
