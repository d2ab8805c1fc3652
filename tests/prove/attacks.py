"""Attacks on the doors of a collector, over plain sockets. Each lasts some seconds, and runs in a process of its own.

Every function takes the addresses by door, how many, and the seconds; it
returns what it saw, and whatever in that was not as promised.
"""

from __future__ import annotations

import asyncio
import http.client
import select
import socket
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle, islice, repeat

import zttp

from tests.ledger import EXPORT
from tests.senders import JSON, PROTOBUF
from tests.wire.messages import varint
from tracelens.wal import MAX_BODY

HTTP_DOORS = {"otlp_http": "/v1/traces", "zipkin": "/api/v2/spans", "api": "/healthz"}
CALLS = {"otlp_grpc": EXPORT, "opencensus": "/opencensus.proto.agent.trace.v1.TraceService/Export"}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
END_STREAM, END_HEADERS = 1, 4
CANCEL = b"\0\0\0\x08"
Attack = Callable[[Mapping[str, str], int, float], "Seen"]
DRIP_SECONDS = 0.5  # between two bytes of a slow sender


@dataclass(frozen=True, slots=True)
class Seen:
    """What an attack saw."""

    told: str
    broken: tuple[str, ...] = ()


def measured(attack: Attack, addresses: Mapping[str, str], size: int, seconds: float) -> tuple[Seen, float]:
    """Run an attack; return what it saw, and the seconds of processor time it took itself."""
    before = time.process_time()
    seen = attack(addresses, size, seconds)
    return seen, time.process_time() - before


# -- HTTP/2, as far as it is needed to be rude


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def block(path: str, *more: tuple[bytes, bytes]) -> bytes:
    """Return the headers of a gRPC call, none of them compressed."""
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"here")]
    fields += [(b"content-type", b"application/grpc"), (b"te", b"trailers"), *more]
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields)


def opening(*settings: tuple[int, int]) -> bytes:
    """Return how a client begins a connection."""
    said = b"".join(number.to_bytes(2, "big") + value.to_bytes(4, "big") for number, value in settings)
    return PREFACE + frame(SETTINGS, 0, 0, said)


def place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


# -- many connections


async def _open(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(20):
        return await asyncio.open_connection(*place(address))


async def _ended(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Read and forget until the other side ends it, or time is up."""
    try:
        async with asyncio.timeout(seconds):
            while await reader.read(65536):
                pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def begun(door: str) -> bytes:
    """Return what a sender says that is then idle."""
    if door in CALLS:
        return opening()
    return f"GET {HTTP_DOORS[door]} HTTP/1.1\r\nHost: here\r\n\r\n".encode()


def connections(addresses: Mapping[str, str], size: int, seconds: float) -> Seen:
    """Open connections that are idle behind a first request, and as many that never say anything."""

    async def hold(door: str, said: bytes, end: float) -> bool:
        try:
            reader, writer = await _open(addresses[door])
        except (OSError, TimeoutError):
            return True
        try:
            writer.write(said)
            return await _ended(reader, end - time.monotonic())
        finally:
            writer.close()

    async def work() -> Seen:
        end = time.monotonic() + seconds
        kinds = [(door, kind) for door in (*HTTP_DOORS, *CALLS) for kind in ("idle", "silent")]
        holding = [
            asyncio.gather(*(hold(door, begun(door) if kind == "idle" else b"", end) for _ in range(size)))
            for door, kind in kinds
        ]
        ended = {f"{kind} {door}": sum(await held) for (door, kind), held in zip(kinds, holding, strict=True)}
        told = ", ".join(f"{name} {n}" for name, n in ended.items() if n)
        return Seen(f"{size * len(kinds):,} connections; ended by the collector: {told or 'none'}")

    return asyncio.run(work())


def _drip(addresses: Mapping[str, str], size: int, seconds: float, first: Callable[[str], bytes]) -> Seen:
    """Send byte by byte on many connections; open another where one is ended."""

    async def drip(door: str, end: float, ended: Counter[str]) -> None:
        while time.monotonic() < end:
            try:
                reader, writer = await _open(addresses[door])
            except (OSError, TimeoutError):
                ended[f"{door} (not opened)"] += 1
                await asyncio.sleep(DRIP_SECONDS)
                continue
            writer.write(first(door))
            watching = asyncio.create_task(_ended(reader, end - time.monotonic()))
            while not watching.done() and time.monotonic() < end:
                writer.write(b"a")
                await asyncio.wait((watching,), timeout=DRIP_SECONDS)
            ended[door] += watching.done() and watching.result() and time.monotonic() < end
            watching.cancel()
            writer.close()

    async def work() -> Seen:
        end, ended = time.monotonic() + seconds, Counter[str]()
        await asyncio.gather(*(drip(door, end, ended) for door in (*HTTP_DOORS, *CALLS) for _ in range(size)))
        told = ", ".join(f"{name} {n}" for name, n in sorted(ended.items()) if n)
        return Seen(f"ended by the collector: {told or 'none'}")

    return asyncio.run(work())


def slow_heads(addresses: Mapping[str, str], size: int, seconds: float) -> Seen:
    """Send the heads of requests byte by byte."""

    def first(door: str) -> bytes:
        if door in CALLS:
            return opening() + frame(HEADERS, END_HEADERS, 1, bytes(16_000))[:9]
        return f"POST {HTTP_DOORS[door]} HTTP/1.1\r\nHost: here\r\nX-Slow: ".encode()

    return _drip(addresses, size, seconds, first)


def slow_bodies(addresses: Mapping[str, str], size: int, seconds: float) -> Seen:
    """Send the bodies of requests byte by byte."""

    def first(door: str) -> bytes:
        if door in CALLS:
            call = frame(HEADERS, END_HEADERS, 1, block(CALLS[door]))
            return opening() + call + frame(DATA, 0, 1, bytes(16_000))[:9]
        kind = PROTOBUF if door == "otlp_http" else JSON
        return (
            f"POST {HTTP_DOORS[door]} HTTP/1.1\r\nHost: here\r\nContent-Type: {kind}\r\nContent-Length: 1000000\r\n\r\n"
        ).encode()

    return _drip(addresses, size, seconds, first)


def header_only(addresses: Mapping[str, str], size: int, seconds: float) -> Seen:
    """Begin calls, a hundred a connection, and never send their bodies."""

    async def hold(door: str, streams: int, end: float) -> bool:
        reader, writer = await _open(addresses[door])
        calls = (frame(HEADERS, END_HEADERS, 1 + 2 * n, block(CALLS[door])) for n in range(streams))
        writer.write(opening() + b"".join(calls))
        try:
            return await _ended(reader, end - time.monotonic())
        finally:
            writer.close()

    async def work() -> Seen:
        end = time.monotonic() + seconds
        ended = await asyncio.gather(
            *(hold(door, min(100, size - n), end) for door in CALLS for n in range(0, size, 100))
        )
        return Seen(f"{size * len(CALLS):,} calls; connections ended by the collector: {sum(ended)} of {len(ended)}")

    return asyncio.run(work())


def resets(addresses: Mapping[str, str], size: int, seconds: float) -> Seen:
    """Begin streams and take them back at once, as fast as it goes, on a new connection where one is ended.

    No more than `size`; the collector may still be at them when all are sent.
    """

    def reset(door: str, used: Counter[str], end: float) -> None:
        path = CALLS.get(door) or HTTP_DOORS[door]
        pairs = [
            frame(HEADERS, END_HEADERS, stream, block(path)) + frame(RST_STREAM, 0, stream, CANCEL)
            for stream in range(1, 20_001, 2)
        ]
        left = size
        while left > 0:
            used[door] += 1
            with suppress(OSError), socket.create_connection(place(addresses[door]), timeout=10) as connection:
                connection.sendall(opening())
                for at in range(0, len(pairs), 50):
                    connection.sendall(b"".join(pairs[at : at + 50]))
                    left -= 50
                    if select.select([connection], [], [], 0)[0] and not connection.recv(1 << 20):
                        break
                    if left <= 0:
                        break
        time.sleep(max(end - time.monotonic(), 0))

    return _beside((*CALLS, "otlp_http", "api"), reset, seconds, "connections")


def _beside(
    doors: tuple[str, ...], work: Callable[[str, Counter[str], float], None], seconds: float, of: str, most: int = 1
) -> Seen:
    """Work on several doors at once, a thread each; tell what they counted."""
    counted: Counter[str] = Counter()
    end = time.monotonic() + seconds
    threads = [threading.Thread(target=work, args=(door, counted, end)) for door in doors for _ in range(most)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    broken = tuple(sorted(f"answered {name}" for name in counted if "!" in name))
    return Seen(f"{of}: " + ", ".join(f"{name} {n:,}" for name, n in sorted(counted.items())), broken)


# -- large and hollow


def post(address: str, path: str, body: bytes, *headers: tuple[str, str]) -> str:
    """Return the status of a request, or that there was none."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("POST", path, body, dict(headers))
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException):
        return "reset"
    finally:
        connection.close()


PIECE = 1 << 20


def call(address: str, body: bytes, *headers: tuple[bytes, bytes], path: str = EXPORT) -> str:
    """Return the grpc-status of a call whose body is framed already, or that there was none."""
    connection = zttp.Connection(zttp.CLIENT, protocol=zttp.HTTP2)
    try:
        with socket.create_connection(place(address), timeout=60) as transport:
            connection.initiate_connection()
            fields = [(b"host", b"here"), (b"content-type", b"application/grpc"), (b"te", b"trailers"), *headers]
            stream = connection.send_request(b"POST", path.encode(), b"2", fields)
            waiting = [body[first : first + PIECE] for first in range(0, len(body), PIECE)][::-1]
            ahead = 0
            if not waiting:
                stream.end_message()
            while True:
                # What waits for room is moved at each step: of a large body a part at a time is given away.
                while waiting and ahead < PIECE:
                    ahead += len(waiting[-1])
                    stream.send_data(waiting.pop())
                    if not waiting:
                        stream.end_message()
                data = connection.data_to_send()
                ahead -= len(data)
                transport.sendall(data)
                if not (data := transport.recv(65536)):
                    return "reset"
                connection.receive_data(data)
                while (event := connection.next_event()) is not zttp.NEED_DATA:
                    found = dict(getattr(event, "headers", ()) or ()) | dict(getattr(event, "trailers", ()) or ())
                    if b"grpc-status" in found:
                        return found[b"grpc-status"].decode()
                    if isinstance(event, zttp.RstStream):
                        return "reset"
    except (OSError, zttp.RemoteProtocolError):
        return "reset"


def message(body: bytes, flag: int = 0) -> bytes:
    """Return a body in gRPC's frame."""
    return bytes([flag]) + len(body).to_bytes(4, "big") + body


def _again(sends: Mapping[str, tuple[Callable[[], str], set[str]]], size: int, seconds: float) -> Seen:
    """Send by several ways at once, at least `size` times each; what is answered must be among what is allowed."""

    def again(way: str, counted: Counter[str], end: float) -> None:
        send, allowed = sends[way]
        for n in count():
            if n >= size and time.monotonic() >= end:
                return
            word = send()
            counted[f"{way} {word}{'' if word in allowed else '!'}"] += 1

    return _beside(tuple(sends), again, seconds, "answers")


def bombs(addresses: Mapping[str, str], size: int, seconds: float) -> Seen:
    """Send a MiB that inflates to a GiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    bomb = b"".join([*(packer.compress(zeros) for _ in range(1_024)), packer.flush()])
    packed = ("content-encoding", "gzip")

    def http_way(door: str, kind: str) -> tuple[Callable[[], str], set[str]]:
        return lambda: post(addresses[door], HTTP_DOORS[door], bomb, packed, ("content-type", kind)), {"413", "503"}

    def grpc_way(door: str) -> tuple[Callable[[], str], set[str]]:
        framed = message(bomb, 1)
        return lambda: call(addresses[door], framed, (b"grpc-encoding", b"gzip"), path=CALLS[door]), {"8", "14"}

    ways = {
        "http protobuf": http_way("otlp_http", PROTOBUF),
        "http JSON": http_way("otlp_http", JSON),
        "zipkin JSON": http_way("zipkin", JSON),
        "zipkin protobuf": http_way("zipkin", PROTOBUF),
        "grpc": grpc_way("otlp_grpc"),
        "opencensus": grpc_way("opencensus"),
    }
    return _again(ways, size, seconds)


def empty_spans(addresses: Mapping[str, str], size: int, seconds: float) -> Seen:
    """Send 64 MiB of spans in which there is nothing."""
    body = b"\x12\0" * ((MAX_BODY - 64) // 2)
    for number in (2, 1):
        body = bytes([number << 3 | 2]) + varint(len(body)) + body
    framed = message(body)
    typed = ("content-type", PROTOBUF)
    ways: dict[str, tuple[Callable[[], str], set[str]]] = {
        "http": (lambda: post(addresses["otlp_http"], HTTP_DOORS["otlp_http"], body, typed), {"200", "503"}),
        "grpc": (lambda: call(addresses["otlp_grpc"], framed), {"0", "14"}),
    }
    return _again(ways, size, seconds)


def deep_json(addresses: Mapping[str, str], size: int, seconds: float) -> Seen:
    """Send JSON that is nested deeper than any parser's stack, and nothing but brackets."""
    deep, brackets = 100_000, b"[" * (16 << 20)
    value = b'{"arrayValue":{"values":[' * deep + b"]}}" * deep
    head = b'{"resourceSpans":[{"resource":{"attributes":[{"key":"k","value":'
    bodies = [brackets, b"[" * deep + b"]" * deep, head + value + b"}]}}]}", b'[{"tags":' * deep + b"}]" * deep]
    ways: dict[str, tuple[Callable[[], str], set[str]]] = {}
    for door in ("otlp_http", "zipkin"):
        turns = cycle(bodies)
        ways[door] = (partial(_next, addresses[door], HTTP_DOORS[door], turns), {"400", "503"})
    return _again(ways, size, seconds)


def _next(address: str, path: str, bodies: Iterator[bytes]) -> str:
    return post(address, path, next(bodies), ("content-type", JSON))


# -- those who do not listen


def unread(addresses: Mapping[str, str], size: int, seconds: float) -> Seen:
    """Ask and ask on four connections a door, and never read an answer."""

    def ask(door: str, sent: Counter[str], end: float) -> None:
        with suppress(OSError), socket.create_connection(place(addresses[door]), timeout=1) as connection:
            if door in CALLS:
                connection.sendall(opening((4, 0)))  # a window of 0 bytes a stream: no answer fits
                said: Iterator[bytes] = (
                    frame(HEADERS, END_HEADERS, 1 + 2 * n, block(CALLS[door]))
                    + frame(DATA, END_STREAM, 1 + 2 * n, message(b""))
                    for n in range(size)
                )
            else:
                path = "/metrics" if door == "api" else "/nowhere" + "?" * 100
                said = repeat(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode(), size)
            with suppress(OSError):  # no more is taken, as it should be, or the connection was ended
                while several := b"".join(islice(said, 100)):
                    connection.sendall(several)
                    sent[door] += 100
            time.sleep(max(end - time.monotonic(), 0))

    return _beside((*CALLS, *HTTP_DOORS), ask, seconds, "requests taken", 4)


def burn(_addresses: Mapping[str, str], percent: int, seconds: float) -> Seen:
    """Attack nobody: only use a part of one processor."""
    begin = time.monotonic()
    before = time.process_time()
    while (now := time.monotonic()) < begin + seconds:
        if time.process_time() - before > (now - begin) * percent / 100:
            time.sleep(0.001)
    return Seen("")
