"""`python -m collector`: the collector's arguments, and those of its parts.

`worker`, `writer` and `compiler` are processes of their own, by the same module.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import sys
import threading
from pathlib import Path

from collector import logs
from collector.config import Address, Config, Engine, parse_doors
from collector.data_dir import DataDir
from tracelens.errors import TracelensError
from tracelens.parent import end_with_parent
from tracelens.ports import PORTS, flag, usual


def main() -> int:
    """Run the collector or one of its parts; return the exit status."""
    options = _arguments()
    part = options.part or "supervisor"
    logs.configure(options.log_format, f"{part} {options.number}" if part == "worker" else part)
    try:
        if part == "worker":
            return _worker(options)
        if part == "writer":
            return _writer(options)
        if part == "compiler":
            return _compiler()
        return _supervisor(options)
    except TracelensError as error:
        print(f"tracelens collector: {error}", file=sys.stderr)
        return error.exit_code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m collector", description="The program sidecars and SDKs point at.")
    parser.add_argument("part", nargs="?", choices=("worker", "writer", "compiler"), help=argparse.SUPPRESS)
    parser.add_argument("--data-dir", type=Path, default=Path("tracelens-data"), help="log, lock, addresses")
    parser.add_argument("--store", help="a folder, or a URL of object storage; DATA_DIR/store when not given")
    for name in PORTS:
        parser.add_argument(flag(name), default=usual(name), help="HOST:PORT, or off; :0 picks a free one")
    parser.add_argument("--grpc-engine", choices=[*Engine], default=Engine.ASGI, help="what speaks gRPC")
    parser.add_argument("--workers", type=int, default=1, help="ingest processes")
    parser.add_argument("--config", type=Path, help="TOML: what is stored, and for how long")
    parser.add_argument("--telemetry", help="HOST:PORT of an OTLP/gRPC collector for our own metrics")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--insecure", action="store_true", help="allow addresses beyond loopback")
    parser.add_argument("--with-parent", action="store_true", help="drain and end when the parent process ends")
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--doors", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def _supervisor(options: argparse.Namespace) -> int:
    config = Config(
        data_dir=options.data_dir,
        store=options.store or str(options.data_dir / "store"),
        doors=parse_doors({name: getattr(options, name) for name in PORTS}),
        workers=options.workers,
        engine=Engine(options.grpc_engine),
        insecure=options.insecure,
        telemetry=Address.parse(options.telemetry) if options.telemetry else None,
        settings=options.config,
        log_format=options.log_format,
    )
    from collector.supervisor import supervise

    if options.with_parent:
        end_with_parent(signal.SIGTERM)
    return asyncio.run(supervise(config))


def _worker(options: argparse.Namespace) -> int:
    end_with_parent(signal.SIGKILL)
    from collector import memory, telemetry
    from collector.worker import serve
    from tracelens.wire import _scan

    _scan.warm()
    counters = telemetry.start(DataDir(options.data_dir).metrics, f"worker {options.number}", options.doors)
    # What is here now stays; what a request makes is gone when it is answered. The collector would look for cycles
    # after every few requests and find none.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    # The thread that writes the log waits for the interpreter some times a request: 5 ms each would be long.
    sys.setswitchinterval(0.0005)
    sys.stdin.readline()  # the supervisor's word that the writer has told the numbers
    budget = memory.budget(options.workers)
    asyncio.run(serve(options.data_dir, options.number, options.doors, counters, budget))
    return 0


def _writer(options: argparse.Namespace) -> int:
    end_with_parent(signal.SIGKILL)
    from collector.data_dir import WAIT_SECONDS

    folder = DataDir(options.data_dir)
    with folder.lock("writer.lock", wait_seconds=WAIT_SECONDS):
        asyncio.run(_write(folder, options))
    return 0


async def _write(folder: DataDir, options: argparse.Namespace) -> None:
    """Run the writer until SIGTERM or SIGINT, and then until no sealed segment is left.

    On a thread of its own: a handler that sets the event in the thread that
    waits for it stands still for ever when it comes in the middle of the wait.
    """
    from collector import telemetry
    from collector.maintenance import Maintenance
    from collector.settings import retention, rules, taught
    from collector.writer import Writer

    settings: Path | None = options.config
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def run() -> None:
        told = telemetry.start(folder.metrics, "writer")
        writer = Writer(folder, options.store, rules(settings), told, options.workers)
        writer.start()
        caring = Maintenance(options.store, retention(settings), taught(settings)).start(stop)
        print("ready", flush=True)
        writer.run(stop)
        caring.join()

    await asyncio.to_thread(run)


def _compiler() -> int:
    end_with_parent(signal.SIGKILL)
    from tracelens import compiling

    return compiling.main()


if __name__ == "__main__":
    sys.exit(main())
