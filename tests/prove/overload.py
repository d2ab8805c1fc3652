"""Ten times more than a collector takes, for minutes, in little memory: what it still does, and what it refuses.

The collector has one processor and a memory cgroup, its clients the other
processor. Requests are offered at a steady pace, however many are unanswered:
those that its clients cannot even begin do not count as offered.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc
import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector import backlog
from tests.bench.ingest import processor_seconds, proportional_memory
from tests.ledger import EXPORT, request
from tests.prove.outside import Lacking, processes
from tests.prove.rows import Row
from tests.running import eventually, start
from tests.senders import GRPC_WORDS, by_grpc
from tracelens.store import Store

ANCHOR = "design: overload"
SPANS = 1_000
MEMORY = 1 << 30
TIMES = 10  # of the peak, offered
KEPT = 0.8  # of the spans a processor second, at the peak
BOTH = frozenset({"details", "retryinfo-bin"})
CLIENT, SERVER = 0, 1  # processors
DEADLINE = 5.0  # seconds, of a call
CHANNELS = 64  # of a hundred calls each
PEAK_CALLS = 16  # in flight, when the peak is measured
MOST_CALLS = 6_400  # in flight at 10 times the peak: more would be the client's own memory
ATTRIBUTES = {  # about 300 bytes a span
    "http.method": "GET",
    "http.url": "http://shop.example/api/v1/items/07?id=0000",
    "upstream_cluster": "outbound|8080||cart.shop.svc.cluster.local",
    "peer.address": "10.0.1.",
    "guid:x-request-id": "7d9a4b0c-93a5-4a51-8c0e-0000000000",
}
CGROUPS = Path("/sys/fs/cgroup")


# -- memory cgroups


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A memory cgroup, of either version."""

    folder: Path
    version: int

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed for their memory."""
        text = (self.folder / ("memory.oom_control" if self.version == 1 else "memory.events")).read_text()
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])

    @property
    def highest(self) -> int:
        """Bytes, with the kernel's cache of files."""
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        return int((self.folder / name).read_text())


@contextmanager
def inside(limit: int, processor: int) -> Iterator[Cgroup]:
    """Yield a new cgroup in which this process is, on one processor, so that what it starts is too.

    `leave` ends that; the cgroup ends with the block, when all in it have ended.
    """
    version = 1 if (CGROUPS / "memory" / "cgroup.procs").exists() else 2
    folder = (CGROUPS / "memory" if version == 1 else CGROUPS) / f"tracelens-prove-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / ("memory.limit_in_bytes" if version == 1 else "memory.max")).write_text(str(limit))
        (folder / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        raise Lacking(f"no memory cgroup can be made: {error}. It needs root, and cgroups that are writable.") from None
    os.sched_setaffinity(0, {processor})
    try:
        yield Cgroup(folder, version)
    finally:
        leave(folder)
        with suppress(OSError):
            eventually((folder / "cgroup.procs").read_text, lambda text: not text, seconds=20)
            folder.rmdir()


def leave(folder: Path) -> None:
    """Take this process out of a cgroup again, and let it have all processors."""
    (folder.parent / "cgroup.procs").write_text(str(os.getpid()))
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


# -- clients, in a process of their own


class Bodies:
    """Requests like a mesh's that differ in the id of their trace, and in nothing else."""

    def __init__(self) -> None:
        message = ExportTraceServiceRequest.FromString(request(SPANS)[0])
        spans = message.resource_spans[0].scope_spans[0].spans
        for n, span in enumerate(spans):
            for key, value in ATTRIBUTES.items():
                span.attributes.add(key=key).value.string_value = f"{value}{n % 50}"
        body = message.SerializeToString()
        pieces = body.split(spans[0].trace_id)
        ends = np.cumsum([len(piece) for piece in pieces[:-1]]) + 16 * np.arange(SPANS)
        self._template = np.frombuffer(body, np.uint8).copy()
        self._places = np.add.outer(ends, np.arange(16))

    def next(self) -> tuple[bytes, bytes]:
        """Return a request, and the id of its trace."""
        trace = os.urandom(16)
        self._template[self._places] = np.frombuffer(trace, np.uint8)
        return self._template.tobytes(), trace


@dataclass(frozen=True, slots=True)
class Sent:
    """What clients offered, and what they were told."""

    offered: int  # requests begun
    seconds: float
    taken: list[bytes]  # ids of traces whose requests were acknowledged
    words: dict[str, int]


def offer(address: str, rate: float, seconds: float) -> Sent:
    """Offer requests by gRPC, `rate` a second; as fast as a few calls take them when it is 0."""
    os.sched_setaffinity(0, {CLIENT})
    return asyncio.run(_offer(address, rate, seconds))


async def _offer(address: str, rate: float, seconds: float) -> Sent:
    bodies, words, taken = Bodies(), Counter[str](), list[bytes]()
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CHANNELS)]
    calls = [channel.unary_unary(EXPORT) for channel in channels]
    flying: set[asyncio.Task[None]] = set()

    async def call(number: int) -> None:
        body, trace = bodies.next()
        try:
            await calls[number % CHANNELS](body, timeout=DEADLINE)
            taken.append(trace)
        except grpc.aio.AioRpcError as error:
            words[GRPC_WORDS.get(error.code(), error.code().name)] += 1

    begin, offered = time.monotonic(), 0
    most = MOST_CALLS if rate else PEAK_CALLS
    while (now := time.monotonic()) < begin + seconds:
        due = int((now - begin) * rate) if rate else offered + most - len(flying)
        for _ in range(min(due - offered, most - len(flying))):
            offered += 1
            flying.add(task := asyncio.create_task(call(offered)))
            task.add_done_callback(flying.discard)
        await asyncio.sleep(0.001)
    took = time.monotonic() - begin
    await asyncio.gather(*flying)
    for channel in channels:
        await channel.close()
    return Sent(offered, took, taken, dict(words))


# -- the proof


def overload(
    folder: Path, engine: str, *, peak_seconds: float = 10, seconds: float = 120, promised: bool = True
) -> Row:
    """Measure what a collector takes, then offer it ten times as much.

    promised: whether the offered rate, and what is done at it, are judged, or only told.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as away, inside(MEMORY, SERVER) as cgroup:
        running = start(folder / f"overload-{engine}", "--grpc-engine", engine)
        leave(cgroup.folder)
        try:
            root, address = running.process.pid, running.addresses["otlp_grpc"]
            store = Store.open(running.data_dir / "store")
            pids = sorted(processes(running.data_dir, "collector"))

            def all_stored() -> None:
                eventually(lambda: backlog.waiting(running.data_dir / "wal")[0], lambda size: size == 0, seconds=300)

            away.submit(offer, address, 0, 1).result()  # both have begun
            all_stored()

            def measured(
                rate: float, length: float, beside: AbstractContextManager[object]
            ) -> tuple[Sent, float, float]:
                """Return what was sent, and the spans that were taken a processor second, until all are stored.

                beside: ends with the sending, for while it sends there is always something to be stored.
                """
                before, workers = processor_seconds(root), processor_seconds(root, "worker")
                with beside:
                    sent = away.submit(offer, address, rate, length).result()
                    of_workers = processor_seconds(root, "worker") - workers
                all_stored()
                spans = len(sent.taken) * SPANS
                return sent, spans / (processor_seconds(root) - before), spans / of_workers

            peak, peak_rate, peak_workers = measured(0, peak_seconds, nullcontext())
            requests = len(peak.taken) / peak.seconds
            sampling = Sampling(address, root)
            flood, rate, workers = measured(TIMES * requests, seconds, sampling)
            traces = store.scan(columns=["trace_id"]).collect()["trace_id"].value_counts()
            stored = dict(traces.iter_rows())
            alive = sorted(processes(running.data_dir, "collector")) == pids
            kills = cgroup.kills
        finally:
            running.process.terminate()
            status = running.process.wait(120)
            assert running.process.stdout is not None
            running.process.stdout.close()
        highest = cgroup.highest
    taken = [*peak.taken, *flood.taken]
    offered = flood.offered / flood.seconds / requests
    broken = [f"answered {word}" for word in flood.words if word not in ("later", "DEADLINE_EXCEEDED")]
    broken += [f"a refusal was {told}" for told in sorted(sampling.wrong)]
    broken += [f"killed for its memory {kills} times"] * bool(kills)
    broken += ["a part of the collector was replaced"] * (not alive)
    broken += [f"ended with status {status}"] * bool(status)
    if promised:
        broken += [f"offered {offered:.1f} times the peak, not {TIMES}"] * (offered < TIMES * 0.9)
        broken += [f"{rate / peak_rate:.0%} of the peak's spans a processor second"] * (rate < KEPT * peak_rate)
    return Row(
        promise="more than it can take does not stop it",
        anchor=ANCHOR,
        tried=f"{TIMES} times the peak for {seconds:.0f} s in {MEMORY >> 20} MiB, {engine}",
        times=1,
        lost=sum(max(SPANS - stored.get(trace, 0), 0) for trace in taken),
        twice=sum(max(stored.get(trace, 0) - SPANS, 0) for trace in taken),
        broken=tuple(broken),
        told=(
            f"peak {requests:.0f} requests/s; offered {offered:.1f} times that, "
            f"taken {len(flood.taken) / flood.seconds:.0f}/s; "
            f"spans a processor second {peak_rate:,.0f} → {rate:,.0f} ({rate / peak_rate:.0%}), "
            f"of workers {peak_workers:,.0f} → {workers:,.0f} ({workers / peak_workers:.0%}); "
            f"answers {flood.words}; sampled {dict(sampling.words)}; "
            f"MiB {sampling.peak_mib:.0f}, with files {highest >> 20}"
        ),
    )


def long(folder: Path, seconds: int, *, engine: str) -> Row:
    """Judge all of it."""
    return overload(folder, engine, seconds=seconds)


def short(folder: Path, seconds: int, *, engine: str) -> Row:
    """Judge what is lost, refused wrongly or killed; rates need longer."""
    return overload(folder, engine, peak_seconds=3, seconds=seconds, promised=False)


class Sampling:
    """Sends small requests while its block lasts, and looks at how they are refused."""

    def __init__(self, address: str, root: int) -> None:
        self.words: Counter[str] = Counter()
        self.wrong: set[str] = set()
        self.peak_mib = 0.0
        self._address, self._root = address, root
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            self.peak_mib = max(self.peak_mib, proportional_memory(self._root))
            told = by_grpc(self._address, request(SPANS)[0])
            self.words[told.word] += 1
            if told.word != "ok" and (told.word, told.retry) != ("later", BOTH):
                self.wrong.add(f"{told.word} {sorted(told.retry)} {told.message}")
