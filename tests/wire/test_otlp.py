"""OTLP protobuf decodes to what protobuf's runtime reads, repaired and marked."""

from __future__ import annotations

import math
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.wire.messages import damaged, facts, refused, requests
from tracelens.errors import DecodeError
from tracelens.spans import MARK, SPAN_MARKS, SPANS, check, is_attribute, split_column
from tracelens.wire import otlp

TRACE, SPAN_ID = b"sixteen byte ids", b"8 byte i"


def decoded(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return rows as `facts` says them: attributes of columns and overflow together."""
    rows = []
    for row in frame.iter_rows(named=True):
        held = []
        for name in [name for name in row if is_attribute(name)]:
            value = row.pop(name)
            kind = split_column(name)[2]
            if value is not None:
                held.append((name, orjson.loads(value) if kind == "json" else named(value)))
        overflow = orjson.loads(row.pop("overflow") or "{}")
        held += [
            (name, named(number(value) if name.endswith("#double") else value)) for name, value in overflow.items()
        ]
        for name in ("events", "links"):
            row[name] = row[name] and orjson.loads(row[name])
        rows.append({**row, "attributes": sorted(held, key=repr)})
    return rows


def number(value: Any) -> Any:
    """Return a double that JSON has no number for; a string key may look like a double's column."""
    return {"Infinity": math.inf, "-Infinity": -math.inf}.get(value, value) if isinstance(value, str) else value


def named(value: Any) -> Any:
    """Return NaN by name, so that it equals itself."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def request(*spans: Span, resource: dict[str, str] | None = None) -> bytes:
    """Return a request of these spans."""
    body = ExportTraceServiceRequest()
    of_resource = body.resource_spans.add()
    for key, value in (resource or {}).items():
        of_resource.resource.attributes.add(key=key).value.string_value = value
    of_resource.scope_spans.add().spans.extend(spans)
    raw: bytes = body.SerializeToString()
    return raw


def span(**fields: Any) -> Span:
    """Return a span with valid ids and times; attributes: a dict of strings."""
    attributes = fields.pop("attributes", {})
    made = Span(**{"trace_id": TRACE, "span_id": SPAN_ID, "start_time_unix_nano": 1, "end_time_unix_nano": 2, **fields})
    for key, value in attributes.items():
        made.attributes.add(key=key).value.string_value = value
    return made


def marks(frame: pl.DataFrame) -> list[str]:
    """Return the marks of a frame of one span."""
    (bits,) = frame["repairs"]
    return [name for name in SPAN_MARKS if bits & MARK[name]]


@settings(deadline=None)  # a first call compiles
@given(st.lists(requests(), max_size=3))
def test_decoding_agrees_with_the_runtime(bodies: list[bytes]) -> None:
    wanted, rejected = [], dict[str, int]()
    for body in bodies:
        found, refusals = facts(body)
        wanted += found
        for reason, count in refusals.items():
            rejected[reason] = rejected.get(reason, 0) + count
    # Keys that become equal when repaired cannot both stand in one object.
    assume(all(len({name for name, _ in row["attributes"]}) == len(row["attributes"]) for row in wanted))
    result = otlp.decode(bodies)
    assert decoded(check(result.spans)) == wanted
    assert result.rejected == rejected
    assert list(result.spans.columns)[: len(SPANS)] == list(SPANS)


@settings(deadline=None)  # a first call compiles
@given(damaged())
def test_damage_is_refused_as_the_runtime_refuses_it(body: bytes) -> None:
    if refused(body):
        with pytest.raises(DecodeError) as error:
            otlp.decode([b"", body])
        assert error.value.record == 1
        assert 0 <= error.value.byte <= len(body)
    else:
        found, rejected = facts(body)
        result = otlp.decode([body])
        assert len(result.spans) == len(found)
        assert result.rejected == rejected
