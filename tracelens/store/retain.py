"""Retention: hours that are too old, or too much together, go as a whole.

Owns which hours those are. Their files are let go in one commit an hour, and
removed from disk by `sweep` when nobody can be reading them any more.
"""

from __future__ import annotations

import calendar
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from tracelens.errors import UsageError
from tracelens.store.files import DataFile
from tracelens.store.fold import APPLICATION
from tracelens.store.table import Store
from tracelens.units import nanoseconds, size

HOUR_SECONDS = 3_600
KEYS = ("retain_age", "retain_size", "retain_rollups")


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept. Raises UsageError for less than an hour, or nothing."""

    age_seconds: float | None = None
    size_bytes: int | None = None
    rollup_seconds: float | None = None  # what is counted of spans stays so long; for ever when not given

    def __post_init__(self) -> None:
        if self.age_seconds is not None and self.age_seconds < HOUR_SECONDS:
            raise UsageError(f"keeping {self.age_seconds:g} s: spans are kept by the hour. Give 1h or more.")
        if self.rollup_seconds is not None and self.rollup_seconds < (self.age_seconds or HOUR_SECONDS):
            raise UsageError("rollups that go before their spans are made in vain. Give retain_rollups more.")
        if self.size_bytes is not None and self.size_bytes <= 0:
            raise UsageError("keeping 0 bytes: the newest hour always stays. Give a size above 0.")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return what `[store]` of some settings says. Raises UsageError."""
        found = settings.get("store", {})
        is_text = isinstance(found, Mapping) and all(isinstance(value, str) for value in found.values())
        if not is_text or set(found) - set(KEYS):
            raise UsageError(
                f'[store] has {", ".join(KEYS)}, as retain_age = "14d", retain_size = "200GB", retain_rollups = "400d".'
            )
        age, most, rollups = (found.get(key) for key in KEYS)
        try:
            return cls(
                None if age is None else nanoseconds(age) / 1e9,
                None if most is None else size(most),
                None if rollups is None else nanoseconds(rollups) / 1e9,
            )
        except UsageError as error:
            raise UsageError(f"[store] {error}") from None

    @property
    def everything(self) -> bool:
        """Whether nothing is ever let go."""
        return self.age_seconds is None and self.size_bytes is None and self.rollup_seconds is None


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of a store."""

    name: str
    files: tuple[DataFile, ...]

    @property
    def spans(self) -> int:
        """How many arrived in it."""
        return sum(file.rows for file in self.files)

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.files)

    @property
    def end_seconds(self) -> int:
        """When it ends, Unix time."""
        return calendar.timegm(time.strptime(self.name, "%Y-%m-%dT%H")) + HOUR_SECONDS


def hours(store: Store) -> list[Hour]:
    """Return the hours of a store, the oldest first."""
    found: dict[str, list[DataFile]] = defaultdict(list)
    for file in store.files():
        found[file.hour].append(file)
    return [Hour(name, tuple(some)) for name, some in sorted(found.items())]


def beyond(store: Store, keep: Retention, *, now_seconds: float | None = None) -> list[Hour]:
    """Return the hours that are let go: those that ended too long ago, then the oldest until the rest is small enough.

    The newest hour stays. A clock that is ahead of what has arrived makes nothing old.
    """
    every = hours(store)
    if not every:
        return []
    now = min(time.time() if now_seconds is None else now_seconds, every[-1].end_seconds)
    left = sum(hour.size for hour in every)
    found = []
    for hour in every[:-1]:
        too_old = keep.age_seconds is not None and hour.end_seconds <= now - keep.age_seconds
        too_much = keep.size_bytes is not None and left > keep.size_bytes
        if not (too_old or too_much):
            break
        left -= hour.size
        found.append(hour)
    return found


def retain(store: Store, keep: Retention, *, now_seconds: float | None = None) -> list[Hour]:
    """Let go of hours, as `beyond` tells them; return which. One just being replaced waits for the next time."""
    old = beyond(store, keep, now_seconds=now_seconds)
    return [hour for hour in old if store.replace(hour.files, [], APPLICATION)]
