"""Where compiled kernels are kept; imports nothing heavy, so that a supervisor can look.

Owns the folder and its name. What is compiled into it is `compiling.py`'s.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

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


def stamp() -> Path | None:
    """Return the file whose presence says that all kernels are compiled; None with a cache of nobody's.

    For this place alone: what numba compiled of the same sources in another folder, it does not find.
    """
    folder = prepare()
    place = hashlib.blake2b(str(PACKAGE).encode(), digest_size=4).hexdigest()
    return folder / f"complete-{place}" if folder else None


def is_complete() -> bool:
    """Whether every kernel is in the cache."""
    file = stamp()
    return file is not None and file.exists()
