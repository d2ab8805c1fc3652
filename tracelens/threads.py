"""Threads: work of kernels, which leave the interpreter's lock, on all processors.

Owns the one pool. It stays: threads that are begun for each stretch of work
took a sixth of what linking takes. Who asks works, too, and what is asked for
by work that is shared out already is not shared out again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Any, TypeVar

from tracelens import stopping

R = TypeVar("R")

_within = threading.local()


def processors() -> int:
    """Return how many threads are worth having."""
    return os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(processors() - 1, 1), "kernels")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of the threads


def each(work: Callable[..., R], calls: Sequence[tuple[Any, ...]]) -> list[R]:
    """Return work(*call) for each, in order; some at once.

    All have ended when it returns or raises: nobody writes to an array of the caller's any more.
    """
    helpers = min(processors(), len(calls)) - 1
    stopping.look()
    if helpers < 1 or getattr(_within, "shared", False):
        return [work(*call) for call in calls]
    found: dict[int, R] = {}
    waiting = iter(range(len(calls)))  # which all of them draw from

    def run() -> None:
        _within.shared = True
        try:
            for i in waiting:
                found[i] = work(*calls[i])
        finally:
            _within.shared = False

    begun: list[Future[None]] = [_pool().submit(run) for _ in range(helpers)]
    try:
        run()
    finally:
        wait([future for future in begun if not future.cancel()])
    for future in begun:
        if not future.cancelled():
            future.result()
    return [found[i] for i in range(len(calls))]
