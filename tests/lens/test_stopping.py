"""A question that nobody waits for any more ends, and is answered when it is asked again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import synthetic
from tracelens.lens import Lens, Question
from tracelens.stopping import look, stoppable
from tracelens.store import Store


class Left(BaseException):
    """Somebody closed the page."""


def after(looks: int) -> Callable[[], None]:
    """Return what ends work when it is called for the time after `looks`."""
    left = iter(range(looks))

    def asked() -> None:
        if next(left, None) is None:
            raise Left

    return asked


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("stopping") / "store"
    Store.open(path, create=True).append(synthetic(20_000), {"test": 1})
    return str(path)


@pytest.mark.parametrize("looks", [0, 1, 5])
def test_a_question_ends_where_it_stands_and_can_be_asked_again(stored: str, looks: int) -> None:
    lens = Lens.open(stored)
    with pytest.raises(Left), stoppable(after(looks)):
        lens.profile(Question(), None)
    assert lens.profile(Question(), None).rows.equals(Lens.open(stored).profile(Question(), None).rows)


def test_work_that_was_stopped_leaves_nobody_waiting(stored: str) -> None:
    """Locks are given back: another asks the same lens at once."""
    lens = Lens.open(stored)
    still = lens.still()
    with pytest.raises(Left), stoppable(after(1)):
        still.routes(Question())
    assert len(still.routes(Question()).rows) == len(lens.routes(Question()).rows)


def test_nobody_is_asked_outside_of_the_block() -> None:
    with stoppable(after(0)), pytest.raises(Left):
        look()
    look()


def test_a_dump_is_left_between_two_parts(tmp_path: Path) -> None:
    path = tmp_path / "spans.parquet"
    synthetic(20_000).write_parquet(path)
    lens = Lens.open(str(path))
    with pytest.raises(Left), stoppable(after(0)):
        lens.routes(Question())
    assert len(lens.routes(Question()).rows)
