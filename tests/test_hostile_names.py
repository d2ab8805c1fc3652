"""A million requests, each with a path and a host of its own: few routes, bounded memory, every request counted."""

from __future__ import annotations

import multiprocessing
import resource

import numpy as np
import polars as pl
import pytest

from tests.builders import frame, span_id, trace_id
from tracelens.analysis.routes import routes
from tracelens.calls import calls
from tracelens.forest import link
from tracelens.learned import MAX_ROUTES
from tracelens.spans import SERVER

MILLION = 1_000_000
BYTES_A_SPAN = 1_500  # of names and what is made of them, at the peak, beyond the spans themselves
LETTERS = str.maketrans("0123456789", "ghijklmnop")
SHAPES = (
    "/{word}",  # no rule catches a word
    "/{word}/{word}x/{word}",
    "/{number}/{word}",
    "//{word}//{word}?{word}",
    "/%2e%2e/{word}/\u202e{word}",
    "/{word};{word}=|{word}|",
)


def hostile(n: int) -> pl.DataFrame:
    """Return n requests at a gateway: path, host and span name are the sender's invention."""
    one = frame(
        [
            {
                "trace_id": trace_id(1),
                "span_id": span_id(1),
                "kind": SERVER,
                "service_name": "edge",
                "scope_name": "envoy",
                "attr:node_id": "router~10.0.0.1~edge-0.shop~shop.svc",
                "attr:http.method": "GET",
                "attr:upstream_cluster": "outbound|80||web.shop.svc.cluster.local",
            }
        ]
    )
    rng = np.random.default_rng(1)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    # The number in letters, so that no two are the same and no rule takes them for ids.
    words = pl.Series(
        [
            "".join(row) + str(number).translate(LETTERS)
            for number, row in enumerate(letters[rng.integers(0, 26, (n, 4))])
        ]
    )
    shape = pl.Series(SHAPES).gather(pl.Series(rng.integers(0, len(SHAPES), n)))
    paths = pl.DataFrame({"shape": shape, "word": words}).select(
        path=pl.col("shape")
        .str.replace_all("{word}", pl.col("word"), literal=True)
        .str.replace_all("{number}", "17", literal=True)
    )["path"]
    numbers = [number.to_bytes(8, "big") for number in range(1, n + 1)]
    return one.select(pl.all().gather(np.zeros(n, np.int64))).with_columns(
        trace_id=pl.Series([bytes(8) + number for number in numbers]),
        span_id=pl.Series(numbers),
        name=paths,
        **{"attr:http.url": "http://" + words + ".evil.example" + paths},
    )


def _counted(n: int) -> tuple[int, int, int]:
    """Return (routes, requests counted, bytes at the peak beyond the spans)."""
    forest = link(hostile(n))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = routes(calls(forest).table.lazy()).collect()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return len(rows), int(rows["calls"].sum()), (after - before) * 1024


@pytest.mark.slow
def test_a_million_names_leave_few_routes_and_count() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # a process of its own: its peak is this test's
        found, counted, peak = pool.apply(_counted, (MILLION,))
    assert found <= MAX_ROUTES + 1
    assert counted == MILLION
    assert peak < BYTES_A_SPAN * MILLION
