"""Comparisons: equal sides are told apart no more often than promised, and a tenth more is found.

Equal sides are windows resampled by trace from the recorded shop, and generated ones: heavy-tailed, with slow modes,
with several calls a trace that are slow together, of very unequal numbers. What changed is a route of 5,000 calls a
side of which all, or the slowest twentieth, take a tenth longer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from tests.prove.rows import Row
from tracelens.analysis import compare
from tracelens.analysis.compare import Side
from tracelens.analysis.critical_path import sections
from tracelens.analysis.profile import accumulate
from tracelens.analysis.significance import benjamini_hochberg
from tracelens.calls import Calls, calls
from tracelens.forest import Forest, link
from tracelens.lens.sources import open_source

F64 = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], F64]
ANCHOR = "docs/compare.md"
DUMP = Path(__file__).parents[2] / "samples" / "dumps" / "shop.otlp.jsonl.gz"
CALLS_A_SIDE = 5_000
FACTOR = 1.1
SLOWEST = 0.05
FOUND = 0.95
LEVEL = 0.05
SURE = 3.0  # standard errors that a share of trials may lie beyond its promise by chance
MEASURES = ("error_rate", "mean", "p50", "p90", "p99", "node")
POOL = 200_000
NEIGHBOURS = 9  # unchanged routes beside the changed one


def lognormal(sigma: float) -> Draw:
    return lambda rng, n: rng.lognormal(16, sigma, n)


def pareto(alpha: float) -> Draw:
    return lambda rng, n: 1e7 * (1 + rng.pareto(alpha, n))


def exponential(rng: np.random.Generator, n: int) -> F64:
    return 5e6 + rng.exponential(1e7, n)


def slow_mode(rng: np.random.Generator, n: int) -> F64:
    """Three calls in a hundred wait for something else."""
    return rng.lognormal(16, 0.3, n) + (rng.random(n) < 0.03) * rng.lognormal(18.5, 0.15, n)


def milliseconds(rng: np.random.Generator, n: int) -> F64:
    """A clock that ticks in milliseconds."""
    return np.floor(rng.lognormal(16, 0.3, n) / 1e6) * 1e6


@cache
def shop() -> tuple[Forest, Calls]:
    """The recorded shop, linked and folded."""
    forest = link(open_source(str(DUMP)).load(None, None, ()).spans)
    return forest, calls(forest)


def table(
    rng: np.random.Generator, n: int, draw: Draw, *, route: str, together: int = 1, errors: float = 0.0
) -> pl.DataFrame:
    """Calls of one route; `together`: of each trace, three quarters of whose variation (of its ranks) they share.

    errors: their share; of a trace all fail or none.
    """
    trace = np.arange(n) // together
    duration = draw(rng, n) if together == 1 else alike(rng, trace, draw)
    return frame(route, rng.integers(0, 2**62) + trace, duration, (rng.random(trace[-1] + 1) < errors)[trace])


def alike(rng: np.random.Generator, trace: npt.NDArray[np.int64], draw: Draw) -> F64:
    """Draw durations that are alike within a trace: normal ones, put in the place of those drawn, rank for rank."""
    normal = np.sqrt(0.75) * rng.standard_normal(trace[-1] + 1)[trace] + 0.5 * rng.standard_normal(len(trace))
    ranks, durations = pool(draw)
    found: F64 = durations[np.minimum(np.searchsorted(ranks, normal), len(durations) - 1)]
    return found


@cache
def pool(draw: Draw) -> tuple[F64, F64]:
    """Normal values and durations, both ascending: the same for all who draw."""
    rng = np.random.default_rng(0)
    return np.sort(rng.standard_normal(POOL)), np.sort(draw(rng, POOL))


def frame(route: str, trace: npt.NDArray[np.int64], duration: F64, error: npt.NDArray[np.bool_]) -> pl.DataFrame:
    """The columns of CALLS that are compared."""
    return pl.DataFrame(
        {
            "service": "web",
            "namespace": "shop",
            "route": route,
            "trace_id": pl.Series(trace).cast(pl.String).cast(pl.Binary),
            "duration_nano": duration.astype(np.int64),
            "error": error,
            "censored": False,
            "weight": 1.0,
        }
    )


def side(*frames: pl.DataFrame) -> Side:
    return Side(calls=pl.concat(frames).lazy(), seconds=60.0)


# Equal sides.


@dataclass(slots=True)
class Flags:
    """Of each measure: how many rows were tested, flagged unadjusted and adjusted; and pairs with any flagged."""

    tested: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    flagged: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # by pair
    adjusted: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, rows: pl.DataFrame) -> None:
        """Count the rows of one pair."""
        for measure in MEASURES:
            is_node = measure == "node"
            part = rows.filter(
                pl.col("p_value").is_not_null(),
                kind="node" if is_node else "route",
                measure="mean" if is_node else measure,
            )
            if part.is_empty():
                continue
            self.tested[measure] += len(part)
            self.flagged[measure].append(int((part["p_value"] <= LEVEL).sum()))
            self.adjusted[measure].append(int(part["significant"].sum()))

    def share(self, measure: str, *, adjusted: bool = False) -> float:
        counts = (self.adjusted if adjusted else self.flagged)[measure]
        return sum(counts) / self.tested[measure]

    def error(self, measure: str) -> float:
        """The standard error of the unadjusted share: pairs are independent, rows of one pair are not."""
        counts = np.array(self.flagged[measure], np.float64)
        return float(counts.std() * math.sqrt(len(counts))) / self.tested[measure]

    def pairs(self, measure: str) -> float:
        """The share of pairs with any row that is called significant."""
        return float(np.mean([count > 0 for count in self.adjusted[measure]]))

    def told(self) -> str:
        return "\n".join(
            f"{name}: {self.tested[name]:,} tested, {100 * self.share(name):.2f} % at p ≤ 0.05 "
            f"(standard error {100 * self.error(name):.2f}), {100 * self.share(name, adjusted=True):.3f} % significant "
            f"after adjusting; any of a pair: {100 * self.pairs(name):.1f} %"
            for name in MEASURES
            if self.tested[name]
        )

    def broken(self) -> Iterator[str]:
        for name in MEASURES:
            if not self.tested[name]:
                continue
            if self.share(name) > LEVEL + SURE * self.error(name):
                yield f"{name}: {100 * self.share(name):.2f} % of equal rows at p ≤ 0.05"
            if self.share(name, adjusted=True) > LEVEL:
                yield f"{name}: {100 * self.share(name, adjusted=True):.2f} % of equal rows called significant"
            trials = len(self.adjusted[name])
            if self.pairs(name) > LEVEL + SURE * math.sqrt(LEVEL * (1 - LEVEL) / trials):
                yield f"{name}: any of {100 * self.pairs(name):.1f} % of equal pairs called significant"


@dataclass(frozen=True, slots=True)
class Recorded:
    """The shop's calls and profiles, to be resampled by trace."""

    calls: pl.DataFrame
    buckets: pl.DataFrame  # PROFILE_BUCKETS, one bucket an entry
    entry_trace: pl.DataFrame  # bucket, trace
    traces: int

    @classmethod
    def read(cls) -> Recorded:
        forest, folded = shop()
        every = folded.table.filter(~pl.col("echo"))
        keys = every.select(compare.KEY).unique(maintain_order=True)
        entries = compare.numbered(every, keys).sort("span")
        start = np.array(entries["span"].to_numpy(), np.int64)
        buckets = accumulate(
            forest,
            sections(forest, start),
            entries=start,
            route=entries["number"],
            service=folded.service,
            operation=folded.operation,
            layer=folded.layer,
            group=np.arange(len(start)),
        )
        named = keys.with_row_index("number").select(
            pl.col("number").cast(pl.String), label=pl.concat_str(pl.col(compare.KEY).fill_null(""), separator="\0")
        )
        return cls(
            calls=every.with_columns(label=pl.concat_str(pl.col(compare.KEY).fill_null(""), separator="\0")),
            buckets=buckets.join(named, left_on="route", right_on="number", validate="m:1"),
            entry_trace=pl.DataFrame({"bucket": np.arange(len(start), dtype=np.int32), "trace": entries["trace"]}),
            traces=forest.traces,
        )

    def window(self, rng: np.random.Generator, n: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return calls and buckets of n traces, drawn with replacement."""
        drawn = pl.DataFrame({"trace": rng.integers(0, self.traces, n)}).with_row_index("copy")
        first = int(rng.integers(0, 2**62))
        resampled = self.calls.join(drawn, on="trace", validate="m:m").with_columns(
            trace_id=(pl.col("copy").cast(pl.Int64) + first).cast(pl.String).cast(pl.Binary)
        )
        times = drawn.group_by("trace").agg(times=pl.len().cast(pl.Int64))
        counted = self.buckets.join(
            self.entry_trace.join(times, on="trace", validate="m:1"), on="bucket", validate="m:1"
        )
        sums = ("exclusive_nano", "traces", "entries")
        return resampled, counted.with_columns(
            pl.col(*sums) * pl.col("times"), squares_nano2=pl.col("squares_nano2") * pl.col("times")
        )


def equal_recorded(recorded: Recorded, rng: np.random.Generator) -> pl.DataFrame:
    """Compare two resampled windows, of 300 to 3,000 traces each, with all their nodes."""
    sizes = np.exp(rng.uniform(math.log(300), math.log(3_000), 2)).astype(int)
    (calls_a, buckets_a), (calls_b, buckets_b) = (recorded.window(rng, int(size)) for size in sizes)
    routes = compare.routes(side(calls_a), side(calls_b))
    means = routes.filter(measure="mean")
    numbers = means.select(label=pl.concat_str(pl.col(compare.KEY).fill_null(""), separator="\0")).with_row_index(
        "number"
    )
    profiles = (
        one.join(numbers, on="label", validate="m:1").with_columns(route=pl.col("number").cast(pl.String))
        for one in (buckets_a, buckets_b)
    )
    return pl.concat([routes, compare.nodes(*profiles, means)])


KINDS: tuple[tuple[Draw, int, float], ...] = (
    (lognormal(0.3), 1, 0.01),
    (lognormal(0.6), 5, 0.05),
    (lognormal(1.0), 1, 0.001),
    (lognormal(1.0), 10, 0.02),
    (lognormal(2.0), 3, 0.2),
    (pareto(1.5), 1, 0.01),
    (pareto(1.5), 4, 0.01),
    (pareto(3.0), 2, 0.005),
    (exponential, 1, 0.0),
    (slow_mode, 1, 0.03),
    (slow_mode, 4, 0.03),
    (milliseconds, 2, 0.01),
)


def equal_generated(rng: np.random.Generator) -> pl.DataFrame:
    """Compare two sides of one route of each kind, of 100 to 5,000 calls each, often very unequal."""
    sides: tuple[list[pl.DataFrame], list[pl.DataFrame]] = ([], [])
    for number, (draw, together, errors) in enumerate(KINDS):
        for frames, size in zip(sides, np.exp(rng.uniform(math.log(100), math.log(5_000), 2)), strict=True):
            frames.append(table(rng, int(size), draw, route=f"{number}", together=together, errors=errors))
    return compare.routes(side(*sides[0]), side(*sides[1]))


def equal(folder: Path, times: int) -> list[Row]:
    """Compare `times` pairs of equal sides of each corpus."""
    del folder
    rng = np.random.default_rng(1)
    recorded = Recorded.read()
    corpora: dict[str, Callable[[], pl.DataFrame]] = {
        "windows of the recorded shop, resampled by trace": lambda: equal_recorded(recorded, rng),
        "generated: heavy tails, slow modes, clusters, unequal numbers": lambda: equal_generated(rng),
    }
    rows = []
    for name, pair in corpora.items():
        flags = Flags()
        for _ in range(times):
            flags.add(pair())
        rows.append(
            Row(
                promise="of equal sides at most 5 % differ at the 5 % level; 5 % of answers call any significant",
                anchor=ANCHOR,
                tried=f"pairs of equal sides: {name}",
                times=times,
                broken=tuple(flags.broken()),
                told=flags.told(),
            )
        )
    return rows


# A tenth more.


def recorded_route(service: str, route: str) -> Draw:
    """Draw the recorded durations of a route again, each up to a tenth off: 112 requests have few distinct ones."""
    table = shop()[1].table.filter(service=service, route=route)
    seen = table["duration_nano"].to_numpy()
    return lambda rng, n: rng.choice(seen, n) * rng.lognormal(0, 0.05, n)


@dataclass(frozen=True, slots=True)
class Shape:
    """A distribution of durations. promised: a tenth more must be found."""

    name: str
    draw: Draw
    together: int = 1
    promised: bool = False


def shapes() -> list[Shape]:
    return [
        Shape("recorded: gateway POST /checkout", recorded_route("gateway", "POST /checkout"), promised=True),
        Shape("recorded: gateway GET /cart/{id}", recorded_route("gateway", "GET /cart/{id}"), promised=True),
        Shape("recorded: gateway GET /product/{id}", recorded_route("gateway", "GET /product/{id}"), promised=True),
        Shape(
            "recorded: catalog GET /recommendations", recorded_route("catalog", "GET /recommendations"), promised=True
        ),
        Shape("lognormal, p99 twice the median", lognormal(0.3), promised=True),
        Shape("lognormal, p99 2.5 times the median", lognormal(0.4), promised=True),
        Shape("3 % wait for something else", slow_mode, promised=True),
        Shape("lognormal, p99 twice the median, 5 calls a trace", lognormal(0.3), together=5),
        Shape("lognormal, p99 3.2 times the median", lognormal(0.5)),
        Shape("exponential", exponential),
        Shape("lognormal, p99 10 times the median", lognormal(1.0)),
        Shape("Pareto, α = 1.5", pareto(1.5)),
    ]


def stretched(frame: pl.DataFrame, share: float) -> pl.DataFrame:
    """Return calls of which the slowest share takes FACTOR as long."""
    order = pl.col("duration_nano").rank("ordinal", descending=True)
    longer = (pl.col("duration_nano") * FACTOR).cast(pl.Int64)
    return frame.with_columns(
        duration_nano=pl.when(order <= len(frame) * share).then(longer).otherwise("duration_nano")
    )


def p99(rng: np.random.Generator, shape: Shape, share: float) -> tuple[float, bool]:
    """Return the p-value of p99 of a route that changed, and whether it rose."""
    a, b = (table(rng, CALLS_A_SIDE, shape.draw, route="changed", together=shape.together) for _ in "ab")
    row = compare.routes(side(a), side(stretched(b, share))).filter(measure="p99").row(0, named=True)
    return row["p_value"], row["difference_nano"] > 0


def found(rng: np.random.Generator, shape: Shape, share: float, times: int) -> tuple[float, float]:
    """Return how often p99 is called significantly risen, of this route alone and of this beside NEIGHBOURS others.

    The others did not change: their p-values are of as many equal pairs.
    """
    equal = [p99(rng, shape, 0.0)[0] for _ in range(times)]
    alone = among = 0
    for _ in range(times):
        p_value, risen = p99(rng, shape, share)
        beside = benjamini_hochberg(np.array([p_value, *rng.choice(equal, NEIGHBOURS)]))[0]
        alone += risen and p_value <= compare.LEVEL
        among += risen and beside <= compare.LEVEL
    return alone / times, among / times


def tenth(folder: Path, times: int) -> list[Row]:
    """Stretch a route `times` times, in each shape."""
    del folder
    rng = np.random.default_rng(2)
    broken, lines = [], []
    for shape in shapes():
        for what, share in (("all", 1.0), ("slowest 5 %", SLOWEST)):
            alone, among = found(rng, shape, share, times)
            lines.append(
                f"{shape.name}, {what}: {100 * alone:.1f} % alone, {100 * among:.1f} % of {NEIGHBOURS + 1} routes"
            )
            least = FOUND - SURE * math.sqrt(FOUND * (1 - FOUND) / times)
            if shape.promised and alone < least:
                broken.append(f"{lines[-1]}: less than {100 * FOUND:.0f} %")
    return [
        Row(
            promise="a tenth more p99 of 5,000 calls a side is found in 95 % of all cases, where the tail is not heavy",
            anchor=ANCHOR,
            tried="p99 stretched by 10 %: all calls, or the slowest twentieth",
            times=times,
            broken=tuple(broken),
            told="\n".join(lines),
        )
    ]
