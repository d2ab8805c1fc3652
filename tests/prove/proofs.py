"""The proofs by name, and how often each is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.prove import (
    care,
    clients,
    compare,
    damage,
    disks,
    floods,
    fuzz,
    injections,
    kills,
    overload,
    power,
    reality,
    remote,
)
from tests.prove.rows import Row

Run = Callable[[Path, int], Row | list[Row]]


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof, and its size: as `make prove` runs it, and as every test run does."""

    long_run: Run
    long: int
    short: int
    short_run: Run | None = None  # where a short one is not only fewer of the same

    def run(self, folder: Path, times: int | None = None) -> list[Row]:
        """Run it long, or so many times."""
        return _listed(self.long_run(folder, self.long if times is None else times))

    def run_short(self, folder: Path) -> list[Row]:
        """Run it as every test run does."""
        return _listed((self.short_run or self.long_run)(folder, self.short))


def _listed(found: Row | list[Row]) -> list[Row]:
    return [found] if isinstance(found, Row) else found


ENGINES = ("asgi", "grpcio")
PROOFS = {
    "kill-worker": Proof(partial(kills.random_instants, part="worker"), 100, 4),
    "kill-writer": Proof(partial(kills.random_instants, part="writer"), 100, 4),
    "kill-steps": Proof(kills.each_step, 10, 1),
    "kill-care": Proof(care.random_kills, 300, 4),
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
    "remote-away": Proof(remote.away, 60, 4),
    "remote-lost": Proof(remote.lost_answers, 100, 4),
    "remote-together": Proof(remote.together, 200_000, 4_000),
    "remote-kills": Proof(remote.kills, 100, 4),
    "injections": Proof(injections.tried, 2_000, 60),
    "what-if": Proof(reality.compared, 5_000, 40, reality.short),
    "clients": Proof(clients.every_field, 10_000, 1_000, clients.python_only),
    "compare-equal": Proof(compare.equal, 1_000, 40),
    "compare-tenth": Proof(compare.tenth, 500, 8),
    **{
        f"fuzz-{kind}": Proof(partial(fuzz.decoder, kind=kind), 10_000_000, 20_000)
        for kind in ("otlp-proto", *fuzz.TRANSLATE)
    },
    "fuzz-jaeger-json": Proof(partial(fuzz.decoder, kind="jaeger-json"), 1_000_000, 4_000),  # read from dumps only
    **{f"fuzz-wire-{engine}": Proof(partial(fuzz.over_the_wire, engine=engine), 100_000, 3_000) for engine in ENGINES},
    **{
        f"floods-{engine}": Proof(partial(floods.long, engine=engine), 5, 1, partial(floods.short, engine=engine))
        for engine in ENGINES
    },
    # Not of grpcio, which reads whole messages before they can be held up: see docs/decisions.md.
    "overload": Proof(partial(overload.long, engine="asgi"), 120, 5, partial(overload.short, engine="asgi")),
}
