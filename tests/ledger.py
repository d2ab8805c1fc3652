"""A client that keeps a ledger: the ids of every span a collector acknowledged, on disk before the next is sent."""

from __future__ import annotations

import os
import secrets
import threading
import time
from pathlib import Path

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def request(spans: int, service: str = "ledger") -> tuple[bytes, list[bytes]]:
    """Return a request of `spans` spans of one trace, and their ids."""
    message = ExportTraceServiceRequest()
    resource = message.resource_spans.add()
    name = resource.resource.attributes.add(key="service.name")
    name.value.string_value = service
    scope = resource.scope_spans.add()
    trace, ids, now = secrets.token_bytes(16), [secrets.token_bytes(8) for _ in range(spans)], time.time_ns()
    for n, span_id in enumerate(ids):
        span = scope.spans.add(trace_id=trace, span_id=span_id, name="work", kind=2)
        span.start_time_unix_nano, span.end_time_unix_nano = now, now + 1_000 * (n + 1)
        if n:
            span.parent_span_id = ids[0]
    return message.SerializeToString(), ids


class Ledger:
    """Sends requests from several threads until stopped; keeps what was acknowledged."""

    def __init__(self, path: Path, address: str, *, spans: int = 5, streams: int = 4) -> None:
        self.path = path
        self.refused = 0
        self._address, self._spans = address, spans
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(streams)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        os.close(self._file)

    def acknowledged(self) -> list[bytes]:
        """Return the ids of all acknowledged spans."""
        data = self.path.read_bytes()
        return [data[at : at + 8] for at in range(0, len(data), 8)]

    def _send(self) -> None:
        while not self._stop.is_set():
            options = (
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 200),
                ("grpc.use_local_subchannel_pool", 1),  # a connection a stream: else all share one, and one worker
            )
            with grpc.insecure_channel(self._address, options=options) as channel:
                export = channel.unary_unary(EXPORT)
                while not self._stop.is_set():
                    body, ids = request(self._spans)
                    try:
                        export(body, timeout=5)
                    except grpc.RpcError:
                        self.refused += 1
                        self._stop.wait(0.05)  # the collector is being killed: do not spin
                        break
                    with self._lock:
                        os.write(self._file, b"".join(ids))
                        os.fdatasync(self._file)
