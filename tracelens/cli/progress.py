"""How far an answer is that goes by disk: a line on a terminal's stderr, and nothing in a pipe."""

from __future__ import annotations

import time
from typing import TextIO

EVERY_SECONDS = 0.2


class Progress:
    """Told what is under way, it shows that."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._shown = 0.0
        self._begun = time.monotonic()

    def __call__(self, what: str, done: int, of: int | None) -> None:
        """Show a step: how much is done, and of how much if that is known; the last one clears the line."""
        now = time.monotonic()
        if not self._out.isatty() or (now - self._shown < EVERY_SECONDS and done != of):
            return
        self._shown = now
        took = now - self._begun
        if of is None:
            line = f"{what}: {done:,} ({took:.0f} s)"
        else:
            left = took * (of - done) / max(done, 1)
            line = f"{what}: {done:,} of {of:,} ({took:.0f} s, about {left:.0f} s to go)" if done < of else ""
        self._out.write(f"\r\x1b[2K{line}")
        self._out.flush()
