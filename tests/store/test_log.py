"""The store's log after a power cut: a half-written end is set aside, and what is told as stored is on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.builders import trace
from tracelens.errors import StoreError
from tracelens.store import Store
from tracelens.store import table as table_module

DRAWN = """
    web |------|
"""


def filled(path: Path, commits: int) -> list[Path]:
    """Return the commits of a new store, the first being the table's own."""
    store = Store.open(path, create=True)
    for number in range(commits):
        store.append(trace(DRAWN), {"a": number})
    return sorted((path / "_delta_log").glob("*.json"))


@pytest.mark.parametrize("keep", [0, 1, 300, -1])
def test_a_torn_last_commit_is_set_aside_and_made_again(tmp_path: Path, keep: int) -> None:
    last = filled(tmp_path, 3)[-1]
    last.write_bytes(last.read_bytes()[:keep])
    store = Store.open(tmp_path, create=True)
    assert (store.version(), store.span_count(), store.committed("a")) == (2, 2, 1)
    assert store.append(trace(DRAWN), {"a": 2})
    assert (store.version(), store.span_count()) == (3, 3)
    assert last.with_name(f"{last.name}.torn").exists()


def test_zeros_where_the_last_commits_were_are_set_aside(tmp_path: Path) -> None:
    for commit in filled(tmp_path, 3)[-2:]:
        commit.write_bytes(b"\0" * commit.stat().st_size)
    assert Store.open(tmp_path, create=True).version() == 1


def test_a_store_whose_making_was_cut_is_made(tmp_path: Path) -> None:
    filled(tmp_path, 0)[0].write_bytes(b"")
    store = Store.open(tmp_path, create=True)
    assert store.append(trace(DRAWN), {"a": 0})
    assert store.span_count() == 1


def test_damage_that_is_no_torn_end_stays_and_is_told(tmp_path: Path) -> None:
    """Else one bad byte would take all later commits with it."""
    commits = filled(tmp_path, 3)
    commits[1].write_bytes(commits[1].read_bytes()[:100])
    with pytest.raises(StoreError, match="_delta_log"):
        Store.open(tmp_path, create=True)
    assert all(commit.exists() for commit in commits)


@pytest.mark.parametrize("keep", [0, 100])
def test_a_torn_checkpoint_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int) -> None:
    monkeypatch.setattr(table_module, "CHECKPOINT_EVERY", 5)
    filled(tmp_path, 7)
    (checkpoint,) = (tmp_path / "_delta_log").glob("*.checkpoint.parquet")
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    store = Store.open(tmp_path, create=True)
    assert (store.version(), store.span_count(), store.committed("a")) == (7, 7, 6)


def test_what_another_process_committed_is_synced_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been killed before its own sync, and who asks removes the segments."""
    last = filled(tmp_path, 2)[-1]
    store = Store(tmp_path)
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink()))
    assert store.committed("a") == 1
    assert {last, last.parent} <= set(synced)
    synced.clear()
    assert not Store(tmp_path).append(trace(DRAWN), {"a": 1})
    assert last in synced
