"""Telemetry: the collector's own counters, kept by several processes in one folder.

Owns their names, and the files they are counted in: those of prometheus_client's
multiprocess mode, which `tracelens.api` reads. They are written here without
that library, for a request costs some 60 µs in all and a count may cost little
of it: a count is one addition and eight bytes of mapped memory, so that nothing
is lost with a process that is killed.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import shutil
import struct
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

LOG = logging.getLogger(__name__)
MAX_SERVICES = 100  # that are told by name; the others are `other`
MAX_NAME = 100  # characters of a service's name
NAMESPACE = "tracelens_collector"
SYNC_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)
LAG_BUCKETS = (0.5, 1, 2, 3, 5, 10, 30, 60, 300, 900)

# Why requests are refused: shown as 0 before the first, for an alert sees a step from 0 and none from nothing.
REASONS = ("overloaded", "disk", "stopping", "internal", "undecodable", "too_large", "gone", "not_spans")

# Name, what it counts, and by which labels.
COUNTERS = {
    "accepted_spans": ("Spans that were acknowledged: they are on disk.", ("door", "format")),
    "accepted_requests": ("Requests that were acknowledged.", ("door", "format")),
    "accepted_bytes": ("Bytes of these requests, as OTLP protobuf.", ("door", "format")),
    "rejected_spans": ("Spans that were refused out of a request that was acknowledged.", ("door",)),
    "refused_requests": ("Requests that were answered with an error.", ("door", "reason")),
    "resent_requests": ("Requests that had come before, and were not stored again.", ()),
    "stored_spans": ("Spans that were committed to the store.", ()),
    "repaired_spans": ("Spans that were mended, by mark; a span may have several.", ("mark",)),
    "failed_commits": ("Commits that the store did not take; they are tried again.", ()),
    "set_aside_records": ("Records that are damaged or cannot be decoded, kept aside.", ()),
    "clock_far_off_spans": ("Spans of services whose clock is far off, or whose spans come late.", ("service",)),
}
# Name, what it says, and how those of several processes become one.
GAUGES = {
    "in_hand_bytes": ("Bytes of requests that are not answered yet.", "livesum"),
    "wal_waiting_bytes": ("Bytes of the log that are not in the store yet.", "livemax"),
    "wal_oldest_seconds": ("Time since the oldest segment of the log was last written to.", "livemax"),
}
GAUGE_MODES = ("livesum", "livemax")
HISTOGRAMS = {
    "wal_sync_seconds": ("Time that a write to the log took until it was on disk.", SYNC_BUCKETS),
    "commit_seconds": ("Time from reading segments until they were committed.", LAG_BUCKETS),
    "lag_seconds": ("Time from the receipt of a commit's oldest request until it was stored.", LAG_BUCKETS),
}

# A file is set apart on disk as a whole when it is made: a page of mapped memory that the disk has no room for ends
# the process. The sizes hold all that the labels above can make, 1.5 kB a service at the worst.
COUNTER_BYTES = 256 << 10
OTHER_BYTES = 16 << 10
COUNT = struct.Struct("<i")
VALUE = struct.Struct("<d")

Stop = Callable[[], None]


def clean(folder: Path) -> None:
    """Begin anew: counters count from the start of a collector."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def bury(folder: Path, process: int) -> None:
    """Forget the gauges of a process that has ended; its counts stay."""
    for path in folder.glob(f"gauge_*_{process}.db"):
        path.unlink(missing_ok=True)


def start(folder: Path, part: str | None = None, doors: Iterable[str] = ()) -> Telemetry:
    """Return what this process counts with.

    part: whose counts these are; one that is started again goes on with them, so that a part which dies again and
    again leaves no file each time. doors: those whose refusals are shown before there are any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = str(os.getpid()) if part is None else part.replace(" ", "-")
    return Telemetry(folder, name, doors)


class Telemetry:
    """Counters, gauges and histograms of one part."""

    def __init__(self, folder: Path, part: str, doors: Iterable[str]) -> None:
        counters = _File(folder / f"counter_{part}.db", COUNTER_BYTES)
        histograms = _File(folder / f"histogram_{part}.db", OTHER_BYTES)
        self._counters = {name: _Family(counters, name, *words) for name, words in COUNTERS.items()}
        self._histograms = {name: _Histogram(histograms, name, *words) for name, words in HISTOGRAMS.items()}
        gauges = {mode: _File(folder / f"gauge_{mode}_{os.getpid()}.db", OTHER_BYTES) for mode in GAUGE_MODES}
        self._gauges = [gauges[mode].value(_key(name, "", {}, words)) for name, (words, mode) in GAUGES.items()]
        self._accepted: dict[tuple[str, str], tuple[_Value, _Value, _Value]] = {}
        self._services: set[str] = set()
        for name, (_, labels) in COUNTERS.items():
            if not labels:
                self._counters[name].of()
        for door in doors:
            self._counters["rejected_spans"].of(door)
            for reason in REASONS:
                self._counters["refused_requests"].of(door, reason)

    def accepted(self, door: str, form: str, spans: int, size: int) -> None:
        """Count a request that was acknowledged."""
        found = self._accepted.get((door, form))
        if found is None:
            of = self._counters
            found = self._accepted[door, form] = (
                of["accepted_spans"].of(door, form),
                of["accepted_requests"].of(door, form),
                of["accepted_bytes"].of(door, form),
            )
        found[0].add(spans)
        found[1].add(1)
        found[2].add(size)

    def rejected(self, door: str, spans: int) -> None:
        """Count spans of which a sender was told that they are not taken."""
        self._counters["rejected_spans"].of(door).add(spans)

    def refused(self, door: str, reason: str) -> None:
        """Count a request that was not taken."""
        self._counters["refused_requests"].of(door, reason).add(1)

    def synced(self, seconds: float) -> None:
        """Tell how long one write to the log took until it was on disk."""
        self._histograms["wal_sync_seconds"].observe(seconds)

    def state(self, in_hand: int, waiting: int, oldest_seconds: float) -> None:
        """Tell how much is in hand, and how much waits for the store and since when."""
        for gauge, value in zip(self._gauges, (in_hand, waiting, oldest_seconds), strict=True):
            gauge.set(value)

    def committed(self, spans: int, seconds: float, lag_seconds: float) -> None:
        """Count a commit."""
        self._counters["stored_spans"].of().add(spans)
        self._histograms["commit_seconds"].observe(seconds)
        self._histograms["lag_seconds"].observe(lag_seconds)

    def commit_failed(self) -> None:
        """Count a commit that the store did not take."""
        self._counters["failed_commits"].of().add(1)

    def resent(self, requests: int) -> None:
        """Count requests that had come before."""
        self._counters["resent_requests"].of().add(requests)

    def repaired(self, marks: Mapping[str, int]) -> None:
        """Count repaired spans by mark."""
        for mark, spans in marks.items():
            self._counters["repaired_spans"].of(mark).add(spans)

    def set_aside(self) -> None:
        """Count a record, or a stretch of damage, that was kept aside."""
        self._counters["set_aside_records"].of().add(1)

    def clock_far_off(self, service: str, spans: int) -> None:
        """Count spans of a service whose clock is far off; its name is hostile text."""
        name = "".join(letter if letter.isprintable() else "\ufffd" for letter in service[:MAX_NAME])
        if name not in self._services:
            if len(self._services) >= MAX_SERVICES:
                name = "other"
            else:
                self._services.add(name)
        self._counters["clock_far_off_spans"].of(name).add(spans)


class _Family:
    """A counter, by its labels."""

    def __init__(self, file: _File, name: str, words: str, labels: Sequence[str]) -> None:
        self._file, self._name, self._words, self._labels = file, name, words, labels
        self._values: dict[tuple[str, ...], _Value] = {}

    def of(self, *labels: str) -> _Value:
        """Return the count of these labels' values."""
        value = self._values.get(labels)
        if value is None:
            named = dict(zip(self._labels, labels, strict=True))
            value = self._values[labels] = self._file.value(_key(self._name, "_total", named, self._words))
        return value


class _Histogram:
    """How often a value was at most so much."""

    def __init__(self, file: _File, name: str, words: str, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._sum = file.value(_key(name, "_sum", {}, words))
        limits = [*map(repr, map(float, bounds)), "+Inf"]
        self._counts = [file.value(_key(name, "_bucket", {"le": limit}, words)) for limit in limits]

    def observe(self, value: float) -> None:
        self._sum.add(value)
        self._counts[bisect_left(self._bounds, value)].add(1)


class _Value:
    """A number that is written where the readers look for it."""

    __slots__ = ("_at", "_lock", "_map", "_now")

    def __init__(self, mapped: mmap.mmap | bytearray, at: int, lock: threading.Lock) -> None:
        self._map, self._at, self._lock = mapped, at, lock
        (self._now,) = VALUE.unpack_from(mapped, at)

    def add(self, more: float) -> None:
        with self._lock:
            self._now += more
            self._map[self._at : self._at + 8] = VALUE.pack(self._now)  # pack_into writes zeros first

    def set(self, value: float) -> None:
        with self._lock:
            self._now = value
            self._map[self._at : self._at + 8] = VALUE.pack(value)


class _File:
    """Values of one kind, of one part.

    Layout, as prometheus_client.mmap_dict has it: bytes used (int32, then four
    of padding), and for each value the length of its key (int32), the key, one
    to eight spaces so that what follows is aligned, the value and a time
    (doubles); a value's time is 0.
    """

    def __init__(self, path: Path, size: int) -> None:
        """Open it, with what is in it; where that cannot be, count in memory only: spans are still taken."""
        self._lock = threading.Lock()
        self._places: dict[str, int] = {}
        self._used = 8
        self._map: mmap.mmap | bytearray
        try:
            self._map = _mapped(path, size)
            self._read()
        except OSError as error:
            LOG.error("%s cannot be made: %s; what it would count is not shown", path, error)
            self._map = bytearray(size)
        except (ValueError, struct.error) as error:
            LOG.error("%s is damaged: %s; its counts begin anew", path, error)
            self._map[:], self._places, self._used = bytes(size), {}, 8
        self._map[:4] = COUNT.pack(self._used)

    def value(self, key: str) -> _Value:
        """Return the value of a key, 0 when it is new."""
        with self._lock:
            if key not in self._places:
                encoded = key.encode()
                entry = COUNT.pack(len(encoded)) + encoded.ljust(_padded(len(encoded))) + bytes(16)
                end = self._used + len(entry)
                if end > len(self._map):
                    return _Value(bytearray(8), 0, self._lock)  # counted, not shown: the sizes above say why it is not
                self._map[self._used : end] = entry
                self._map[:4] = COUNT.pack(end)  # behind the entry: readers look no further than this
                self._places[key], self._used = end - 16, end
            return _Value(self._map, self._places[key], self._lock)

    def _read(self) -> None:
        """Find the values that a predecessor left. Raises ValueError and struct.error when the file is damaged."""
        (used,) = COUNT.unpack_from(self._map, 0)
        while self._used < used:
            (length,) = COUNT.unpack_from(self._map, self._used)
            begin = self._used + 4
            end = begin + _padded(length) + 16
            if length <= 0 or end > used:
                raise ValueError(f"byte {self._used}: not an entry")
            self._places[self._map[begin : begin + length].decode()] = end - 16
            self._used = end


def _padded(length: int) -> int:
    """Return the length of a key with its spaces: at least one."""
    return length + 8 - (length + 4) % 8


def _mapped(path: Path, size: int) -> mmap.mmap:
    """Return a file's memory. Raises OSError when the disk has no room for all of it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


def _key(name: str, suffix: str, labels: Mapping[str, str], words: str) -> str:
    """Return the key under which readers find a value: its metric, its own name, labels and help."""
    full = f"{NAMESPACE}_{name}"
    return json.dumps([full, full + suffix, labels, words], sort_keys=True)
