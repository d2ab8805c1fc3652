"""An ingest worker: one process that takes requests and logs them.

Owns the life of a worker: start, serve, drain. It imports no frames and no
store, so that many of them stay small.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import grpc

from collector.admission import Admission
from collector.config import Address
from collector.data_dir import DataDir
from collector.group_commit import GroupCommit
from collector.receivers.otlp_grpc import OPTIONS, TraceService
from tracelens.errors import StartError

DRAIN_SECONDS = 10.0  # for requests in hand; new ones are told to go elsewhere at once
READY = "ready"


async def serve(data_dir: Path, worker: int, address: Address) -> None:
    """Take requests until SIGTERM; then answer those in hand and seal the log.

    address: a port that the supervisor holds. Raises StartError when it cannot be bound.
    """
    folder = DataDir(data_dir)
    log = GroupCommit(folder.wal, worker, folder.next_number(worker))
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((TraceService(log, Admission()).handler(),))
    try:
        bound = server.add_insecure_port(str(address))
    except RuntimeError as error:
        raise StartError(f"{address} cannot be bound: {error}") from error
    if bound != address.port:
        raise StartError(f"{address} cannot be bound. Is it an address of this machine?")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.start()
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    await stop.wait()
    await server.stop(DRAIN_SECONDS)
    await log.close()
