"""The decorators that make a kernel.

Owns numba's settings; the kernels live beside what they serve. Import this
before numba: numba reads its cache folder once, at import, and a read-only
installation without a home would fail there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from tracelens import _cache

F = TypeVar("F", bound=Callable[..., Any])

_cache.prepare()  # the one work at import: see the module's docstring

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


def piece(function: F) -> F:
    """A function that only kernels call: no way into it from Python is compiled, and it is kept with its callers."""
    jit: Any = numba.njit  # whose types do not tell of all options
    compiled = jit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return cast("F", compiled)


def inline(function: F) -> F:
    """A piece of a kernel, compiled into each of its callers."""
    compiled: Any = numba.njit(inline="always", nogil=True, error_model="numpy")(function)
    return cast("F", compiled)


def intrinsic(function: Callable[..., Any]) -> Any:
    """A piece of a kernel that gives its own machine code; see numba.extending.intrinsic."""
    return numba.extending.intrinsic(function)
