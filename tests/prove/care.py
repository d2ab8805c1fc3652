"""A store that is cared for while it is written, and killed: each span is there once, and readers see whole batches.

Two processes append, import, fold, compact, settle, draft, merge days and let go of hours, in a
random order, until both are killed, and begin anew; a reader looks on all the while.
"""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tests.builders import synthetic
from tests.prove.rows import Row
from tracelens.analysis import hops, profile
from tracelens.importing import import_into
from tracelens.settle import Rollups, draft, let_go, merge, newest, settle
from tracelens.settle import sweep as sweep_rollups
from tracelens.store import Retention, Store, beyond, compact, files, fold, hours, retain, sweep
from tracelens.verify import verify

SPANS = 200  # of a batch
HOUR_NANO = 3_600 * 10**9
FIRST_HOUR = 1_767_571_200 * 10**9  # 2026-01-05T00:00:00Z
KEPT_BYTES = 400_000  # beside the newest hour: some fifty batches
GRACE_SECONDS = 10.0  # longer than any query here
MOST_SECONDS = 2.5  # from ready to the kill
RUNS_A_DAY = 2  # each an hour of arrival after the one before: then comes the next day


def batch(name: str) -> pl.DataFrame:
    """Return spans that all say which batch they are of."""
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
    return synthetic(SPANS, seed=seed).with_columns(pl.lit(name).alias("attr:batch"))


def care(path: str, who: str, run: int) -> None:
    """Do things to a store for ever, and say what was done, or is about to be let go."""
    rng = random.Random(who)
    store = Store.open(path, create=True)
    arrived = FIRST_HOUR + (run // RUNS_A_DAY * 24 + run % RUNS_A_DAY) * HOUR_NANO
    dump = Path(path).parent / f"{who}.parquet"
    profile.warm()
    hops.warm()
    print("ready", flush=True)
    for number in range(1_000_000):
        what = rng.random()
        name = f"{who}.{number}"
        if what < 0.6:
            store.append(batch(name), {name: 0}, arrived_unix_nano=arrived)
            print(f"{files.hour_of(arrived)} {name}", flush=True)
        elif what < 0.7:
            batch(name).write_parquet(dump)
            for _ in range(2):
                import_into(str(dump), path)
            print(f"{files.hour_of(time.time_ns())} {name}", flush=True)
        elif what < 0.8:
            fold(store, many=2)
        elif what < 0.88:
            compact(store, everything=True)
        elif what < 0.92:
            settle(store, now=arrived / 1e9 + 301)  # the hour before is over
        elif what < 0.94:
            merge(Rollups(store))
        elif what < 0.96:
            draft(store, least=1)
        elif what < 0.98:
            keep = Retention(size_bytes=hours(store)[-1].size + KEPT_BYTES)
            for hour in beyond(store, keep):
                print(f"gone {hour.name}", flush=True)
            let_go(Rollups(store), [hour.name for hour in retain(store, keep)])
        else:
            sweep(store, grace_seconds=GRACE_SECONDS)
            sweep_rollups(Rollups(store), GRACE_SECONDS)


@dataclass
class Reader:
    """Looks at a store all the while."""

    path: Path
    wrong: list[str] = field(default_factory=list)
    looks: int = 0

    def look(self, stop: threading.Event) -> None:
        """Look until told to stop, or something is wrong."""
        while not stop.is_set() and not self.wrong:
            try:
                store = Store.open(self.path)
                counts, rollups = _counts(store), Rollups(store).still()
                newest(rollups, rollups.settled())
            except Exception as error:  # whatever it is: a reader never errs
                self.wrong.append(f"a reader failed: {error!r}")
                return
            self.wrong += [f"a reader saw {n} of {SPANS} spans of {name}" for name, n in counts.items() if n != SPANS]
            self.looks += 1


def _counts(store: Store) -> dict[str, int]:
    """Return the spans of each batch; a span that is there twice counts as 1,000,000."""
    if "attr:batch" not in store.columns():
        return {}
    seen = store.scan(columns=["attr:batch", "trace_id", "span_id"]).collect()
    twice = seen.is_duplicated().any()
    found = dict(seen.group_by("attr:batch").len().iter_rows())
    return {name: n + 1_000_000 * twice for name, n in found.items()}


def random_kills(folder: Path, times: int) -> Row:
    """Kill two such processes `times` times, at random instants."""
    rng = random.Random(times)
    path = folder / "store"
    Store.open(path, create=True)
    reader, stop = Reader(path), threading.Event()
    looking = threading.Thread(target=reader.look, args=(stop,), daemon=True)
    looking.start()
    committed: dict[str, str] = {}  # batch -> hour of its arrival
    broken: list[str] = []
    # Not all up to the last one: imports arrive in the hour it is, long after those of the others.
    gone: set[str] = set()
    lost, twice = 0, 0
    for number in range(times):
        for process, first in [_started(path, f"{number}{who}", number, rng) for who in ("a", "b")]:
            said, errors = _rest(process)
            lines = [line.split() for line in (first + said).splitlines() if line != "ready"]
            committed |= {name: hour for hour, name in lines if hour != "gone"}
            gone |= {name for hour, name in lines if hour == "gone"}
            if process.returncode != -signal.SIGKILL:
                broken.append(f"it ended by itself: {errors[-300:]}")
        counts = Counter(_counts(Store.open(path)))
        broken += [f"{check.what}: {check.found}" for check in verify(str(path)) if check.wrong]
        lost += sum(
            SPANS - counts[name] for name, hour in committed.items() if hour not in gone and counts[name] < SPANS
        )
        twice += sum(max(n - SPANS, 0) for n in counts.values())
        if broken or lost or twice:
            break
    stop.set()
    looking.join()
    kept = sum(hour not in gone for hour in committed.values())
    return Row(
        promise="kill -9 while a store is cared for loses nothing and doubles nothing; readers see whole batches",
        anchor="tracelens/store/FORMAT.md: Several at once",
        tried="two that append, import, fold, compact, settle, draft, merge and let go of hours, at random instants",
        times=times,
        lost=lost,
        twice=twice,
        broken=(*broken, *reader.wrong),
        told=f"{len(committed):,} batches, {kept:,} of hours that stay; a reader looked {reader.looks:,} times",
    )


def _started(path: Path, who: str, run: int, rng: random.Random) -> tuple[subprocess.Popen[str], str]:
    """Start one that will be killed at a random instant after it is ready; return it, and what it said first."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.prove.care", str(path), who, str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    threading.Timer(rng.uniform(0.05, MOST_SECONDS), process.kill).start()
    return process, first


def _rest(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what it said until it was killed, and its errors.

    Not by `communicate`, which passes over what came with the first line: of an hour that was let go nobody had said
    so then, and its spans were taken for lost.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    said, errors = process.stdout.read(), process.stderr.read()
    process.wait(timeout=60)
    return said, errors


if __name__ == "__main__":
    care(sys.argv[1], sys.argv[2], int(sys.argv[3]))
