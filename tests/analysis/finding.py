"""Findings of drawn meshes."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from tests.analysis.test_hops import mesh
from tests.builders import MILLISECOND, traces
from tracelens.analysis.findings import findings
from tracelens.analysis.hops import requests
from tracelens.calls import calls
from tracelens.forest import link


class Found(NamedTuple):
    """A finding; times in columns of the drawing."""

    traces: int
    cost: float | None
    path: float | None
    evidence: str


def findings_of(spans: pl.DataFrame) -> pl.DataFrame:
    """Return FINDINGS of drawn spans."""
    forest = link(mesh(spans))
    folded = calls(forest)
    return findings(forest, folded, requests(forest, folded))


def found(*drawings: str) -> dict[tuple[str, str | None], Found]:
    """Return findings by (kind, service)."""
    return {
        (row["kind"], row["service"]): Found(
            row["traces"],
            *(None if row[name] is None else row[name] / MILLISECOND for name in ("cost_nano", "path_nano")),
            row["evidence"],
        )
        for row in findings_of(traces(*drawings)).to_dicts()
    }


def kinds(*drawings: str) -> set[str]:
    return {kind for kind, _ in found(*drawings)}
