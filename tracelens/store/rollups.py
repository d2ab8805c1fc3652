"""Rollups at rest: Delta tables of sums beside the spans, one commit of each an hour.

Owns their files and commits. Which rows there are is the caller's; each table
says by its application transaction up to which hour of arrival it has them, so
that an hour is in it once, whoever makes it and however often it is tried. Files
of a day's hours are replaced by one that says the same in one commit, or not at all.
"""

from __future__ import annotations

import copy
import json
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from tracelens.errors import StoreError
from tracelens.store.places import Place, Swept
from tracelens.store.table import CHECKPOINT_EVERY, CONFIGURATION, RACES

FOLDER = "_rollups"  # readers of Delta pass over what begins so
ARRIVED = "arrived"  # the hour of arrival its rows were made of, as a partition
LEVEL = 9  # of zstd: written once, read for years
ROW_GROUP = 50_000
APPLICATION = "settle"
START = "start_unix_nano"
HOUR_FILE, DAY_FILE = "part", "day"  # how the names of files begin


@dataclass(frozen=True, slots=True)
class Part:
    """A file of rollup rows."""

    path: str  # relative to the table
    arrived: str  # of a day, the last hour that is in it
    rows: int
    size: int
    first_nano: int
    last_nano: int

    @property
    def is_of_a_day(self) -> bool:
        """Whether it holds the rows of several hours of arrival, of one day."""
        return f"/{DAY_FILE}-" in self.path


class Rollup:
    """One table of rollup rows, each with a `start_unix_nano`."""

    def __init__(self, store: Place, name: str, schema: pl.Schema, group: int = ROW_GROUP) -> None:
        """group: how many rows of a file can be read without the others."""
        self.name, self.schema, self.group = name, schema, group
        self.place = store.below(f"{FOLDER}/{name}", ARRIVED)
        self._is_there = False
        self._is_mended = False
        self._listed: tuple[int, list[Part]] | None = None
        self._table: DeltaTable | None = None
        self._stamp: int | None = None  # of the version it is at
        self._still: tuple[int, list[Part]] | None = None  # what `settled` and `parts` say from then on

    def exists(self) -> bool:
        """Whether anything was ever put into it."""
        self._is_there = self._is_there or self.place.has_log()  # asked once: a table does not go
        return self._is_there

    def still(self) -> Rollup:
        """Return the table as it is now: what is added to it, replaced or let go of later is not seen by readers.

        Its files are there for as long as removal leaves them to those who read them.
        """
        found = copy.copy(self)
        if not self.exists():
            found._still = -1, []
        elif self._still is None:
            table = self._current()
            found._still = _settled(table), self._active(table)
        return found

    def settled(self) -> int:
        """Return the number of the last hour of arrival that it holds, hours since 1970; -1 for none."""
        if self._still is not None:
            return self._still[0]
        return _settled(self._current()) if self.exists() else -1

    def parts(self) -> list[Part]:
        """Return the active files, those of the earliest arrival first."""
        if self._still is not None:
            return self._still[1]
        if not self.exists():
            return []
        return self._active(self._current())

    def _active(self, table: DeltaTable) -> list[Part]:
        if self._listed is None or self._listed[0] != table.version():
            actions = pl.DataFrame(table.get_add_actions(flatten=True))
            found = [
                Part(
                    path=row["path"],
                    arrived=row[f"partition.{ARRIVED}"],
                    rows=row["num_records"],
                    size=row["size_bytes"],
                    first_nano=row[f"min.{START}"],
                    last_nano=row[f"max.{START}"],
                )
                for row in actions.iter_rows(named=True)
            ]
            self._listed = table.version(), sorted(found, key=lambda part: (part.arrived, part.path))
        return self._listed[1]

    def scan(
        self, start_nano: int | None = None, end_nano: int | None = None, *, last: str | None = None
    ) -> pl.LazyFrame:
        """Return the rows that start in [start_nano, end_nano), of files that may hold any.

        last: the last hour of arrival whose rows are wanted; another may be settled at any time.
        """
        (found,) = self.scans(start_nano, end_nano, last=last)
        return found

    def scans(
        self,
        start_nano: int | None = None,
        end_nano: int | None = None,
        *,
        last: str | None = None,
        most: int | None = None,
    ) -> list[pl.LazyFrame]:
        """Return the same in parts, each of whole files of `most` rows or few more; one at least."""
        shares: list[list[Part]] = [[]]
        for part in self.holding(start_nano, end_nano, last=last):
            if most is not None and sum(one.rows for one in shares[-1]) >= most:
                shares.append([])
            shares[-1].append(part)
        return [self._within(some, start_nano, end_nano) for some in shares]

    def _within(self, some: Sequence[Part], start_nano: int | None, end_nano: int | None) -> pl.LazyFrame:
        """Return the rows of files that start in [start_nano, end_nano); where all do, none is looked at for it."""
        start, found = pl.col(START), self.read(some)
        if start_nano is not None and any(part.first_nano < start_nano for part in some):
            found = found.filter(start >= start_nano)
        if end_nano is not None and any(part.last_nano >= end_nano for part in some):
            found = found.filter(start < end_nano)
        return found

    def holding(
        self, start_nano: int | None = None, end_nano: int | None = None, *, last: str | None = None
    ) -> list[Part]:
        """Return the files that may hold rows that start in [start_nano, end_nano); see `scan`."""
        return [
            part
            for part in self.parts()
            if (last is None or part.arrived <= last)
            and (start_nano is None or part.last_nano >= start_nano)
            and (end_nano is None or part.first_nano < end_nano)
        ]

    def read(self, some: Sequence[Part]) -> pl.LazyFrame:
        """Return the rows of some files."""
        if not some:
            return self.schema.to_frame().lazy()
        paths = [self.place.at(part.path) for part in some]
        return pl.scan_parquet(paths, schema=self.schema, hive_partitioning=False, storage_options=self.place.reading)

    def put(self, rows: pl.DataFrame, arrived: str, number: int) -> bool:
        """Add the rows made of an hour of arrival, in one commit, synced; False when it is there already.

        number: of the hour. No rows are a commit, too: it says that the hour is done.
        """
        self._create()
        for _ in range(RACES):
            table = self._current()
            if _settled(table) >= number:
                self.place.sync_log(-1)
                return False
            added = [self._write(rows, arrived, HOUR_FILE)] if len(rows) else []
            with suppress(CommitFailedError, Swept):  # somebody else settles the same hour, or replaces others
                self._commit(table, added, number)
                return True  # else the file is left to `sweep`, which knows what is needed
        raise self._lost()

    def replace(self, some: Sequence[Part], rows: pl.DataFrame) -> bool:
        """Put one file in the place of those of a day's hours, in one commit, synced.

        rows: say the same as theirs. Returns False, and changes nothing, when another process has removed any of them.
        """
        added = self._write(rows, max(part.arrived for part in some), DAY_FILE, data_change=False)
        return self._exchange(some, [added])

    def swap(self, rows: pl.DataFrame, arrived: str, old: Sequence[Part] | None = None) -> str | None:
        """Put rows in the place of `old`, or beside all there is, in one commit, synced; return their file.

        old: all files there are. None is returned, and nothing changes, when there are others by now.
        """
        self._create()
        made = self._write(rows, arrived, HOUR_FILE)
        table = self._current()
        if old is not None and set(old) != set(self._active(table)):
            return None
        with suppress(CommitFailedError, Swept):
            self._commit(table, [made, *_removed(old or (), data_change=True)], None)
            return made.path
        return None  # the file is left to `sweep`

    def let_go(self, hours: Sequence[str]) -> int:
        """Remove the rows made of some hours of arrival; return how many files that were.

        A day's file goes with the last hour that is in it. When another process removes files meanwhile, none is.
        """
        gone = [part for part in self.parts() if part.arrived in set(hours)]
        return len(gone) if gone and self._exchange(gone, []) else 0

    def sweep(self, grace_seconds: float, stray_seconds: float) -> int:
        """Delete files that no version needs; see `fold.sweep`. Returns how many."""
        if not self.exists():
            return 0
        with self.place.alone():
            every = self.place.found()
            needed = {part.path for part in self.parts()}
            some = [file for file in every if file.path not in needed]
            gone = self.place.removable(some, every, self._fresh(), grace_seconds, stray_seconds) if some else []
            self.place.remove([file.path for file in gone])
        return len(gone)

    def _current(self) -> DeltaTable:
        """Return the reading handle at the newest version."""
        if self._table is None:
            self._table = self._fresh()
        elif self._stamp is None or self.place.stamp(self._table.version()) != self._stamp:
            with self.place.told():
                self._table.update_incremental()
        else:
            return self._table
        self._stamp = self.place.stamp(self._table.version())
        return self._table

    def _fresh(self) -> DeltaTable:
        try:
            with self.place.told():
                return self.place.table()
        except (DeltaError, OSError) as error:
            raise StoreError(f"{self.place}: the rollup cannot be read: {error}. Is _delta_log whole?") from error

    def _exchange(self, some: Sequence[Part], added: Sequence[AddAction]) -> bool:
        """Remove files and add others; False, and nothing is changed, when any of them is not needed any more."""
        removed = _removed(some, data_change=not added)
        for _ in range(RACES):
            table = self._current()
            if not set(some) <= set(self._active(table)):  # asked of the version that is committed against
                return False
            try:
                self._commit(table, [*added, *removed], None)
            except CommitFailedError:  # somebody else adds an hour
                continue
            except Swept:
                return False
            return True
        raise self._lost()

    def _lost(self) -> StoreError:
        return StoreError(f"{self.place}: {RACES} commits in a row lost against others. Try later.")

    def _create(self) -> None:
        if not self._is_mended:  # once: a power cut that tears a log ends us, too
            self.place.mend()
            self._is_mended = True
        if self.exists():
            return
        self.place.prepare()
        with self.place.told():
            DeltaTable.create(
                str(self.place),
                Schema.from_arrow(pl.Schema({**self.schema, ARRIVED: pl.String()}).to_frame().to_arrow().schema),
                mode="ignore",
                partition_by=[ARRIVED],
                name=self.name,
                configuration=CONFIGURATION,
                storage_options=self.place.options,
            )
        self.place.made()

    def _commit(self, table: DeltaTable, actions: Sequence[AddAction | RemoveAction], number: int | None) -> None:
        transactions = [] if number is None else [Transaction(APPLICATION, number)]
        before = table.version()
        with self.place.alone(), self.place.told():
            self.place.fresh(actions)
            table.create_write_transaction(
                list(actions),
                mode="append",
                schema=table.schema(),
                partition_by=[ARRIVED],
                commit_properties=CommitProperties(max_commit_retries=0, app_transactions=transactions),
                post_commithook_properties=PostCommitHookProperties(
                    create_checkpoint=False, cleanup_expired_logs=False
                ),
            )
        self.place.sync_log(before)
        current = self._current()
        if current.version() // CHECKPOINT_EVERY > before // CHECKPOINT_EVERY:
            with self.place.told():
                current.create_checkpoint()
                self.place.sync_checkpoint(current.version())
                current.cleanup_metadata()

    def _write(self, rows: pl.DataFrame, arrived: str, kind: str, *, data_change: bool = True) -> AddAction:
        rows = rows.select(self.schema.names()).cast(self.schema)
        path = f"{ARRIVED}={arrived}/{kind}-{uuid.uuid4().hex}.parquet"
        size = self.place.keep(rows, path, level=LEVEL, rows=self.group)
        stats = {
            "numRecords": len(rows),
            "minValues": {START: rows[START].min()},
            "maxValues": {START: rows[START].max()},
            "nullCount": {},
        }
        return AddAction(
            path=path,
            size=size,
            partition_values={ARRIVED: arrived},
            modification_time=time.time_ns() // 1_000_000,
            data_change=data_change,
            stats=json.dumps(stats),
        )


def _removed(parts: Sequence[Part], *, data_change: bool) -> list[RemoveAction]:
    now = time.time_ns() // 1_000_000
    return [
        RemoveAction(
            path=part.path,
            data_change=data_change,
            deletion_timestamp=now,
            partition_values={ARRIVED: part.arrived},
            size=part.size,
        )
        for part in parts
    ]


def _settled(table: DeltaTable) -> int:
    found = table.transaction_version(APPLICATION)
    return -1 if found is None else found
