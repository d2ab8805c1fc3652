"""Jaeger JSON to spans and to a profile, beside its JSON alone and beside the way through Python's objects.

The documents are the recorded dump again and again, each time with other ids:
proxies' spans of 1.5 kB with 20 tags; and spans as SDKs write them, 0.6 kB
with 5 tags. Rates "a core" are spans by seconds of CPU time of all threads.
"""

from __future__ import annotations

import gzip
import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from tests.bench import answers, decode
from tracelens.lens import Lens, Question
from tracelens.wire import jaeger, otlp
from tracelens.wire._encode import Encoder
from tracelens.wire.translate.jaeger import request

SAMPLE = Path(__file__).parents[2] / "samples" / "dumps" / "shop.jaeger.json.gz"
ID = re.compile(rb'"((?:trace|span)ID)":"(.{8})')
PER_TRACE = 50
SERVICES = 8
SHARE = 5  # of the spans that other parts measure: JSON is long
PYTHON_SPANS = 10_000


def of_proxies(spans: int) -> tuple[bytes, int]:
    """Return a document of so many spans or more, and how many."""
    traces = orjson.loads(gzip.decompress(SAMPLE.read_bytes()))["data"]
    text = orjson.dumps(traces)[1:-1]
    per = sum(len(trace["spans"]) for trace in traces)
    copies = -(-spans // per)

    def renamed(copy: int) -> bytes:
        change = copy * 0x9E3779B1 & 0xFFFFFFFF
        return ID.sub(lambda found: b'"%s":"%08x' % (found[1], int(found[2], 16) ^ change), text)

    return b'{"data":[' + b",".join(map(renamed, range(copies))) + b"]}", copies * per


def of_sdks(spans: int) -> tuple[bytes, int]:
    """Return the same of spans with five tags."""
    chance = random.Random(1)
    count = -(-spans // PER_TRACE)
    return orjson.dumps({"data": [_of_sdks(chance, number) for number in range(count)]}), count * PER_TRACE


def _of_sdks(chance: random.Random, number: int) -> dict[str, Any]:
    trace = f"{chance.getrandbits(128):032x}"
    ids = [f"{chance.getrandbits(64):016x}" for _ in range(PER_TRACE)]
    spans = []
    for i, identity in enumerate(ids):
        service = chance.randrange(SERVICES)
        tags = {
            "span.kind": "client" if i % 2 else "server",
            "http.method": "GET",
            "http.status_code": 200,
            "http.url": f"http://svc{service}/items/{chance.randrange(10_000)}",
            "component": "net/http",
        }
        parent = {"refType": "CHILD_OF", "traceID": trace, "spanID": ids[(i - 1) // 3]}
        spans.append(
            {
                "traceID": trace,
                "spanID": identity,
                "flags": 1,
                "operationName": f"HTTP GET /items/{service}",
                "references": [parent] if i else [],
                "startTime": 1_750_000_000_000_000 + number * 1_000 + i,
                "duration": 5_000 - i * 60,
                "tags": [
                    {"key": key, "type": "int64" if isinstance(value, int) else "string", "value": value}
                    for key, value in tags.items()
                ],
                "logs": [],
                "processID": f"p{service}",
                "warnings": None,
            }
        )
    processes = {
        f"p{n}": {"serviceName": f"svc{n}", "tags": [{"key": "hostname", "type": "string", "value": f"host{n}"}]}
        for n in range(SERVICES)
    }
    return {"traceID": trace, "spans": spans, "processes": processes, "warnings": None}


def measure(spans: int) -> dict[str, float]:
    """Return spans a second, and spans a second and core; medians."""
    kinds: dict[str, Callable[[int], tuple[bytes, int]]] = {"20 tags": of_proxies, "5 tags": of_sdks}
    figures: dict[str, float] = {}
    for kind, documents in kinds.items():
        body, count = documents(spans // SHARE)
        few, some = documents(min(PYTHON_SPANS, spans // SHARE))
        requests = jaeger.write([body]).requests
        with tempfile.TemporaryDirectory() as folder:
            dump = Path(folder, "dump.json")
            dump.write_bytes(body)
            figures |= {
                f"dump (Jaeger JSON, {kind}) to profile, spans/s": answers.rate(
                    count, lambda dump=dump: Lens.open(str(dump)).profile(Question(), None)
                ),
                f"{kind}: written as OTLP, a core": decode.rate(count, lambda body=body: jaeger.write([body])),
                f"{kind}: and that to a frame, a core": decode.rate(
                    count, lambda requests=requests: otlp.decode(requests)
                ),
                f"baseline: {kind}: orjson.loads alone, a core": decode.rate(
                    count, lambda body=body: orjson.loads(body)
                ),
                f"baseline: {kind}: written as OTLP by Python, a core": decode.rate(
                    some, lambda few=few: request(orjson.loads(few), Encoder(), bytearray())
                ),
            }
    return figures
