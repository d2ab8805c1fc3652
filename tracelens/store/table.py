"""Store: the spans table, appended exactly once and read while it grows.

Owns commits and scans. What a commit holds is the caller's; folding small
files is `fold.py`'s.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
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

DESCRIPTION = "TraceLens spans, format "
FORMAT = 1  # of what this program writes; stores from before it was told say nothing
CHECKPOINT_EVERY = 100  # commits: a reader then opens one Parquet file and at most so many JSON ones
CONFIGURATION = {
    "delta.checkpointInterval": "1000000",  # ours, synced, instead of deltalake's own
    "delta.logRetentionDuration": "interval 1 hours",  # nobody travels back in time here
    "delta.enableExpiredLogCleanup": "true",
}
RETRIES = 20  # of a commit that lost a race: appends that widen nothing never conflict, they queue
RACES = 20  # lost to others that widen the table, each anew from their version


class _Swept(Exception):
    """A file took so long to write that it was removed as one that no version needs."""


def is_store(path: str | Path) -> bool:
    """Whether a folder is a store."""
    return (Path(path) / "_delta_log").is_dir()


class Store:
    """A Delta table of spans on local disk. One instance a thread; any number of processes."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._table = self._fresh()
        _check_format(self.path, self._table)
        self._listed: tuple[int, list[DataFile]] | None = None
        self._synced = -1  # the commit up to which we know that all are on disk

    @classmethod
    def open(cls, path: str | Path, *, create: bool = False) -> Store:
        """Return the store in a folder; with `create` one is made when there is none.

        Raises StoreError when there is none, or what is there cannot be read.
        """
        if not create and not is_store(path):
            raise StoreError(f"{path}: no store is here. `tracelens up` and `tracelens import` make one.")
        if create:
            if is_store(path):
                with suppress(DeltaError, OSError):  # a log that is torn is read when it is mended
                    _check_format(Path(path), DeltaTable(str(path)))
            files.mend_log(Path(path))
        if create and not files.has_log(Path(path)):
            Path(path).mkdir(parents=True, exist_ok=True)
            DeltaTable.create(
                str(path),
                layout.new_table(),
                mode="ignore",
                partition_by=[PARTITION],
                name="spans",
                description=f"{DESCRIPTION}{FORMAT}",
                configuration=CONFIGURATION,
            )
            files.sync_log(Path(path), -1)
            files.sync(Path(path).absolute().parent)
        return cls(path)

    def _fresh(self) -> DeltaTable:
        try:
            return DeltaTable(str(self.path))
        except (DeltaError, OSError) as error:
            raise StoreError(f"{self.path}: the store cannot be read: {error}. Is _delta_log whole?") from error

    def _current(self) -> DeltaTable:
        """Return the reading handle at the newest version."""
        self._table.update_incremental()
        return self._table

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
        current = self._current()
        self._sync(current.version())
        return current.transaction_version(application)

    def append(
        self, frame: pl.DataFrame, transactions: Mapping[str, int], *, arrived_unix_nano: int | None = None
    ) -> bool:
        """Append spans in one file and one commit that carries application transactions.

        transactions: application -> version. arrived_unix_nano: now, unless told. Returns False, and writes nothing,
        when any of them was committed already: the spans are in the store.
        On return all is on disk.
        """
        hour = files.hour_of(time.time_ns() if arrived_unix_nano is None else arrived_unix_nano)
        for _ in range(RACES):
            # A handle commits once: deltalake refuses a second transaction of one application on it.
            table = self._fresh()
            if _holds(table, transactions):
                self._sync(table.version())
                return False
            before = table.version()
            try:
                new = layout.promoted(frame, self._names(table))
                if new:
                    table.alter.add_columns([layout.field(name) for name in new])
                    table = self._fresh()
                    self._sync(table.version())
                fitted = layout.fit(frame, self._names(table))
                actions = [files.write(self.path, fitted, hour)] if len(fitted) else []
                self._commit(table, actions, transactions, before)
            except (CommitFailedError, _Swept):  # another process widened the table, or appended the same
                continue  # the file is left to `sweep`, which knows what is needed
            return True
        raise StoreError(f"{self.path}: {RACES} commits in a row lost against others. Does somebody import in a loop?")

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
            with suppress(CommitFailedError, _Swept):
                self._commit(table, [*added, *removed], {application: number}, table.version())
                return True
        return False  # what was added is left to `sweep`

    def _commit(
        self,
        table: DeltaTable,
        actions: Sequence[AddAction | RemoveAction],
        transactions: Mapping[str, int],
        before: int,
    ) -> None:
        """Commit, put the commit on disk, and write a checkpoint now and then.

        Raises _Swept, and commits nothing, when a file that is added is not there.
        """
        with files.alone(self.path):
            self._touch(actions)
            table.create_write_transaction(
                list(actions),
                mode="append",
                schema=table.schema(),
                partition_by=[PARTITION],
                commit_properties=CommitProperties(
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
            current.create_checkpoint()
            for made in (self.path / "_delta_log").glob(f"{current.version():020}.checkpoint*"):
                files.sync(made)
            files.sync(self.path / "_delta_log")
            current.cleanup_metadata()

    def _touch(self, actions: Sequence[AddAction | RemoveAction]) -> None:
        """Have `sweep` leave files alone for its grace from now on: what is added, and what readers may still read."""
        for action in actions:
            try:
                os.utime(self.path / action.path)
            except FileNotFoundError:
                if isinstance(action, AddAction):
                    raise _Swept(action.path) from None

    def _sync(self, seen: int) -> None:
        """Have all commits up to one on disk: who made them may have died before."""
        if seen > self._synced:
            files.sync_log(self.path, self._synced)
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
        return _scanned(paths, self.columns(), columns, start_nano, end_nano, predicate)

    def scans(
        self, start_nano: int | None = None, end_nano: int | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pl.LazyFrame]:
        """Yield what `scan` returns a file at a time: polars reads far ahead in many, and memory may not hold that."""
        known = self.columns()
        for path in self._holding(start_nano, end_nano):
            yield _scanned([path], known, columns, start_nano, end_nano, None)

    def scan_files(self, some: Sequence[DataFile]) -> pl.LazyFrame:
        """Return the spans of some files, with every column of the table."""
        return _scanned([self.path / file.path for file in some], self.columns(), None, None, None, None)

    def _holding(self, start_nano: int | None, end_nano: int | None) -> list[Path]:
        """Return the files that may hold spans that start in [start_nano, end_nano)."""
        return [
            self.path / file.path
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
                [self.path / file.path for file in some],
                schema={"trace_id": pl.Binary},
                extra_columns="ignore",
                hive_partitioning=False,
                include_file_paths="file",
            )
            found = set(ids.filter(wanted).select(pl.col("file").unique()).collect()["file"])
        return self.scan_files([file for file in some if str(self.path / file.path) in found]).filter(wanted).collect()


def _check_format(path: Path, table: DeltaTable) -> None:
    """Raise StoreError for a store that a later program has written."""
    said = (table.metadata().description or "").removeprefix(DESCRIPTION)
    if said.isdigit() and int(said) > FORMAT:
        raise StoreError(
            f"{path}: a store of format {said}, and this TraceLens knows formats up to {FORMAT}. "
            "Use the version that wrote it, or a later one. Nothing was changed."
        )


def _holds(table: DeltaTable, transactions: Mapping[str, int]) -> bool:
    """Whether any of some application transactions, or a later one, is in a version of the table."""
    known = {application: table.transaction_version(application) for application in transactions}
    return any(version is not None and version >= transactions[name] for name, version in known.items())


def _scanned(
    paths: list[Path],
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
        paths, schema=schema, missing_columns="insert", extra_columns="ignore", hive_partitioning=False
    )
    start = pl.col("start_time_unix_nano")
    if start_nano is not None:
        spans = spans.filter(start >= start_nano)
    if end_nano is not None:
        spans = spans.filter(start < end_nano)
    if predicate is not None:
        spans = spans.filter(predicate)
    return spans.select(wanted)
