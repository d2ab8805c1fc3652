"""Twenty milliseconds put into one place at a time: they must turn up in that layer, and in no other.

A caller, two real Envoys and a callee, all on loopback; between the Envoys
stands a relay that can hold bytes back. One delay at a time:

    client            the caller's app waits within its client span before it sends
    network_queueing  the relay holds each direction back for half of it
    ingress_proxy     the callee's Envoy delays the request by its fault filter
    app               the callee's app takes longer
    attempts          a first attempt of that length fails, and is tried again

Requests begin at their time, whether earlier ones are answered or not, at a
rate that leaves the machine idle four fifths of the time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from opentelemetry.propagate import extract, inject

from samples.envoys import INBOUND, LOOPBACK, OUTBOUND, PORT, Json, Sidecar, host, typed
from samples.http1 import Address, Client, Request, Server
from samples.shop import Reply
from samples.sidecars import Envoys, envoy_binary, ledger
from samples.telemetry import Telemetry, answered, calling, serving
from tests.prove.rows import Row
from tests.running import eventually, up
from tracelens.analysis.hops import requests
from tracelens.calls import calls
from tracelens.forest import link
from tracelens.store import Store

DELAY_MS = 20.0
WORK_MS = 5.0  # what the callee takes anyway
RATE = 40.0  # requests a second
EARLY_SECONDS = 0.002
SLACK_NANO = 1_000_000
LATEST_NANO = 25_000_000  # of Envoy's delay: some ticks of its timer more
CALLER, CALLEE, PATH = "frontend", "db", "/ledger"
LAYERS = ("client", "egress_proxy", "network_queueing", "ingress_proxy", "app", "attempts", "backoff")
FAULTS = "envoy.extensions.filters.http.fault.v3"


async def delay(milliseconds: float) -> None:
    """Take that long, to some microseconds: a sleep alone ends up to a millisecond late."""
    end = time.perf_counter() + milliseconds / 1000
    await asyncio.sleep(max(end - time.perf_counter() - EARLY_SECONDS, 0))
    while time.perf_counter() < end:
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Delays:
    """Milliseconds put into each place."""

    client: float = 0
    network: float = 0
    proxy: float = 0
    app: float = 0
    vain: float = 0  # how long a first attempt takes before it fails; 0: it does not


@dataclass(frozen=True, slots=True, kw_only=True)
class Delayed(Sidecar):
    """An Envoy that delays a request by what its header says, and tries failed ones again at once."""

    def manager(self, name: str, hosts: list[Json], *, upstream_spans: bool) -> Json:
        """Return the filter that speaks HTTP, with the fault filter before the router of the inbound side."""
        found = Sidecar.manager(self, name, hosts, upstream_spans=upstream_spans)
        if name == "inbound":
            fault = {"name": "envoy.filters.http.fault", "typed_config": typed(f"{FAULTS}.HTTPFault")}
            fault["typed_config"]["delay"] = {"header_delay": {}, "percentage": {"numerator": 100}}
            found["typed_config"]["http_filters"].insert(0, fault)
        return found

    def routes_to(self, peer: str) -> list[Json]:
        """Return one route, whose failures are tried again."""
        route = self.route("outbound", peer)
        again = {
            "retry_on": "5xx",
            "num_retries": 1,
            "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.001s"},
        }
        return [{**route, "route": {**route["route"], "retry_policy": again}}]


@dataclass(slots=True)
class Relay:
    """A TCP relay that holds bytes back."""

    target: Address
    hold_ms: float = 0
    port: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    listening: asyncio.Server | None = None

    async def start(self) -> None:
        self.listening = await asyncio.start_server(self.join, LOOPBACK, 0)
        self.port = self.listening.sockets[0].getsockname()[1]

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self.target)
        self.writers += [writer, far_writer]
        await asyncio.gather(self.pass_on(reader, far_writer), self.pass_on(far_reader, writer))

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65_536):
                if self.hold_ms:
                    await delay(self.hold_ms)
                writer.write(chunk)
        except ConnectionError:
            pass  # the far side is gone: so is this one
        finally:
            writer.close()

    def close(self) -> None:
        for writer in self.writers:
            writer.close()
        if self.listening is not None:
            self.listening.close()


@dataclass(slots=True)
class Pair:
    """A caller and a callee with their sidecars."""

    envoys: Envoys
    collector: Address
    client: Client = field(default_factory=Client)
    delays: Delays = field(default_factory=Delays)
    seen: Counter[str] = field(default_factory=Counter)  # attempts by request
    took: dict[str, list[int]] = field(default_factory=dict)  # nanoseconds by run, as the caller's app measured
    telemetry: Telemetry | None = None
    relay: Relay | None = None
    egress: Address = (LOOPBACK, 0)

    async def start(self, stack: AsyncExitStack) -> None:
        server = Server(self.serve)
        await server.start(LOOPBACK)
        stack.push_async_callback(server.close)
        app = (LOOPBACK, server.port)
        callee = self.envoys.start(Delayed(service=CALLEE, collector=self.collector, app=app, peers={}))
        self.relay = Relay(callee.listener(INBOUND))
        await self.relay.start()
        stack.callback(self.relay.close)
        peers = {CALLEE: (LOOPBACK, self.relay.port)}
        caller = self.envoys.start(Delayed(service=CALLER, collector=self.collector, app=app, peers=peers))
        self.egress = caller.listener(OUTBOUND)
        stack.callback(self.client.close)
        self.telemetry = Telemetry(f"{self.collector[0]}:{self.collector[1]}", (CALLER, CALLEE))

    async def serve(self, request: Request) -> int:
        """Answer as the callee's app."""
        assert self.telemetry is not None
        tracer = self.telemetry.tracer(CALLEE)
        reply = serving(tracer, request.method, request.path, self.work(request), extract(request.headers))
        return (await reply).status

    async def work(self, request: Request) -> Reply:
        number = request.headers["x-number"]
        self.seen[number] += 1
        if self.delays.vain and self.seen[number] == 1:
            await delay(self.delays.vain)
            return Reply(PATH, 503)
        await delay(WORK_MS + self.delays.app)
        return Reply(PATH)

    async def ask(self, name: str, number: int) -> None:
        """Make one request as the caller's app."""
        begin = time.perf_counter_ns()
        await self.call(f"{name} {number}")
        self.took.setdefault(name, []).append(time.perf_counter_ns() - begin)

    async def call(self, number: str) -> None:
        """Call the callee through both sidecars."""
        assert self.telemetry is not None
        address = f"{host(CALLEE)}:{PORT}"
        headers = {"host": address, "x-number": number}
        if self.delays.proxy:
            headers["x-envoy-fault-delay-request"] = f"{self.delays.proxy:.0f}"
        with calling(self.telemetry.tracer(CALLER), address, "GET", PATH) as span:
            inject(headers)
            if self.delays.client:
                await delay(self.delays.client)
            status = await self.client.request(self.egress, "GET", PATH, headers)
            answered(span, status)
        assert status == 200, status

    async def send(self, name: str, n: int, delays: Delays) -> tuple[int, int]:
        """Send n requests at their times; return when the first began and the last was over."""
        assert self.relay is not None
        self.delays, self.relay.hold_ms = delays, delays.network / 2
        begin, clock = time.time_ns(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(n):
                await asyncio.sleep(max(clock + number / RATE - time.monotonic(), 0))  # its time
                group.create_task(self.ask(name, number))
        return begin, time.time_ns()

    async def drain(self) -> int:
        """Wait until the Envoys and the apps have handed their spans over; return how many there were."""
        assert self.telemetry is not None
        of_apps = await asyncio.to_thread(self.telemetry.close)
        deadline = time.monotonic() + 15
        while True:
            told = [ledger(envoy.counters()) for envoy in self.envoys.running.values()]
            if all(one.settled for one in told):
                return of_apps + sum(one.sent for one in told)
            assert time.monotonic() < deadline, "the Envoys keep spans back"
            await asyncio.sleep(0.1)  # between two looks at another process


Times = dict[str, int]  # p50 of each layer, nanoseconds


Window = tuple[int, int]


async def traffic(folder: Path, collector: Address, n: int) -> tuple[dict[str, Window], dict[str, int], int]:
    """Send all runs; return when each was under way, the p50 the caller measured, and how many spans were sent."""
    async with AsyncExitStack() as stack:
        envoys = Envoys(folder, envoy_binary())
        stack.callback(envoys.stop)
        pair = Pair(envoys, collector)
        await pair.start(stack)
        await pair.send("warm", min(n, 100), Delays())
        when = {"without 0": await pair.send("without 0", n, Delays())}
        # Each place between two runs without: other programs slow some seconds down, and not others.
        for run, (place, delays) in enumerate(PLACES.items(), 1):
            when[place] = await pair.send(place, n, delays)
            when[f"without {run}"] = await pair.send(f"without {run}", n, Delays())
        took = {name: sorted(some)[(len(some) - 1) // 2] for name, some in pair.took.items()}
        return when, took, await pair.drain()


PLACES = {
    "client": Delays(client=DELAY_MS),
    "network_queueing": Delays(network=DELAY_MS),
    "ingress_proxy": Delays(proxy=DELAY_MS),
    "app": Delays(app=DELAY_MS),
    "attempts": Delays(vain=DELAY_MS),
}


def tried(folder: Path, times: int) -> Row:
    """Inject each delay into `times` requests, and compare layers with as many requests without, before and after."""
    folder.joinpath("envoys").mkdir()
    with up(folder / "data") as running:
        address = running.addresses["otlp_grpc"].rpartition(":")
        collector = (address[0], int(address[2]))
        with ThreadPoolExecutor(1) as pool:  # this thread may have a loop of its own, as under Playwright
            when, took, sent = pool.submit(asyncio.run, traffic(folder / "envoys", collector, times)).result()
        store = running.data_dir / "store"
        spans = eventually(
            lambda: Store.open(store).scan(None, None).collect(), lambda stored: len(stored) >= sent, seconds=30
        )
    found = {name: calls_between(spans, *bounds) for name, bounds in when.items()}
    return judged({name: medians(table) for name, table in found.items()}, took, found, times)


def calls_between(spans: pl.DataFrame, begin: int, end: int) -> pl.DataFrame:
    """Return the calls to the callee of one run."""
    forest = link(spans.filter(pl.col("start_time_unix_nano").is_between(begin, end)))
    table = requests(forest, calls(forest))
    return table.filter((pl.col("service") == CALLEE) & (pl.col("level") == "L3"))


def medians(table: pl.DataFrame) -> Times:
    """Return the p50 of each layer."""
    return {layer: int(table[f"{layer}_nano"].fill_null(0).sort()[(len(table) - 1) // 2]) for layer in LAYERS}


def judged(told: dict[str, Times], took: Times, tables: dict[str, pl.DataFrame], times: int) -> Row:
    """Return the row: what moved where, and where it should not have.

    Envoy's fault filter ends its delay at a tick of a timer, which may be late: how long it was is what the caller
    measured.
    """
    broken = [f"{name}: {len(table)} of {times} calls" for name, table in tables.items() if len(table) != times]
    lines = []
    for run, place in enumerate(PLACES):
        before, after = told[f"without {run}"], told[f"without {run + 1}"]
        usual = {layer: (before[layer] + after[layer]) // 2 for layer in LAYERS}
        spread = {layer: abs(before[layer] - after[layer]) for layer in LAYERS}
        moved = {layer: told[place][layer] - usual[layer] for layer in LAYERS}
        expected = DELAY_MS * 1e6
        if place == "ingress_proxy":
            expected = took[place] - (took[f"without {run}"] + took[f"without {run + 1}"]) / 2
            if not DELAY_MS * 1e6 - SLACK_NANO <= expected <= LATEST_NANO:
                broken.append(f"the caller's calls took {expected / 1e6:.2f} ms more")
        if place == "attempts":  # it goes the same way as any
            expected += usual["network_queueing"] + usual["ingress_proxy"]
        for layer in LAYERS:
            slack = max(SLACK_NANO, 3 * spread[layer])
            if abs(moved[layer] - (expected if layer == place else 0)) > slack:
                broken.append(f"{place}: {layer} moved by {moved[layer] / 1e6:.2f} ms")
        lines.append(f"{place}: " + ", ".join(f"{layer} {moved[layer] / 1e6:+.2f}" for layer in LAYERS))
    first = ", ".join(f"{layer} {told['without 0'][layer] / 1e6:.2f}" for layer in LAYERS)
    return Row(
        promise="a delay shows in its layer alone",
        anchor="docs/mesh.md",
        tried=f"{DELAY_MS:.0f} ms in each of {len(PLACES)} places, {RATE:.0f} requests/s, p50 in ms",
        times=times * len(PLACES),
        broken=tuple(broken),
        told=f"without: {first}\n" + "\n".join(lines),
    )
