"""A mini-mesh: the shop behind real Envoy sidecars, on loopback.

    python -m samples.mesh --otlp 127.0.0.1:4317 --requests 500 --app-spans

Starts one Envoy a workload and a gateway, serves the shop behind them, sends
customers, waits until every Envoy has handed its spans over, and stops all it
started. Prints one JSON document of what was sent, and on stderr how it is
getting on. Without --requests and --seconds it runs until SIGTERM or Ctrl-C.
With --direct apps call each other without sidecars.

Owns the run. The shop is in `shop`, Envoy's configuration in `envoys`, its
processes in `sidecars`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Tracer

from samples import load, shop
from samples.envoys import INBOUND, LOOPBACK, OUTBOUND, PORT, Sidecar, host
from samples.http1 import Address, Client, Headers, Request, Server
from samples.sidecars import Envoys, Ledger, envoy_binary, envoy_version, ledger
from samples.telemetry import Telemetry, answered, calling, reachable, serving
from tracelens.errors import TracelensError

PROPAGATED = ("traceparent", "tracestate", "x-request-id")
DRAIN_SECONDS = 15.0


@dataclass(slots=True)
class Errand:
    """One request that a workload handles, and what it does meanwhile."""

    app: App
    headers: Headers  # of the request
    chance: random.Random

    @property
    def story(self) -> shop.Story:
        return self.app.story

    async def work(self, median_ms: float) -> None:
        await shop.sleep(self.chance, median_ms)

    async def call(self, service: str, method: str, path: str) -> int:
        """Ask another workload by way of the own sidecar."""
        app = self.app
        address = f"{host(service)}:{PORT}"
        headers = {"host": address, **{name: self.headers[name] for name in PROPAGATED if name in self.headers}}
        to = app.direct.get(service) or app.sidecar()
        if app.tracer is None:
            return await app.client.request(to, method, path, headers)
        with calling(app.tracer, address, method, path) as span:
            inject(headers)
            status = await app.client.request(to, method, path, headers)
            answered(span, status)
        return status


@dataclass(slots=True)
class App:
    """A workload's own process, so to say: all of them share ours."""

    service: str
    client: Client
    chance: random.Random
    story: shop.Story
    tracer: Tracer | None = None  # None: the app is not instrumented
    egress: Address | None = None  # of the own sidecar, once it runs
    direct: dict[str, Address] = field(default_factory=dict)  # workloads that are called without sidecars

    def sidecar(self) -> Address:
        """Return the address of the own sidecar."""
        if self.egress is None:
            raise RuntimeError(f"{self.service} calls nobody, or its sidecar does not run")
        return self.egress

    async def answer(self, request: Request) -> int:
        """Handle a request, in a span of its own when spans are wanted."""
        errand = Errand(self, request.headers, self.chance)
        method, path = request.method, request.path
        reply = shop.handle(self.service, errand, method, path)
        if self.tracer is not None:
            reply = serving(self.tracer, method, path, reply, extract(request.headers))
        return (await reply).status


@dataclass(slots=True)
class Mesh:
    """The shop, its sidecars and its customers."""

    envoys: Envoys
    collector: Address
    seed: int
    access_log: Path | None
    story: shop.Story = field(default_factory=shop.Story)
    only: str | None = None  # of VISITS
    direct: bool = False  # no sidecars but the gateway
    client: Client = field(default_factory=Client)
    apps: list[App] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    servers: list[Server] = field(default_factory=list)

    async def start(self) -> None:
        """Start apps and Envoys, callees first; an app's port and an Envoy's are known before they are asked for."""
        places: dict[str, Address] = {}
        for service, peers in shop.PEERS.items():
            app = App(service, self.client, random.Random(f"{self.seed} {service}"), self.story)
            place = None
            if service in shop.APPS:
                server = Server(app.answer)
                await server.start(LOOPBACK)
                self.servers.append(server)
                self.apps.append(app)
                place = places[service] = (LOOPBACK, server.port)
                if self.direct:
                    app.direct = {peer: places[peer] for peer in peers}
                    continue
            envoy = self.envoys.start(
                Sidecar(
                    service=service,
                    collector=self.collector,
                    app=place,
                    peers={peer: self.taking(peer, places) for peer in peers},
                    access_log=str(self.access_log) if self.access_log and service == shop.GATEWAY else None,
                )
            )
            if peers:
                app.egress = envoy.listener(OUTBOUND)

    def taking(self, service: str, places: dict[str, Address]) -> Address:
        """Return where a workload takes requests: at its sidecar, or itself."""
        return places[service] if self.direct else self.envoys.running[service].listener(INBOUND)

    def instrument(self, otlp: str) -> Telemetry:
        """Let the apps make spans; after the Envoys have started, for exporters have threads and those do not fork."""
        telemetry = Telemetry(otlp, shop.APPS)
        for app in self.apps:
            app.tracer = telemetry.tracer(app.service)
        return telemetry

    async def visit(self, chance: random.Random) -> None:
        """Send one customer's request."""
        chosen, path = shop.visit(chance, self.only)
        gateway = self.envoys.running[shop.GATEWAY].listener(OUTBOUND)
        headers = {"host": host(shop.GATEWAY), "user-agent": "samples.mesh"}
        try:
            status = await self.client.request(gateway, chosen.method, path, headers)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.envoys.check(patience=1)
            raise TracelensError(f"the gateway hung up on {chosen.name} ({error}) and runs on.") from error
        if status >= 500:
            self.envoys.check()  # no request of a healthy shop ends so
        self.statuses[status] += 1

    async def drain(self) -> dict[str, Ledger]:
        """Wait until every Envoy has handed over all spans it made; return what they say."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while True:
            self.envoys.check()
            found = {service: ledger(envoy.counters()) for service, envoy in self.envoys.running.items()}
            if all(each.settled for each in found.values()) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.1)  # between two looks at other processes

    async def close(self) -> None:
        """End all connections between apps and sidecars."""
        self.client.close()
        for server in self.servers:
            await server.close()


async def run(
    otlp: str,
    pace: load.Pace,
    *,
    app_spans: bool,
    story: shop.Story,
    only: str | None = None,
    direct: bool = False,
) -> dict[str, Any]:
    """Run the mesh; return what was sent. Raises StartError when it cannot start."""
    collector = reachable(otlp)
    binary = envoy_binary()
    stop = load.stopped()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tracelens-mesh-")))
        envoys = Envoys(folder, binary)
        stack.callback(envoys.stop)
        # Endless runs keep no log: it would grow without bound.
        log = None if pace.endless else folder / "gateway.access.jsonl"
        mesh = Mesh(envoys, collector, pace.seed, log, story, only, direct)
        stack.push_async_callback(mesh.close)
        await mesh.start()
        telemetry = mesh.instrument(otlp) if app_spans else None
        tell(f"{len(envoys.running)} Envoys run, spans go to {otlp}; requests begin")
        begin = time.monotonic()
        await load.send(pace, stop, mesh.visit)
        seconds = time.monotonic() - begin
        tell(f"{mesh.statuses.total()} requests answered; the Envoys hand over their last spans")
        sent = await mesh.drain()
        made = await asyncio.to_thread(telemetry.close) if telemetry else 0
        envoys.stop()  # writes the rest of the access log
        return summary(mesh, sent, made, seconds)


def tell(progress: str) -> None:
    """Say on stderr how the run is getting on; stdout is for the document."""
    print(f"samples.mesh: {progress}", file=sys.stderr, flush=True)


def summary(mesh: Mesh, sent: dict[str, Ledger], app_spans: int, seconds: float) -> dict[str, Any]:
    """Return what was sent, for people and tests."""
    requests = mesh.statuses.total()
    envoy_spans = sum(each.sent for each in sent.values())
    return {
        "envoy": envoy_version(mesh.envoys.binary),
        "requests": requests,
        "seconds": round(seconds, 3),
        "statuses": {str(status): count for status, count in sorted(mesh.statuses.items())},
        "traces": requests,  # every app propagates, so a request is a trace
        "spans": envoy_spans + app_spans,
        "app_spans": app_spans,
        "envoy_spans": {service: asdict(each) for service, each in sent.items()},
        "gateway": routes(mesh.access_log) if mesh.access_log else None,
    }


def routes(access_log: Path) -> dict[str, dict[str, Any]]:
    """Return count and percentiles in microseconds of each route of an access log: sorted[floor((n-1)q)]."""
    found: dict[str, list[int]] = {}
    for line in access_log.read_text().splitlines():
        entry = json.loads(line)
        found.setdefault(entry["route"], []).append(entry["total_us"])
    return {
        route: {
            "count": len(times),
            **{f"p{percent}_us": sorted(times)[(len(times) - 1) * percent // 100] for percent in (50, 90, 99)},
            "max_us": max(times),
        }
        for route, times in sorted(found.items())
    }


def main() -> int:
    """Run the mesh; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m samples.mesh", description="The shop behind real Envoy sidecars.")
    load.add_options(parser)
    parser.add_argument("--app-spans", action="store_true", help="instrument the apps with the OpenTelemetry SDK too")
    parser.add_argument("--only", choices=[each.name for each in shop.VISITS], help="this kind of request alone")
    parser.add_argument(
        "--ledger-ms", type=load.amount, default=0, help="every entry in the ledger takes so much longer"
    )
    parser.add_argument("--beside", action="store_true", help="a checkout reserves and charges side by side")
    parser.add_argument("--cause", choices=shop.CAUSES, help="this alone is wrong, beside the cart's N+1")
    parser.add_argument("--direct", action="store_true", help="no sidecars but the gateway: apps call each other")
    options = parser.parse_args()
    told = {
        "app_spans": options.app_spans,
        "story": shop.Story(ledger_ms=options.ledger_ms, beside=options.beside, cause=options.cause),
        "only": options.only,
        "direct": options.direct,
    }
    try:
        sent = asyncio.run(run(options.otlp, load.pace(options), **told))
    except TracelensError as error:
        print(f"samples.mesh: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(sent, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
