"""An ingest worker: one process that takes requests and logs them.

Owns the life of a worker: start, serve, drain. It imports no frames and no
store, so that many of them stay small.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from collector import backlog
from collector.admission import BUDGET_BYTES, Admission
from collector.config import Address
from collector.data_dir import DataDir
from collector.group_commit import GroupCommit
from collector.http_server import HttpServer
from collector.intake import Intake
from collector.receivers.grpc_asgi import GrpcDoor
from collector.receivers.http import OTLP_PATHS, ZIPKIN_PATHS, HttpDoor
from collector.telemetry import Telemetry
from tracelens.errors import StartError

DRAIN_SECONDS = 10.0  # for requests in hand; new ones are told to go elsewhere at once
READY = "ready"


async def serve(
    data_dir: Path, worker: int, doors: dict[str, str | int], telemetry: Telemetry, budget: int = BUDGET_BYTES
) -> None:
    """Take requests until SIGTERM; then answer those in hand and seal the log.

    doors: by name, the descriptor of a socket that the supervisor listens on,
    or an address it holds, where grpcio binds beside it. budget: of bytes in hand.
    Raises StartError when an address cannot be bound.
    """
    folder = DataDir(data_dir)
    log = GroupCommit(folder.wal, worker, folder.next_number(worker), telemetry.synced)
    intake = Intake(log, Admission(budget), telemetry)
    guard = asyncio.create_task(backlog.guard(folder.wal, intake.admission, telemetry))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    servers = [
        HttpServer(_application(door, intake), socket.socket(fileno=place)) if isinstance(place, int)
        else _Grpcio(door, Address.parse(place), intake)
        for door, place in doors.items()
    ]  # fmt: skip
    for server in servers:
        await server.start()
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    await stop.wait()
    await asyncio.gather(*(server.stop(DRAIN_SECONDS) for server in servers))
    guard.cancel()
    await log.close()
    intake.close()


def _application(door: str, intake: Intake) -> Any:
    """Return the ASGI application of a door."""
    if door == "otlp_grpc":
        return GrpcDoor(intake)
    return HttpDoor(intake, door, OTLP_PATHS if door == "otlp_http" else ZIPKIN_PATHS)


class _Grpcio:
    """A door that grpcio serves."""

    def __init__(self, door: str, address: Address, intake: Intake) -> None:
        import grpc

        from collector.receivers import opencensus, otlp_grpc

        receiver = opencensus if door == "opencensus" else otlp_grpc
        service = opencensus.OpenCensusService(intake) if door == "opencensus" else otlp_grpc.TraceService(intake)
        limit = ("grpc.max_receive_message_length", receiver.MAX_MESSAGE)
        self._server = grpc.aio.server(options=[*otlp_grpc.OPTIONS, limit])
        self._server.add_generic_rpc_handlers((service.handler(),))
        try:
            bound = self._server.add_insecure_port(str(address))
        except RuntimeError as error:
            raise StartError(f"{address} cannot be bound: {error}") from error
        if bound != address.port:
            raise StartError(f"{address} cannot be bound. Is it an address of this machine?")

    async def start(self) -> None:
        """Take calls."""
        await self._server.start()

    async def stop(self, seconds: float) -> None:
        """Take no more, and let those in hand finish."""
        await self._server.stop(seconds)
