"""Customers of the shop: how many, how fast, and until when.

Owns the pace of requests and its command-line options; sending one is up to
`mesh` and `app`.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tracelens.parent import end_with_parent

RATE = 20.0  # requests a second of an endless run: as many as a laptop does not notice
AT_ONCE = 6  # requests without a rate
MOST_AT_ONCE = 200  # with a rate: more means that the shop is slower than the rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many requests, and how fast."""

    requests: int | None = None  # None: no limit
    seconds: float | None = None  # None: no limit
    rate: float | None = None  # a second; None: the next when one of AT_ONCE is answered
    seed: int = 1

    @property
    def endless(self) -> bool:
        return self.requests is None and self.seconds is None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --otlp, and the options of the pace."""
    parser.add_argument("--otlp", default="127.0.0.1:4317", help="HOST:PORT of an OTLP/gRPC collector")
    parser.add_argument("--requests", type=number, help="end after so many")
    parser.add_argument("--seconds", type=amount, help="end after so many seconds")
    parser.add_argument("--rate", type=amount, help="requests a second (default: 20 when endless, else what it can)")
    parser.add_argument("--with-parent", action="store_true", help="stop when the parent process ends")
    parser.add_argument("--seed", type=int, default=1, help="of the customers and of what happens to them")


def number(text: str) -> int:
    """Return a whole number above 0; raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def amount(text: str) -> float:
    """Return a finite number above 0; raises ArgumentTypeError."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return found


def pace(options: argparse.Namespace) -> Pace:
    """Return the pace that the options ask for; from now on, and with the parent, where that was asked."""
    if options.with_parent:
        end_with_parent(signal.SIGTERM)
    rate = options.rate
    if rate is None and options.requests is None and options.seconds is None:
        rate = RATE
    return Pace(requests=options.requests, seconds=options.seconds, rate=rate, seed=options.seed)


def stopped() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    event = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event


async def send(pace: Pace, stop: asyncio.Event, visit: Callable[[random.Random], Awaitable[None]]) -> None:
    """Send requests until the pace ends or somebody stops us; returns when all are answered.

    The first error of `visit` ends the load and is raised.
    """
    chance = random.Random(pace.seed)
    begin = time.monotonic()
    limit = float("inf") if pace.requests is None else pace.requests
    end = float("inf") if pace.seconds is None else begin + pace.seconds
    at_once = asyncio.Semaphore(MOST_AT_ONCE if pace.rate else AT_ONCE)
    sent = 0

    async def one() -> None:
        try:
            await visit(chance)
        finally:
            at_once.release()

    try:
        async with asyncio.TaskGroup() as group:
            while sent < limit and time.monotonic() < end:
                due = begin + sent / pace.rate if pace.rate else begin
                if await happens(stop, min(due, end) - time.monotonic()):
                    return
                await at_once.acquire()
                group.create_task(one())
                sent += 1
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None  # one cause ends many requests at once


async def happens(event: asyncio.Event, seconds: float) -> bool:
    """Whether an event has happened, or does within some time."""
    if seconds <= 0:
        return event.is_set()
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
