"""Answers: what senders are told, in the words of gRPC and of OTLP/HTTP.

Owns statuses, their details and the two forms in which clients read when to
try again. Protocols only carry them.
"""

from __future__ import annotations

import base64

import orjson
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.intake import RETRY_SECONDS, Later, TooLarge, Undecodable
from tracelens.wire._scan import Verdict

# Of google.rpc.Code.
INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAVAILABLE = 3, 8, 12, 14
HTTP_OF = {INVALID_ARGUMENT: 400, RESOURCE_EXHAUSTED: 413, UNIMPLEMENTED: 404, UNAVAILABLE: 503}

_RETRY = RetryInfo(retry_delay=Duration(seconds=RETRY_SECONDS))
_DETAIL = Any()
_DETAIL.Pack(_RETRY)
RETRY_BYTES: bytes = _RETRY.SerializeToString()

CODES = {Later: UNAVAILABLE, TooLarge: RESOURCE_EXHAUSTED, Undecodable: INVALID_ARGUMENT}


def response(verdict: Verdict) -> bytes:
    """Return ExportTraceServiceResponse: empty, or how many spans were rejected and why."""
    if not verdict.rejected:
        return b""
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = verdict.rejected
    answer.partial_success.error_message = verdict.reason
    return bytes(answer.SerializeToString())


def response_json(verdict: Verdict) -> bytes:
    """Return the same as OTLP JSON."""
    if not verdict.rejected:
        return b"{}"
    partial = {"rejectedSpans": str(verdict.rejected), "errorMessage": verdict.reason}
    return orjson.dumps({"partialSuccess": partial})


def status(code: int, message: str) -> bytes:
    """Return google.rpc.Status; one that asks to try again says when."""
    details = [_DETAIL] if code == UNAVAILABLE else []
    return bytes(Status(code=code, message=message, details=details).SerializeToString())


def status_json(code: int, message: str) -> bytes:
    """Return the same as JSON."""
    said: dict[str, object] = {"code": code, "message": message}
    if code == UNAVAILABLE:
        said["details"] = [{"@type": _DETAIL.type_url, "retryDelay": f"{RETRY_SECONDS}s"}]
    return orjson.dumps(said)


def trailers(code: int, message: str) -> tuple[tuple[str, bytes], ...]:
    """Return the trailing metadata of a refusal: its details, and when to try again in the older form too."""
    found = [("grpc-status-details-bin", status(code, message))]
    if code == UNAVAILABLE:
        found.append(("google.rpc.retryinfo-bin", RETRY_BYTES))
    return tuple(found)


def binary(value: bytes) -> bytes:
    """Return the value of a -bin header as HTTP/2 carries it."""
    return base64.b64encode(value).rstrip(b"=")
