"""Settings: the configuration file of a collector, TOML.

Owns reading it. What its tables mean is said where they are used.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracelens.errors import UsageError
from tracelens.redact import Rules

TABLES = ("redact", "limits")


def read(path: Path) -> Mapping[str, Any]:
    """Return the tables of a file. Raises UsageError."""
    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}. Is the path of --config right?") from None
    except ValueError as error:
        raise UsageError(f"{path} is no TOML: {error}.") from None
    unknown = sorted(set(found) - set(TABLES))
    if unknown:
        raise UsageError(f"{path}: no table is called {unknown[0]!r}; there are {', '.join(TABLES)}.")
    return found


def rules(path: Path | None) -> Rules:
    """Return what is taken out of spans before they are stored. Raises UsageError."""
    return Rules.default() if path is None else Rules.of(read(path))
