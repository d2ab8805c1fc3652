"""How many requests a trace stands for, and what told it."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest

from tests.builders import frame, span_id, trace_id
from tracelens._request_ids import read_request_ids
from tracelens.calls import calls
from tracelens.columns import Buffers
from tracelens.forest import link
from tracelens.learned import rate_of
from tracelens.sampling import Sampling
from tracelens.taught import Taught

KEPT, FORCED, NOT_DRAWN = "9", "a", "4"


def envoy(number: int, request_id: str | None, **more: object) -> dict[str, object]:
    return {
        "trace_id": trace_id(number),
        "span_id": span_id(number),
        "service_name": "gateway",
        "scope_name": "envoy",
        "kind": 2,
        "attr:guid:x-request-id": request_id,
        **more,
    }


def request_id(drawn: int, mark: str = KEPT) -> str:
    """Return an id whose first eight digits are `drawn` modulo 10,000."""
    return f"{drawn + 10_000 * 777:08x}-1234-{mark}234-8888-0123456789ab"


def sampled(rows: list[dict[str, object]], taught: Taught | None = None) -> Sampling:
    return calls(link(frame(rows)), taught or Taught()).sampling


@pytest.mark.parametrize("rate", [0.0001, 0.01, 0.025, 0.1, 0.33, 0.5, 1.0])
def test_the_rate_shows_in_the_request_ids_that_were_kept(rate: float) -> None:
    draw = random.Random(7)
    rows = [envoy(n, request_id(draw.randrange(round(rate * 10_000)))) for n in range(1, 2_000)]
    found = sampled(rows)
    assert found.rate == pytest.approx(rate)
    assert found.sources == ("request_id",)
    assert not found.varies


@pytest.mark.parametrize("n", [50, 100, 1_000])
def test_what_is_not_sampled_is_not_taken_for_sampled(n: int) -> None:
    draw = random.Random(n)
    assert all(rate_of(n, max(draw.randrange(10_000) for _ in range(n))) == 1 for _ in range(200))


def test_requests_that_somebody_forced_stand_for_themselves() -> None:
    rows = [envoy(n, request_id(n % 100)) for n in range(1, 300)] + [envoy(300, request_id(9_000, FORCED))]
    found = sampled(rows)
    assert found.weight.tolist() == [100.0] * 299 + [1.0]
    assert found.varies


@pytest.mark.parametrize(
    ("text", "mark", "number"),
    [
        (None, 0, -1),
        ("", 0, -1),
        ("0000000f-1234-", 0, -1),
        ("0000000f-1234-9", ord("9"), 15),
        ("0000ABCD-1234-a234-8888-0123456789ab", ord("a"), 0xABCD),
        ("ffffffff-1234-4234-8888-0123456789ab", ord("4"), 0xFFFFFFFF),
        ("+000000f-1234-9", ord("9"), -1),
        ("0000000g-1234-9", ord("9"), -1),
        ("\u00e9\u00e9\u00e9\u00e9-1234-9 and more", ord("9"), -1),
    ],
)
def test_what_stands_in_a_request_id(text: str | None, mark: int, number: int) -> None:
    texts = Buffers.of(pl.Series(["0000002a-1234-9234", text, "0000002b-1234-9234"]))
    marks, drawn = np.zeros(3, np.int8), np.zeros(3, np.int64)
    read_request_ids(texts.views, marks, drawn)
    assert marks.tolist() == [ord("9"), mark, ord("9")]
    assert drawn.tolist() == [0x2A, number, 0x2B]


def test_a_few_ids_or_ids_without_a_decision_tell_nothing() -> None:
    few = [envoy(n, request_id(5)) for n in range(1, 20)]
    undecided = [envoy(n, request_id(5, NOT_DRAWN)) for n in range(1, 300)]
    for rows in (few, undecided, [envoy(1, "nonsense"), envoy(2, None), envoy(3, "")]):
        found = sampled(rows)
        assert (found.rate, found.sources) == (None, ("unknown",))
        assert set(found.weight) == {1.0}


@pytest.mark.parametrize(
    ("state", "weight"),
    [
        ("ot=th:0", 1.0),
        ("ot=th:8", 2.0),
        ("ot=th:c", 4.0),
        ("vendor=1,ot=rv:abcdef12345678;th:fd70a3d70a3d71", 100.0),
        ("ot=th:zz", None),
        ("not=th:8", None),
    ],
)
def test_the_threshold_of_tracestate_is_exact(state: str, weight: float | None) -> None:
    found = sampled([{"service_name": "web", "trace_id": trace_id(1), "span_id": span_id(1), "trace_state": state}])
    assert found.weight[0] == pytest.approx(1.0 if weight is None else weight)
    assert found.sources == (("unknown",) if weight is None else ("tracestate",))


def test_the_owner_of_the_mesh_is_believed_before_an_estimate_and_after_a_threshold() -> None:
    taught = Taught.of({"sampling": {"rate": 0.5, "services": {"gateway": 0.25}}})
    rows = [envoy(n, request_id(n % 100)) for n in range(1, 100)]
    rows.append({"service_name": "job", "trace_id": trace_id(100), "span_id": span_id(100)})
    rows.append({"service_name": "job", "trace_id": trace_id(101), "span_id": span_id(101), "trace_state": "ot=th:0"})
    assert sampled(rows, taught).weight.tolist() == [4.0] * 99 + [2.0, 1.0]


def test_routes_count_what_calls_stand_for() -> None:
    rows = [envoy(n, request_id(n % 100), name="GET /cart") for n in range(1, 200)]
    table = calls(link(frame(rows))).table
    assert table["weight"].unique().to_list() == [100.0]
    assert table.schema["weight"] == pl.Float64
