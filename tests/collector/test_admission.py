"""Who is let in, who waits, and who is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from collector import admission as admission_module
from collector import backlog, telemetry
from collector.admission import Admission, Charge, Overloaded


@pytest.fixture(autouse=True)
def without_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_module, "RESERVE_BYTES", 0)


def run(scenario: Coroutine[None, None, None]) -> None:
    asyncio.run(scenario)


async def held(charge: Charge, size: int) -> bool:
    """Hold bytes; whether there was room."""
    try:
        await charge.hold(size)
    except Overloaded:
        return False
    return True


def test_it_waits_for_room_and_refuses_when_there_is_none() -> None:
    async def scenario() -> None:
        admission = Admission(budget=10)
        with admission.charge(None) as first:
            await first.hold(8)
            with admission.charge(0.02) as late:
                assert not await held(late, 5)
            waiting = asyncio.create_task(held(admission.charge(None), 5))
            await asyncio.sleep(0)
            assert not waiting.done()
        assert await asyncio.wait_for(waiting, 2)
        assert admission.in_hand == 5

    run(scenario())


def test_a_request_larger_than_the_budget_takes_all_of_it() -> None:
    async def scenario() -> None:
        admission = Admission(budget=10)
        with admission.charge(1) as large:
            await large.hold(1_000)
            assert admission.in_hand == 10
            assert not await held(admission.charge(0.02), 1)
        assert admission.in_hand == 0

    run(scenario())


def test_a_body_is_charged_as_it_comes() -> None:
    async def scenario() -> None:
        admission = Admission(budget=10)
        with admission.charge(None) as charge:
            for size in (2, 5, 4):  # the last is what was inflated from, and less
                await charge.hold(size)
            assert admission.in_hand == 5

    run(scenario())


def test_those_who_wait_are_served_in_their_order() -> None:
    """A small request that came later must not for ever pass a large one that waits."""

    async def scenario() -> None:
        admission = Admission(budget=10)
        first = admission.charge(None)
        await first.hold(6)
        large = asyncio.create_task(held(admission.charge(None), 9))
        await asyncio.sleep(0)
        small = asyncio.create_task(held(admission.charge(None), 1))
        await asyncio.sleep(0)
        assert not small.done()
        first.__exit__(None, None, None)
        assert await large
        assert await small

    run(scenario())


def test_one_that_gives_up_lets_those_behind_in() -> None:
    async def scenario() -> None:
        admission = Admission(budget=10)
        first = admission.charge(None)
        await first.hold(6)
        large = asyncio.create_task(held(admission.charge(0.02), 9))
        await asyncio.sleep(0)
        small = asyncio.create_task(held(admission.charge(None), 1))
        assert not await large
        assert await small
        small_again = asyncio.create_task(held(admission.charge(None), 9))
        await asyncio.sleep(0)
        small_again.cancel()
        with pytest.raises(asyncio.CancelledError):
            await small_again
        assert await held(admission.charge(None), 3)
        assert admission.in_hand == 10

    run(scenario())


def test_closed_it_admits_nobody_and_says_why() -> None:
    async def scenario() -> None:
        admission = Admission(budget=10)
        admission.close("the store is behind")
        with pytest.raises(Overloaded, match="behind"):
            await admission.charge(0.02).hold(1)
        waiting = asyncio.create_task(held(admission.charge(None), 1))
        await asyncio.sleep(0)
        admission.open()
        assert await waiting

    run(scenario())


def test_a_backlog_closes_it_and_its_end_opens_it(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(backlog, "LIMIT_BYTES", 100)
    folder = tmp_path_factory.mktemp("wal")
    segment = folder / "000-000000000000.wal"
    segment.write_bytes(bytes(101))

    async def scenario() -> None:
        admission = Admission(budget=10)
        guard = asyncio.create_task(backlog.guard(folder, admission, telemetry.start(folder / "metrics")))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="behind"):
            await admission.charge(0.1).hold(1)
        waiting = asyncio.create_task(held(admission.charge(None), 1))
        segment.unlink()
        assert await asyncio.wait_for(waiting, 2)
        guard.cancel()

    run(scenario())


def test_small_requests_are_let_in_beside_large_ones_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large ones that all hold some and wait for more would else shut everybody out."""
    monkeypatch.setattr(admission_module, "RESERVE_BYTES", 4)
    monkeypatch.setattr(admission_module, "SMALL_BYTES", 3)

    async def scenario() -> None:
        admission = Admission(budget=10)
        first, second = admission.charge(0.2), admission.charge(0.2)
        await first.hold(5)
        await second.hold(5)
        waiting = [asyncio.create_task(held(charge, 8)) for charge in (first, second)]
        await asyncio.sleep(0)
        with admission.charge(None) as small:
            assert await held(small, 2)
            assert await held(small, 3)
            assert not await held(admission.charge(0.01), 3), "the reserve has an end"
            assert not await held(small, 4), "it is small no more"
        with admission.charge(None) as again:
            assert await held(again, 3)
        assert [await one for one in waiting] == [False, False]
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        assert admission.in_hand == 0

    run(scenario())


def test_one_that_is_seen_to_leave_leaves_once() -> None:
    """Two that give up in one turn of the loop: the first lets those behind in, and meets the second there."""

    async def scenario() -> None:
        admission = Admission(budget=10)
        first = admission.charge(None)
        await first.hold(10)
        waiting = [asyncio.create_task(held(admission.charge(0.02), 5)) for _ in range(5)]
        assert [await one for one in waiting] == [False] * 5

    run(scenario())
