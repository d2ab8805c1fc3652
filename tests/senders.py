"""Senders of requests, one a door, and what they are told, in one vocabulary."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import json_format
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.ledger import EXPORT

PROTOBUF, JSON = "application/x-protobuf", "application/json"
GRPC_WORDS = {
    grpc.StatusCode.INVALID_ARGUMENT: "invalid",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "too large",
    grpc.StatusCode.UNAVAILABLE: "later",
    grpc.StatusCode.UNIMPLEMENTED: "not known",
}
HTTP_WORDS = {400: "invalid", 413: "too large", 503: "later", 404: "not known", 405: "not known", 415: "not known"}


@dataclass(frozen=True, slots=True)
class Told:
    """An answer."""

    word: str  # ok, invalid, too large, later, not known; else the status as it came
    rejected: int = 0
    message: str = ""
    retry: frozenset[str] = field(default_factory=frozenset)  # the forms in which it says when to try again


def _refusal(error: Any) -> Told:
    """Return what a gRPC error says."""
    trailers = dict(error.trailing_metadata() or ())
    retry = set()
    if "google.rpc.retryinfo-bin" in trailers:
        assert RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay.seconds == 2
        retry.add("retryinfo-bin")
    if "grpc-status-details-bin" in trailers:
        status = Status.FromString(trailers["grpc-status-details-bin"])
        assert status.code == error.code().value[0]
        retry |= {"details" for detail in status.details if detail.Is(RetryInfo.DESCRIPTOR)}
    return Told(GRPC_WORDS.get(error.code(), str(error.code())), 0, error.details() or "", frozenset(retry))


def by_grpc(address: str, body: bytes, *, compression: Any = None, metadata: Any = None, method: str = EXPORT) -> Told:
    """Send over gRPC."""
    options = [("grpc.max_send_message_length", 1 << 30), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options=options) as channel:
        export = channel.unary_unary(method, response_deserializer=ExportTraceServiceResponse.FromString)
        try:
            answer = export(body, timeout=30, compression=compression, metadata=metadata)
        except grpc.RpcError as error:
            return _refusal(error)
    return Told("ok", answer.partial_success.rejected_spans, answer.partial_success.error_message)


def post(address: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Send over HTTP; return status, headers in lower case, and body."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def by_http(address: str, body: bytes, kind: str = PROTOBUF, encoding: str = "", path: str = "/v1/traces") -> Told:
    """Send over OTLP/HTTP."""
    headers = {"content-type": kind, **({"content-encoding": encoding} if encoding else {})}
    http_status, told, data = post(address, path, body, headers)
    if http_status == 200:
        if told["content-type"] == JSON:
            partial = json.loads(data).get("partialSuccess", {})
            return Told("ok", int(partial.get("rejectedSpans", 0)), partial.get("errorMessage", ""))
        answer = ExportTraceServiceResponse.FromString(data)
        return Told("ok", answer.partial_success.rejected_spans, answer.partial_success.error_message)
    retry = {"retry-after"} if told.get("retry-after") == "2" else set()
    if kind == JSON or told["content-type"] == JSON:
        assert told["content-type"] == JSON
        status = json.loads(data)
        retry |= {"details" for detail in status.get("details", ()) if "RetryInfo" in detail["@type"]}
        message = status["message"]
    else:
        assert told["content-type"] == PROTOBUF
        parsed = Status.FromString(data)
        retry |= {"details" for detail in parsed.details if detail.Is(RetryInfo.DESCRIPTOR)}
        message = parsed.message
    return Told(HTTP_WORDS.get(http_status, str(http_status)), 0, message, frozenset(retry))


IDS = ("traceId", "spanId", "parentSpanId")


def _id(value: str) -> str:
    return base64.b64decode(value).hex()


def otlp_json(body: bytes) -> bytes:
    """Return a request as OTLP JSON: protobuf's mapping, with ids in hexadecimal."""
    message = json_format.MessageToDict(ExportTraceServiceRequest.FromString(body), use_integers_for_enums=True)

    def hexadecimal(value: Any) -> Any:
        if isinstance(value, list):
            return [hexadecimal(one) for one in value]
        if isinstance(value, dict):
            return {
                name: base64.b64decode(inner).hex()
                if name in ("traceId", "spanId", "parentSpanId")
                else hexadecimal(inner)
                for name, inner in value.items()
            }
        return value

    return json.dumps(hexadecimal(message)).encode()


@dataclass(frozen=True, slots=True)
class Sender:
    """A door, and how to send through it: as it is, and compressed."""

    door: str
    engine: str
    send: Callable[[str, bytes], Told]
    send_compressed: Callable[[str, bytes], Told]
    encode: Callable[[bytes], bytes] = bytes  # of a protobuf request

    @property
    def retry(self) -> frozenset[str]:
        """The forms in which a refusal for now says when to try again."""
        return frozenset({"details", "retryinfo-bin" if self.door == "otlp_grpc" else "retry-after"})


def _grpc(engine: str) -> Sender:
    return Sender(
        "otlp_grpc", engine, by_grpc, lambda address, body: by_grpc(address, body, compression=grpc.Compression.Gzip)
    )


SENDERS = {
    "grpcio": _grpc("grpcio"),
    "grpc-asgi": _grpc("asgi"),
    "http-protobuf": Sender(
        "otlp_http", "asgi", by_http, lambda address, body: by_http(address, gzip.compress(body, 1), encoding="gzip")
    ),
    "http-json": Sender(
        "otlp_http",
        "asgi",
        lambda address, body: by_http(address, body, JSON),
        lambda address, body: by_http(address, gzip.compress(body, 1), JSON, "gzip"),
        otlp_json,
    ),
}
