"""A port held against strangers, and shared with our own workers alone."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from collector.config import Address
from tracelens.errors import PortTaken, StartError

BACKLOG = 1_024  # connections that wait to be accepted


def hold(address: Address, flag: str) -> tuple[socket.socket, Address]:
    """Bind an address, not listening, so that only sockets we allow can join it; return where.

    Bound without SO_REUSEPORT it is refused when anyone listens there; with the
    option set afterwards our workers, and nobody of another user, may bind
    beside it. A name becomes one address, so that workers listen where we hold.
    flag: the option that sets it, named in errors. Raises PortTaken saying who has it.
    """
    held, found = _bind(address, flag)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return held, found


def listen(address: Address, flag: str) -> tuple[socket.socket, Address]:
    """Bind an address and listen, for workers that inherit the socket; return where.

    Connections that come while a worker is started again wait for it.
    """
    listening, found = _bind(address, flag)
    listening.listen(BACKLOG)
    listening.setblocking(False)
    listening.set_inheritable(True)
    return listening, found


def _bind(address: Address, flag: str) -> tuple[socket.socket, Address]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise StartError(f"{address} cannot be bound: {error}. Is the name right?") from None
    family, _, _, _, (host, port, *_) = min(found, key=lambda one: one[0] != socket.AF_INET)
    address = Address(str(host), int(port))
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of our last run may still linger
    try:
        bound.bind((address.host, address.port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            who = holder(address.port) or "another program"
            raise PortTaken(
                f"{address} is taken by {who}. "
                f"Stop it, or choose another address with {flag} HOST:PORT (:0 picks a free one), or {flag} off."
            ) from None
        raise StartError(f"{address} cannot be bound: {error.strerror}. Is it an address of this machine?") from None
    return bound, Address(address.host, bound.getsockname()[1])


def holder(port: int) -> str | None:
    """Return who listens on a TCP port, as far as /proc tells: `python (process 42)`; None when it does not."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":  # LISTEN
                inodes.add(f"socket:[{fields[9]}]")
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(descriptor.readlink()) in inodes:
                process = descriptor.parts[2]
                return f"{Path('/proc', process, 'comm').read_text().strip()} (process {process})"
        except OSError:  # ended meanwhile, or somebody else's
            continue
    return None
