"""Locations: a store is in a local folder, or at a URL of object storage.

Owns telling the two apart. Imports nothing that is large: the supervisor asks, too.
"""

from __future__ import annotations

import re
from pathlib import Path

from tracelens.errors import UsageError

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss")  # that both deltalake and polars know
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")


def is_url(location: str | Path) -> bool:
    """Whether a location is at object storage. Raises UsageError for a URL of anything else."""
    found = _SCHEME.match(str(location))
    if found is not None and found[1] not in SCHEMES:
        raise UsageError(
            f"{location}: no storage that is known here. Give a folder, or one of {', '.join(SCHEMES)}://…."
        )
    return found is not None


def whole(location: str | Path) -> str:
    """Return a location in full, the same for the same place: a folder's absolute path, or a URL."""
    return str(location).rstrip("/") if is_url(location) else str(Path(location).absolute())
