"""Hostile connections, and a well-behaved neighbour beside them: what it loses, and how long it waits.

Each flood comes from a process of its own, against every door it fits, over
plain sockets: what it sends, no library would. The neighbours are two, one
over HTTP and one over gRPC, each with a ledger. What a flood costs them is
compared with what a process costs that only burns as much processor time.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.ingest import processor_seconds, proportional_memory
from tests.prove import attacks
from tests.prove.neighbours import Neighbour, over_grpc, over_http
from tests.prove.outside import compare, processes
from tests.prove.rows import Row
from tests.running import Up, eventually, up
from tracelens.ports import flag

ANCHOR = "design: floods"
ON = tuple(word for door in ("otlp_http", "zipkin", "opencensus", "api") for word in (flag(door), "127.0.0.1:0"))
BURNERS = 2  # processes that share what is burned
BACK_MIB = 150  # more than before is not back
BACK_SECONDS = 30
SLOWER = 2.0  # the neighbour's p99 beside a flood, by that beside a burner
SETTLE_SECONDS = 0.5  # of the neighbours alone, before a flood and behind it


@dataclass(frozen=True, slots=True)
class Flood:
    """An attack, and how many of its kind: connections, requests or bytes."""

    attack: attacks.Attack
    tried: str
    long: int
    short: int


FLOODS = {
    "connections": Flood(attacks.connections, "idle connections, and as many that say nothing, a door", 1_000, 100),
    "slow-heads": Flood(attacks.slow_heads, "heads byte by byte, a door", 200, 20),
    "slow-bodies": Flood(attacks.slow_bodies, "bodies byte by byte, a door", 200, 20),
    "no-data": Flood(attacks.header_only, "gRPC calls without a body, a door", 1_000, 200),
    "resets": Flood(attacks.resets, "streams begun and reset at once, a door", 100_000, 5_000),
    "bombs": Flood(attacks.bombs, "gzip bombs of 1 GiB, a door", 20, 1),
    "empty-spans": Flood(attacks.empty_spans, "requests of 64 MiB of empty spans, a door", 5, 1),
    "deep-json": Flood(attacks.deep_json, "JSON 100,000 deep and 16 MiB of brackets, a door", 50, 2),
    "unread": Flood(attacks.unread, "requests whose answers nobody reads, a connection", 100_000, 3_000),
}


def floods(
    folder: Path,
    engine: str,
    *,
    runs: int = 5,
    seconds: float = 20,
    sizes: Mapping[str, int] | None = None,
    promised: bool = True,
) -> list[Row]:
    """Run floods against one collector, one after the other, and say how its neighbours fared.

    sizes: by flood, how many; those of FLOODS without. seconds: how long each
    lasts at least. promised: whether the ratio of latencies is judged, or only told.
    """
    sizes = {name: flood.long for name, flood in FLOODS.items()} if sizes is None else sizes
    context = multiprocessing.get_context("spawn")
    folder.mkdir(exist_ok=True)
    with (
        up(folder / engine, *ON, "--grpc-engine", engine) as running,
        ProcessPoolExecutor(BURNERS, context, initializer=allow_connections) as away,
    ):
        _beside(running, away, folder / "warm", attacks.burn, 0, 2, many=BURNERS)  # what the first requests need stays
        proofs = [
            _proof(running, away, folder / name, name, engine, size=size, runs=runs, seconds=seconds, promised=promised)
            for name, size in sizes.items()
        ]
        ids = [span for _, spans in proofs for span in spans]
        store = running.data_dir / "store"
        with suppress(AssertionError):  # then it is told how many are missing
            eventually(lambda: compare(store, ids), lambda compared: not compared.lost)
        found = [(row, compare(store, spans)) for row, spans in proofs]
    return [replace(row, lost=compared.lost, twice=compared.twice) for row, compared in found]


def long(folder: Path, runs: int, *, engine: str) -> list[Row]:
    """Run every flood at its full size, and judge what it costs its neighbours."""
    return floods(folder, engine, runs=runs)


def short(folder: Path, runs: int, *, engine: str) -> list[Row]:
    """Run every flood for some seconds; what is lost, answered wrongly or kept in memory is judged, latency told."""
    sizes = {name: flood.short for name, flood in FLOODS.items()}
    return floods(folder, engine, runs=runs, seconds=1, sizes=sizes, promised=False)


def allow_connections() -> None:
    """Raise the limit of open files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@dataclass(frozen=True, slots=True)
class Beside:
    """What two neighbours found beside something."""

    p99: float  # seconds; of the one that fared worse
    peak_mib: float
    processor: float  # seconds of processor time, of the collector and of what ran beside it
    wall: float
    seen: attacks.Seen
    ids: list[bytes]
    words: dict[str, int]  # of answers that were no acceptance


def _beside(
    running: Up,
    away: ProcessPoolExecutor,
    ledger: Path,
    attack: attacks.Attack,
    size: int,
    seconds: float,
    *,
    many: int = 1,
) -> Beside:
    """Run something in other processes while two neighbours send."""
    root = running.process.pid
    neighbours = [
        Neighbour(ledger.with_suffix(".http"), over_http(running.addresses["otlp_http"])),
        Neighbour(ledger.with_suffix(".grpc"), over_grpc(running.addresses["otlp_grpc"])),
    ]
    for neighbour in neighbours:
        neighbour.start()
    time.sleep(SETTLE_SECONDS)
    peak, begin, before = 0.0, time.monotonic(), processor_seconds(root)
    working = [away.submit(attacks.measured, attack, running.addresses, size, seconds) for _ in range(many)]
    while wait(working, 0.5).not_done:
        peak = max(peak, proportional_memory(root))
    wall, worked = time.monotonic() - begin, processor_seconds(root) - before
    end = time.monotonic()
    seen, taken = working[0].result()
    time.sleep(SETTLE_SECONDS)
    for neighbour in neighbours:
        neighbour.stop()
    words: dict[str, int] = {}
    for neighbour in neighbours:
        for word, count in neighbour.words.items():
            words[word] = words.get(word, 0) + count
    return Beside(
        p99=max(percentile(neighbour.between(begin, end), 0.99) for neighbour in neighbours),
        peak_mib=peak,
        processor=worked + taken,
        wall=wall,
        seen=seen,
        ids=[span for neighbour in neighbours for span in neighbour.acknowledged()],
        words=words,
    )


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value at a rank, counted from above when in doubt; NaN of none."""
    ranked = sorted(values)
    return ranked[math.ceil(part * len(ranked)) - 1] if ranked else math.nan


def _proof(
    running: Up,
    away: ProcessPoolExecutor,
    ledger: Path,
    name: str,
    engine: str,
    *,
    size: int,
    runs: int,
    seconds: float,
    promised: bool,
) -> tuple[Row, list[bytes]]:
    """Run one flood, each time paired with a burner; return also what the neighbours have acknowledged."""
    flood, root = FLOODS[name], running.process.pid
    pids = sorted(processes(running.data_dir, "collector"))
    before = proportional_memory(root)
    found, ratios, calm = [], [], []
    for run in range(runs):
        found.append(_beside(running, away, ledger.with_name(f"{name}-{run}"), flood.attack, size, seconds))
        share = round(100 * found[-1].processor / found[-1].wall / BURNERS)
        paired = _beside(
            running, away, ledger.with_name(f"{name}-burner-{run}"), attacks.burn, share, found[-1].wall, many=BURNERS
        )
        calm.append(paired)
        ratios.append(found[-1].p99 / paired.p99)
    after = _memory_back(root, before)
    ids = [span for one in [*found, *calm] for span in one.ids]
    ratio = statistics.median(ratios)
    broken = {word for one in found for word in (*one.seen.broken, *(set(one.words) - {"later", "reset"}))}
    if sorted(processes(running.data_dir, "collector")) != pids:
        broken.add("a part of the collector was replaced")
    if after > before + BACK_MIB:
        broken.add(f"memory was {before:.0f} MiB and is {after:.0f}")
    if promised and not ratio <= SLOWER:
        broken.add(f"the neighbour's p99 is {ratio:.1f} times that beside a burner")
    peak = max(one.peak_mib for one in found)
    p99 = ", ".join(f"{one.p99 * 1e3:.0f}/{paired.p99 * 1e3:.0f}" for one, paired in zip(found, calm, strict=True))
    others = {word: sum(one.words.get(word, 0) for one in found) for word in ("later", "reset")}
    told = [
        f"MiB {before:.0f}, {peak:.0f}, {after:.0f}",
        f"p99 by burner's {p99} ms: {ratio:.2f}",
        *(f"{word} {count}" for word, count in others.items() if count),
        f"{found[-1].processor / found[-1].wall:.0%} of a processor",
        found[-1].seen.told,
    ]
    row = Row(
        promise="no peer hurts another",
        anchor=ANCHOR,
        tried=f"{name}, {engine}: {size:,} {flood.tried}",
        times=runs,
        broken=tuple(sorted(broken)),
        told="; ".join(told),
    )
    return row, ids


def _memory_back(root: int, before: float) -> float:
    """Return the memory of a collector once it is back, or what it is after a while."""
    with suppress(AssertionError):
        eventually(lambda: proportional_memory(root), lambda now: now <= before + BACK_MIB, seconds=BACK_SECONDS)
    return proportional_memory(root)
