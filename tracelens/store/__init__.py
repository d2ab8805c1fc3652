"""Spans at rest: a Delta table on local disk. FORMAT.md beside this file draws it."""

from __future__ import annotations

from tracelens.store.fold import fold, sweep
from tracelens.store.table import Store, is_store

__all__ = ["Store", "fold", "is_store", "sweep"]
