"""Clocks: services whose spans arrive with times that cannot be.

Owns the look at them, one batch at a time. A wrong clock puts spans into
windows where nobody looks for them, so it is told, in the log and as a counter.
"""

from __future__ import annotations

import logging
import time

import polars as pl

from collector.telemetry import Telemetry

LOG = logging.getLogger(__name__)
AHEAD_SECONDS = 5  # a span that ends so long after it came is from a wrong clock
BEHIND_SECONDS = 600  # senders flush within seconds; one that is down may keep spans for minutes
TOLD_SECONDS = 3_600.0  # between two warnings of one service
MAX_SERVICES = 1_000  # that are remembered as told

LAG = (pl.col("received_unix_nano") - pl.col("end_time_unix_nano")).median().alias("lag")
IS_FAR = (pl.col("lag") < -AHEAD_SECONDS * 10**9) | (pl.col("lag") > BEHIND_SECONDS * 10**9)


class Clocks:
    """Which services were told."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._told: dict[str, float] = {}

    def look(self, frame: pl.DataFrame) -> None:
        """Warn of the services most of whose spans in a batch came from another time."""
        if frame.is_empty():
            return
        far = frame.group_by("service_name").agg(LAG, pl.len().alias("spans")).filter(IS_FAR)
        now = time.monotonic()
        for service, lag, spans in far.iter_rows():
            self._telemetry.clock_far_off(service, spans)
            if now - self._told.get(service, -TOLD_SECONDS) < TOLD_SECONDS or len(self._told) >= MAX_SERVICES:
                continue
            self._told[service] = now
            where = "ahead of ours" if lag < 0 else "behind ours, or its spans come late"
            LOG.warning("spans of service %.200r: their clock is %.0f s %s", service, abs(lag) / 1e9, where)
