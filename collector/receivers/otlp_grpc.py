"""OTLP over gRPC: raw bytes in, an answer once they are on disk.

Owns the gRPC side: statuses, details, limits. A request is checked by one pass
over its bytes and never becomes objects; what is in it, the writer finds out.
"""

from __future__ import annotations

import logging
import time
from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.admission import Admission, Overloaded
from collector.group_commit import GroupCommit, NotDurable
from tracelens.wal import MAX_BODY, OTLP_PROTOBUF, Record
from tracelens.wire._scan import Verdict, validate

LOG = logging.getLogger(__name__)
SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
RETRY_SECONDS = 2
EMPTY: bytes = ExportTraceServiceResponse().SerializeToString()
OPTIONS = (
    # One byte more than we take, so that the refusal is ours to word.
    ("grpc.max_receive_message_length", MAX_BODY + (1 << 20)),
    ("grpc.max_concurrent_streams", 100),  # makes a rapid reset of streams harmless
    ("grpc.so_reuseport", 1),  # our workers share a port that the supervisor holds against strangers
)


class TraceService:
    """The one method sidecars and SDKs call."""

    def __init__(self, log: GroupCommit, admission: Admission) -> None:
        self._log, self._admission = log, admission

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the method for a server; requests and answers stay bytes."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {"Export": grpc.unary_unary_rpc_method_handler(self.export)}
        )

    async def export(self, body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Acknowledge a request once it is on disk; a bug of ours asks the sender to try again."""
        try:
            return await self._export(body, context)
        except grpc.aio.BaseError:  # what `abort` raises: the answer is given
            raise
        except Exception:  # UNKNOWN, which grpc would make of it, has clients drop the spans
            LOG.exception("a request failed by a bug of ours")
            await refuse(context, "internal error; the collector's log has it")

    async def _export(self, body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if len(body) > MAX_BODY:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{len(body):,} bytes; a request may have {MAX_BODY:,}. Send smaller batches.",
            )
        received = time.time_ns()
        verdict = validate(body)
        if verdict.error_byte >= 0:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"not an ExportTraceServiceRequest: byte {verdict.error_byte}: {verdict.reason}",
            )
        if verdict.spans > 0:
            try:
                async with self._admission.admit(len(body), context.time_remaining()):
                    await self._log.append(Record(received, OTLP_PROTOBUF, "", body))
            except (Overloaded, NotDurable) as error:
                await refuse(context, str(error))
        return _answer(verdict)


def _answer(verdict: Verdict) -> bytes:
    """Return the response: empty, or how many spans were rejected and why."""
    if not verdict.rejected:
        return EMPTY
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = verdict.rejected
    response.partial_success.error_message = verdict.reason
    return bytes(response.SerializeToString())


async def refuse(context: grpc.aio.ServicerContext, reason: str) -> NoReturn:
    """Refuse for now: UNAVAILABLE, with when to try again in both forms that clients read."""
    retry = RetryInfo(retry_delay=Duration(seconds=RETRY_SECONDS))
    details = Any()
    details.Pack(retry)
    code = grpc.StatusCode.UNAVAILABLE
    status = Status(code=code.value[0], message=reason, details=[details])
    trailers = (
        ("grpc-status-details-bin", status.SerializeToString()),
        ("google.rpc.retryinfo-bin", retry.SerializeToString()),
    )
    await context.abort(code, reason, trailers)
    raise AssertionError("abort returned")
