"""Findings in more spans than memory holds: what `findings.py` says, by parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from tracelens.analysis import findings as analysis
from tracelens.analysis import hops, serial
from tracelens.analysis.coverage import coverage
from tracelens.analysis.hits import AT
from tracelens.analysis.looked import behind, look
from tracelens.learned import Evidence
from tracelens.lens.analysed import Analysed
from tracelens.lens.findings import spans_of, traces_of
from tracelens.lens.large_requests import clocks, judgement
from tracelens.lens.parts import Parts
from tracelens.lens.question import Answer

UNIT = 1 << 40  # rows that are numbered in a unit: more than any has


def findings(parts: Parts) -> Answer:
    """Return FINDINGS rows, those with most time on critical paths first, of the calls that a question is about."""
    known, question = judgement(parts), parts.question

    def work(window: Analysed, learned: Evidence) -> dict[str, pl.DataFrame]:
        every = hops.requests(window.forest, window.calls, judgement=known)
        table = window.about(question, every)
        return look(
            window.forest,
            window.calls,
            table,
            asked=spans_of(window, question),
            counted=traces_of(window, question),
            clocks=learned.clocks,
        )

    files = parts.gathered("findings", work)
    units = [
        {name: behind(pl.scan_parquet(of_units[number]), number * UNIT) for name, of_units in files.items()}
        for number in range(len(files["traces"]))
    ]
    rows = analysis.found(units, {name: pl.concat([unit[name] for unit in units]) for name in files})
    listed = analysis.listed(rows, _won(parts, rows), clocks(parts).rows)
    covered = pl.scan_parquet(files["requests"]).select(coverage()["coverage"]).collect(engine="streaming").item()
    return Answer(rows=listed, source=replace(parts.info(), coverage=covered), method=parts.method())


def _won(parts: Parts, rows: pl.DataFrame) -> dict[int, int]:
    """Return by how much what-if lowers p99 of serial fan-outs, by row."""
    asked = serial.asked(rows)
    if not asked:
        return {}

    def work(window: Analysed, learned: Evidence) -> dict[str, pl.DataFrame]:
        counted = traces_of(window, parts.question)
        told = [
            (row["index"], *serial.timed(row, window.forest, window.calls, counted, learned.clocks)) for row in asked
        ]
        return {
            "times": pl.concat(
                pl.DataFrame(
                    {"index": np.full(len(measured), index), "measured": measured, "after": after},
                    schema={"index": pl.Int64, "measured": pl.Int64, "after": pl.Int64},
                )
                for index, measured, after in told
            )
        }

    wanted = [(row["entry_service"], row["entry_route"], *(row[name] for name in AT)) for row in asked]
    times = pl.scan_parquet(parts.gathered(f"fan-outs {wanted!r}", work)["times"])
    won = {}
    for row in asked:
        of_row = times.filter(index=row["index"]).collect(engine="streaming")
        won[row["index"]] = serial.won(row, *(np.array(of_row[name], np.int64) for name in ("measured", "after")))
    return won
