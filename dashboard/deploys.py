"""Deployments: when a service's spans first came from another version.

Owns reading VERSIONS rows. A version that is there from the beginning is no
deployment: when it came is not known.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from dashboard import state
from dashboard.sides import several

SOON = 50  # a version that is first seen in the first fiftieth of a window was there before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """One version's first call in a window."""

    service: str
    version: str
    before: str  # the version before it
    at_nano: int


def deploys(rows: pl.DataFrame, services: Collection[str], start_nano: int, end_nano: int) -> list[Deploy]:
    """Return the deployments of some services in a window, the latest first. rows: VERSIONS."""
    first = {(row["service"], row["key"], row["version"]): row["first_unix_nano"] for row in rows.iter_rows(named=True)}
    soon = start_nano + (end_nano - start_nano) // SOON
    found = [
        Deploy(
            service=service,
            version=new.version,
            before=old.version,
            at_nano=first[service, new.key, new.version],
        )
        for service, some in several(rows).items()
        if service in services
        for new, old in itertools.pairwise(some)
    ]
    return sorted((one for one in found if one.at_nano > soon), key=lambda one: (-one.at_nano, one.service))


def since_link(at_nano: int, start_nano: int, end_nano: int, key: tuple[str, str]) -> Mapping[str, str]:
    """Return the parameters of a comparison of a route after a moment with it before; the window ends there."""
    return {
        "window": state.CUSTOM,
        "start": state.timestamp(at_nano),
        "end": state.timestamp(end_nano),
        "by": "window",
        "against": "own",
        "a_start": state.timestamp(start_nano),
        "a_end": state.timestamp(at_nano),
        "service": key[0],
        "route": key[1],
    }
