"""Maintenance: hours that are over are compacted and settled, and those that are too old are let go.

What came since then is summed up as it comes, so that windows of much traffic open at once.

Owns when. A thread beside the writer, for an hour of much traffic takes half a
minute; what is done to the store is `tracelens.store`'s, and whatever step a
crash cuts, no span is lost or there twice.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from polars.exceptions import PolarsError

from collector import logs
from tracelens.errors import StoreError
from tracelens.names import NOTHING
from tracelens.settle import Merged, Rollups, Settled, draft, let_go, merge, settle, sweep, waiting
from tracelens.store import Compacted, Retention, Store, compact, retain
from tracelens.taught import Taught

LOG = logging.getLogger(__name__)
EVERY_SECONDS = 60.0
RETRY_SECONDS = 600.0  # after it failed
SWEEP_SECONDS = 600.0  # between two looks for files of rollups that nobody needs
JUMP_SECONDS = 3_600.0  # of the clock, since we began


class Maintenance:
    """Cares for a store until told to stop."""

    def __init__(self, store: str | Path, keep: Retention, taught: Taught = NOTHING) -> None:
        self._store, self._keep, self._taught = store, keep, taught
        self._began = time.time() - time.monotonic()
        self._jumped = False
        self._sweep_from = time.monotonic()

    def start(self, stop: threading.Event) -> threading.Thread:
        """Begin on a thread of its own."""
        thread = threading.Thread(target=self._run, args=(stop,), name="maintenance", daemon=True)
        thread.start()
        return thread

    def _run(self, stop: threading.Event) -> None:
        wait = EVERY_SECONDS
        while not stop.wait(wait):
            try:
                self.look(stop)
                wait = EVERY_SECONDS
            except (OSError, PolarsError, StoreError):
                wait = RETRY_SECONDS
                logs.failed(LOG, f"the store cannot be cared for; the next try is in {RETRY_SECONDS:.0f} s")

    def look(self, stop: threading.Event) -> None:
        """Settle an hour, let go of what is too old, and compact an hour: what is settled first stays counted."""
        store = Store.open(self._store)
        settle(store, taught=self._taught, hours=1, stop=stop.is_set, told=_tell_settled)
        rollups = Rollups(store)
        if not waiting(rollups):
            drafted = draft(store, taught=self._taught, stop=stop.is_set)
            LOG.debug("drafted: %s", drafted)
        if not self._keep.everything and self._clock_is_sound():
            gone = retain(store, self._keep)
            for hour in gone:
                LOG.info("let go of %s: %d spans, %d bytes", hour.name, hour.spans, hour.size)
            let_go(rollups, [hour.name for hour in gone], self._keep.rollup_seconds)
        if time.monotonic() >= self._sweep_from:  # one who was killed may have left some, whatever is kept
            self._sweep_from = time.monotonic() + SWEEP_SECONDS
            sweep(rollups)
        merge(rollups, days=1, stop=stop.is_set, told=_tell_merged)
        compact(store, hours=1, stop=stop.is_set, told=_tell)

    def _clock_is_sound(self) -> bool:
        """Whether the clock has gone on as time does: one that was set ahead would make everything old."""
        jump = time.time() - time.monotonic() - self._began
        sound = abs(jump) < JUMP_SECONDS
        if not sound and not self._jumped:
            LOG.warning("the clock was set by %.0f s: nothing is let go by this collector until it starts anew", jump)
        self._jumped = not sound
        return sound


def _tell(hour: str, done: Compacted) -> None:
    if done.spans:
        LOG.info("compacted %s: %d spans, %d files into %d", hour, done.spans, done.files_before, done.files_after)


def _tell_settled(done: Settled) -> None:
    LOG.info(
        "settled %s: %d traces of %d spans; %d spans late, %d traces go on",
        done.hour,
        done.traces,
        done.spans,
        done.late,
        done.carried,
    )


def _tell_merged(done: Merged) -> None:
    if done.files_before:
        LOG.info("rows of %s: %d files into %d", done.day, done.files_before, done.files_after)
