"""Compiling all kernels at once, so that no request and no page waits for it.

`python -m tracelens.compiling` does it and says so, when there was anything to
compile. Where the result is kept is `_cache.py`'s.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tracelens import _cache
from tracelens.parent import end_with_parent

DECODERS = "decoders"  # what the second process is told to compile


def compiled(folder: Path | None) -> int:
    """Return how many compiled kernels a cache folder holds."""
    return sum(1 for _ in folder.rglob("*.nbc")) if folder else 0


def compile_all() -> int:
    """Run each kernel once on next to nothing; return how many had to be compiled."""
    folder = _cache.prepare()
    before = compiled(folder)
    _analysis()  # first: it is what a page waits for
    _decoders()
    if (stamp := _cache.stamp()) is not None:
        stamp.touch()
    return compiled(folder) - before


def _decoders() -> None:
    from tracelens.wire import jaeger, otlp

    otlp.warm()
    jaeger.warm()


def _analysis() -> None:
    from tracelens.analysis import findings, fixes, hops, profile, shares, stretches, whatif

    hops.warm()  # links and folds
    profile.warm()  # walks and sums
    stretches.warm()
    shares.warm()
    whatif.warm()
    fixes.warm()
    findings.warm()


def main() -> int:
    if sys.argv[1:2] == [DECODERS]:
        end_with_parent(signal.SIGKILL, int(sys.argv[2]))
        _decoders()
        return 0
    if _cache.is_complete():
        return 0
    begin = time.monotonic()
    folder = _cache.prepare()
    before = compiled(folder)
    print("compiling the kernels, once after an installation …", flush=True)
    # Beside this one: they share nothing, and two processors need half the time.
    with subprocess.Popen((sys.executable, "-m", __spec__.name, DECODERS, str(os.getpid()))):
        _analysis()
    compile_all()  # finds what both have made, and makes what one of them could not
    made = compiled(folder) - before
    print(f"compiled {made} kernels in {time.monotonic() - begin:.0f} s, kept in {folder}", flush=True)
    if folder is None:
        print("no cache folder can be written: every start compiles anew. Set TRACELENS_CACHE_DIR.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
