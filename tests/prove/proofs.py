"""The proofs by name, and how often each is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.prove import damage, disks, kills, power
from tests.prove.rows import Row


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof, and its size: as `make prove` runs it, and as every test run does."""

    run: Callable[[Path, int], Row]
    long: int
    short: int


PROOFS = {
    "kill-worker": Proof(partial(kills.random_instants, part="worker"), 100, 4),
    "kill-writer": Proof(partial(kills.random_instants, part="writer"), 100, 4),
    "kill-steps": Proof(kills.each_step, 10, 1),
    "power": Proof(power.random_instants, 200, 3),
    "power-steps": Proof(power.each_step, 10, 1),
    "power-after-kill": Proof(power.after_a_kill, 10, 1),
    "power-control": Proof(power.without_syncs, 5, 1),
    "cuts": Proof(damage.cuts, 1, 1),
    "flips": Proof(damage.flips, 2_000, 200),
    "sync-fails": Proof(disks.failing_syncs, 500, 30),
    "sync-slow": Proof(disks.slow_syncs, 60, 6),
    "disk-full": Proof(disks.full, 5, 1),
    "store-away": Proof(disks.store_away, 60, 8),
}
