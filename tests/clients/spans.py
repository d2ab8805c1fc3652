"""Spans as clients print them, and as the store holds them, in the same words.

A span is an object: `trace_id`, `span_id`, `parent_span_id` in hex, `name`,
`kind` by OTLP's number, `start` and `end` in nanoseconds, `status_code`,
`status_message`, `scope_name`, `scope_version`, `attributes` and `resource` by
key as [type, value], `events` as [name, nanoseconds, attributes], `links` as
[trace, span, attributes].
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tracelens.spans import split_column
from tracelens.store import Store

TYPES = {"stringValue": "string", "boolValue": "bool", "intValue": "int", "doubleValue": "double"}
Span = dict[str, Any]


def stored(store: Path) -> Iterator[Span]:
    """Yield every span of a store."""
    frame = Store.open(store).scan().collect()
    owned = {name: split_column(name) for name in frame.columns if ":" in name}
    for row in frame.iter_rows(named=True):
        found: dict[str, dict[str, list[Any]]] = {"attr": {}, "res": {}, "scope": {}}
        told = {name: row[name] for name in owned} | json.loads(row["overflow"] or "{}")
        for name, value in told.items():
            if value is not None:
                owner, key, kind = split_column(name)
                found[owner][key] = [kind or "string", _value(json.loads(value))[1] if kind == "json" else value]
        yield {
            "trace_id": row["trace_id"].hex(),
            "span_id": row["span_id"].hex(),
            "parent_span_id": row["parent_span_id"].hex() if row["parent_span_id"] else None,
            "name": row["name"],
            "kind": row["kind"],
            "start": row["start_time_unix_nano"],
            "end": row["end_time_unix_nano"],
            "status_code": row["status_code"],
            "status_message": row["status_message"],
            "scope_name": row["scope_name"],
            "scope_version": row["scope_version"],
            "attributes": found["attr"],
            "resource": found["res"],
            "events": [
                [event["name"], int(event["timeUnixNano"]), _values(event)]
                for event in json.loads(row["events"] or "[]")
            ],
            "links": [[link["traceId"], link["spanId"], _values(link)] for link in json.loads(row["links"] or "[]")],
        }


def _values(owner: Span) -> dict[str, list[Any]]:
    return {one["key"]: _value(one["value"]) for one in owner.get("attributes", ())}


def _value(value: Span) -> list[Any]:
    """Return [type, value] of an OTLP AnyValue."""
    ((name, inner),) = value.items()
    if name == "arrayValue":
        return ["json", [_value(one)[1] for one in inner.get("values", ())]]
    return [TYPES.get(name, "json"), int(inner) if name == "intValue" else inner]


def difference(sent: Iterable[Span], found: Iterable[Span]) -> list[str]:
    """Return in a few words each how stored spans differ from those that were sent."""
    missing = {span["span_id"]: span for span in sent}
    differing = []
    for span in found:
        wanted = missing.pop(span["span_id"], None)
        if wanted is None:
            differing.append(f"span {span['span_id']}: twice, or nobody's")
            continue
        differing += [
            f"span {span['span_id']}: {field} is {span[field]!r}, not {wanted[field]!r}"
            for field in span
            if span[field] != wanted[field]
        ]
    return differing + [f"span {span_id}: missing" for span_id in missing]
