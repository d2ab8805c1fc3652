"""Segments cut anywhere and with bits flipped anywhere: each costs the records it hits, and no other.

Every variant is a segment of a data directory that a real collector then
starts on; the store, what is set aside and what is said are looked at.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.ledger import request
from tests.prove.outside import compare
from tests.prove.rows import Row
from tests.running import up
from tracelens import wal
from tracelens.store import Store

RECORDS = 5  # a segment
SPANS = 2  # a record
RECEIVED = 1_700_000_000_000_000_000
ANCHOR = "tracelens/WAL.md: Recovery, Reading"


@dataclass(slots=True)
class Expected:
    """What must become of all the segments of a data directory."""

    stored: list[bytes] = field(default_factory=list)  # span ids
    gone: list[bytes] = field(default_factory=list)
    kept: list[bytes] = field(default_factory=list)  # bytes that must be set aside

    def record(self, ids: list[bytes], is_whole: bool) -> None:
        (self.stored if is_whole else self.gone).extend(ids)


@dataclass(frozen=True, slots=True)
class Whole:
    """A segment before anything happened to it."""

    data: bytes
    ends: list[int]  # of the header, then of each record
    ids: list[list[bytes]]  # of the spans of each record


def segment(folder: Path, number: int) -> Whole:
    """Return a sealed segment of records whose spans no other has; it is not left in the folder."""
    appender = wal.Appender(folder, 0, number, RECEIVED)
    ends, ids = [appender.size], []
    for n in range(RECORDS):
        body, spans = request(SPANS, "damage")
        appender.append([wal.encode(wal.Record(RECEIVED + n, wal.OTLP_PROTOBUF, "", body))])
        ends.append(appender.size)
        ids.append(spans)
    appender.close()
    data = appender.path.read_bytes()
    appender.path.unlink()
    return Whole(data, ends, ids)


def cuts(folder: Path, times: int) -> Row:
    """Cut a segment at every byte of its last two records, as a killed worker leaves it and as a broken disk does.

    times: of the whole series.
    """
    expected = Expected()
    log = _log(folder)
    number = 0
    for state in (wal.OPEN, wal.SEALED) * times:
        length, end = 0, 1
        while length < end:
            whole = segment(log, number)
            length, end = length or whole.ends[-3], whole.ends[-1]
            _put(log, number, state, whole.data[:length])
            for first, last, ids in zip(whole.ends, whole.ends[1:], whole.ids, strict=False):
                expected.record(ids, last <= length)
                if state == wal.SEALED and first < length < last:
                    expected.kept.append(whole.data[first:length])
            number += 1
            length += 1
    return _row(folder, expected, number, "a segment cut at each byte of its last two records, open and sealed")


def flips(folder: Path, times: int) -> Row:
    """Flip one bit in each of `times` segments, anywhere behind the header; and in each tenth more, in the header."""
    rng = random.Random(times)
    expected = Expected()
    log = _log(folder)
    in_header = max(times // 10, 1)
    for number in range(times + in_header):
        whole = segment(log, number)
        is_header = number >= times
        bit = rng.randrange(wal.HEADER_SIZE * 8) if is_header else rng.randrange(whole.ends[0] * 8, whole.ends[-1] * 8)
        broken = bytearray(whole.data)
        broken[bit // 8] ^= 1 << bit % 8
        _put(log, number, wal.SEALED, broken)
        for first, last, ids in zip(whole.ends, whole.ends[1:], whole.ids, strict=False):
            is_hit = is_header or first <= bit // 8 < last
            expected.record(ids, not is_hit)
            if is_hit and not is_header:
                expected.kept.append(bytes(broken[first:last]))
        if is_header:
            expected.kept.append(bytes(broken))
    tried = f"one bit flipped anywhere in a segment; {in_header:,} of them in the header, which costs the whole segment"
    return _row(folder, expected, times + in_header, tried)


def _log(folder: Path) -> Path:
    log = folder / "data" / "wal"
    log.mkdir(parents=True)
    return log


def _put(log: Path, number: int, state: str, data: bytes | bytearray) -> None:
    (log / wal.name(0, number, state)).write_bytes(data)


def _row(folder: Path, expected: Expected, times: int, tried: str) -> Row:
    """Start a collector on the prepared directory, let it drain, and look."""
    data = folder / "data"
    with _said(folder / "said") as said, up(data):
        pass
    found = compare(data / "store", expected.stored)
    stored = set(Store.open(data / "store").scan(columns=["span_id"]).collect()["span_id"].to_list())
    aside = sorted(path.read_bytes() for path in (data / "set-aside").iterdir())
    told = sum(wal.SEALED in line for line in said())
    faults: dict[str, Callable[[], bool]] = {
        "a damaged record was stored": lambda: not stored.isdisjoint(expected.gone),
        "not all damage was kept aside": lambda: aside != sorted(expected.kept),
        "not all damage was told": lambda: told != len(expected.kept),
        "segments are left": lambda: any((data / "wal").glob(f"*{wal.SEALED}")),
    }
    return Row(
        promise="damage in the log costs the record it hits, is told and kept aside",
        anchor=ANCHOR,
        tried=tried,
        times=times,
        lost=found.lost,
        twice=found.twice,
        broken=tuple(fault for fault, is_so in faults.items() if is_so()),
        told=f"{len(expected.stored):,} spans stored, {len(expected.kept):,} pieces kept aside, {told:,} told",
    )


@contextmanager
def _said(file: Path) -> Iterator[Callable[[], list[str]]]:
    """Have what programs started in the block say on standard error; gives it line by line."""
    sys.stderr.flush()
    before = os.dup(2)
    with file.open("wb") as out:
        os.dup2(out.fileno(), 2)
    try:
        yield lambda: file.read_text(errors="replace").splitlines()
    finally:
        os.dup2(before, 2)
        os.close(before)
