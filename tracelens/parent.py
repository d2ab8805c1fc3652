"""Ending with the parent: a program that another one started does not outlive it, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(how: signal.Signals, parent: int | None = None) -> None:
    """Have the kernel send this process a signal when its parent ends. Linux only; nothing elsewhere.

    parent: its process id, as it told it itself: it may end before this one can ask.
    """
    parent = parent or os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:  # it ended before the kernel knew
        os.kill(os.getpid(), how)
