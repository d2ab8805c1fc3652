"""What real sidecars report in every style they can, beside what they and their apps wrote down themselves.

Runs the mesh of `../shared` where that folder stands beside the project: a
few ways in every test run, all of them with TRACELENS_PROVE=1 (`make prove`).
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from tests.acceptance import mesh_times, mesh_truth
from tests.acceptance.mesh_truth import Run
from tests.running import Up, eventually, up
from tracelens.store import Store

MESH = Path(__file__).parents[3] / "shared" / "mesh" / "run_mesh.sh"
DOORS = {"grpc": "otlp_grpc", "http": "otlp_http", "zipkin": "zipkin"}
APPS, SPAWN, TIMING, VERBOSE = "--app-spans", "--spawn-upstream-span", "--timing-tags", "--verbose-spans"
REPLICAS, SAMPLING = ("--replicas", "3"), ("--sampling", "10")

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(not MESH.exists(), reason=f"{MESH.parent} is not beside this project"),
]


@dataclass(frozen=True)
class Way:
    """One way to run the mesh."""

    style: str
    protocol: str
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " ".join((self.style, self.protocol, *self.options)).replace("--", "")

    @property
    def requests(self) -> int:
        return 1_000 if "--sampling" in self.options else 300


FEW = [
    Way("istio", "grpc", (APPS, *REPLICAS)),
    Way("istio", "http", (TIMING, VERBOSE)),
    Way("istio", "grpc", (APPS, *SAMPLING)),
    Way("plain", "grpc", (SPAWN, APPS)),
    Way("plain", "zipkin"),
    Way("template", "zipkin", (SPAWN,)),
    Way("operation", "http", (SPAWN, APPS, TIMING)),
]
EXTRAS: tuple[tuple[str, ...], ...] = (
    (), (SPAWN,), (TIMING,), (VERBOSE,), (SPAWN, TIMING, VERBOSE), REPLICAS, SAMPLING,
)  # fmt: skip
EVERY = [
    Way(style, protocol, apps + extra)
    for style, protocol, apps, extra in itertools.product(
        ("istio", "template", "plain", "operation"), DOORS, ((), (APPS,)), EXTRAS
    )
] + [Way("istio", "grpc", (APPS, *SAMPLING, "--no-request-id"))]
WAYS = EVERY if os.environ.get("TRACELENS_PROVE") else FEW


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run one collector for all ways: what each sent is told apart by its time."""
    with up(tmp_path_factory.mktemp("up"), "--otlp-http", "127.0.0.1:0", "--zipkin", "127.0.0.1:0") as running:
        yield running


def run_mesh(collector: Up, way: Way, workdir: Path) -> Run:
    """Send a way's traffic, and return it with what became of its spans."""
    addresses = collector.addresses
    command = ["sh", str(MESH), addresses[DOORS[way.protocol]], "--protocol", way.protocol, "--style", way.style]
    command += ["--requests", str(way.requests), "--concurrency", "3", "--workdir", str(workdir)]
    command += ["--flush-interval-ms", "500", *way.options]
    if APPS in way.options:
        command += ["--app-otlp", addresses["otlp_grpc"], "--app-protocol", "grpc"]
    begun = time.time_ns()
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    ended = time.time_ns()
    assert done.returncode == 0, done.stderr[-3000:]
    sent = json.loads(done.stdout)
    spans = sent["envoy_spans"]["sent"] + sent.get("app_spans_sent", 0)
    during = pl.col("start_time_unix_nano").is_between(begun, ended)
    folder = collector.data_dir / "store"
    stored = eventually(
        lambda: Store.open(folder).scan(None, None).filter(during).collect(),
        lambda found: len(found) >= spans,
        seconds=30,
    )
    assert len(stored) == spans
    if sent.get("traces_expected") is not None:
        assert stored["trace_id"].n_unique() == sent["traces_expected"]
    return Run(workdir, sent, stored, way.options)


def exact(way: Way) -> list[Callable[[Run], list[str]]]:
    """Return what holds to the last span."""
    checks = [mesh_truth.labels, mesh_truth.counts, mesh_truth.sums, mesh_truth.coverage]
    if APPS in way.options and "--sampling" not in way.options:
        checks.append(mesh_times.client_spans)
    if "--no-request-id" in way.options:  # its traces end at the first app: calls further on are not seen
        checks.remove(mesh_truth.counts)
    return checks


def timed(way: Way) -> list[Callable[[Run], list[str]]]:
    """Return what holds unless another program took the processor."""
    checks = [] if "--sampling" in way.options else [mesh_times.gateway_times]
    if APPS in way.options and "--sampling" not in way.options:
        checks.append(mesh_times.call_times)
    if TIMING in way.options or VERBOSE in way.options:
        checks.append(mesh_times.phases)
    return checks


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_what_the_lens_says_is_what_happened(collector: Up, tmp_path: Path, way: Way) -> None:
    """Labels, counts and sums hold in every run; a time is wrong if it is so in each of three.

    Another program that takes the processor moves one percentile or another: a mistake of ours the same each time.
    """
    times: dict[str, list[str]] = {}
    for attempt in range(3):
        run = run_mesh(collector, way, tmp_path / str(attempt))
        assert [wrong for check in exact(way) for wrong in check(run)] == []
        found = {wrong.partition(":")[0]: wrong for check in timed(way) for wrong in check(run)}
        times = {what: [*times.get(what, []), wrong] for what, wrong in found.items() if not attempt or what in times}
        if not times:
            return
    assert not times, times


@pytest.mark.parametrize("way", [Way("istio", "grpc", (APPS, SPAWN, TIMING))], ids=lambda way: way.name)
def test_levels_agree_on_the_same_calls(collector: Up, tmp_path: Path, way: Way) -> None:
    """Paired per call, a layer is the same at the level that tells it coarsely and at the one that tells it finely."""
    run = run_mesh(collector, way, tmp_path)
    assert mesh_times.levels(run) == []
