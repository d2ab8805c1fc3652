"""Each proof, short: `make prove` runs them long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prove.proofs import PROOFS
from tests.prove.rows import Row

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.mark.parametrize("name", PROOFS)
def test_a_promise_holds(tmp_path: Path, name: str) -> None:
    for row in PROOFS[name].run_short(tmp_path):
        assert row.holds, row


def test_a_row_that_tried_nothing_or_lost_anything_does_not_hold() -> None:
    def row(**found: object) -> Row:
        return Row(promise="", anchor="", tried="", **{"times": 1, **found})  # type: ignore[arg-type]

    assert row().holds
    assert not any(row(**found).holds for found in ({"times": 0}, {"lost": 1}, {"twice": 1}, {"broken": ("so",)}))
