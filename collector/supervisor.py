"""The supervisor: starts the parts of a collector, keeps them running, and stops them in order.

Owns ports, order and the API port. It takes no spans itself and stays small.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from collector import telemetry
from collector.config import Address, Config, Engine
from collector.data_dir import DataDir, replace
from collector.http_server import HttpServer
from collector.parts import Part, StartFailed
from collector.port import hold, listen
from tracelens import _cache, wal
from tracelens.api.app import make_app
from tracelens.ports import TAKING, flag

WRITER_THREADS = "2"  # of polars: decoding and writing take turns with the workers on a small machine
# The C library gives memory back after each batch and asks for it anew: of a writer's time, that is a third.
KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
}
API_STOP_SECONDS = 1.0


async def supervise(config: Config) -> int:
    """Run a collector until SIGTERM or SIGINT; then drain it and return 0.

    Order of the start: the ports, the kernels, the writer, which tells where
    each worker's numbers stand, and only then the workers. The end is the other
    way round, so that everything acknowledged is in the store.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _allow_connections()
    folder = DataDir(config.data_dir)
    lock = folder.lock("lock")
    folder.addresses.unlink(missing_ok=True)  # of a run that was killed: nothing takes spans yet
    wal.recover(folder.wal)  # of all workers there ever were: there may be fewer now
    telemetry.clean(folder.metrics)
    sockets, addresses = _open(config)
    writer, workers = _parts(config, folder, sockets, addresses)
    api = await _api(sockets, folder, [*workers, writer])
    stop_export = _export(config, folder)
    started: list[Part] = []
    status = 0
    try:
        await _compile(folder.path, stop)
        if not stop.is_set():
            for part in (writer, *workers):  # together, for importing is what takes time
                part.start()
                started.append(part)
            await writer.ready()
            for part in workers:
                part.go()
                await part.ready()
            replace(folder.addresses, json.dumps({name: str(address) for name, address in addresses.items()}))
            print("ready", flush=True)
        await stop.wait()
    except StartFailed as error:
        print(f"tracelens collector: {error}", file=sys.stderr)
        status = error.status if error.status > 0 else 1
    folder.addresses.unlink(missing_ok=True)
    for name in TAKING:  # first of all: who connects now is told at once that nobody is here
        if name in sockets:
            sockets[name].close()
    for ending in (started[1:], started[:1]):
        await asyncio.gather(*(part.stop() for part in ending))
    if api is not None:
        await api.stop(API_STOP_SECONDS)
    stop_export()
    lock.close()
    return status


def _allow_connections() -> None:
    """Raise the limit of open files, which parts inherit: 1,024 are no thousand sidecars."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _is_grpcio(config: Config, door: str) -> bool:
    return door == "opencensus" or (door == "otlp_grpc" and config.engine is Engine.GRPCIO)


def _open(config: Config) -> tuple[dict[str, socket.socket], dict[str, Address]]:
    """Return the sockets and the addresses of all doors. Raises PortTaken and StartError."""
    sockets: dict[str, socket.socket] = {}
    addresses: dict[str, Address] = {}
    try:
        for name, address in config.doors.items():
            take = hold if _is_grpcio(config, name) else listen
            sockets[name], addresses[name] = take(address, flag(name))
    except BaseException:
        for opened in sockets.values():
            opened.close()
        raise
    return sockets, addresses


def _parts(
    config: Config, folder: DataDir, sockets: Mapping[str, socket.socket], addresses: Mapping[str, Address]
) -> tuple[Part, list[Part]]:
    """Return the writer and the workers, not started."""
    common = ("--data-dir", str(folder.path), "--log-format", config.log_format, "--workers", str(config.workers))
    settings = ("--config", str(config.settings)) if config.settings else ()
    bury = partial(telemetry.bury, folder.metrics)
    writer = Part("writer", ("writer", *common, "--store", config.store, *settings), on_death=bury)
    writer.environment.update(KEEP_MEMORY, POLARS_MAX_THREADS=WRITER_THREADS)
    taking = [name for name in TAKING if name in addresses]
    inherited = tuple(sockets[name].fileno() for name in taking if not _is_grpcio(config, name))
    doors = json.dumps(
        {name: str(addresses[name]) if _is_grpcio(config, name) else sockets[name].fileno() for name in taking}
    )
    workers = [
        Part(
            f"worker {n}",
            ("worker", *common, "--number", str(n), "--doors", doors),
            sockets=inherited,
            on_death=bury,
            environment=KEEP_MEMORY | {"MALLOC_TRIM_THRESHOLD_": str(64 << 20)},  # more than a burst's is given back
        )
        for n in range(config.workers)
    ]
    return writer, workers


async def _api(sockets: Mapping[str, socket.socket], folder: DataDir, parts: list[Part]) -> HttpServer | None:
    """Serve the API port, from the first moment on: a start can be watched. None when it is off."""
    if "api" not in sockets:
        return None
    server = HttpServer(make_app(folder.metrics, lambda: {part.name: part.is_ready for part in parts}), sockets["api"])
    await server.start()
    return server


def _export(config: Config, folder: DataDir) -> telemetry.Stop:
    """Send our own metrics by OTLP when told to; return what ends that."""
    if config.telemetry is None:
        return lambda: None
    from collector import own_export

    return own_export.start(str(config.telemetry), folder.metrics)


async def _compile(data_dir: Path, stop: asyncio.Event) -> None:
    """Compile the kernels in a process of its own, so that every part finds them, and this one stays small.

    Ends early when told to stop: on a slow machine it takes a minute.
    data_dir: only says in a list of processes whose compiler it is.
    """
    if _cache.is_complete():
        return
    command = (sys.executable, "-m", "collector", "compiler", "--data-dir", str(data_dir))
    compiler = await asyncio.create_subprocess_exec(*command, stdout=sys.stderr, start_new_session=True)
    ended, stopped = asyncio.create_task(compiler.wait()), asyncio.create_task(stop.wait())
    await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not ended.done():
        compiler.kill()
    elif ended.result() != 0:
        raise StartFailed("compiling the kernels", ended.result())
    await ended
