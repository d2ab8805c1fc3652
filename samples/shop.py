"""The shop: its workloads, what each does with a request, and the load on it.

Owns the story that the samples tell, and nothing of how a request travels:
`mesh` sends it through sidecars, `app` calls the next function. There are
three things to find in it:

- `POST /checkout` is slow at p99, because one in LEDGER_LOCKED entries in the
  ledger waits for a lock.
- `GET /cart/{id}` asks the db once per item of the cart (N+1).
- `GET /recommendations` fails one time in FLAKY; the sidecar tries it again.

A `Story` tells it otherwise, to see what that changes.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

NAMESPACE = "shop"
VERSION = "v1"
GATEWAY = "gateway"
PEERS: dict[str, tuple[str, ...]] = {  # who calls whom; callees first, as they have to be started
    "db": (),
    "catalog": ("db",),
    "cart": ("db",),
    "payment": ("db",),
    "frontend": ("catalog", "cart", "payment"),
    GATEWAY: ("frontend",),
}
APPS = tuple(name for name in PEERS if name != GATEWAY)  # the gateway is a proxy only

FLAKY = 4  # one answer in so many is 503
LEDGER_LOCKED = 16  # one entry in so many waits for the lock; 6 %, so that it is the p99 and not the p90
LOCK_MS = 220.0
RETRIES = 2  # by the sidecar, after the first attempt
RETRY_AFTER_MS = 15
CAUSES = ("ledger", "product", "recommendations")  # what one thing alone can be wrong
SLOW_PRODUCTS = 16  # one query of a product in so many is slow, where that is the cause
FAILING_MS = 160.0  # what a failing answer takes, where that is the cause


@dataclass(frozen=True, slots=True)
class Reply:
    """What a workload answers."""

    route: str  # of the request: the path with its ids left out
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """How the shop is told."""

    ledger_ms: float = 0.0  # every entry in the ledger takes so much longer
    beside: bool = False  # a checkout reserves and charges side by side instead of one after the other
    cause: str | None = None  # of CAUSES: that alone is wrong, beside the cart's N+1; None: all as above

    def is_wrong(self, what: str) -> bool:
        """Whether something is wrong that the story has anyway."""
        return self.cause in (None, what)


class Deeds(Protocol):
    """What a workload can do while it handles a request."""

    @property
    def story(self) -> Story:
        """How the shop is told."""

    @property
    def chance(self) -> random.Random:
        """Where luck comes from."""

    async def work(self, median_ms: float) -> None:
        """Take some time: log-normal around the median."""

    async def call(self, service: str, method: str, path: str) -> int:
        """Ask another workload; return the status of its answer."""


Handler = Callable[[Deeds, str, list[str]], Awaitable[Reply]]  # method, segments of the path


async def frontend(do: Deeds, method: str, path: list[str]) -> Reply:
    match method, path:
        case "GET", [""]:
            await do.work(1.5)
            listed, _ = await asyncio.gather(
                do.call("catalog", "GET", "/products"), do.call("catalog", "GET", "/recommendations")
            )
            await do.work(1)
            return Reply("/", listed)  # a page without recommendations is a page
        case "GET", ["product", product]:
            await do.work(1)
            return Reply("/product/{id}", await do.call("catalog", "GET", f"/products/{product}"))
        case "GET", ["cart", user]:
            await do.work(1)
            return Reply("/cart/{id}", await do.call("cart", "GET", f"/carts/{user}"))
        case "POST", ["checkout"]:
            await do.work(2)
            if do.story.beside:
                held, paid = await asyncio.gather(
                    do.call("cart", "POST", "/reservations"), do.call("payment", "POST", "/charges")
                )
            else:
                held = await do.call("cart", "POST", "/reservations")
                paid = await do.call("payment", "POST", "/charges")
            await do.work(1)
            return Reply("/checkout", max(held, paid))
    return Reply("/*", 404)


async def catalog(do: Deeds, method: str, path: list[str]) -> Reply:
    match method, path:
        case "GET", ["products"]:
            await do.work(3)
            return Reply("/products", await do.call("db", "GET", "/tables/products"))
        case "GET", ["products", product]:
            await do.work(2)
            return Reply("/products/{id}", await do.call("db", "GET", f"/tables/products/{product}"))
        case "GET", ["recommendations"]:
            await do.work(4)
            fails = do.story.is_wrong("recommendations") and do.chance.randrange(FLAKY) == 0
            if fails and do.story.cause:
                await do.work(FAILING_MS)
            return Reply("/recommendations", 503 if fails else 200)
    return Reply("/*", 404)


async def cart(do: Deeds, method: str, path: list[str]) -> Reply:
    match method, path:
        case "GET", ["carts", user]:
            await do.work(1)
            status = await do.call("db", "GET", f"/tables/carts/{user}")
            for _ in range(do.chance.randint(3, 9)):  # the N+1: one statement would do
                product = do.chance.randrange(1000)
                status = max(status, await do.call("db", "GET", f"/tables/products/{product}"))
            return Reply("/carts/{id}", status)
        case "POST", ["reservations"]:
            await do.work(1.5)
            return Reply("/reservations", await do.call("db", "POST", "/tables/reservations"))
    return Reply("/*", 404)


async def payment(do: Deeds, method: str, path: list[str]) -> Reply:
    match method, path:
        case "POST", ["charges"]:
            await do.work(3)
            status = await do.call("db", "POST", "/ledger")
            await do.work(1)
            return Reply("/charges", status)
    return Reply("/*", 404)


async def db(do: Deeds, method: str, path: list[str]) -> Reply:
    match method, path:
        case _, ["tables", table]:
            await do.work(2)
            return Reply(f"/tables/{table}")
        case _, ["tables", table, _]:
            slow = do.story.cause == table.removesuffix("s") and do.chance.randrange(SLOW_PRODUCTS) == 0
            await do.work(LOCK_MS if slow else 1.2)
            return Reply(f"/tables/{table}/{{id}}")
        case "POST", ["ledger"]:
            locked = do.story.is_wrong("ledger") and do.chance.randrange(LEDGER_LOCKED) == 0
            await do.work(LOCK_MS if locked else 3)
            await asyncio.sleep(do.story.ledger_ms / 1000)
            return Reply("/ledger")
    return Reply("/*", 404)


HANDLERS: dict[str, Handler] = {
    "frontend": frontend,
    "catalog": catalog,
    "cart": cart,
    "payment": payment,
    "db": db,
}


async def handle(service: str, do: Deeds, method: str, path: str) -> Reply:
    """Let a workload handle a request; path may have a query."""
    return await HANDLERS[service](do, method, path.partition("?")[0].lstrip("/").split("/"))


async def sleep(chance: random.Random, median_ms: float) -> None:
    """Take a log-normal time; sigma 0.3 is the spread of a service that is not overloaded."""
    await asyncio.sleep(median_ms * math.exp(chance.gauss(0, 0.3)) / 1000)


# -- the load


@dataclass(frozen=True, slots=True)
class Visit:
    """A kind of request that customers make."""

    method: str
    route: str  # {id} stands for a number
    weight: int

    @property
    def name(self) -> str:
        return f"{self.method} {self.route}"


VISITS = (
    Visit("GET", "/", 25),
    Visit("GET", "/product/{id}", 30),
    Visit("GET", "/cart/{id}", 15),
    Visit("POST", "/checkout", 30),
)


def visit(chance: random.Random, only: str | None = None) -> tuple[Visit, str]:
    """Return a random request: its kind and its path. only: the name of a kind, in place of all."""
    kinds = [each for each in VISITS if only in (None, each.name)]
    (chosen,) = chance.choices(kinds, [each.weight for each in kinds])
    return chosen, chosen.route.replace("{id}", str(chance.randrange(1, 5000)))
