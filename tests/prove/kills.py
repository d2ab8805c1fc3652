"""Killed with -9, at random instants and at every step of the hand-over: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

from tests.ledger import Ledger
from tests.prove.outside import compare, more, part_of, replaced
from tests.prove.rows import Row
from tests.prove.steps import STEPS, Step, awaited, met
from tests.running import Up, up

PROMISE = "kill -9 loses nothing acknowledged and doubles nothing"
ANCHOR = "tracelens/WAL.md: Writing, Recovery"
TRIES = 4  # to meet a step: a fold, or a slow machine, may have the calls come in another order
MET_SECONDS = 15.0  # a segment is sealed every 2 s


def random_instants(folder: Path, times: int, part: str) -> Row:
    """Kill a part under load, `times` times, each after a random number of further spans."""
    rng = random.Random(part)
    with up(folder / "data") as running:
        ledger = Ledger(folder / "ledger", running.addresses["otlp_grpc"])
        ledger.start()
        for _ in range(times):
            more(ledger, rng.randrange(4_000))
            victim = part_of(running, part)
            os.kill(victim, signal.SIGKILL)
            replaced(running, part, victim)
        more(ledger, 500)
        ledger.stop()
    acknowledged = ledger.acknowledged()
    found = compare(folder / "data" / "store", acknowledged)
    return Row(
        promise=PROMISE,
        anchor=ANCHOR,
        tried=f"the {part}, at random instants under load",
        times=times,
        lost=found.lost,
        twice=found.twice,
        told=f"{len(acknowledged):,} spans acknowledged",
    )


def each_step(folder: Path, times: int) -> Row:
    """Kill the part that makes it at each step of the hand-over, `times` times each."""
    missed: list[str] = []
    with up(folder / "data") as running:
        ledger = Ledger(folder / "ledger", running.addresses["otlp_grpc"])
        ledger.start()
        more(ledger, 3_000)
        for step in STEPS:
            missed += [f"never met: {step.name}" for _ in range(times) if not _killed(running, step, folder / "strace")]
        more(ledger, 500)
        ledger.stop()
    acknowledged = ledger.acknowledged()
    found = compare(folder / "data" / "store", acknowledged)
    return Row(
        promise=PROMISE,
        anchor=ANCHOR,
        tried=f"{len(STEPS)} steps of the hand-over, hit by strace: {', '.join(step.name for step in STEPS)}",
        times=len(STEPS) * times - len(missed),
        lost=found.lost,
        twice=found.twice,
        broken=tuple(dict.fromkeys(missed)),
        told=f"{len(acknowledged):,} spans acknowledged",
    )


def _killed(running: Up, step: Step, log: Path) -> bool:
    """Kill a part at a step, and wait for the one that takes its place; False when the step was never met."""
    for _ in range(TRIES):
        victim = part_of(running, step.part)
        with met(running, step, "signal=KILL", log) as line:
            hit = awaited(line, seconds=MET_SECONDS)
        if hit:
            replaced(running, step.part, victim)
            return True
    return False
