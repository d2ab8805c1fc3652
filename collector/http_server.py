"""HTTP connections: ASGI applications on sockets that the supervisor opened.

Owns connections: which protocol they speak, how long they may be silent, when
an HTTP/2 connection is replaced by a new one, and how all of them end.
Requests are uvicorn's and zttp's; what is in them is the receivers'.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import uvicorn
import zttp
from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol
from uvicorn.protocols.http.zttp_impl import ZttpProtocol
from uvicorn.server import ServerState

SILENT_SECONDS = 20.0  # for the head of a request; a sender needs milliseconds
BODY_SECONDS = 30.0  # for a whole body; a sender that needs longer holds our memory for nothing
IDLE_SECONDS = 3_600  # between two requests: sidecars keep connections for as long
SWEEP_SECONDS = 5.0
BACKLOG = 1_024  # connections that wait in the kernel
ACCEPTED = 16  # at once, before others have their turn
EVENTS = 24  # of one connection, before others have their turn
# zttp ends a connection at 4,096 streams with an error. Before that the peer is asked to open another, and what
# it has begun is finished. Source: RFC 9113, 6.8.
STREAMS = 3_000
# Streams at once: of all connections together about so many, of one at most and at least. What a peer does not begin
# yet waits with it and costs us nothing; what it begins has a window of 64 KiB before we have read its headers.
AT_ONCE, MOST, LEAST = 128, 64, 4
LINGER_SECONDS = 30.0  # for a connection that was asked to end
CANCEL = 8  # the error code of a stream that is no longer needed
RESETS = 150  # the same of streams that a peer takes back, as when it gives up waiting; zttp ends it at 257
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class HttpServer:
    """One listening socket and its connections."""

    def __init__(self, app: Any, listening: socket.socket) -> None:
        self._listening = listening
        self._config = uvicorn.Config(
            app,
            http="zttp",
            http2=True,
            interface="asgi3",
            lifespan="off",
            ws="none",
            proxy_headers=False,
            access_log=False,
            log_config=None,
            timeout_keep_alive=IDLE_SECONDS,
        )
        self._config.load()
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Opening(self._config, self._state, self._at_once), sock=self._listening, backlog=ACCEPTED
        )
        self._listening.listen(BACKLOG)  # asyncio means by it how many it accepts at once, too
        self._sweeper = loop.create_task(self._sweep())

    async def stop(self, seconds: float) -> None:
        """Take no more, let requests in hand finish, and end all connections after `seconds` at the latest."""
        assert self._server is not None
        assert self._sweeper is not None
        self._server.close()
        self._sweeper.cancel()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=seconds)
        for connection in list(self._state.connections):
            connection.transport.close()

    def _at_once(self) -> int:
        """Return how many streams the newest connection may have at once.

        Only at its begin: gRPC's clients in C give up calls that no longer fit under a limit that was lowered.
        """
        return max(min(AT_ONCE // max(len(self._state.connections), 1), MOST), LEAST)

    async def _sweep(self) -> None:
        """End what was begun and does not go on: heads of requests, bodies, and answers that nobody reads."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            for connection in list(self._state.connections):
                connection.sweep(now)  # type: ignore[union-attr]  # they are all of the classes below


class _Gathered:
    """A transport that writes once a turn of the loop: an answer is three writes, and its neighbours' too."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._call_soon = asyncio.get_running_loop().call_soon
        for name in ("is_closing", "get_extra_info", "pause_reading", "resume_reading", "abort"):
            setattr(self, name, getattr(transport, name))

    def write(self, data: bytes) -> None:
        """Write at the end of this turn."""
        if data:
            if not self._parts:
                self._call_soon(self._flush)
            self._parts.append(data)

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        """Close behind what is written."""
        self._flush()
        self._transport.close()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection over."""
        self._transport.set_protocol(protocol)


class _Opening(asyncio.Protocol):
    """A connection whose first bytes tell HTTP/1.1 from HTTP/2."""

    def __init__(self, config: uvicorn.Config, state: ServerState, at_once: Callable[[], int]) -> None:
        self._config, self._state, self._at_once = config, state, at_once
        self._begin = b""
        self.waiting_since = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, _Gathered(cast(asyncio.Transport, transport)))
        self._state.connections.add(self)  # type: ignore[arg-type]  # it has what is asked of one

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio calls it so
        self._state.connections.discard(self)

    def shutdown(self) -> None:
        self.transport.close()

    def sweep(self, now: float) -> None:
        """End a connection that says too little."""
        if self.waiting_since < now - SILENT_SECONDS:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self._begin += data
        if len(self._begin) < len(PREFACE) and PREFACE.startswith(self._begin):
            return
        self._state.connections.discard(self)
        protocol: _Http1 | _Http2
        if self._begin.startswith(PREFACE):
            protocol = _Http2(self._config, self._state, {})
            protocol.at_once = self._at_once()
        else:
            protocol = _Http1(self._config, self._state, {})
        protocol.waiting_since = self.waiting_since
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        protocol.data_received(self._begin)


class _Http1(ZttpProtocol):
    """HTTP/1.1, one request after the other."""

    waiting_since = 0.0  # since when a request is incomplete; 0 while there is none
    _unread_since = 0.0  # since when answers are not read; 0 while they are

    def sweep(self, now: float) -> None:
        """End a connection whose request does not go on, or whose answers are not read."""
        limit = SILENT_SECONDS if self.cycle is None or self.cycle.response_complete else BODY_SECONDS
        if 0 < self.waiting_since < now - limit:
            self.transport.close()
        if 0 < self._unread_since < now - BODY_SECONDS:
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = time.monotonic()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_since = 0.0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and not cycle.more_body:
            self.waiting_since = 0.0
            if not cycle.response_complete:
                self.flow.pause_reading()  # until it is answered: who sends on meanwhile would fill our memory
        elif self.waiting_since == 0.0:
            self.waiting_since = time.monotonic()

    def on_response_complete(self) -> None:
        """Take the next request. Without uvicorn's timer: arming one costs as much as reading a request."""
        self.waiting_since = 0.0
        if self.transport.is_closing():
            return
        if not self.cycle.more_body:
            self.conn.start_next_cycle()
            try:
                self.handle_events(self.conn.next_event())
            except zttp.RemoteProtocolError:
                self.handle_remote_protocol_error()
        if self.cycle.response_complete or self.cycle.more_body:  # else the next request was here already
            self.flow.resume_reading()


class _Http2(ZttpH2Protocol):
    """HTTP/2, many requests at once, a limited number in the life of a connection."""

    waiting_since = 0.0  # since when it is open without a first request
    _more = False  # of what came, something is left for the next turn
    at_once = MOST
    _greeted = False
    _seen = 0
    _resets = 0
    _ending = False
    _last: asyncio.TimerHandle | None = None

    def sweep(self, now: float) -> None:
        """End a connection without a first request, and requests that are not sent, or their answers not read."""
        if 0 < self.waiting_since < now - SILENT_SECONDS:
            self.transport.close()
        for stream, cycle in list(self.cycles.items()):
            if cycle.begun < now - BODY_SECONDS:  # type: ignore[attr-defined]  # set below
                cycle.stream.reset(CANCEL)
                self.handle_rst_stream(cast(zttp.RstStream, _Reset(stream)))
        self.flush()

    def events(self) -> Iterator[Any]:  # type: ignore[override]  # it is looped over, no more
        """Yield what came, some of it; the rest has its next turn behind all other connections."""
        for _ in range(EVENTS):
            event = self.conn.next_event()
            if event is zttp.NEED_DATA:
                if self._more:
                    self._more = False
                    self.resume_reading_if_idle()
                return
            yield event
        if not self._more:
            self._more = True
            self.flow.pause_reading()
        self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self.transport.is_closing():
            self.data_received(b"")

    def resume_reading_if_idle(self) -> None:
        if not self._more:
            super().resume_reading_if_idle()

    def flush(self) -> None:
        data = self.conn.data_to_send()
        if not self._greeted:
            # zttp says 128, and has no word for another number.
            self._greeted = True
            data = data.replace(_most(128), _most(self.at_once), 1)
        if data:
            self.transport.write(data)

    def handle_request(self, event: zttp.Request) -> None:
        self.waiting_since = 0.0
        self._seen += 1
        super().handle_request(event)
        cycle = self.cycles.get(event.stream_id)
        if cycle is not None:
            cycle.begun = time.monotonic()  # type: ignore[attr-defined]
            if event.end_stream:
                cycle.more_body = False
                cycle.message_event.set()
        if self._seen == STREAMS:
            self._ask_to_end()

    def handle_rst_stream(self, event: zttp.RstStream) -> None:
        self._resets += 1
        super().handle_rst_stream(event)
        if self._resets == RESETS:
            self._ask_to_end()

    def on_stream_closed(self) -> None:
        super().on_stream_closed()
        if self._ending and not self.cycles and self._last is None:
            # Not at once: what the peer sent before it read our GOAWAY is still taken.
            self._last = self.loop.call_later(1.0, self._end)

    def _ask_to_end(self) -> None:
        if self._ending:
            return
        self._ending = True
        self.conn.close(0, 0x7FFFFFFF)  # GOAWAY without an error and without a last stream
        self.flush()
        self.loop.call_later(LINGER_SECONDS, self._end)

    def _end(self) -> None:
        if not self.transport.is_closing():
            self.shutdown()


def _most(streams: int) -> bytes:
    """Return the setting of how many streams a peer may have at once. Source: RFC 9113, 6.5."""
    return b"\0\3" + streams.to_bytes(4, "big")


class _Reset:
    """A stream that we reset, told as if the peer had."""

    def __init__(self, stream_id: int) -> None:
        self.stream_id, self.error_code = stream_id, CANCEL
