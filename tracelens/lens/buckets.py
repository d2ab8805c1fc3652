"""Spans of a source that memory does not hold, on disk in buckets by trace.

Owns the files: spans of one trace are in one bucket, and neighbouring buckets
are read together. What is filled is told by a file that is written last, so
that an attempt cut short is begun again, and one that was not is used again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

import orjson
import polars as pl

from tracelens.lens.sources import Description, Loaded
from tracelens.spans import concat

BUCKETS = 256
FLUSH_BYTES = 256 << 20  # held before they are written; sorting holds them several times
UNIT_BYTES = 100 << 20  # looked at together: linking and naming take several times that
UNIT_SPANS = 500_000  # at most
FILLED = "filled.json"

Told = Callable[[str, int, int | None], None]  # what is under way, how much is done, and of how much if that is known


@dataclass(frozen=True, slots=True)
class Unit:
    """Buckets that are looked at together."""

    number: int
    first: int
    last: int  # included


@dataclass(frozen=True, slots=True)
class Buckets:
    """Spans on disk: in each file by bucket."""

    folder: Path
    files: tuple[tuple[str, tuple[int, ...]], ...]  # name, and how many spans of each bucket it holds
    size: int  # bytes in memory, about
    first_nano: int | None  # the earliest start
    last_nano: int | None  # the latest end
    rejected: int
    losses: tuple[str, ...]
    described: Description

    @property
    def sizes(self) -> list[int]:
        """How many spans each bucket has."""
        return [sum(column) for column in zip(*(counts for _, counts in self.files), strict=True)] or [0] * BUCKETS

    def units(self) -> list[Unit]:
        """Return neighbouring buckets of some UNIT_BYTES together; one at least."""
        sizes = self.sizes
        a_span = max(self.size / max(sum(sizes), 1), 1)
        enough = min(UNIT_BYTES / a_span, UNIT_SPANS)
        found: list[Unit] = []
        first = held = 0
        for bucket, size in enumerate(sizes):
            held += size
            if held >= enough or bucket == BUCKETS - 1:
                if held or not found:
                    found.append(Unit(len(found), first, bucket))
                first, held = bucket + 1, 0
        return found

    def spans(self, unit: Unit, wanted: pl.Expr | None = None) -> pl.DataFrame:
        """Return the spans of a unit; wanted: those of them for which it holds."""
        parts = []
        for name, counts in self.files:
            begins = [0, *accumulate(counts)]
            offset, end = begins[unit.first], begins[unit.last + 1]
            part = pl.scan_parquet(self.folder / name, glob=False).slice(offset, end - offset)
            parts.append(part if wanted is None else part.filter(wanted))
        frames = pl.collect_all(parts)
        return concat([frame for frame in frames if len(frame)] or frames[:1])


def fill(folder: Path, source: Iterable[Loaded], described: Callable[[], Description], key: str, told: Told) -> Buckets:
    """Return the spans of a source in buckets; those of an attempt before, if that came to its end.

    described: what the source is, asked when all has been read. key: tells this source from others, and from itself
    when it was another.
    """
    if (found := _filled(folder, key)) is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    files: list[tuple[str, tuple[int, ...]]] = []
    held: list[pl.DataFrame] = []
    rejected = read = size = waiting = 0
    losses: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for part in source:
        rejected += part.rejected
        losses.extend(part.losses)
        read += len(part.spans)
        if len(part.spans):
            held.append(part.spans)
            starts.append(part.spans["start_time_unix_nano"].min())  # type: ignore[arg-type]  # Int64
            ends.append(part.spans["end_time_unix_nano"].max())  # type: ignore[arg-type]  # Int64
            waiting += int(part.spans.estimated_size())
        if waiting >= FLUSH_BYTES:
            size += waiting
            files.append(_flushed(folder / f"spans-{len(files):05}.parquet", held))
            waiting = 0
        told("sorting spans by trace", read, None)
    if held or not files:
        size += waiting
        files.append(_flushed(folder / f"spans-{len(files):05}.parquet", held))
    buckets = Buckets(
        folder, tuple(files), size, min(starts, default=None), max(ends, default=None), rejected, tuple(losses),
        described(),
    )  # fmt: skip
    write(folder / FILLED, orjson.dumps({"key": key, **asdict(buckets), "folder": None}))
    return buckets


def _flushed(file: Path, held: list[pl.DataFrame]) -> tuple[str, tuple[int, ...]]:
    """Write spans by bucket, and let go of them."""
    spans = concat(held).with_columns(bucket=(pl.col("trace_id").hash(0) % BUCKETS).cast(pl.UInt8))
    held.clear()
    spans = spans.sort("bucket", maintain_order=True)
    counted = dict(spans["bucket"].value_counts().iter_rows())
    # A few row groups a unit: others are skipped.
    spans.drop("bucket").write_parquet(
        file, compression="lz4", row_group_size=max(len(spans) // (BUCKETS // 2), 10_000), statistics=False
    )
    return file.name, tuple(counted.get(bucket, 0) for bucket in range(BUCKETS))


def _filled(folder: Path, key: str) -> Buckets | None:
    """Return what an attempt before has filled; None when it did not end, or was another source's."""
    try:
        told = orjson.loads((folder / FILLED).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    if told.pop("key") != key:
        return None
    files = tuple((name, tuple(counts)) for name, counts in told["files"])
    return Buckets(
        **{**told, "folder": folder, "files": files, "losses": tuple(told["losses"])}
        | {"described": Description(**told["described"])}
    )


def write(file: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all."""
    draft = file.with_suffix(".draft")
    draft.write_bytes(data)
    os.replace(draft, file)  # noqa: PTH105  # pathlib's would do the same
