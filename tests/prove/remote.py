"""A store on object storage that is busy, slow, or loses its answers; collectors that share it, and are killed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import s3
from tests.ledger import Ledger
from tests.prove.outside import compare, more, part_of, parts, replaced
from tests.prove.rows import Row
from tests.running import Up, eventually, tracelens, up

ANCHOR = "docs/store.md: On object storage"
COMMIT = "PUT .*/_delta_log/.*json"
SLOW = 0.25  # s a request; a commit takes some ten
STEPS = ("PUT .*parquet", COMMIT, COMMIT, "GET .*_delta_log")
LOST_EVERY = 5  # answers of commits that are lost on the way, one after the other


@dataclass
class Shared:
    """Collectors on one store, each with a client that keeps a ledger."""

    server: s3.Server
    store: str
    collectors: list[Up]
    ledgers: list[Ledger]
    broken: list[str] = field(default_factory=list)
    lost: int = 0
    twice: int = 0
    told: str = ""

    def more(self, spans: int) -> None:
        """Return when each has acknowledged so many more."""
        for ledger in self.ledgers:
            more(ledger, spans, seconds=120)

    def drained(self) -> None:
        """Return when nothing waits that waited just now."""
        for collector in self.collectors:
            waiting = set((collector.data_dir / "wal").glob("*.wal"))
            eventually(
                lambda waiting=waiting: [path for path in waiting if path.exists()],  # type: ignore[misc]
                lambda left: not left,
                seconds=120,
            )

    def look(self) -> None:
        """Compare the store with the ledgers."""
        acknowledged = [span for ledger in self.ledgers for span in ledger.acknowledged()]
        found = compare(self.store, acknowledged)
        self.lost, self.twice = found.lost, found.twice
        checked = tracelens("store", "verify", self.store)
        if checked.returncode:
            self.broken.append(checked.stdout.decode())
        refused = sum(ledger.refused for ledger in self.ledgers)
        self.told = f"{len(acknowledged):,} spans acknowledged, {refused:,} requests refused, {dict(self.server.seen)}"

    def row(self, promise: str, tried: str, times: int) -> Row:
        return Row(
            promise=promise,
            anchor=ANCHOR,
            tried=tried,
            times=times,
            lost=self.lost,
            twice=self.twice,
            broken=tuple(self.broken),
            told=self.told,
        )


@contextmanager
def sharing(folder: Path, collectors: int = 1) -> Iterator[Shared]:
    """Run collectors under load on one bucket until the block ends; they drain then, and the store is looked at."""
    with s3.serving() as server, s3.environment(server):
        store = f"{server.bucket('spans')}/team"
        with ExitStack() as running:
            ups = [running.enter_context(up(folder / f"data-{n}", "--store", store)) for n in range(collectors)]
            ledgers = [Ledger(folder / f"ledger-{n}", one.addresses["otlp_grpc"]) for n, one in enumerate(ups)]
            shared = Shared(server, store, ups, ledgers)
            for ledger in ledgers:
                ledger.start()
            shared.more(500)
            yield shared
            server.well()
            shared.more(500)
            for ledger in ledgers:
                ledger.stop()
        shared.look()


def away(folder: Path, seconds: int) -> Row:
    """Have the storage answer 503 for so many seconds, cut all connections for as long, and be slow for as long."""
    with sharing(folder) as shared:
        writer = parts(shared.collectors[0], "writer")
        for kind in ("busy", "cut", "slow"):
            before = len(shared.ledgers[0].acknowledged())
            shared.server.fault(kind, seconds=SLOW)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                shared.more(100)
            if len(shared.ledgers[0].acknowledged()) == before:
                shared.broken.append(f"nothing was acknowledged while it was {kind}")
            shared.server.well()
            shared.drained()
            if not shared.server.seen[kind]:
                shared.broken.append(f"never {kind}")
        if parts(shared.collectors[0], "writer") != writer:
            shared.broken.append("the writer had to be started again")
    tried = f"503 for {seconds} s, connections cut for {seconds} s, {SLOW:g} s a request for {seconds} s"
    return shared.row("object storage that is away delays spans and loses none", tried, 3)


def lost_answers(folder: Path, times: int) -> Row:
    """Take commits and lose the answers, so many times; then of all, however often they are asked again."""
    with sharing(folder) as shared:
        lost = 0
        while lost < times:
            shared.server.fault("lost", request=COMMIT, times=min(LOST_EVERY, times - lost))
            lost += min(LOST_EVERY, times - lost)
            eventually(lambda: shared.server.seen["lost"], lambda n: n >= lost, seconds=120)  # noqa: B023  # asked at once
            shared.drained()
        writer = parts(shared.collectors[0], "writer")
        shared.server.fault("lost", request=COMMIT)
        shared.more(500)
        shared.drained()
        if parts(shared.collectors[0], "writer") != writer:
            shared.broken.append("the writer had to be started again")
    return shared.row("a commit whose answer is lost is made once", "the answers of commits cut off", times)


def together(folder: Path, spans: int) -> Row:
    """Have two collectors store so many spans each in one bucket, with commits that are refused at times."""
    with sharing(folder, collectors=2) as shared:
        shared.more(spans // 2)
        shared.server.fault("busy", request=COMMIT, times=10)
        shared.more(spans // 2)
    return shared.row("two collectors on one store: each span once", f"{spans:,} spans each, at the same time", 2)


def kills(folder: Path, times: int) -> Row:
    """Kill the writer while the storage is at a request of it, which it goes through with: so many times."""
    rng = random.Random("remote")
    before = 0
    with sharing(folder) as shared:
        (collector,) = shared.collectors
        for number in range(times):
            # Some are done before the next writer looks, some while it does, some after.
            shared.server.fault("slow", request=STEPS[number % len(STEPS)], times=1, seconds=rng.uniform(0.1, 4))
            eventually(lambda: shared.server.seen["slow"], lambda n: n > before)  # noqa: B023  # asked at once
            before = shared.server.seen["slow"]
            victim = part_of(collector, "writer")
            os.kill(victim, signal.SIGKILL)
            replaced(collector, "writer", victim)
            shared.more(rng.randrange(2_000))
    tried = f"the writer, in the middle of {', '.join(STEPS)}"
    return shared.row("kill -9 loses nothing acknowledged and doubles nothing", tried, times)
