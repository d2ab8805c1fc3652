"""Record dumps of the mesh: the same spans as OTLP JSON lines and as Jaeger JSON.

    python -m samples.record --to samples/dumps --requests 112

Runs `samples.mesh` with instrumented apps against a receiver of its own.
Times are cut to whole microseconds, which is all that Jaeger's format holds
and Envoy measures, so that both files say the same.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
KINDS = ("", "internal", "server", "client", "producer", "consumer")  # by OTLP number; Jaeger's span.kind
STATUSES = ("", "OK", "ERROR")
TYPES = {"stringValue": "string", "boolValue": "bool", "intValue": "int64", "doubleValue": "float64"}
Json = dict[str, Any]


@dataclass(slots=True)
class Received:
    """Requests of senders, in the order in which they came."""

    address: str = ""
    bodies: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, body: bytes, _context: grpc.ServicerContext) -> bytes:
        """Keep a request and acknowledge it."""
        with self.lock:
            self.bodies.append(body)
        answer: bytes = ExportTraceServiceResponse().SerializeToString()
        return answer


@contextmanager
def receiver() -> Iterator[Received]:
    """Take spans by OTLP/gRPC on a free port until the block ends."""
    received = Received()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    method, name = EXPORT.rsplit("/", 1)[1], EXPORT.rsplit("/", 1)[0].lstrip("/")
    handler = grpc.unary_unary_rpc_method_handler(received.take)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {method: handler}),))
    received.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield received
    finally:
        server.stop(grace=None).wait()


# -- OTLP JSON


def otlp_json(body: bytes) -> Json:
    """Return a request as OTLP JSON: protobuf's JSON, with numbers for enums and hexadecimal ids."""
    message = ExportTraceServiceRequest.FromString(body)
    document: Json = MessageToDict(message, use_integers_for_enums=True)
    for span in spans_of(document):
        for holder in (span, *span.get("links", ())):
            for name in ("traceId", "spanId", "parentSpanId"):
                if name in holder:
                    holder[name] = base64.b64decode(holder[name]).hex()
        for name in ("startTimeUnixNano", "endTimeUnixNano"):
            span[name] = str(int(span[name]) // 1000 * 1000)
    return document


def spans_of(document: Json) -> Iterator[Json]:
    """Yield the spans of a request."""
    for of_resource in document.get("resourceSpans", ()):
        for of_scope in of_resource.get("scopeSpans", ()):
            yield from of_scope.get("spans", ())


# -- Jaeger JSON, as Jaeger's UI downloads it


def jaeger(documents: Iterable[Json]) -> Json:
    """Return requests as Jaeger's query API answers them: one entry a trace."""
    traces: dict[str, Json] = {}
    for document in documents:
        for of_resource in document["resourceSpans"]:
            process = jaeger_process(of_resource.get("resource", {}))
            for of_scope in of_resource["scopeSpans"]:
                for span in of_scope["spans"]:
                    trace = traces.setdefault(
                        span["traceId"], {"traceID": span["traceId"], "spans": [], "processes": {}}
                    )
                    known = trace["processes"]
                    key = next((key for key, held in known.items() if held == process), f"p{len(known) + 1}")
                    known[key] = process
                    trace["spans"].append(jaeger_span(span, of_scope.get("scope", {}), key))
    return {"data": list(traces.values()), "total": 0, "limit": 0, "offset": 0, "errors": None}


def jaeger_process(resource: Json) -> Json:
    """Return a resource as a process."""
    held = resource.get("attributes", [])
    names = [each["value"]["stringValue"] for each in held if each["key"] == "service.name"]
    return {"serviceName": names[0], "tags": [tag(each) for each in held if each["key"] != "service.name"]}


def jaeger_span(span: Json, scope: Json, process: str) -> Json:
    """Return a span as Jaeger writes it: microseconds, and tags for what has no field."""
    tags = [tag(each) for each in span.get("attributes", ())]
    said = {
        "otel.scope.name": scope.get("name", ""),
        "otel.scope.version": scope.get("version", ""),
        "span.kind": KINDS[span.get("kind", 0)],
        "otel.status_code": STATUSES[span.get("status", {}).get("code", 0)],
        "w3c.tracestate": span.get("traceState", ""),
    }
    tags += [{"key": key, "type": "string", "value": value} for key, value in said.items() if value]
    if said["otel.status_code"] == "ERROR":
        tags.append({"key": "error", "type": "bool", "value": True})
    start, end = int(span["startTimeUnixNano"]) // 1000, int(span["endTimeUnixNano"]) // 1000
    references = []
    if "parentSpanId" in span:
        references.append({"refType": "CHILD_OF", "traceID": span["traceId"], "spanID": span["parentSpanId"]})
    return {
        "traceID": span["traceId"],
        "spanID": span["spanId"],
        "operationName": span["name"],
        "references": references,
        "startTime": start,
        "duration": end - start,
        "tags": tags,
        "logs": [],
        "processID": process,
        "warnings": None,
    }


def tag(attribute: Json) -> Json:
    """Return an attribute as a tag."""
    ((kind, value),) = attribute["value"].items()
    return {"key": attribute["key"], "type": TYPES[kind], "value": int(value) if kind == "intValue" else value}


def record(folder: Path, requests: int, seed: int) -> list[Path]:
    """Run the mesh and write what it sent; return the files."""
    with receiver() as received:
        command = [sys.executable, "-m", "samples.mesh", "--otlp", received.address, "--app-spans"]
        command += ["--requests", str(requests), "--seed", str(seed)]
        sent = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    documents = [otlp_json(body) for body in received.bodies]
    spans = sum(1 for document in documents for _ in spans_of(document))
    if spans != sent["spans"]:
        raise RuntimeError(f"{sent['spans']} spans were sent and {spans} came")
    lines = "".join(json.dumps(document, separators=(",", ":")) + "\n" for document in documents)
    files = {
        "shop.otlp.jsonl.gz": lines,
        "shop.jaeger.json.gz": json.dumps(jaeger(documents), separators=(",", ":")),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(gzip.compress(text.encode(), mtime=0))
    return [folder / name for name in files]


def main() -> int:
    """Record; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m samples.record", description="Record dumps of the mesh.")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "dumps", help="folder to write to")
    parser.add_argument("--requests", type=int, default=112)
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    for path in record(options.to, options.requests, options.seed):
        print(f"{path}  {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
