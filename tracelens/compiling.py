"""Compiling all kernels at once, so that no request and no page waits for it.

`python -m tracelens.compiling` does it and says so, when there was anything to
compile. Where the result is kept is `_kernels.py`'s.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tracelens import _kernels


def compiled(folder: Path | None) -> int:
    """Return how many compiled kernels a cache folder holds."""
    return sum(1 for _ in folder.rglob("*.nbc")) if folder else 0


def compile_all() -> int:
    """Run each kernel once on next to nothing; return how many had to be compiled."""
    folder = _kernels.prepare()
    before = compiled(folder)
    from tracelens import calls, forest
    from tracelens.analysis import profile
    from tracelens.wire import otlp

    otlp.warm()
    calls.calls(forest.warm())
    profile.warm()  # links, walks and sums
    return compiled(folder) - before


def main() -> int:
    begin = time.monotonic()
    folder = _kernels.prepare()
    if compiled(folder) == 0:
        print("compiling the kernels, once after an installation …", flush=True)
    made = compile_all()
    if made:
        print(f"compiled {made} kernels in {time.monotonic() - begin:.0f} s, kept in {folder}", flush=True)
    if folder is None:
        print("no cache folder can be written: every start compiles anew. Set TRACELENS_CACHE_DIR.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
