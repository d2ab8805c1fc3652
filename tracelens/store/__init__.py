"""Spans at rest: a Delta table on local disk or object storage. FORMAT.md beside this file draws it."""

from __future__ import annotations

from tracelens.store.compact import Compacted, compact
from tracelens.store.fold import fold, sweep
from tracelens.store.retain import Hour, Retention, beyond, hours, retain
from tracelens.store.table import Store, is_store

__all__ = [
    "Compacted",
    "Hour",
    "Retention",
    "Store",
    "beyond",
    "compact",
    "fold",
    "hours",
    "is_store",
    "retain",
    "sweep",
]
