"""What-if beside reality: a change is projected from spans of the shop as it was, and then really made.

The sample mesh runs as it is and with each change, in turns, at a rate that
leaves the machine mostly idle; the same route is measured each time, by the
spans of its gateway. A projection is right when it is within 10 % of what was
measured then, or when the two intervals overlap and neither is wider than 20 %.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tests.lens.memory import FrameSource
from tests.prove.rows import Row
from tests.running import Up, eventually, up
from tracelens.lens import Change, Lens, Question, Route
from tracelens.store import Store

ROUNDS = 4
RATE = 20.0  # checkouts a second, each of some 60 ms
ROUTE: Route = ("gateway", "POST /checkout")
LEDGER_MS = 30
BASE = ("--ledger-ms", str(LEDGER_MS))
NEAR = 0.10
WIDEST = 0.20


@dataclass(frozen=True, slots=True)
class Scenario:
    """A change, how it is projected, and how it is made."""

    name: str
    change: Change
    made: tuple[str, ...]


SCENARIOS = (
    Scenario(
        "a delay of 30 ms removed",
        Change(service="db", operation="POST /ledger", layer="app", shift_nano=-LEDGER_MS * 1_000_000),
        (),
    ),
    Scenario(
        "two serial calls side by side",
        Change(service="frontend", operation="POST /checkout", beside=True),
        (*BASE, "--beside"),
    ),
    Scenario("sidecars by-passed", Change(layer="sidecar", scale=0.0), (*BASE, "--direct")),
)
MEASURES = ("p50", "p90", "p99")


def checkouts(running: Up, n: int, seed: int, *options: str) -> pl.DataFrame:
    """Send checkouts; return their spans once all are stored."""
    command = [sys.executable, "-m", "samples.mesh", "--otlp", running.addresses["otlp_grpc"], "--app-spans"]
    command += ["--only", "POST /checkout", "--requests", str(n), "--rate", str(RATE), "--seed", str(seed), *options]
    begin = time.time_ns()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 + 3 * n / RATE, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    sent = json.loads(done.stdout)
    assert sent["statuses"] == {"200": n}, sent["statuses"]
    end = time.time_ns()
    store = Store.open(running.data_dir / "store")
    return eventually(lambda: store.scan(begin, end).collect(), lambda found: len(found) >= sent["spans"], seconds=30)


def compared(folder: Path, n: int, *, rounds: int = ROUNDS, judge: bool = True) -> Row:
    """Make each change really, and compare. judge: too few requests tell nothing but that it runs.

    In rounds, there and back: what else the machine does falls on all alike.
    """
    ways = {"as it was": BASE, **{one.name: one.made for one in SCENARIOS}}
    parts: dict[str, list[pl.DataFrame]] = {name: [] for name in ways}
    with up(folder / "data") as running:
        for number in range(rounds):
            order = list(ways) if number % 2 == 0 else list(ways)[::-1]
            for name in order:
                parts[name].append(checkouts(running, n // rounds, number, *ways[name]))
    lenses = {name: Lens(FrameSource(pl.concat(spans, how="diagonal"))) for name, spans in parts.items()}
    measured = {name: of_route(lens, Change()) for name, lens in lenses.items()}
    lines, broken = [], [f"{name}: {row['calls']} calls" for name, row in measured.items() if row["calls"] != n]
    for scenario in SCENARIOS:
        row = of_route(lenses["as it was"], scenario.change)
        for measure in MEASURES:
            line, fits = beside(measure, row, measured[scenario.name])
            lines.append(f"{scenario.name}: {line}")
            if judge and not fits:
                broken.append(lines[-1])
    return Row(
        promise="a what-if is what happens when the change is made",
        anchor="docs/why.md",
        tried=f"{len(SCENARIOS)} changes of the sample mesh, {RATE:.0f} checkouts/s, each run",
        times=n,
        broken=tuple(broken),
        told="\n".join(lines),
    )


def of_route(lens: Lens, change: Change) -> dict[str, Any]:
    """Return the row of WHAT_IF: measured and projected percentiles."""
    return lens.what_if(Question(), ROUTE, [change]).rows.row(0, named=True)


def beside(measure: str, row: dict[str, Any], now: dict[str, Any]) -> tuple[str, bool]:
    """Return a line of the table, and whether the projection fits what was measured then."""
    was, projected, real = row[f"{measure}_nano"], row[f"projected_{measure}_nano"], now[f"{measure}_nano"]
    off = projected / real - 1
    fits = abs(off) <= NEAR
    if not fits and measure == "p99":
        a = row["projected_p99_low_nano"], row["projected_p99_high_nano"]
        b = now["p99_low_nano"], now["p99_high_nano"]
        narrow = all(high - low <= WIDEST * middle for (low, high), middle in ((a, projected), (b, real)))
        fits = narrow and a[0] <= b[1] and b[0] <= a[1]
    line = (
        f"{measure} {was / 1e6:.1f} ms, projected {projected / 1e6:.1f}, measured {real / 1e6:.1f} ({100 * off:+.1f} %)"
    )
    return line, fits


def short(folder: Path, n: int) -> Row:
    """Run it with few checkouts, of which nothing is judged but that each was measured and projected."""
    return compared(folder, n, rounds=1, judge=False)
