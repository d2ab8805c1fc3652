"""OTLP to spans: how many a second and core, beside protobuf's own objects walked in Python.

The requests are those of a mesh: 1,000 spans each, 8 services, 20 routes,
traces of 8 spans, 12 string attributes, about 600 bytes a span; ids, times
and four attribute values differ in every span, so that nothing compresses
unfairly. A rate is spans by seconds of CPU time of all threads: one core's.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from tracelens.wire import _scan, otlp

RUNS = 5
PER_BODY = 1000
PER_TRACE = 8
SERVICES = 8
ROUTES = 20
BASELINE_SPANS = 20_000  # objects take seconds for more, and only their rate is wanted
HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
START = 1_750_000_000_000_000_000


def service(trace: int, place: int) -> int:
    """Return the service of a span: four a trace, two spans each."""
    return (trace * 2 + place // 2) % SERVICES


def template() -> tuple[bytes, dict[str, list[int]]]:
    """Return a request, and where in it the values of each span stand that differ from span to span."""
    chance = random.Random(1)
    request = TracesData()
    scopes = []
    for number in range(SERVICES):
        of_resource = request.resource_spans.add()
        pod = f"svc{number}-7c9f5b6d4-x2k{chance.randrange(10)}"
        for key, value in (
            ("service.name", f"svc{number}.shop"),
            ("k8s.pod.name", pod),
            ("k8s.namespace.name", "shop"),
            ("telemetry.sdk.name", "envoy"),
            ("service.version", "1.2.3"),
        ):
            of_resource.resource.attributes.add(key=key).value.string_value = value
        scopes.append(of_resource.scope_spans.add())
        scopes[-1].scope.name = "envoy"
    for i in range(PER_BODY):
        of = service(i // PER_TRACE, i % PER_TRACE)
        route = chance.randrange(ROUTES)
        span = scopes[of].spans.add(
            trace_id=b"T" * 12 + i.to_bytes(4, "big"),
            span_id=b"S" * 4 + i.to_bytes(4, "big"),
            parent_span_id=b"P" * 4 + i.to_bytes(4, "big"),
            name=f"GET /api/v1/items/{route:02}",
            kind=2 + i % 2,
            start_time_unix_nano=START + i,
            end_time_unix_nano=START + i + 20_000_000,
        )
        span.status.SetInParent()
        for key, value in (
            ("http.method", "GET"),
            ("http.status_code", "200"),
            ("http.url", f"http://shop.example/api/v1/items/{route:02}?id={i:06}"),
            ("upstream_cluster", f"outbound|8080||svc{of}.shop.svc.cluster.local"),
            ("response_flags", "-"),
            ("peer.address", f"10.0.{chance.randrange(4)}.{10 + chance.randrange(90)}"),
            ("user_agent", "Go-http-client/1.1 (shop-mesh)"),
            ("component", "proxy"),
            ("node_id", f"sidecar~10.1.1.{of}~svc{of}-7c9f5b6d4-x2k{chance.randrange(10)}.shop~shop.svc.cluster.local"),
            ("request_size", f"1{i:06}"),
            ("response_size", f"2{i:06}"),
            ("guid:x-request-id", f"{i:08}-0000-4000-8000-000000000000"),
        ):
            span.attributes.add(key=key).value.string_value = value
    raw: bytes = request.SerializeToString()
    marks: dict[str, Callable[[int], bytes]] = {
        "trace": lambda i: b"T" * 12 + i.to_bytes(4, "big"),
        "span": lambda i: b"S" * 4 + i.to_bytes(4, "big"),
        "parent": lambda i: b"P" * 4 + i.to_bytes(4, "big"),
        "time": lambda i: (START + i).to_bytes(8, "little"),
        "url": lambda i: b"?id=%06d" % i,
        "request": lambda i: b"1%06d" % i,
        "response": lambda i: b"2%06d" % i,
        "guid": lambda i: b"%08d-0000-4000" % i,
    }
    return raw, {name: [raw.index(mark(i)) for i in range(PER_BODY)] for name, mark in marks.items()}


def requests(spans: int) -> list[bytes]:
    """Return requests of that many spans together; no two spans are equal."""
    raw, places = template()
    at = {name: np.array(where)[:, None] for name, where in places.items()}
    chance = np.random.default_rng(1)
    roots = np.arange(PER_BODY) // PER_TRACE

    def put(body: NDArray[np.uint8], name: str, offset: int, values: NDArray[np.uint8]) -> None:
        body[at[name] + offset + np.arange(values.shape[1])] = values

    def digits(count: int) -> NDArray[np.uint8]:
        return (chance.integers(0, 10, (PER_BODY, count)) + ord("0")).astype(np.uint8)

    bodies = []
    for number in range(-(-spans // PER_BODY)):
        body = np.frombuffer(raw, np.uint8).copy()
        ids = chance.integers(1, 256, (PER_BODY, 8), dtype=np.uint8)
        parents = np.roll(ids, 1, axis=0)
        parents[::PER_TRACE] = 0
        put(body, "trace", 0, chance.integers(0, 256, (PER_BODY, 16), dtype=np.uint8)[roots])
        put(body, "span", 0, ids)
        put(body, "parent", 0, parents)
        begin = START + number * 1_000_000_000 + chance.integers(0, 1_000_000, PER_BODY) + np.arange(PER_BODY) * 50_000
        end = begin + chance.lognormal(16.8, 0.35, PER_BODY).astype(np.int64)
        put(body, "time", 0, begin[:, None].view(np.uint8))
        put(body, "time", 9, end[:, None].view(np.uint8))  # the next field: one byte of tag between them
        put(body, "url", 4, digits(6))
        put(body, "request", 1, digits(4))
        put(body, "response", 1, digits(5))
        put(body, "guid", 0, HEX[chance.integers(0, 16, (PER_BODY, 8))][roots])
        bodies.append(body.tobytes())
    return bodies


def walk(bodies: list[bytes]) -> list[dict[str, Any]]:
    """Decode as anyone would: protobuf's objects, a dict a span."""
    rows = []
    for body in bodies:
        for of_resource in TracesData.FromString(body).resource_spans:
            shared = {f"res:{pair.key}": pair.value.string_value for pair in of_resource.resource.attributes}
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    row: dict[str, Any] = dict(shared)
                    row["trace_id"], row["span_id"] = span.trace_id, span.span_id
                    row["parent_span_id"], row["name"], row["kind"] = span.parent_span_id, span.name, span.kind
                    row["start"], row["end"] = span.start_time_unix_nano, span.end_time_unix_nano
                    row["status"], row["scope"] = span.status.code, of_scope.scope.name
                    for pair in span.attributes:
                        row[f"attr:{pair.key}"] = pair.value.string_value
                    rows.append(row)
    return rows


def rate(spans: int, work: Callable[[], object]) -> float:
    """Return the median of spans by second of CPU time."""
    found = []
    for _ in range(RUNS):
        begin = time.process_time()
        work()
        found.append(spans / (time.process_time() - begin))
    return statistics.median(found)


def measure(spans: int) -> dict[str, float]:
    """Return spans a second and core, medians of RUNS."""
    bodies = requests(spans)
    n = len(bodies) * PER_BODY
    few = bodies[: max(1, BASELINE_SPANS // PER_BODY)]
    otlp.warm()
    frame = otlp.decode(bodies).spans
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "spans.parquet")

        def write() -> None:
            frame.write_parquet(file, compression="zstd", compression_level=1)

        return {
            "bytes a span on the wire": sum(map(len, bodies)) / n,
            "validate": rate(n, lambda: [_scan.validate(body) for body in bodies]),
            "decode to a frame": rate(n, lambda: otlp.decode(bodies)),
            "write it as Parquet": rate(n, write),
            "bytes a span in Parquet": file.stat().st_size / n,
            "baseline: protobuf objects walked in Python": rate(len(few) * PER_BODY, lambda: walk(few)),
        }


if __name__ == "__main__":
    for what, value in measure(200_000).items():
        print(f"{what:50} {value:12,.0f}")
