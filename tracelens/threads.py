"""Threads: work of kernels, which leave the interpreter's lock, on all processors.

Owns the one pool. It stays: threads that are begun for each stretch of work
took a sixth of what linking takes. Who asks works, too, and waits for none that
has not begun: work that is shared out may share out its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Any, Generic, TypeVar

from tracelens import stopping

R = TypeVar("R")


def processors() -> int:
    """Return how many threads are worth having."""
    return os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(processors() - 1, 1), "kernels")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of the threads


class Soon(Generic[R]):
    """What some work returns, which is begun now and waited for when it is asked for.

    Who asks before a thread has come to it does it; once it is done nobody does it again. What it raises is raised to
    who did it, and the next one tries anew.
    """

    def __init__(self, work: Callable[[], R]) -> None:
        self._work = work
        self._found: list[R] = []
        self._lock = threading.Lock()
        if processors() > 1:
            _pool().submit(self.get)  # what this raises, who asks next will see

    def get(self) -> R:
        """Return what the work returns."""
        with self._lock:
            if not self._found:
                self._found.append(self._work())
            return self._found[0]


def each(work: Callable[..., R], calls: Sequence[tuple[Any, ...]]) -> list[R]:
    """Return work(*call) for each, in order; some at once.

    All have ended when it returns or raises: nobody writes to an array of the caller's any more.
    """
    helpers = min(processors(), len(calls)) - 1
    stopping.look()
    if helpers < 1:
        return [work(*call) for call in calls]
    found: dict[int, R] = {}
    waiting = iter(range(len(calls)))  # which all of them draw from

    def run() -> None:
        for i in waiting:
            found[i] = work(*calls[i])

    begun: list[Future[None]] = [_pool().submit(run) for _ in range(helpers)]
    try:
        run()
    finally:
        wait([future for future in begun if not future.cancel()])
    for future in begun:
        if not future.cancelled():
            future.result()
    return [found[i] for i in range(len(calls))]
