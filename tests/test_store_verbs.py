"""The verbs that care for a store: what they print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders import synthetic
from tests.running import tracelens
from tracelens.store import Store, hours

HOUR = 3_600 * 10**9
MONDAY = 1_767_571_200 * 10**9  # 2026-01-05T00:00:00Z


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory whose store has three hours of two files each."""
    store = Store.open(tmp_path / "store", create=True)
    for hour in range(3):
        for number in range(2):
            frame = synthetic(100, seed=2 * hour + number)
            store.append(frame, {f"{hour}": number}, arrived_unix_nano=MONDAY + hour * HOUR)
    return tmp_path


def said(*words: str) -> str:
    done = tracelens("store", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_info_tells_hours_before_and_after_compaction(data: Path) -> None:
    before = said("info", str(data)).splitlines()
    assert "600 spans" in before[0]
    assert "6 files" in before[0]
    assert [line.split()[0] for line in before[1:]] == ["2026-01-05T00", "2026-01-05T01", "2026-01-05T02"]
    assert all(line.endswith("2 files, as it came") for line in before[1:])
    assert "3 hours compacted: 600 spans in 6 files" in said("compact", str(data / "store"))
    told = json.loads(said("info", str(data), "--format", "json"))
    assert (told["spans"], told["files"]) == (600, 3)
    assert told["bytes_waiting"] > 0
    assert [hour["compacted"] for hour in told["hours"]] == [True] * 3
    assert "removed when nobody can be reading them" in said("info", str(data))
    assert "0 hours compacted" in said("compact", str(data))


def test_days_that_are_long_settled_are_put_in_one_file(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", create=True)
    for hour in (0, 1, 47):
        frame = synthetic(100, seed=hour)
        store.append(frame, {"test": hour}, arrived_unix_nano=MONDAY + hour * HOUR)
    assert "3 hours settled" in said("settle", str(tmp_path))
    assert said("compact", str(tmp_path)).splitlines()[1] == "1 day of rollups: 14 files, now 7"
    assert len(said("compact", str(tmp_path)).splitlines()) == 1


def test_retain_says_first_and_then_does(data: Path) -> None:
    asked = ("retain", str(data), "--age", "2h")
    assert "1 hour, 200 spans" in said(*asked, "--dry-run")
    assert len(hours(Store.open(data / "store"))) == 3
    assert "2026-01-05T00" in said(*asked)
    assert len(hours(Store.open(data / "store"))) == 2
    assert "0 hours, 0 spans" in said(*asked)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("retain",), "--age, --size, or both"),
        (("retain", "--age", "1m"), "kept by the hour"),
        (("retain", "--size", "all"), "no size"),
        (("info", "--format", "csv"), "text or json"),
    ],
)
def test_what_makes_no_sense_is_refused(data: Path, words: tuple[str, ...], why: str) -> None:
    done = tracelens("store", words[0], str(data), *words[1:])
    assert done.returncode == 2
    assert why in done.stderr.decode()


def test_where_no_store_is_that_is_told(tmp_path: Path) -> None:
    for verb in ("info", "compact"):
        done = tracelens("store", verb, str(tmp_path))
        assert done.returncode == 3
        assert b"no store is here" in done.stderr
