"""What people keep in a store: there whole, beside its spans, and never two's changes mixed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.builders import synthetic
from tests.s3 import environment, serving
from tracelens.errors import StoreError
from tracelens.lens import Lens, Shelf
from tracelens.lens.sources import DumpSource
from tracelens.store import Retention, Store, compact, retain
from tracelens.store.fold import sweep
from tracelens.store.shelf import Changed, Folder, Memory, shelf_of
from tracelens.verify import verify


def keeps(shelf: Shelf) -> None:
    """Names, reading, taking the place of what is known, refusing that of what is not, removal."""
    assert shelf.names() == []
    assert shelf.read("mine") is None
    shelf.write("mine", "title = 'ä'\n", before=None)
    shelf.write("another", "x", before=None)
    assert shelf.names() == ["another", "mine"]
    assert shelf.read("mine") == "title = 'ä'\n"
    with pytest.raises(Changed, match="choose another name"):
        shelf.write("mine", "y", before=None)
    shelf.write("mine", "z", before="title = 'ä'\n")
    with pytest.raises(Changed, match="by somebody else meanwhile"):
        shelf.write("mine", "y", before="title = 'ä'\n")
    assert shelf.read("mine") == "z"
    for name in ("../x", "a/b", "A", "", ".hidden", "x" * 90):
        with pytest.raises(StoreError, match="no name of a file"):
            shelf.write(name, "x", before=None)
    with pytest.raises(StoreError, match="larger than"):
        shelf.write("large", "x" * 2_000_000, before=None)
    shelf.remove("mine")
    shelf.remove("mine")
    assert shelf.names() == ["another"]


def test_a_folder_keeps_texts(tmp_path: Path) -> None:
    keeps(shelf_of(tmp_path, "boards"))


def test_a_dump_keeps_them_as_long_as_its_lens(tmp_path: Path) -> None:
    keeps(Memory())
    lens = Lens(DumpSource(str(tmp_path / "none.jsonl")))
    lens.shelf("boards").write("mine", "x", before=None)
    assert lens.still().shelf("boards").read("mine") == "x"
    assert lens.shelf("views").names() == []


def test_object_storage_keeps_texts() -> None:
    with serving() as started, environment(started) as server:
        keeps(shelf_of(f"{server.bucket('shelf')}/store", "boards"))
        server.fault("denied")
        with pytest.raises(StoreError, match="s3://shelf/store"):
            shelf_of("s3://shelf/store", "boards").names()


def test_of_many_who_write_at_once_one_wins(tmp_path: Path) -> None:
    Folder(tmp_path).write("mine", "0", before=None)
    won: list[int] = []

    def change(number: int) -> None:
        try:
            Folder(tmp_path).write("mine", str(number), before="0")
        except Changed:
            return
        won.append(number)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(1, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert Folder(tmp_path).read("mine") == str(won[0])
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".draft"] == []


def test_maintenance_leaves_it_alone(tmp_path: Path) -> None:
    """Neither retention nor compaction nor verification takes it for a stray file."""
    store = Store.open(tmp_path / "store", create=True)
    store.append(synthetic(1_000), {"test": 1}, arrived_unix_nano=10**18)
    lens = Lens.open(str(store.path))
    lens.shelf("boards").write("mine", "x", before=None)
    compact(store, everything=True)
    retain(store, Retention(age_seconds=3_600.0), now_seconds=1e9 + 60)
    sweep(store, grace_seconds=0.0, stray_seconds=0.0)
    assert [check.what for check in verify(str(store.path)) if check.wrong] == []
    assert lens.shelf("boards").read("mine") == "x"


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "_boards").write_text("in the way")
    with pytest.raises(StoreError, match="May the dashboard write there"):
        shelf_of(tmp_path, "boards").write("mine", "x", before=None)
