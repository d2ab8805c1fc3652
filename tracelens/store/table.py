"""Store: the spans table, appended exactly once and read while it grows.

Owns commits and scans. What a commit holds is the caller's; folding small
files is `fold.py`'s.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from tracelens.errors import StoreError
from tracelens.spans import SPANS, dtype, empty, is_attribute
from tracelens.store import columns as layout
from tracelens.store import files
from tracelens.store.files import PARTITION, DataFile
from tracelens.store.places import Folder, Place, Swept, place_of

DESCRIPTION = "TraceLens spans, format "
FORMAT = 1  # of what this program writes; stores from before it was told say nothing
CHECKPOINT_EVERY = 10  # commits: an append reads anew those that no checkpoint sums up, and so does who opens it
CONFIGURATION = {
    "delta.checkpointInterval": "1000000",  # ours, synced, instead of deltalake's own
    "delta.logRetentionDuration": "interval 1 hours",  # nobody travels back in time here
    "delta.enableExpiredLogCleanup": "true",
    # What was let go is named so long: longer than it stays, and not a week, which every checkpoint would hold.
    "delta.deletedFileRetentionDuration": "interval 6 hours",
}
RETRIES = 20  # of a commit that lost a race: appends that widen nothing never conflict, they queue
RACES = 20  # lost to others that widen the table, each anew from their version
MARK = "tracelens.append"  # a random text in a commit, by which who made it knows it again


def is_store(location: str | Path) -> bool:
    """Whether a store is in a folder, or at a URL. Raises StoreError when object storage does not tell."""
    return place_of(location).exists()


class Store:
    """A Delta table of spans, in a folder or at a URL. One instance a thread; any number of processes."""

    def __init__(self, location: str | Path) -> None:
        self.place: Place = place_of(location)
        self._table = self._fresh()
        _check_format(self.place, self._table)
        self._stamp = self.place.stamp(self._table.version())  # of the version that the table is at
        self._listed: tuple[int, list[DataFile]] | None = None
        self._synced = -1  # the commit up to which we know that all are on disk

    @classmethod
    def open(cls, location: str | Path, *, create: bool = False) -> Store:
        """Return the store in a folder, or at a URL; with `create` one is made when there is none.

        Raises StoreError when there is none, or what is there cannot be read.
        """
        place = place_of(location)
        there = place.exists()
        if not create and not there:
            raise StoreError(f"{place}: no store is here. `tracelens up` and `tracelens import` make one.")
        if create:
            if there:
                with suppress(DeltaError, OSError):  # a log that is torn is read when it is mended
                    _check_format(place, place.table())
            place.mend()
        if create and not place.has_log():
            place.prepare()
            _make(place)
            place.made()
        return cls(location)

    @property
    def folder(self) -> Path | None:
        """The folder it is in; None when it is at a URL."""
        return self.place.path if isinstance(self.place, Folder) else None

    @property
    def path(self) -> Path:
        """The folder it is in. Raises StoreError when it is at a URL."""
        if isinstance(self.place, Folder):
            return self.place.path
        raise StoreError(f"{self.place}: this needs a store in a local folder.")

    def _fresh(self) -> DeltaTable:
        try:
            with self.place.told():
                return self.place.table()
        except (DeltaError, OSError) as error:
            raise StoreError(f"{self.place}: the store cannot be read: {error}. Is _delta_log whole?") from error

    def _current(self) -> DeltaTable:
        """Return the reading handle at the newest version."""
        if self._stamp is None or self.place.stamp(self._table.version()) != self._stamp:
            with self.place.told():
                self._table.update_incremental()
            self._stamp = self.place.stamp(self._table.version())
        return self._table

    def table(self) -> DeltaTable:
        """Return a handle of its own at the newest version."""
        return self._fresh()

    def version(self) -> int:
        """Return the number of the newest commit."""
        return self._current().version()

    def columns(self) -> list[str]:
        """Return the columns of the table: SPANS, then attributes."""
        return [name for name in self._names(self._current()) if name != PARTITION]

    @staticmethod
    def _names(table: DeltaTable) -> list[str]:
        return [field.name for field in table.schema().fields]

    def files(self) -> list[DataFile]:
        """Return the active files, in the order of their first span."""
        table = self._current()
        if self._listed is None or self._listed[0] != table.version():
            self._listed = table.version(), files.active(table)
        return self._listed[1]

    def file_count(self) -> int:
        """Return how many files hold the spans."""
        return len(self.files())

    def span_count(self) -> int:
        """Return how many spans there are."""
        return sum(file.rows for file in self.files())

    def time_range(self) -> tuple[int, int] | None:
        """Return (earliest start, latest end) of all spans, nanoseconds; None when there are none."""
        listed = self.files()
        if not listed:
            return None
        return min(file.first_start_nano for file in listed), max(file.last_end_nano for file in listed)

    def committed(self, application: str) -> int | None:
        """Return the newest version an application has committed, and has on disk; None when it never has."""
        return self.all_committed([application]).get(application)

    def all_committed(self, applications: Iterable[str]) -> dict[str, int]:
        """Return application -> newest version, of those that have committed: one look for all."""
        current = self._current()
        self._sync(current.version())
        found = {application: current.transaction_version(application) for application in applications}
        return {application: version for application, version in found.items() if version is not None}

    def append(
        self,
        frame: pl.DataFrame,
        transactions: Mapping[str, int],
        *,
        arrived_unix_nano: int | None = None,
        after: Mapping[str, int | None] | None = None,
    ) -> bool:
        """Append spans in one file and one commit that carries application transactions.

        transactions: application -> version. arrived_unix_nano: now, unless told. Returns False, and writes nothing,
        when any of them was committed already: the spans are in the store. after: the versions that the caller knows
        to be committed of them; when there are others, nothing is written, too, and False is returned.
        On return all is on disk.
        """
        hour = files.hour_of(time.time_ns() if arrived_unix_nano is None else arrived_unix_nano)
        mark, first = uuid.uuid4().hex, None
        for _ in range(RACES):
            # A handle commits once: deltalake refuses a second transaction of one application on it.
            table = self._fresh()
            if _holds(table, transactions):
                self._sync(table.version())
                return first is not None and self._is_marked(table, mark, first)
            if after is not None and any(table.transaction_version(name) != after[name] for name in after):
                return False
            before = table.version()
            first = before if first is None else first
            try:
                new = layout.promoted(frame, self._names(table))
                if new:
                    with self.place.told():
                        table.alter.add_columns([layout.field(name) for name in new])
                    table = self._fresh()
                    self._sync(table.version())
                fitted = layout.fit(frame, self._names(table))
                actions = [self.place.write(fitted, hour)] if len(fitted) else []
                self._commit(table, actions, transactions, before, mark)
            except (CommitFailedError, Swept):  # another process widened the table, or appended the same
                continue  # the file is left to `sweep`, which knows what is needed
            return True
        raise StoreError(f"{self.place}: {RACES} commits in a row lost against others. Does somebody import in a loop?")

    def _is_marked(self, table: DeltaTable, mark: str, since: int) -> bool:
        """Whether a commit after a version is ours: its answer was lost, and asked again, it lost against itself."""
        with self.place.told():
            return any(commit.get(MARK) == mark for commit in table.history(table.version() - since))

    def replace(self, old: Sequence[DataFile], added: Sequence[AddAction], application: str) -> bool:
        """Put files in the place of others, in one commit.

        added: written already, and hold the same spans; or none, to let go of them. application: its transaction is
        counted on. Returns False, and changes nothing, when another process has replaced any of them, or is just doing
        so.
        """
        table = self._fresh()
        now = time.time_ns() // 1_000_000
        removed = [
            RemoveAction(
                path=file.path,
                data_change=not added,
                deletion_timestamp=now,
                partition_values={PARTITION: file.hour},
                size=file.size,
            )
            for file in old
        ]
        # Both are asked of the version that is committed against: deltalake itself only
        # refuses a transaction of the same application that was committed after it.
        if {file.path for file in old} <= {file.path for file in files.active(table)}:
            number = (table.transaction_version(application) or 0) + 1
            with suppress(CommitFailedError, Swept):
                self._commit(table, [*added, *removed], {application: number}, table.version())
                return True
        return False  # what was added is left to `sweep`

    def _commit(
        self,
        table: DeltaTable,
        actions: Sequence[AddAction | RemoveAction],
        transactions: Mapping[str, int],
        before: int,
        mark: str | None = None,
    ) -> None:
        """Commit, put the commit on disk, and write a checkpoint now and then.

        Raises Swept, and commits nothing, when a file that is added is not there.
        """
        with self.place.alone(), self.place.told():
            self.place.fresh(actions)
            table.create_write_transaction(
                list(actions),
                mode="append",
                schema=table.schema(),
                partition_by=[PARTITION],
                commit_properties=CommitProperties(
                    custom_metadata=None if mark is None else {MARK: mark},
                    max_commit_retries=RETRIES,
                    app_transactions=[Transaction(name, version) for name, version in transactions.items()],
                ),
                post_commithook_properties=PostCommitHookProperties(
                    create_checkpoint=False, cleanup_expired_logs=False
                ),
            )
        current = self._current()
        self._sync(current.version())
        if current.version() // CHECKPOINT_EVERY > before // CHECKPOINT_EVERY:
            with self.place.told():
                current.create_checkpoint()
                self.place.sync_checkpoint(current.version())
                current.cleanup_metadata()

    def _sync(self, seen: int) -> None:
        """Have all commits up to one on disk: who made them may have died before."""
        if seen > self._synced:
            self.place.sync_log(self._synced)
            self._synced = seen

    def scan(
        self,
        start_nano: int | None = None,
        end_nano: int | None = None,
        columns: Sequence[str] | None = None,
        predicate: pl.Expr | None = None,
    ) -> pl.LazyFrame:
        """Return the spans that start in [start_nano, end_nano), of files that may hold any.

        columns: of `columns()`; all when not given. None is an open end.
        """
        paths = self._holding(start_nano, end_nano)
        return self._scanned(paths, self.columns(), columns, start_nano, end_nano, predicate)

    def scans(
        self, start_nano: int | None = None, end_nano: int | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pl.LazyFrame]:
        """Yield what `scan` returns a file at a time: polars reads far ahead in many, and memory may not hold that."""
        known = self.columns()
        for path in self._holding(start_nano, end_nano):
            yield self._scanned([path], known, columns, start_nano, end_nano, None)

    def scan_files(self, some: Sequence[DataFile]) -> pl.LazyFrame:
        """Return the spans of some files, with every column of the table."""
        return self._scanned([self.place.at(file.path) for file in some], self.columns(), None, None, None, None)

    def _holding(self, start_nano: int | None, end_nano: int | None) -> list[str]:
        """Return the files that may hold spans that start in [start_nano, end_nano)."""
        return [
            self.place.at(file.path)
            for file in self.files()
            if (start_nano is None or file.last_start_nano >= start_nano)
            and (end_nano is None or file.first_start_nano < end_nano)
        ]

    def trace(self, trace_id: bytes) -> pl.DataFrame:
        """Return all spans of a trace, with every column.

        Of files that may hold any, ids alone are read first: of a compacted hour that is one of its files.
        """
        digits = trace_id.hex()
        some = [file for file in self.files() if file.traces is None or file.traces[0] <= digits <= file.traces[1]]
        wanted = pl.col("trace_id") == pl.lit(trace_id)
        found: set[str] = set()
        if some:
            ids = pl.scan_parquet(
                [self.place.at(file.path) for file in some],
                schema={"trace_id": pl.Binary},
                extra_columns="ignore",
                hive_partitioning=False,
                storage_options=self.place.reading,
                include_file_paths="file",
            )
            found = set(ids.filter(wanted).select(pl.col("file").unique()).collect()["file"])
        return self.scan_files([file for file in some if self.place.at(file.path) in found]).filter(wanted).collect()

    def _scanned(
        self,
        paths: list[str],
        known: Sequence[str],
        columns: Sequence[str] | None,
        start_nano: int | None,
        end_nano: int | None,
        predicate: pl.Expr | None,
    ) -> pl.LazyFrame:
        """Return the spans of files that start in a window. known: the table's columns; columns: those wanted."""
        wanted = list(known if columns is None else columns)
        schema = {
            name: SPANS[name] if name in SPANS else dtype(name) for name in known if name in SPANS or is_attribute(name)
        }
        if not paths:
            return (
                empty()
                .lazy()
                .select(*(pl.col(name) if name in SPANS else pl.lit(None, schema[name]).alias(name) for name in wanted))
            )
        spans = pl.scan_parquet(
            paths,
            schema=schema,
            missing_columns="insert",
            extra_columns="ignore",
            hive_partitioning=False,
            storage_options=self.place.reading,
        )
        start = pl.col("start_time_unix_nano")
        if start_nano is not None:
            spans = spans.filter(start >= start_nano)
        if end_nano is not None:
            spans = spans.filter(start < end_nano)
        if predicate is not None:
            spans = spans.filter(predicate)
        return spans.select(wanted)


def _make(place: Place) -> None:
    """Make the table. When somebody else makes it at the same time, one of the two does."""
    with place.told():
        try:
            DeltaTable.create(
                str(place),
                layout.new_table(),
                mode="ignore",
                partition_by=[PARTITION],
                name="spans",
                description=f"{DESCRIPTION}{FORMAT}",
                configuration=CONFIGURATION,
                storage_options=place.options,
            )
        except (DeltaError, OSError):
            if not place.has_log():
                raise


def _check_format(place: Place, table: DeltaTable) -> None:
    """Raise StoreError for a store that a later program has written."""
    said = (table.metadata().description or "").removeprefix(DESCRIPTION)
    if said.isdigit() and int(said) > FORMAT:
        raise StoreError(
            f"{place}: a store of format {said}, and this TraceLens knows formats up to {FORMAT}. "
            "Use the version that wrote it, or a later one. Nothing was changed."
        )


def _holds(table: DeltaTable, transactions: Mapping[str, int]) -> bool:
    """Whether any of some application transactions, or a later one, is in a version of the table."""
    known = {application: table.transaction_version(application) for application in transactions}
    return any(version is not None and version >= transactions[name] for name, version in known.items())
