"""How much memory there is, as control groups of both versions say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector import memory
from collector.admission import BUDGET_BYTES
from tracelens.wal import MAX_BODY

GIB = 1 << 30
CASES = {
    "version 2, a group of its own": ("0::/a/b", {"a/b/memory.max": "1073741824", "a/memory.max": "max"}, GIB),
    "version 2, the limit of a group above": ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "1073741824"}, GIB),
    "version 2, in a container": ("0::/", {"memory.max": "1073741824"}, GIB),
    "version 2, in a container that tells the host's path": ("0::/x/y", {"memory.max": "1073741824"}, GIB),
    "version 1": ("4:cpu:/\n3:memory:/a", {"memory/a/memory.limit_in_bytes": "1073741824"}, GIB),
    "version 1, of another controller": ("4:cpu:/a", {"memory/a/memory.limit_in_bytes": "1073741824"}, None),
    "no limit": ("0::/a", {"a/memory.max": "max"}, None),
}


@pytest.mark.parametrize("case", [*CASES])
def test_the_limit_is_the_least_of_all(tmp_path: Path, case: str) -> None:
    groups, files, wanted = CASES[case]
    (tmp_path / "groups").write_text(groups + "\n")
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text + "\n")
    machine = memory.limit(tmp_path / "nothing")
    assert memory.limit(tmp_path / "groups", tmp_path / "root") == (wanted or machine)


def test_workers_share_little_memory_and_any_takes_the_largest_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "limit", lambda: GIB)
    assert [memory.budget(workers) >> 20 for workers in (1, 2, 8)] == [128, 64, 64]
    monkeypatch.setattr(memory, "limit", lambda: 64 * GIB)
    assert memory.budget(2) == BUDGET_BYTES > MAX_BODY
