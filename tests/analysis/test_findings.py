"""Each finding, drawn: a mesh that shows it, and one like it that does not."""

from __future__ import annotations

import pytest

from tests.analysis.test_hops import requests
from tests.builders import MILLISECOND, trace_id, traces
from tracelens.analysis.findings import ENOUGH, FINDINGS, findings


def found(*drawings: str) -> dict[tuple[str, str | None], tuple[int, float | None, str]]:
    """Return findings by (kind, service): traces, cost in columns of the drawing, evidence."""
    rows = findings(requests(traces(*drawings)).lazy()).collect()
    assert rows.schema == FINDINGS
    return {
        (row["kind"], row["service"]): (
            row["traces"],
            None if row["cost_nano"] is None else row["cost_nano"] / MILLISECOND,
            row["evidence"],
        )
        for row in rows.to_dicts()
    }


def kinds(*drawings: str) -> set[str]:
    return {kind for kind, _ in found(*drawings)}


ONE_CALL = """
    web/out   |------|
     web/try   |----|
      cat/in    |--|
"""
RETRIED = """
    web/out   |-----------|
     web/try   |--|
      cat/in    ||
     web/try        |----|
      cat/in         |--|
"""
SERIAL = """
    web/in     |--------------------------|
     web/out    |--|
      cat/in     ||
     web/out         |---|
      cart/in         |-|
     web/out              |-----|
      pay/in               |---|
"""
BESIDE = """
    web/in     |--------------------------|
     web/out    |--------|
      cat/in     |--|
     web/out     |---------|
      cart/in     |-|
     web/out      |--------|
      pay/in       |---|
"""


def again(times: int, *, serial: bool) -> str:
    """Return a call that makes another one several times."""
    rows = [f"web/in {' ' * 3}|{'-' * (6 * times)}|"]
    for number in range(times):
        left = " " * (4 + 5 * number * serial)
        rows += [f" web/out{left}|--|", f"  cat/in{left} ||"]
    return "\n".join(rows)


def test_retries_cost_what_was_in_vain_and_the_time_between() -> None:
    traces_of, cost, evidence = found(RETRIED, ONE_CALL)["retries", "cat"]
    assert (traces_of, cost) == (1, 5)
    assert evidence == "1 of 2 calls took more than one attempt, 2 at most"
    assert "retries" not in kinds(ONE_CALL)


@pytest.mark.parametrize("flags", ["UT", "-"])
def test_a_timeout_is_told_when_the_callee_was_at_work(flags: str) -> None:
    drawing = f"""
        web/out  |------|   attr:response_flags={flags}
         cat/in   |---------|
    """
    assert (("timeout_before_answer", "cat") in found(drawing)) == (flags == "UT")


def test_a_timeout_of_a_callee_that_nobody_saw_is_not_told() -> None:
    assert not kinds("web/out  |------|   attr:response_flags=UT")


def test_heavy_sidecars_are_told_of_enough_calls() -> None:
    heavy = """
        web/out   |---------|
         web/try     |----|
          cat/in      |--|
    """
    assert "sidecar_heavy" not in kinds(*[heavy] * (ENOUGH - 1))
    assert found(*[heavy] * ENOUGH)["sidecar_heavy", "cat"][:2] == (ENOUGH, 5 * ENOUGH)
    light = ONE_CALL.replace("|------|", "|-----|")  # a sixth of it
    assert "sidecar_heavy" not in kinds(*[light] * ENOUGH)


def test_the_same_call_over_and_over() -> None:
    assert found(again(5, serial=True))["n_plus_one", "cat"][:2] == (1, 4 * 3)
    assert "n_plus_one" not in kinds(again(4, serial=True))
    assert "n_plus_one" not in kinds(again(5, serial=False))


def test_different_calls_one_after_the_other() -> None:
    assert found(SERIAL)["serial_fan_out", "web"][:2] == (1, 3 + 4)
    assert "serial_fan_out" not in kinds(BESIDE)
    assert "serial_fan_out" not in kinds(again(5, serial=True))


def test_requests_without_a_route() -> None:
    unrouted = "edge/gate |--| attr:response_flags=NR"
    assert found(unrouted, "edge/gate |--|")["unrouted", "edge"] == (
        1,
        None,
        "1 of 2 requests asked for what no route was configured for",
    )
    assert "unrouted" not in kinds("edge/gate |--|")


def test_headers_that_are_not_passed_on() -> None:
    taken, own = "web/in |------|", ONE_CALL
    assert found(taken, own)["broken_propagation", "web"] == (
        1,
        None,
        "1 of the 1 calls it makes begin a trace of their own",
    )
    passed = """
        web/in     |----------|
         web/out    |------|
          cat/in     |--|
    """
    assert "broken_propagation" not in kinds(passed)
    assert "broken_propagation" not in kinds(own)  # nobody calls it: it may well begin traces


def test_a_request_id_that_is_not_passed_on() -> None:
    drawing = """
        web/in     |----------|  attr:guid:x-request-id=1c1c1b0b-a334-9d96
        web/out    |------|      attr:guid:x-request-id={}
         cat/in     |--|
    """
    other = found(drawing.format("2c1c1b0b-a334-9d96").replace("web/out", " web/out"))
    assert other["request_id_dropped", "web"] == (
        1,
        None,
        "1 of the 1 calls it makes have a new x-request-id: they are sampled anew",
    )
    same = drawing.format("1c1c1b0b-a334-ad96").replace("web/out", " web/out")  # the decision is no part of it
    assert "request_id_dropped" not in kinds(same)


def test_spans_of_a_callee_that_are_not_there() -> None:
    traces_of, _, evidence = found(ONE_CALL, "web/out |------|")["missing_spans", "cat"]
    assert traces_of == 1
    assert evidence == "1 of 2 calls of web have no span of it: they were lost, and nothing tells where"
    assert "missing_spans" not in kinds(ONE_CALL)
    assert "missing_spans" not in kinds("web/out |------| attr:response_flags=UF")


def test_the_exemplar_is_the_costliest_and_the_costliest_come_first() -> None:
    longer = RETRIED.replace("|--|\n", "|---|\n", 1)
    rows = findings(requests(traces(RETRIED, longer, SERIAL)).lazy()).collect()
    assert rows["cost_nano"].to_list() == sorted(rows["cost_nano"].to_list(), reverse=True)
    (retries,) = rows.filter(kind="retries").to_dicts()
    assert retries["exemplar_trace_id"] in (trace_id(1), trace_id(2))
