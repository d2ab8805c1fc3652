"""Settings: what the configuration file tells a collector."""

from __future__ import annotations

from pathlib import Path

from tracelens.redact import Rules
from tracelens.store import Retention
from tracelens.taught import Taught, read


def rules(path: Path | None) -> Rules:
    """Return what is taken out of spans before they are stored. Raises UsageError."""
    return Rules.default() if path is None else Rules.of(read(path))


def retention(path: Path | None) -> Retention:
    """Return how long spans are kept. Raises UsageError."""
    return Retention() if path is None else Retention.of(read(path))


def taught(path: Path | None) -> Taught:
    """Return how routes are named and traces sampled. Raises UsageError."""
    return Taught.read(path)
