"""Where a store is: a local folder, or object storage.

Owns what differs between the two. On a local disk what is relied on is synced,
and a lock keeps those who commit from those who remove. Object storage keeps
what it has acknowledged and takes a commit only where there is none yet; it has
no lock, so what is removed from there has not been needed for long.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction, RemoveAction
from pyarrow import fs

from tracelens.errors import StoreError
from tracelens.locations import is_url, whole
from tracelens.store import files
from tracelens.store.files import LOG, PARTITION, Found

HOUR_SECONDS, DAY_SECONDS = 3_600.0, 86_400.0
RETRIES, RETRY_SECONDS = 4, 10  # of a request that failed: then it is told, and who has time tries again


class Swept(Exception):
    """A file took so long to write that it was, or may have been, removed as one that no version needs."""


class Place(Protocol):
    """What a store asks of where it is."""

    options: dict[str, str] | None  # for deltalake
    reading: dict[str, Any] | None  # for polars
    look_seconds: float  # between two looks for what can be folded
    sweep_seconds: float  # between two looks for what can be removed

    def exists(self) -> bool: ...  # a store is here
    def has_log(self) -> bool: ...  # and it has been made to the end
    def prepare(self) -> None: ...  # before the table is made
    def made(self) -> None: ...  # after
    def mend(self) -> None: ...  # before an appender reads
    def table(self) -> DeltaTable: ...
    def stamp(self, version: int) -> int | None: ...  # the same: no later version; None: there may be one
    def below(self, path: str, partition: str) -> Place: ...  # a table of its own within this one's
    def keep(self, frame: pl.DataFrame, path: str, *, level: int, rows: int) -> int: ...  # a file; returns its size
    def at(self, path: str) -> str: ...  # what polars is given to read a file
    def size(self, path: str) -> int: ...  # raises FileNotFoundError
    def write(
        self, frame: pl.DataFrame, hour: str, *, data_change: bool = True, by_trace: bool = False
    ) -> AddAction: ...
    def alone(self) -> AbstractContextManager[None]: ...  # around a commit, and around a removal
    def told(self) -> AbstractContextManager[None]: ...  # errors as StoreError
    def fresh(self, actions: Sequence[AddAction | RemoveAction]) -> None: ...  # just before a commit; raises Swept
    def sync_log(self, since: int) -> None: ...
    def sync_checkpoint(self, version: int) -> None: ...
    def found(self) -> list[Found]: ...
    def removable(
        self, some: Collection[Found], every: Collection[Found], table: DeltaTable, grace: float, stray: float
    ) -> list[Found]: ...
    def remove(self, paths: Collection[str]) -> None: ...  # what is not there any more is no error


def place_of(location: str | Path) -> Place:
    """Return the place that a folder or a URL names. Raises UsageError for a URL of anything else."""
    return Remote(whole(location)) if is_url(location) else Folder(Path(location))


class Folder:
    """A folder on local disk."""

    look_seconds = 0.0
    sweep_seconds = 60.0

    def __init__(self, path: Path, partition: str = PARTITION) -> None:
        self.path = path
        self.partition = partition
        self.options: dict[str, str] | None = None
        self.reading: dict[str, Any] | None = None

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        return (self.path / LOG).is_dir()

    def has_log(self) -> bool:
        return files.has_log(self.path)

    def prepare(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)

    def made(self) -> None:
        files.sync_log(self.path, -1)
        for folder in list(self.path.absolute().parents)[:2]:  # that of rollups was made, too
            files.sync(folder)

    def mend(self) -> None:
        files.mend_log(self.path)

    def table(self) -> DeltaTable:
        return DeltaTable(str(self.path))

    def stamp(self, version: int) -> int | None:
        """Return when the log's folder was changed: deltalake lists it to see that nothing came, thousands of names.

        Two commits may have the same time, so that the next one is looked for by its name, too.
        """
        log = self.path / LOG
        with suppress(FileNotFoundError):
            changed = log.stat().st_mtime_ns
            return None if (log / f"{version + 1:020}.json").exists() else changed
        return None

    def below(self, path: str, partition: str) -> Place:
        return Folder(self.path / path, partition)

    def keep(self, frame: pl.DataFrame, path: str, *, level: int, rows: int) -> int:
        file = self.path / path
        file.parent.mkdir(exist_ok=True)
        files.sink(frame, file, level=level, rows=rows, sync_on_close="all")
        files.sync(file.parent)
        files.sync(self.path)
        return file.stat().st_size

    def at(self, path: str) -> str:
        return str(self.path / path)

    def size(self, path: str) -> int:
        return (self.path / path).stat().st_size

    def write(self, frame: pl.DataFrame, hour: str, *, data_change: bool = True, by_trace: bool = False) -> AddAction:
        return files.write(self.path, frame, hour, data_change=data_change, by_trace=by_trace)

    def alone(self) -> AbstractContextManager[None]:
        return files.alone(self.path)

    def told(self) -> AbstractContextManager[None]:
        return nullcontext()

    def fresh(self, actions: Sequence[AddAction | RemoveAction]) -> None:
        """Have removal leave files alone for its grace from now on: what is added, and what readers may still read."""
        for action in actions:
            try:
                os.utime(self.path / action.path)
            except FileNotFoundError:
                if isinstance(action, AddAction):
                    raise Swept(action.path) from None

    def sync_log(self, since: int) -> None:
        files.sync_log(self.path, since)

    def sync_checkpoint(self, version: int) -> None:
        for made in (self.path / LOG).glob(f"{version:020}.checkpoint*"):
            files.sync(made)
        files.sync(self.path / LOG)

    def found(self) -> list[Found]:
        listed = []
        for path in self.path.glob(f"{self.partition}=*/*.parquet"):
            with suppress(FileNotFoundError):  # somebody else removes what nobody needs, too
                told = path.stat()
                listed.append(Found(str(path.relative_to(self.path)), told.st_size, told.st_mtime))
        return listed

    def removable(
        self, some: Collection[Found], every: Collection[Found], table: DeltaTable, grace: float, stray: float
    ) -> list[Found]:
        """Return what was last touched before the grace: `fresh` touches what is replaced."""
        del every, table, stray
        before = time.time() - grace
        return [file for file in some if file.modified_seconds < before]

    def remove(self, paths: Collection[str]) -> None:
        for path in paths:
            (self.path / path).unlink(missing_ok=True)
            with suppress(OSError):  # it holds others
                (self.path / path).parent.rmdir()
        if paths:
            files.sync(self.path)


class Remote:
    """A URL of object storage. Who may ask it, and where it answers, stands in the usual environment variables."""

    look_seconds = 5.0  # a request each
    sweep_seconds = HOUR_SECONDS  # a request lists one hour

    def __init__(self, url: str, partition: str = PARTITION) -> None:
        self.url = url
        self.partition = partition
        self.options: dict[str, str] | None = {"max_retries": str(RETRIES), "retry_timeout": f"{RETRY_SECONDS}s"}
        self.reading: dict[str, Any] | None = {"max_retries": RETRIES, "retry_timeout_ms": RETRY_SECONDS * 1_000}

    def __str__(self) -> str:
        return self.url

    @cached_property
    def _files(self) -> fs.PyFileSystem:
        return fs.PyFileSystem(DeltaStorageHandler(self.url, self.options))

    def exists(self) -> bool:
        """Whether there is a log. Raises StoreError when that cannot be told."""
        with self.told():
            return bool(self._files.get_file_info(fs.FileSelector(LOG, allow_not_found=True)))

    def has_log(self) -> bool:
        return self.exists()

    def prepare(self) -> None:
        """Nothing: there are no folders."""

    def made(self) -> None:
        """Nothing: what is acknowledged is kept."""

    def mend(self) -> None:
        """Nothing: an object is there whole, or not at all."""

    def table(self) -> DeltaTable:
        return DeltaTable(self.url, storage_options=self.options)

    def stamp(self, version: int) -> int | None:
        """Return None: it takes a request as well."""
        del version
        return None

    def below(self, path: str, partition: str) -> Place:
        return Remote(f"{self.url}/{path}", partition)

    def keep(self, frame: pl.DataFrame, path: str, *, level: int, rows: int) -> int:
        with self.told():
            files.sink(frame, self.at(path), level=level, rows=rows, storage_options=self.reading)
        return self.size(path)

    def at(self, path: str) -> str:
        return f"{self.url}/{path}"

    def size(self, path: str) -> int:
        with self.told():
            (told,) = self._files.get_file_info([path])
        if told.type is fs.FileType.NotFound:
            raise FileNotFoundError(self.at(path))
        return int(told.size)

    def write(self, frame: pl.DataFrame, hour: str, *, data_change: bool = True, by_trace: bool = False) -> AddAction:
        """Put one Parquet file, and return the action that adds it; see `files.write`."""
        path = files.named(frame, hour, by_trace=by_trace)
        with self.told():
            files.put(frame, self.at(path), data_change=data_change, by_trace=by_trace, storage_options=self.reading)
        return files.adding(frame, path, hour, self.size(path), data_change=data_change)

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()  # the log takes one commit of a number; and see `removable`

    @contextmanager
    def told(self) -> Iterator[None]:
        try:
            yield
        except CommitFailedError:  # a race that was lost
            raise
        except (OSError, DeltaError, pl.exceptions.PolarsError) as error:
            raise StoreError(f"{self.url}: {_reason(str(error))}") from error

    def fresh(self, actions: Sequence[AddAction | RemoveAction]) -> None:
        """Refuse to add a file that was written so long ago that it may be taken for a stray one."""
        before = (time.time() - HOUR_SECONDS) * 1_000
        for action in actions:
            if isinstance(action, AddAction) and action.modification_time < before:
                raise Swept(action.path)

    def sync_log(self, since: int) -> None:
        """Nothing: what is acknowledged is kept."""

    def sync_checkpoint(self, version: int) -> None:
        """Nothing: what is acknowledged is kept."""

    def found(self) -> list[Found]:
        with self.told():
            hours = self._files.get_file_info(fs.FileSelector("", allow_not_found=True))
            return [
                Found(file.path, file.size, file.mtime.timestamp())
                for hour in hours
                if hour.type is fs.FileType.Directory and hour.path.startswith(f"{self.partition}=")
                for file in self._files.get_file_info(fs.FileSelector(hour.path, allow_not_found=True))
                if file.path.endswith(".parquet")
            ]

    def removable(
        self, some: Collection[Found], every: Collection[Found], table: DeltaTable, grace: float, stray: float
    ) -> list[Found]:
        """Return what the log let go of before the grace, and what it never had and is old.

        Old is what is so much older than the newest file: by the clock of the storage, for ours may be ahead, and
        what somebody has written and is about to commit is new by its own.
        """
        with self.told():
            let_go, long_ago = (
                set(table.vacuum(hours, dry_run=True, enforce_retention_duration=False))
                for hours in (0, max(math.ceil(grace / HOUR_SECONDS), 0))
            )
        before = max((file.modified_seconds for file in every), default=0.0) - stray
        return [
            file
            for file in some
            if file.path in long_ago or (file.path not in let_go and file.modified_seconds < before)
        ]

    def remove(self, paths: Collection[str]) -> None:
        with self.told():
            for path in paths:
                with suppress(FileNotFoundError):  # somebody else removes what nobody needs, too
                    self._files.delete_file(path)


# What a cause says in the answers of object storage, and what to do about it; the first that fits.
ADVICE: Mapping[str, str] = {
    r"NoSuchBucket|ContainerNotFound|bucket does not exist": "there is no such bucket. Make it, or correct the URL",
    r"NoSuchKey|BlobNotFound|\b404 [A-Z]": "a file is gone. Did a query take long? Ask again, or `store verify`",
    r"URL scheme is not allowed": "its endpoint is not encrypted. Set AWS_ALLOW_HTTP=true if the network is yours",
    r"conditional put is disabled": "commits need conditional puts. Take AWS_CONDITIONAL_PUT out of the environment",
    r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied": (
        "the credentials are refused. Are they right, and may they list, read, write and delete there?"
    ),
    r"/latest/api/token|metadata\.google|/metadata/identity|redential|Account must be specified": (
        "no credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what the storage has for them"
    ),
    r"\b40[13] [A-Z]": "the credentials are refused. Are they right, and may they list, read, write and delete there?",
    r"dns error|tcp connect error|client error \(Connect\)": (
        "nobody answers there. Is the endpoint right (AWS_ENDPOINT_URL), and the network up?"
    ),
    r"\b50\d [A-Z]|SlowDown|timed out|error sending request|error decoding": (
        "the storage does not answer as it should just now. Try again later; a collector does so by itself"
    ),
    r"No files in log segment": "no store is here. `tracelens up` and `tracelens import` make one",
}


def _reason(said: str) -> str:
    """Return what is wrong in words, with what the storage said."""
    plain = " ".join(re.sub(r"\x1b\[[\d;]*m|↳", " ", said).split())
    advice = next((words for pattern, words in ADVICE.items() if re.search(pattern, plain)), "the store cannot be used")
    return f"{advice}{'' if advice.endswith('?') else '.'} ({plain[:400]})"
