"""Keeping freed memory: a process that answers a question asks for the same sizes again and again.

The C library gives large blocks back to the system at once, and each page that
is asked for again is zeroed anew, at a fifth of an answer's time, while all
threads wait. GNU's library only; nothing elsewhere.
"""

from __future__ import annotations

import ctypes
import sys

# malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
KEPT = 1 << 30  # bytes


def keep_memory() -> None:
    """Have freed memory kept in one heap from now on; for the programs that end when they have answered."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, KEPT), (M_TRIM_THRESHOLD, KEPT)):
            mallopt(option, value)
