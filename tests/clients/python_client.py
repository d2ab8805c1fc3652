"""A client of the Python SDK: `python_client.py ADDRESS grpc|http none|gzip SPANS`.

Prints every span it ended, one JSON object a line, in the words of tests/clients/spans.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.span import SpanContext, TraceFlags

KINDS = (SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER)
RESOURCE = {"service.name": "python", "host.cpus": 2, "deployment.environment": "näher"}


def values(attributes: Any) -> dict[str, list[Any]]:
    """Return attributes by key as [type, value]."""
    types = {str: "string", bool: "bool", int: "int", float: "double"}
    return {key: [types.get(type(value), "json"), value] for key, value in dict(attributes or {}).items()}


class Ledger(SpanProcessor):
    """Prints what has ended."""

    def on_end(self, span: ReadableSpan) -> None:
        context = span.context
        assert context is not None
        scope = span.instrumentation_scope
        assert scope is not None
        told = {
            "trace_id": f"{context.trace_id:032x}",
            "span_id": f"{context.span_id:016x}",
            "parent_span_id": f"{span.parent.span_id:016x}" if span.parent else None,
            "name": span.name,
            "kind": KINDS.index(span.kind) + 1,
            "start": span.start_time,
            "end": span.end_time,
            "status_code": span.status.status_code.value,
            "status_message": span.status.description,
            "scope_name": scope.name,
            "scope_version": scope.version,
            "attributes": values(span.attributes),
            "resource": values(span.resource.attributes),
            "events": [[event.name, event.timestamp, values(event.attributes)] for event in span.events],
            "links": [
                [f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}", values(link.attributes)]
                for link in span.links
            ],
        }
        print(json.dumps(told))


def main(arguments: Sequence[str]) -> None:
    address, protocol, packed, count = *arguments[:3], int(arguments[3])
    exporter: GrpcExporter | HttpExporter
    if protocol == "grpc":
        import grpc

        compression = grpc.Compression.Gzip if packed == "gzip" else grpc.Compression.NoCompression
        exporter = GrpcExporter(f"http://{address}", insecure=True, compression=compression)
    else:
        compressed = Compression.Gzip if packed == "gzip" else Compression.NoCompression
        exporter = HttpExporter(f"http://{address}/v1/traces", compression=compressed)
    provider = TracerProvider(resource=Resource(RESOURCE))
    provider.add_span_processor(Ledger())
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=count + 1))
    tracer = provider.get_tracer("clients", "1.2")
    ids = RandomIdGenerator()
    parent = None
    for n in range(count):
        context = set_span_in_context(parent) if parent is not None and n % 10 else None
        other = SpanContext(ids.generate_trace_id(), ids.generate_span_id(), is_remote=True, trace_flags=TraceFlags(1))
        span = tracer.start_span(
            f"op {n % 50} ☂", context, KINDS[n % 5], links=[Link(other, {"n": n})] if n % 7 == 0 else ()
        )
        span.set_attributes(
            {
                "text": f"value {n}",
                "empty": "",
                "whole": n - 5_000,
                "far": -(2**63) + n,
                "part": n / 7,
                "yes": n % 2 == 0,
            }
        )
        span.set_attributes({"list": [n, n + 1], "words": ["a", "ß"]})
        if n % 3 == 0:
            span.add_event("happened", {"n": n, "why": "ü"})
            span.add_event("again")
        if n % 4 == 0:
            span.set_status(Status(StatusCode.ERROR, f"failed {n}") if n % 8 else Status(StatusCode.OK))
        span.end()
        parent = span
    provider.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
