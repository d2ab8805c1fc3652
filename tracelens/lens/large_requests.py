"""Answers about who calls whom, from more spans than memory holds: what `hops.py` and `edges.py` say, by parts.

Owns requests on disk. What all of them decide together is decided first, by
counts of their kinds; each unit's are judged by that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

from tracelens.analysis import edges as edged
from tracelens.analysis import hops as analysis
from tracelens.analysis.clocks import between, of_pairs
from tracelens.analysis.coverage import coverage
from tracelens.analysis.kinds import Judgement, judge, kinds, merge
from tracelens.analysis.layers import layers as summed
from tracelens.analysis.turns import turns
from tracelens.learned import Evidence
from tracelens.lens.analysed import Analysed
from tracelens.lens.parts import Parts
from tracelens.lens.question import Answer

NEEDED = [
    name for name in analysis.REQUESTS.names() if name not in ("span", "trace", "trace_id", "top", "sender", "attempts")
]


def hops(parts: Parts) -> Answer:
    """Return HOPS rows, those where most time is spent first."""
    table = _requests(parts)
    keys = tuple("service" if name == "callee" else name for name in analysis.KEY)
    rows = [
        analysis.summed(some, weighted=parts.weighted).collect(engine="streaming")
        for some in turns(pl.scan_parquet(table), keys)
    ]
    every = pl.concat(rows) if rows else analysis.summed(pl.scan_parquet(table)).collect()
    return _answer(parts, table, analysis.by_time(every.lazy()).collect())


def edges(parts: Parts, *, gateways: bool) -> Answer:
    """Return EDGES rows, the busiest first; without gateways, callers and callees on their two sides are joined."""
    table = _requests(parts)
    shown = table if gateways else _requests(parts, edged.without_gateways)
    rows = [
        edged.edges(some, weighted=parts.weighted).collect(engine="streaming")
        for some in turns(pl.scan_parquet(shown), ("caller", "service"))
    ]
    every = pl.concat(rows) if rows else edged.EDGES.to_frame()
    return _answer(parts, table, edged.busiest(every.lazy()).collect())


def layers(parts: Parts, callee: str, caller: str | None, route: str | None) -> Answer:
    """Return LAYERS of the calls to a workload; caller, route: only of this one, None for any."""
    asked = {"service": callee, "caller": caller, "route": route}
    wanted = pl.all_horizontal(pl.col(name) == value for name, value in asked.items() if value is not None)

    def only(table: pl.DataFrame) -> pl.DataFrame:
        return table.filter(wanted)

    table = _requests(parts, only, str(asked))
    rows = summed(pl.read_parquet(table).lazy(), weighted=parts.weighted).collect()
    return _answer(parts, table, rows)


def coverage_of(parts: Parts) -> float | None:
    """Return the share of calls that have their callee's span, of those that should; None when none should."""
    return _covered(_requests(parts))


def clocks(parts: Parts) -> Answer:
    """Return CLOCKS rows, those furthest apart first: of the whole window, whatever the filter."""
    files = parts.gathered("clocks", lambda window, _: {"pairs": between(window.forest, window.calls)})
    rows = of_pairs(pl.scan_parquet(files["pairs"]))
    return Answer(rows=rows, source=parts.info(), method=parts.method())


def judgement(parts: Parts) -> Judgement:
    """Return what all requests decide together."""

    def work(window: Analysed, _: Evidence) -> dict[str, pl.DataFrame]:
        every = analysis.unjudged(window.forest, window.calls)
        return {"kinds": kinds(every), "sends": analysis.sends(window.calls, window.forest)}

    files = parts.gathered("kinds of requests", work)
    every = merge([pl.read_parquet(file) for file in files["kinds"]])
    cut = parts.buckets.described.kind == "dump"
    return judge(every, pl.read_parquet(files["sends"]), sampled=parts.sampled, cut=cut)


def _requests(parts: Parts, shown: Callable[[pl.DataFrame], pl.DataFrame] | None = None, what: str = "") -> list[Path]:
    """Return the files of REQUESTS, as a function of one unit's, named with `what`, has them."""
    known = judgement(parts)

    def work(window: Analysed, _: Evidence) -> dict[str, pl.DataFrame]:
        every = analysis.requests(window.forest, window.calls, judgement=known)
        table = window.about(parts.question, every)
        return {"requests": (table if shown is None else shown(table)).select(NEEDED)}

    name = "" if shown is None else shown.__name__
    return parts.gathered(f"requests {name} {what}", work)["requests"]


def _covered(table: list[Path]) -> float | None:
    found: float | None = pl.scan_parquet(table).select(coverage()["coverage"]).collect(engine="streaming").item()
    return found


def _answer(parts: Parts, table: list[Path], rows: pl.DataFrame) -> Answer:
    """Return rows that were made of requests in files, with their coverage."""
    return Answer(rows=rows, source=replace(parts.info(), coverage=_covered(table)), method=parts.method())
