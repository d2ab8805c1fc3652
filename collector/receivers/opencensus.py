"""OpenCensus agent: the stream that OpenCensus libraries export their spans on.

Owns the stream: what is said once on it and holds for what follows, and how
it ends. The protocol has no acknowledgement, and its clients read no answers:
unread ones would fill the stream's window and block it. So nothing is
answered; a stream that must be refused is ended, and its client opens another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import grpc

from collector.intake import MAX_JSON, OBJECTS, Format, Intake
from collector.receivers.otlp_grpc import refuse
from tracelens.wire.translate.opencensus import Sticky, translate

SERVICE = "opencensus.proto.agent.trace.v1.TraceService"
DOOR = "opencensus"
MAX_MESSAGE = 4 << 20  # gRPC's own limit, for which clients of this protocol were written


class OpenCensusService:
    """The agent's trace service."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the methods for a server; messages stay bytes."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Export": grpc.stream_stream_rpc_method_handler(self.export),
                "Config": grpc.stream_stream_rpc_method_handler(self.config),
            },
        )

    async def export(self, messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        """Take the messages of a stream until its client ends it."""
        sticky = Sticky()
        form = Format("opencensus", MAX_JSON, OBJECTS, partial(translate, sticky=sticky))
        try:
            async for body in messages:
                with self._intake.admission.charge(None) as charge:
                    await self._intake.take(body, form, charge, DOOR)
        except Exception as error:  # whatever it is: UNKNOWN has clients give up
            await refuse(context, self._intake, error, DOOR)

    async def config(
        self,
        messages: AsyncIterator[bytes],
        _context: grpc.aio.ServicerContext,
    ) -> None:
        """Keep the stream on which an agent could change a library's configuration; ours never does."""
        async for _ in messages:
            pass
