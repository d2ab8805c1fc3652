"""The shop without sidecars: one process whose services make spans with the OpenTelemetry SDK.

    python -m samples.app --otlp 127.0.0.1:4317 --rate 20

For machines that no Envoy runs on. The same shop as `samples.mesh`, told by
CLIENT and SERVER spans only; the client tries again where a sidecar would.
Without --requests and --seconds it runs until SIGTERM or Ctrl-C. Prints one
JSON document of what was sent, and on stderr that it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from samples import load, shop
from samples.telemetry import Telemetry, answered, calling, reachable, serving
from tracelens.errors import TracelensError


@dataclass(frozen=True, slots=True)
class Errand:
    """One request that a workload handles, and what it does meanwhile."""

    service: str
    telemetry: Telemetry
    chance: random.Random
    story: shop.Story = field(default_factory=shop.Story)

    async def work(self, median_ms: float) -> None:
        await shop.sleep(self.chance, median_ms)

    async def call(self, service: str, method: str, path: str) -> int:
        """Ask another workload; a 503 is asked again."""
        status = 503
        for attempt in range(shop.RETRIES + 1):
            if attempt:
                await asyncio.sleep(shop.RETRY_AFTER_MS / 1000)
            with calling(self.telemetry.tracer(self.service), service, method, path) as span:
                if attempt:
                    span.set_attribute("http.request.resend_count", attempt)
                status = await answer(Errand(service, self.telemetry, self.chance), method, path)
                answered(span, status)
            if status != 503:
                break
        return status


async def answer(errand: Errand, method: str, path: str) -> int:
    """Let a workload handle a request; return the status."""
    reply = shop.handle(errand.service, errand, method, path)
    return (await serving(errand.telemetry.tracer(errand.service), method, path, reply)).status


async def run(otlp: str, pace: load.Pace) -> dict[str, Any]:
    """Run the shop; return what was sent. Raises StartError when nobody takes spans."""
    reachable(otlp)
    stop = load.stopped()
    telemetry = Telemetry(otlp, shop.APPS)
    statuses: Counter[int] = Counter()

    async def visit(chance: random.Random) -> None:
        chosen, path = shop.visit(chance)
        statuses[await answer(Errand("frontend", telemetry, chance), chosen.method, path)] += 1

    print(f"samples.app: the shop runs, spans go to {otlp}", file=sys.stderr, flush=True)
    try:
        await load.send(pace, stop, visit)
    finally:
        spans = await asyncio.to_thread(telemetry.close)
    return {
        "requests": statuses.total(),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "traces": statuses.total(),
        "spans": spans,
    }


def main() -> int:
    """Run the shop; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m samples.app", description="The shop in one process, no sidecars.")
    load.add_options(parser)
    options = parser.parse_args()
    try:
        sent = asyncio.run(run(options.otlp, load.pace(options)))
    except TracelensError as error:
        print(f"samples.app: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(sent, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
