"""Each finding of requests, drawn: a mesh that shows it, and one like it that does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.analysis.finding import Found, findings_of, found, kinds
from tests.builders import MILLISECOND, trace_id, traces
from tracelens.analysis import findings
from tracelens.analysis.findings import FINDINGS
from tracelens.analysis.request_patterns import ENOUGH, MANY_CALLS, PAUSES

DOCS = Path(__file__).parents[2] / "docs" / "findings.md"
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
    evidence = "1 of 2 calls took more than one attempt, 2 at most"
    assert found(RETRIED, ONE_CALL)["retries", "cat"] == Found(1, 5, 5, evidence)
    assert "retries" not in kinds(ONE_CALL)


def test_retries_beside_something_longer_are_not_on_the_path() -> None:
    """The second half of the pause is: what is beside it has ended."""
    beside = """
        web/in     |----------------|
         web/out    |---|
          mail/in    |-|
         web/out    |-----------|
          web/try   |--|
           cat/in    ||
          web/try        |-----|
           cat/in         |--|
    """
    longer = beside.replace("|---|\n", "|--------------|\n", 1)
    assert found(beside)["retries", "cat"][:3] == (1, 5, 5)
    assert found(longer)["retries", "cat"][:3] == (1, 5, 0)


APP_AGAIN = """
    web/app     |-----------------|
     web/client  |---|              {first}
     web/client       |--|          {second}
     web/client           |-----|   {third}
      cat/app              |---|
"""
OTHER_CALL = """
    web/app     |-----|
     web/client  |---|
      cat/app     |-|
"""


@pytest.mark.parametrize(
    ("marks", "tries"),
    [
        (("error", "error", ""), 3),  # all but the last failed
        (("", "attr:http.request.resend_count#int=1", "attr:http.request.resend_count#int=2"), 3),
        (("", "", "attr:retry.count=1"), 2),
        (("error", "", ""), 0),  # a loop in which one failed
        (("", "error", "error"), 0),
        (("", "", ""), 0),
    ],
)
def test_an_app_that_tries_again(marks: tuple[str, ...], tries: int) -> None:
    """In vain were 4 and 3, and between lies 1 each time."""
    drawing = APP_AGAIN.format(**dict(zip(("first", "second", "third"), marks, strict=True)))
    told = found(drawing, OTHER_CALL)
    if not tries:
        assert ("retries", "cat") not in told
        return
    n = 2 if tries == 3 else 3  # what is no attempt in vain is a call
    evidence = f"1 of {n} calls took more than one attempt, {tries} at most"
    cost = 9 if tries == 3 else 4
    assert told["retries", "cat"] == Found(1, cost, cost, evidence)


def lock_step(pauses: list[int]) -> list[str]:
    """Return calls of two attempts, with these pauses between."""
    return [
        f"web/out  |{'-' * 40}|\n web/try |--|\n web/try {' ' * (3 + pause)}|-|\n  cat/in  {' ' * (3 + pause)}|"
        for pause in pauses
    ]


def test_retries_in_lock_step() -> None:
    told = found(*lock_step([10] * PAUSES))["lock_step_retries", "cat"]
    evidence = (
        "20 of 20 retries by web come 10.0 ms after the attempt before, 8 of 10 within 0.0 ms of each other: "
        "who failed together comes again together"
    )
    assert told == Found(PAUSES, 10 * PAUSES, 10 * PAUSES, evidence)
    assert "lock_step_retries" not in kinds(*lock_step([10] * (PAUSES - 1)))


def test_pauses_that_differ_are_no_lock_step() -> None:
    a_tenth = [20, 20, 21, 22] * 5
    assert ("lock_step_retries", "cat") in found(*lock_step(a_tenth))
    more = [20, 20, 21, 23] * 5
    assert "lock_step_retries" not in kinds(*lock_step(more))


def test_pauses_that_grow_are_in_step_each_by_itself() -> None:
    twice = """
        web/out  |---------------------------|
         web/try |--|
         web/try     |--|
         web/try               |--|
          cat/in                ||
    """
    told = found(*[twice] * PAUSES)["lock_step_retries", "cat"]
    assert (told.traces, told.cost) == (PAUSES, PAUSES * (1 + 7))
    assert told.evidence.startswith("40 of 40 retries by web come 1.0 ms after")


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
    assert found(*[heavy] * ENOUGH)["sidecar_heavy", "cat"][:3] == (ENOUGH, 5 * ENOUGH, 5 * ENOUGH)
    light = ONE_CALL.replace("|------|", "|-----|")  # a sixth of it
    assert "sidecar_heavy" not in kinds(*[light] * ENOUGH)


def test_the_same_call_over_and_over() -> None:
    assert found(again(5, serial=True))["n_plus_one", "cat"][:3] == (1, 4 * 3, 4 * 3)
    assert "n_plus_one" not in kinds(again(4, serial=True))
    assert "n_plus_one" not in kinds(again(5, serial=False))


def test_many_calls_to_one_callee_beside_each_other() -> None:
    """Of ten that run beside each other one is on the path, and nothing is beyond it."""
    told = found(again(MANY_CALLS, serial=False))["chatty_edge", "cat"]
    evidence = "each call of web get that calls it does so 10.0 times in the mean, 10 at p90, n 1"
    assert told == Found(1, 0, 0, evidence)
    assert "chatty_edge" not in kinds(again(MANY_CALLS - 1, serial=False))


def test_many_calls_to_one_callee_one_after_the_other() -> None:
    assert found(again(MANY_CALLS, serial=True))["chatty_edge", "cat"][:3] == (1, 27, 27)


def test_a_few_calls_that_make_many_are_told_from_p90_on() -> None:
    few, many = again(1, serial=True), again(MANY_CALLS, serial=True)
    assert "chatty_edge" not in kinds(*[few] * 9, many)  # rank floor(9 · 0.9) = 8: one of the few
    assert found(*[few] * 8, many, many)["chatty_edge", "cat"][:3] == (2, 54, 54)


def test_different_calls_one_after_the_other() -> None:
    assert found(SERIAL)["serial_fan_out", "web"][:3] == (1, 3 + 4, 3 + 4)
    assert "serial_fan_out" not in kinds(BESIDE)
    assert "serial_fan_out" not in kinds(again(5, serial=True))


def test_requests_without_a_route() -> None:
    unrouted = "edge/gate |--| attr:response_flags=NR"
    assert found(unrouted, "edge/gate |--|")["unrouted", "edge"] == Found(
        1,
        None,
        None,
        "1 of 2 requests asked for what no route was configured for",
    )
    assert "unrouted" not in kinds("edge/gate |--|")


def test_headers_that_are_not_passed_on() -> None:
    taken, own = "web/in |------|", ONE_CALL
    assert found(taken, own)["broken_propagation", "web"] == Found(
        1,
        None,
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
    assert other["request_id_dropped", "web"] == Found(
        1,
        None,
        None,
        "1 of the 1 calls it makes have a new x-request-id: they are sampled anew",
    )
    same = drawing.format("1c1c1b0b-a334-ad96").replace("web/out", " web/out")  # the decision is no part of it
    assert "request_id_dropped" not in kinds(same)


def test_spans_of_a_callee_that_are_not_there() -> None:
    evidence = "1 of 2 calls of web have no span of it: they were lost, and nothing tells where"
    assert found(ONE_CALL, "web/out |------|")["missing_spans", "cat"] == Found(1, None, None, evidence)
    assert "missing_spans" not in kinds(ONE_CALL)
    assert "missing_spans" not in kinds("web/out |------| attr:response_flags=UF")


def test_most_time_on_the_path_comes_first_and_its_trace_is_the_exemplar() -> None:
    longer = RETRIED.replace("|--|\n", "|---|\n", 1)
    rows = findings_of(traces(RETRIED, longer, SERIAL))
    assert rows.schema == FINDINGS
    assert rows["path_nano"].to_list() == sorted(rows["path_nano"].to_list(), reverse=True)
    (retries,) = rows.filter(kind="retries").to_dicts()
    # Both pause for as long as the other takes: of equal ones the first.
    assert (retries["path_nano"], retries["exemplar_trace_id"]) == (10 * MILLISECOND, trace_id(1))
    slower = RETRIED.replace("|-----------|", "|------------|").replace("      |----|", "       |----|")
    (retries,) = findings_of(traces(RETRIED, slower)).filter(kind="retries").to_dicts()
    assert (retries["path_nano"], retries["exemplar_trace_id"]) == (11 * MILLISECOND, trace_id(2))


def test_every_finding_is_documented() -> None:
    """In the order of the module, with what to do about it."""
    listed = re.findall(r"^    ([a-z_]+)  +[a-z]", findings.__doc__ or "", re.MULTILINE)
    documented = re.findall(r"^\| `([a-z_]+)` \| .+ \| .+ \| .+ \|$", DOCS.read_text(), re.MULTILINE)
    assert documented == listed
    assert set(findings_of(traces(RETRIED, SERIAL, again(5, serial=True)))["kind"]) <= set(listed)
