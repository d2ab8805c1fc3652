"""Where compiled kernels are kept, and the decorators that make one.

Owns numba's cache folder and settings; the kernels live beside what they
serve. Import this before numba: numba reads its cache folder once, at import,
and a read-only installation without a home would fail there.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

PACKAGE = Path(__file__).parent


def cache_key() -> str:
    """Return the name of the cache folder: a hash of all kernel sources and numba's version.

    Kernels live in modules whose names begin with an underscore. numba's own
    key misses an edit in a callee that stands in another file.
    """
    digest = hashlib.blake2b(version("numba").encode(), digest_size=8)
    for path in sorted(PACKAGE.rglob("_[a-z]*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return f"kernels-{digest.hexdigest()}"


def cache_home() -> Path:
    """Return the folder that keeps kernel caches: TRACELENS_CACHE_DIR, else the user's cache folder."""
    chosen = os.environ.get("TRACELENS_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "tracelens"


def prepare() -> Path | None:
    """Point numba at a writable cache folder; None when there is none and a temporary one serves.

    A folder that cannot be made is no reason to stop: the kernels are then
    compiled once per process, which the caller should say.
    """
    if "NUMBA_CACHE_DIR" in os.environ:
        return Path(os.environ["NUMBA_CACHE_DIR"])
    try:
        folder = cache_home() / cache_key()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(folder)
    except (OSError, RuntimeError):  # RuntimeError: no home to expand
        os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="tracelens-kernels-")
        return None
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    return folder


prepare()  # the one work at import: see the module's docstring

import numba  # noqa: E402  # after the cache folder is set


def kernel(function: F) -> F:
    """Compile `function` on its first call, cached on disk, with the GIL released.

    The GIL is released because the writer, the dashboard and the API run
    kernels on threads. Never parallel=True: numba's fallback threading layer
    dies when two threads call a kernel; a ThreadPoolExecutor over ranges of
    traces fans out instead.
    """
    compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return cast("F", compiled)


def inline(function: F) -> F:
    """A piece of a kernel, compiled into each of its callers."""
    compiled: Any = numba.njit(inline="always", nogil=True, error_model="numpy")(function)
    return cast("F", compiled)


def intrinsic(function: Callable[..., Any]) -> Any:
    """A piece of a kernel that gives its own machine code; see numba.extending.intrinsic."""
    return numba.extending.intrinsic(function)
