"""Bodies: read from an ASGI connection piece by piece, inflated, within their limits.

Owns the limit of size while a body comes in. Each piece is charged to
admission before the next is read, so a huge sender is held up by its own
connection; a slow one is ended by `http_server`.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from collector.admission import Charge
from collector.intake import LARGE, TooLarge, Undecodable

MAX_DISCARD, DISCARD_SECONDS = 256 << 20, 5.0  # of a body that is refused while it still comes
FIRST_STEP, STEP = 256 << 10, 1 << 20  # bytes that are inflated at once, on the loop and beside it
GZIP = 16 + zlib.MAX_WBITS
ZLIB = zlib.MAX_WBITS
WINDOWS = {"gzip": GZIP, "x-gzip": GZIP, "deflate": ZLIB}

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_beside = ThreadPoolExecutor(1, "inflate")  # one: whatever is sent, it costs one processor


class Gone(Exception):
    """The sender went away before its body was complete."""


async def read(
    receive: Receive, charge: Charge, limit: int, weight: int, *, head: int = 0, announced: bytes = b"0"
) -> tuple[bytes, bytes]:
    """Return the first `head` bytes of a body, and the rest of it, as sent. Raises TooLarge, Gone and Overloaded.

    limit: of the rest. announced: its size, as a header says; where there is a head, that says it.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body[:head], body[head:]
    begin, parts, size = body[:head], [body[head:]], len(body)
    whole = int.from_bytes(begin[1:], "big") if head else int(announced) if announced.isdigit() else 0
    whole = min(whole, limit)
    while message.get("more_body"):
        if size > limit + head:
            raise TooLarge(f"more than {limit:,} bytes. Send smaller batches.", unread=True)
        await charge.hold(size * weight, whole * weight)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body = message.get("body", b"")
        size += len(body)
        missing = head - len(begin)
        begin += body[:missing]
        parts.append(body[missing:])
    if size > limit + head:
        raise TooLarge(f"{size:,} bytes; a request may have {limit:,}. Send smaller batches.")
    await charge.hold(size * weight)
    return begin, await joined(parts, size)


async def joined(parts: list[bytes], size: int) -> bytes:
    """Return parts as one; many bytes are joined beside the loop, where it takes tens of milliseconds."""
    if size < LARGE:
        return b"".join(parts)
    return await asyncio.get_running_loop().run_in_executor(_beside, b"".join, parts)


async def discard(receive: Receive) -> None:
    """Read on for a while and keep nothing."""
    left = MAX_DISCARD
    try:
        async with asyncio.timeout(DISCARD_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return


async def inflate(data: bytes, window: int, charge: Charge, limit: int, weight: int) -> bytes:
    """Return what was compressed; a large body in steps beside the loop, by turns with others.

    Raises TooLarge as soon as it is over the limit, however much more there
    would be, Undecodable when it is not whole or not compressed so, and Overloaded.
    """
    inflater = zlib.decompressobj(window)
    parts: list[bytes] = []
    size, step = 0, FIRST_STEP
    try:
        while True:
            if parts:
                part = await asyncio.get_running_loop().run_in_executor(_beside, inflater.decompress, data, step)
            else:
                part = inflater.decompress(data, step)
            size += len(part)
            parts.append(part)
            if size > limit:
                raise TooLarge(f"more than {limit:,} bytes after decompression. Send smaller batches.")
            if inflater.eof:
                data = inflater.unused_data
                if not data:  # else another member follows
                    return await joined(parts, size)
                inflater = zlib.decompressobj(window)
            else:
                data = inflater.unconsumed_tail
                if not data and len(part) < step:
                    raise Undecodable("the compressed body is cut off")
            await charge.hold(size * weight)
            step = STEP
    except zlib.error as error:
        raise Undecodable(f"the body is not compressed as it says: {error}") from None
