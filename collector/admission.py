"""Admission: how many bytes may be in hand at once, and who waits for room.

Owns the budget of one process. Envoy and some SDKs never send again what was
refused, so a request over the budget first waits, within its caller's
deadline, and is refused only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

BUDGET_BYTES = 256 << 20  # four requests of the largest size
MAX_WAIT_SECONDS = 2.0


class Overloaded(Exception):
    """No room within the time there was; later there may be."""


class Admission:
    """A budget of bytes."""

    def __init__(self, budget: int = BUDGET_BYTES) -> None:
        self._budget = budget
        self._free = budget
        self._room = asyncio.Condition()

    @asynccontextmanager
    async def admit(self, size: int, remaining_seconds: float | None) -> AsyncIterator[None]:
        """Hold `size` bytes of the budget; a request larger than all of it is counted as all of it.

        remaining_seconds: until the caller gives up; None when it said nothing. Raises Overloaded.
        """
        held = min(size, self._budget)
        wait = MAX_WAIT_SECONDS if remaining_seconds is None else min(remaining_seconds / 2, MAX_WAIT_SECONDS)
        async with self._room:
            try:
                async with asyncio.timeout(max(wait, 0)):
                    await self._room.wait_for(lambda: self._free >= held)
            except TimeoutError:
                raise Overloaded(f"{self._budget >> 20} MiB are in hand already") from None
            self._free -= held
        try:
            yield
        finally:
            async with self._room:
                self._free += held
                self._room.notify_all()
