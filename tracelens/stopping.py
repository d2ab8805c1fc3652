"""Stopping: a question that nobody waits for any more ends at the next stretch of its work.

Owns how work asks whether to go on. Who asked the question says what tells it, by raising what ends it;
the work asks before each stretch of kernels and each part that is read. Threads that help do not ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_look: ContextVar[Callable[[], object] | None] = ContextVar("look", default=None)


@contextmanager
def stoppable(look: Callable[[], object]) -> Iterator[None]:
    """Have work of this thread call `look` now and then until the block ends; what it raises ends the work."""
    before = _look.set(look)
    try:
        yield
    finally:
        _look.reset(before)


def look() -> None:
    """Raise what ends this work, if nobody waits for it."""
    found = _look.get()
    if found is not None:
        found()
