"""Work shared out: all of it is done, in order, and has ended when it is said to have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tracelens import threads


@pytest.fixture(autouse=True)
def _processors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    threads._pool.cache_clear()  # it may have been made for fewer
    yield
    threads._pool.cache_clear()


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 50])
def test_results_stand_in_the_order_of_the_calls(calls: int) -> None:
    assert threads.each(lambda a, b: a - b, [(10 * i, i) for i in range(calls)]) == [9 * i for i in range(calls)]


def test_two_are_under_way_at_once() -> None:
    """Each waits for the other."""
    both = threading.Barrier(2, timeout=10)
    assert sorted(threads.each(lambda _: both.wait(), [(0,), (1,)])) == [0, 1]


def here() -> str:
    return threading.current_thread().name


def test_whoever_has_nothing_to_do_takes_of_work_that_is_shared_out_within() -> None:
    """Two calls within one wait for each other: another thread has to come for the second."""
    both = threading.Barrier(2, timeout=10)

    def outer(calls: int) -> list[int]:
        return sorted(threads.each(lambda _: both.wait(), [(i,) for i in range(calls)]))

    assert threads.each(outer, [(2,), (0,), (0,)]) == [[0, 1], [], []]


def test_nobody_waits_for_those_who_wait_themselves() -> None:
    """All of the pool asks for helpers at once, three deep, and nobody is left to help."""
    every = threading.Barrier(3, timeout=10)

    def outer(_: int) -> int:
        every.wait()
        return sum(threads.each(middle, [(i,) for i in range(20)]))

    def middle(i: int) -> int:
        return sum(threads.each(lambda j: i * j, [(j,) for j in range(20)]))

    assert threads.each(outer, [(0,), (1,), (2,)]) == [190 * 190] * 3


def fails_first(ended: list[int]) -> Callable[[int], None]:
    """Work whose first call fails while the second is under way."""
    both = threading.Barrier(2, timeout=10)
    failed = threading.Event()

    def work(i: int) -> None:
        if i < 2:
            both.wait()
        if i == 0:
            failed.set()
            raise ValueError("the first")
        failed.wait(10)
        ended.append(i)

    return work


def test_an_error_is_raised_when_all_else_has_ended() -> None:
    ended: list[int] = []
    with pytest.raises(ValueError, match="the first"):
        threads.each(fails_first(ended), [(0,), (1,)])
    assert ended == [1]
    assert threads.each(here, [(), ()])  # and the next is done as ever


def test_others_do_not_wait_behind_work_that_is_shared_out() -> None:
    """Several threads ask at once, as units of a large answer do."""
    found: list[list[int]] = []

    def ask() -> None:
        found.append(threads.each(lambda i: i, [(i,) for i in range(200)]))

    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(20)
    assert found == [list(range(200))] * 8


def test_what_is_begun_is_done_once() -> None:
    """Whoever comes first, and however many ask."""
    done: list[str] = []
    begun = threads.Soon(lambda: done.append(here()) or len(done))
    assert threads.each(begun.get, [()] * 5) == [1] * 5
    assert len(done) == 1


def test_what_fails_is_tried_again_by_the_next_who_asks() -> None:
    tried: list[int] = []

    def work() -> int:
        tried.append(1)
        if len(tried) < 3:
            raise ValueError("not yet")
        return 7

    begun = threads.Soon(work)
    found = None
    for _ in range(3):  # of which one may be the thread's
        try:
            found = begun.get()
        except ValueError:
            continue
    assert found == begun.get() == 7
    assert len(tried) == 3


def test_without_a_thread_to_spare_it_is_done_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    done: list[str] = []
    begun = threads.Soon(lambda: done.append(here()))
    assert not done
    begun.get()
    assert done == [here()]
