"""The benchmark runs: a table nobody can print proves nothing. Its figures are not judged here."""

from __future__ import annotations

import pytest

from tests.bench import answers, compare, decode, fixes, jaeger_json, large, mesh, paths, remote, store

PARTS = {
    "answers": answers,
    "compare": compare,
    "decode": decode,
    "fixes": fixes,
    "jaeger": jaeger_json,
    "large": large,
    "mesh": mesh,
    "paths": paths,
    "remote": remote,
    "store": store,
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_every_part_measures_something(part: object) -> None:
    figures = part.measure(4_000)  # type: ignore[attr-defined]  # modules share the name
    assert figures
    assert all(value > 0 for value in figures.values()), figures
