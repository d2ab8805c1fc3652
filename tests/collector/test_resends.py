"""Requests that come a second time are known for ten minutes, across restarts."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from collector.resends import KEPT_NANO, Resends
from tracelens.wal import OTLP_PROTOBUF, Record

MINUTE = 60 * 10**9
STEP = 61 * 10**9  # ten minutes are no multiple of it: what is known to the nanosecond matters to nobody
NOW = 1_000 * MINUTE


def record(body: bytes, received: int = NOW, tenant: str = "") -> Record:
    return Record(received, OTLP_PROTOBUF, tenant, body)


def commit(resends: Resends, number: int, *records: Record, now: int = NOW) -> list[bool]:
    """Take a batch as the writer does; return which requests were new."""
    first, digests = resends.fresh(records)
    resends.committed(resends.write({0: number}, digests), digests, now)
    return [bool(one) for one in first]


def test_a_request_is_known_when_it_comes_again(tmp_path: Path) -> None:
    resends = Resends(tmp_path, 7, {})
    assert commit(resends, 0, record(b"a"), record(b"b"), record(b"a")) == [True, True, False]
    assert commit(resends, 1, record(b"b"), record(b"c")) == [False, True]
    assert commit(resends, 2, record(b"a", tenant="other"), record(b"", tenant="a")) == [True, True]


def test_it_is_known_for_ten_minutes_and_forgotten_after(tmp_path: Path) -> None:
    resends = Resends(tmp_path, 7, {})
    commit(resends, 0, record(b"a"))
    assert commit(resends, 1, record(b"a", NOW + KEPT_NANO - 1)) == [False]
    late = NOW + KEPT_NANO
    assert commit(resends, 2, record(b"a", late), now=late) == [True]
    much_later = late + KEPT_NANO + 2 * MINUTE
    commit(resends, 3, record(b"z", much_later), now=much_later)
    assert len(resends) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_restart_forgets_nothing_that_was_committed_and_all_that_was_not(tmp_path: Path) -> None:
    resends = Resends(tmp_path, 7, {})
    commit(resends, 4, record(b"a"))
    _, digests = resends.fresh([record(b"b")])
    resends.write({0: 5}, digests)  # and killed before the commit
    again = Resends(tmp_path, 7, {0: 4})
    assert commit(again, 5, record(b"a"), record(b"b")) == [False, True]


def test_a_file_that_is_none_of_ours_is_removed(tmp_path: Path) -> None:
    (tmp_path / "000.000000000001.seen").write_bytes(b"rubbish")
    assert len(Resends(tmp_path, 7, {})) == 0
    assert not list(tmp_path.iterdir())


@given(st.lists(st.lists(st.tuples(st.binary(max_size=1), st.integers(0, 15)), max_size=6), max_size=12))
def test_it_is_what_a_dictionary_would_tell(batches: list[list[tuple[bytes, int]]]) -> None:
    """Against plain Python; times within fifteen minutes, batches in their order."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        resends = Resends(Path(folder), 7, {})
        kept: dict[bytes, list[int]] = {}
        for number, batch in enumerate(batches):
            records = [record(body, NOW + number * STEP + late) for body, late in batch]
            expected = []
            for body, received in sorted((one.body, one.received_unix_nano) for one in records):
                known = any(abs(received - before) < KEPT_NANO for before in kept.get(body, ()))
                expected.append((body, received, not known))
                if not known:
                    kept.setdefault(body, []).append(received)
            found = commit(resends, number, *records, now=NOW + number * STEP)
            told = sorted(zip((r.body for r in records), (r.received_unix_nano for r in records), found, strict=True))
            assert sorted(told) == sorted(expected)
