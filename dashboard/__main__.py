"""`python -m dashboard --source PATH --address HOST:PORT`: the dashboard as a process.

Owns the socket, the signals and the end: a taken port is said at once, and
when the process that started it is gone, so is the dashboard.
"""

from __future__ import annotations

import argparse
import gc
import ipaddress
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from tracelens.errors import PortTaken, TracelensError, UsageError
from tracelens.taught import Taught

SOURCE = "TRACELENS_SOURCE"  # read by page.py
CONFIG = "TRACELENS_CONFIG"  # read by cache.py
POLL_SECONDS = 1.0  # where a process's end is no event
GRACE_SECONDS = 2  # for answers under way; open pages reconnect by themselves


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line, parsed."""
    parser = argparse.ArgumentParser(prog="python -m dashboard", description="The TraceLens dashboard.")
    parser.add_argument("--source", required=True, help="a store, a data directory, or a dump")
    parser.add_argument("--address", default="127.0.0.1:8501", help="HOST:PORT; port 0 picks a free one")
    parser.add_argument("--config", type=Path, help="TOML: names of [routes], rates of [sampling]")
    parser.add_argument("--insecure", action="store_true", help="allow an address beyond loopback without a password")
    return parser.parse_args(given)


def bind(address: str, *, insecure: bool) -> socket.socket:
    """Return a listening socket.

    Raises UsageError for what is no address or reaches beyond loopback
    unasked, PortTaken when somebody else listens there.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise UsageError(f"{address!r} is no address. Write HOST:PORT, for example 127.0.0.1:8501.")
    if not insecure and not _is_loopback(host):
        raise UsageError(
            f"{address} can be reached from other machines, and the dashboard has neither encryption nor a password. "
            "Use 127.0.0.1 behind a proxy that has, or give --insecure."
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family)
    except OSError as error:
        raise PortTaken(
            f"the dashboard cannot listen on {address}: {error.strerror}. "
            "Stop who listens there, or give another address, for example --address 127.0.0.1:0."
        ) from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def end_with_parent() -> None:
    """End this process, as by SIGTERM, when the one that started it ends."""
    parent = os.getppid()
    if parent > 1:  # 1 adopts: there is nobody to outlive
        threading.Thread(target=_await_end, args=(parent,), daemon=True, name="parent").start()


def _await_end(parent: int) -> None:
    if hasattr(os, "pidfd_open"):
        try:
            handle = os.pidfd_open(parent)
        except ProcessLookupError:
            handle = None
        if handle is not None:
            select.select([handle], [], [])
    else:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)  # no portable event tells it
    os.kill(os.getpid(), signal.SIGTERM)


def serve(source: str, listening: socket.socket) -> None:
    """Serve until a signal."""
    os.environ[SOURCE] = source
    host, port = listening.getsockname()[:2]

    import uvicorn

    from dashboard.server import application

    config = uvicorn.Config(
        application(host, port),
        log_level="warning",
        timeout_graceful_shutdown=GRACE_SECONDS,
        ws="auto",
    )
    shown = f"[{host}]" if ":" in host else host
    print(f"dashboard  http://{shown}:{port}", flush=True)
    # Beside serving: after an installation it takes a while, and later next to nothing.
    threading.Thread(target=warm, daemon=True, name="compile").start()
    uvicorn.Server(config).run(sockets=[listening])


def warm() -> None:
    """Load what pages need, and take it out of the garbage collector's way.

    Streamlit collects after each run of a page, and what was drawn waits for it:
    over all that is loaded 110 ms, over what came since then 0.4 ms.
    """
    from tracelens.compiling import compile_all

    compile_all()
    for name in ("bar", "views.board"):  # which load all that is below them
        import_module(f"dashboard.{name}")
    from dashboard import cache

    with suppress(TracelensError):  # of which the page tells
        cache.ready(os.environ[SOURCE])
    gc.collect()
    gc.freeze()


def end_quietly() -> None:
    """Let SIGTERM and SIGINT end the process with 0: uvicorn drains, then passes the signal on to who had it before.

    Not by way of the interpreter's own end: a thread that is then in compiled code, such as the one that loads the
    kernels, would abort the process.
    """

    def leave(_number: int, _frame: object) -> None:
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)


def main(given: Sequence[str] | None = None) -> int:
    """Run the dashboard; return the exit status."""
    options = arguments(given)
    try:
        with bind(options.address, insecure=options.insecure) as listening:
            if options.config is not None:
                Taught.read(options.config)  # now, not when the first page is drawn
                os.environ[CONFIG] = str(options.config.resolve())
            end_quietly()
            end_with_parent()
            serve(options.source, listening)
    except TracelensError as error:
        sys.stderr.write(f"dashboard: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
