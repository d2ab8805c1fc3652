"""HTTP/1.1 as the sample services need it: keep-alive, bodies of known length.

Owns a small server and a pooling client over asyncio streams. No TLS, no
upgrades, no pipelining; Envoy stands in front of both and speaks the rest.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

Headers = dict[str, str]  # names in lower case
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    headers: Headers


Answer = Callable[[Request], Awaitable[int]]  # the status; bodies are empty


async def read_head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    """Return the first line and the headers; leaves the body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, {name.strip().lower(): value.strip() for name, _, value in pairs}


async def skip_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> None:
    """Read a body to its end; nobody here looks at one."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        await reader.readexactly(int(headers.get("content-length", "0")))
        return
    while size := int((await reader.readline()).partition(b";")[0], 16):
        await reader.readexactly(size + 2)
    await reader.readline()


def head(first: str, headers: Mapping[str, str]) -> bytes:
    """Return a message without a body."""
    lines = [first, *(f"{name}: {value}" for name, value in headers.items()), "content-length: 0"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@dataclass(slots=True)
class Server:
    """A listening server and its connections."""

    answer: Answer
    port: int = 0
    listening: asyncio.Server | None = None
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    async def start(self, host: str) -> None:
        """Listen on a free port."""
        self.listening = await asyncio.start_server(self.accept, host, 0)
        self.port = self.listening.sockets[0].getsockname()[1]

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task that `close` can await."""
        task = asyncio.create_task(self.converse(reader, writer))
        self.connections[task] = writer
        task.add_done_callback(self.connections.pop)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until the other side is done."""
        try:
            while True:
                first, headers = await read_head(reader)
                await skip_body(reader, headers)
                method, path, _ = first.split(" ", 2)
                status = await self.answer(Request(method, path, headers))
                writer.write(head(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", {}))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side is done with this connection
        finally:
            writer.close()

    async def close(self) -> None:
        """End all connections."""
        if self.listening is not None:
            self.listening.close()
        tasks = list(self.connections)
        for writer in self.connections.values():
            writer.close()  # its reader sees the end
        await asyncio.gather(*tasks)


@dataclass(slots=True)
class Client:
    """Requests over connections that are kept."""

    idle: defaultdict[Address, list[Stream]] = field(default_factory=lambda: defaultdict(list))

    async def request(self, address: Address, method: str, path: str, headers: Mapping[str, str]) -> int:
        """Return the status of the answer.

        A connection that the server closed meanwhile is replaced; an error on
        a fresh one is the caller's: OSError or IncompleteReadError.
        """
        while True:
            kept = self.idle[address]
            fresh = not kept
            reader, writer = await asyncio.open_connection(*address) if fresh else kept.pop()
            try:
                writer.write(head(f"{method} {path} HTTP/1.1", headers))
                first, answered = await read_head(reader)
                await skip_body(reader, answered)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()
                if fresh:
                    raise
                continue
            except asyncio.CancelledError:
                writer.close()
                raise
            kept.append((reader, writer))
            return int(first.split(" ", 2)[1])

    def close(self) -> None:
        """Close what is kept."""
        for streams in self.idle.values():
            for _, writer in streams:
                writer.close()
        self.idle.clear()
