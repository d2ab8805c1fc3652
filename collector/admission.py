"""Admission: how many bytes may be in hand at once, and who waits for room.

Owns the budget of one process. Envoy and some SDKs never send again what was
refused, so a request over the budget first waits, within its caller's
deadline, and is refused only then. Bytes are charged as they come in, not as
they are announced: who announces much and sends nothing takes no room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from types import TracebackType

BUDGET_BYTES = 192 << 20  # three requests of the largest size
# Kept for small requests, which are what sidecars send: large ones, that may be hostile, can take all but this.
RESERVE_BYTES = 16 << 20
SMALL_BYTES = 1 << 20
MAX_WAIT_SECONDS = 2.0
# Requests that wait. The first 64 KiB of each are here already, and charged to nobody.
MAX_WAITING = 512


class Overloaded(Exception):
    """No room within the time there was; later there may be."""


class Admission:
    """A budget of bytes; those who wait for it are served in their order."""

    def __init__(self, budget: int = BUDGET_BYTES) -> None:
        self._budget = self._free = budget
        self._reserve = RESERVE_BYTES
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._closed = ""
        self.pressed = False  # somebody waited, and less than half is free again

    @property
    def in_hand(self) -> int:
        """Bytes that are charged now."""
        return self._budget - self._free + RESERVE_BYTES - self._reserve

    def close(self, reason: str) -> None:
        """Admit nobody until `open`; who asks waits, and is told the reason."""
        self._closed = reason

    def open(self) -> None:
        """Admit again."""
        if self._closed:
            self._closed = ""
            self._serve()

    def charge(self, remaining_seconds: float | None) -> Charge:
        """Return what one request is charged on.

        remaining_seconds: until the caller gives up; None when it said nothing.
        """
        return Charge(self, MAX_WAIT_SECONDS if remaining_seconds is None else min(remaining_seconds / 2, 2.0))

    def take(self, size: int) -> bool:
        """Charge bytes at once; False when there is no room, or others wait for it."""
        if self._free < size or self._waiting or self._closed:
            return False
        self._free -= size
        return True

    def borrow(self, size: int) -> bool:
        """Charge a small request to what is kept for such."""
        if self._reserve < size or self._closed:
            return False
        self._reserve -= size
        return True

    def give_back(self, size: int) -> None:
        """Give back what was borrowed."""
        self._reserve += size

    async def wait(self, size: int, seconds: float) -> None:
        """Charge bytes as soon as there is room. Raises Overloaded."""
        self.pressed = True
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded(self._closed or f"{MAX_WAITING} requests wait already")
        room = asyncio.get_running_loop().create_future()
        entry = (size, room)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await room
        except (TimeoutError, asyncio.CancelledError) as error:
            if room.done() and not room.cancelled():  # it came in the same turn as the time ran out
                self.give(size)
            else:
                with suppress(ValueError):  # it was taken out already, for it was seen to leave
                    self._waiting.remove(entry)
                self._serve()  # those behind may be smaller
            if isinstance(error, TimeoutError):
                raise Overloaded(self._closed or f"{self._budget >> 20} MiB are in hand already") from None
            raise

    def give(self, size: int) -> None:
        """Give bytes back."""
        self._free += size
        if self._waiting:
            self._serve()
        elif self.pressed and self._free > self._budget // 2:
            self.pressed = False

    def _serve(self) -> None:
        """Let in whom there is room for."""
        while self._waiting and not self._closed:
            size, room = self._waiting[0]
            if room.done():  # cancelled, and about to leave
                self._waiting.popleft()
                continue
            if self._free < size:
                return
            self._waiting.popleft()
            self._free -= size
            room.set_result(None)

    def fit(self, size: int) -> int:
        """Return a size that can be charged at all: one larger than the budget counts as all of it."""
        return min(size, self._budget)


class Charge:
    """What one request holds of the budget, given back at the end of a `with`."""

    __slots__ = ("_admission", "_borrowed", "_held", "wait_seconds")

    def __init__(self, admission: Admission, wait_seconds: float) -> None:
        self._admission, self.wait_seconds = admission, wait_seconds
        self._held = self._borrowed = 0

    def __enter__(self) -> Charge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._held:
            self._admission.give(self._held)
        if self._borrowed:
            self._admission.give_back(self._borrowed)

    async def hold(self, size: int, announced: int = 0) -> None:
        """Hold `size` bytes in all; less than is held already changes nothing. Raises Overloaded.

        announced: what the whole will need. While others wait it is held at once: many that each have room for a
        part would all wait for the rest.
        """
        admission = self._admission
        if announced > size and admission.pressed:
            size = announced
        more = admission.fit(size) - self._held - self._borrowed
        if more <= 0:
            return
        if admission.take(more):
            self._held += more
        elif size <= SMALL_BYTES and admission.borrow(more):
            self._borrowed += more
        else:
            await admission.wait(more, self.wait_seconds)
            self._held += more
