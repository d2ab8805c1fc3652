"""OTLP over gRPC by grpcio: raw bytes in, an answer once they are on disk.

Owns the grpcio side of it: the method, its options, how a call is aborted.
It is the conservative engine; `grpc_asgi` is the other. Three faults are
answered by grpcio's core before any handler, as INTERNAL: a body that is not
the gzip it says, an encoding it does not know, and a message flagged as
compressed without one.
"""

from __future__ import annotations

from typing import NoReturn

import grpc

from collector.intake import OTLP, Intake
from collector.receivers import answers
from tracelens.wal import MAX_BODY

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
DOOR = "otlp_grpc"
OPTIONS = (
    ("grpc.max_concurrent_streams", 32),  # makes a rapid reset of streams harmless
    ("grpc.http2.bdp_probe", 0),  # else a stream's window grows, and what fills it is charged to nobody
    ("grpc.so_reuseport", 1),  # our workers share a port that the supervisor holds against strangers
)
# One MiB more than we take, so that the refusal is ours to word.
MAX_MESSAGE = MAX_BODY + (1 << 20)
STATUS = {code.value[0]: code for code in grpc.StatusCode}


class TraceService:
    """The one method sidecars and SDKs call."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the method for a server; requests and answers stay bytes."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {"Export": grpc.unary_unary_rpc_method_handler(self.export)}
        )

    async def export(self, body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Acknowledge a request once it is on disk."""
        try:
            with self._intake.admission.charge(context.time_remaining()) as charge:
                return answers.response(await self._intake.take(body, OTLP, charge, DOOR))
        except Exception as error:  # whatever it is: UNKNOWN, which grpc would make of it, has clients drop their spans
            await refuse(context, self._intake, error, DOOR)


async def refuse(context: grpc.aio.ServicerContext, intake: Intake, error: Exception, door: str) -> NoReturn:
    """End a call with the status for what went wrong."""
    refusal = intake.refusal(error, door)
    code = answers.CODES[type(refusal)]
    await context.abort(STATUS[code], str(refusal), answers.trailers(code, str(refusal)))
    raise AssertionError("abort returned")
