"""`python -m collector`: starts the parts, keeps them running, and stops them in order.

Owns the supervision and the arguments. `worker` and `writer` are its own
processes, by the same module.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import threading
from pathlib import Path

from collector.config import Address, Config, door
from collector.data_dir import DataDir, replace
from collector.parts import Part, StartFailed
from collector.port import hold
from tracelens import _cache, wal
from tracelens.errors import TracelensError
from tracelens.parent import end_with_parent

WRITER_THREADS = "2"  # of polars: decoding and writing take turns with the workers on a small machine


def main() -> int:
    """Run the collector or one of its parts; return the exit status."""
    options = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        if options.part == "worker":
            return _worker(options)
        if options.part == "writer":
            return _writer(options)
        if options.part == "compiler":
            return _compiler()
        config = Config(
            data_dir=options.data_dir,
            store=options.store or options.data_dir / "store",
            otlp_grpc=door(options.otlp_grpc),
            workers=options.workers,
            insecure=options.insecure,
        )
        if options.with_parent:
            end_with_parent(signal.SIGTERM)
        return asyncio.run(supervise(config))
    except TracelensError as error:
        print(f"tracelens collector: {error}", file=sys.stderr)
        return error.exit_code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m collector", description="The program sidecars and SDKs point at.")
    parser.add_argument("part", nargs="?", choices=("worker", "writer", "compiler"), help=argparse.SUPPRESS)
    parser.add_argument("--data-dir", type=Path, default=Path("tracelens-data"), help="log, lock, addresses")
    parser.add_argument("--store", type=Path, help="folder of the store; DATA_DIR/store when not given")
    parser.add_argument("--otlp-grpc", default="127.0.0.1:4317", help="HOST:PORT, or off; :0 picks a free port")
    parser.add_argument("--workers", type=int, default=1, help="ingest processes")
    parser.add_argument("--insecure", action="store_true", help="allow addresses beyond loopback")
    parser.add_argument("--with-parent", action="store_true", help="drain and end when the parent process ends")
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def _worker(options: argparse.Namespace) -> int:
    end_with_parent(signal.SIGKILL)
    from collector.worker import serve
    from tracelens.wire import _scan

    _scan.warm()
    sys.stdin.readline()  # the supervisor's word that the writer has told the numbers
    asyncio.run(serve(options.data_dir, options.number, Address.parse(options.otlp_grpc)))
    return 0


def _writer(options: argparse.Namespace) -> int:
    end_with_parent(signal.SIGKILL)
    from collector.data_dir import WAIT_SECONDS

    folder = DataDir(options.data_dir)
    with folder.lock("writer.lock", wait_seconds=WAIT_SECONDS):
        asyncio.run(_write(folder, options.store))
    return 0


async def _write(folder: DataDir, store: Path) -> None:
    """Run the writer until SIGTERM or SIGINT, and then until no sealed segment is left.

    On a thread of its own: a handler that sets the event in the thread that
    waits for it stands still for ever when it comes in the middle of the wait.
    """
    from collector.writer import Writer

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def run() -> None:
        writer = Writer(folder, store)
        writer.start()
        print("ready", flush=True)
        writer.run(stop)

    await asyncio.to_thread(run)


def _compiler() -> int:
    end_with_parent(signal.SIGKILL)
    from tracelens import compiling

    return compiling.main()


async def supervise(config: Config) -> int:
    """Run a collector until SIGTERM or SIGINT; then drain it and return 0.

    Order of the start: the port, the kernels, the writer, which tells where
    each worker's numbers stand, and only then the workers. The end is the other
    way round, so that everything acknowledged is in the store.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    folder = DataDir(config.data_dir)
    lock = folder.lock("lock")
    folder.addresses.unlink(missing_ok=True)  # of a run that was killed: nothing takes spans yet
    wal.recover(folder.wal)  # of all workers there ever were: there may be fewer now
    held, address = hold(config.otlp_grpc)
    writer = Part("writer", ("writer", "--data-dir", str(folder.path), "--store", str(config.store)))
    writer.environment["POLARS_MAX_THREADS"] = WRITER_THREADS
    workers = [
        Part(f"worker {n}", ("worker", "--data-dir", str(folder.path), "--number", str(n), "--otlp-grpc", str(address)))
        for n in range(config.workers)
    ]
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
            replace(folder.addresses, json.dumps({"otlp_grpc": str(address)}))
            print("ready", flush=True)
        await stop.wait()
    except StartFailed as error:
        print(f"tracelens collector: {error}", file=sys.stderr)
        status = error.status if error.status > 0 else 1
    folder.addresses.unlink(missing_ok=True)
    for ending in (started[1:], started[:1]):
        await asyncio.gather(*(part.stop() for part in ending))
    held.close()
    lock.close()
    return status


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


if __name__ == "__main__":
    sys.exit(main())
