"""What-if: one scenario, and every single fix of a route, each beside one profile of the same traces."""

from __future__ import annotations

from functools import partial

import polars as pl

from tests.bench.mesh import shop
from tests.bench.paths import BANDS, rate
from tests.builders import synthetic
from tracelens.analysis.critical_path import sections
from tracelens.analysis.fixes import fixes
from tracelens.analysis.profile import profile
from tracelens.analysis.shares import times
from tracelens.analysis.whatif import Change, project
from tracelens.calls import Calls, calls
from tracelens.forest import Forest, link


def measure(spans: int) -> dict[str, float]:
    """Return spans/s, and how many profiles the fixes of all nodes take."""
    return _measured("generated", synthetic(spans)) | _measured("of sidecars", shop(spans))


def _measured(name: str, frame: pl.DataFrame) -> dict[str, float]:
    forest = link(frame)
    n = len(forest.parent)
    folded = calls(forest)
    found = sections(forest)
    one = rate(n, partial(profiled, forest, folded))
    every = rate(n, partial(fixes, forest, found, folded))
    return {
        f"what-if of all nodes, {name}, spans/s": every,
        f"baseline: walk and profile, {name}, spans/s": one,
        f"what-if of all nodes / one profile, {name}": one / every,
        f"one scenario, {name}, spans/s": rate(n, partial(project, forest, folded, forest.entry, [Change(scale=0.5)])),
        f"times of each node, {name}, spans/s": rate(n, partial(times, forest, found, folded)),
    }


def profiled(forest: Forest, folded: Calls) -> pl.DataFrame:
    """Walk all traces and sum them up."""
    return profile(
        forest,
        sections(forest),
        entries=forest.entry,
        route=None,
        service=folded.service,
        operation=folded.operation,
        layer=folded.layer,
        bands=BANDS,
    )
