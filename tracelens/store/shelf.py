"""Texts that people keep in a store, beside its spans: boards of charts, saved views.

Owns where they lie and that each is there whole: one file a text. Of two who
change the same text at once, the later one is refused. What the texts say is
the dashboard's.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import polars as pl
from deltalake.fs import DeltaStorageHandler
from pyarrow import fs

from tracelens.errors import StoreError
from tracelens.locations import is_url, whole

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
ENDING = ".toml"
MOST_BYTES = 1 << 20


class Changed(StoreError):
    """Somebody else has changed the text meanwhile."""


class Shelf(Protocol):
    """Texts by name: lower-case letters, digits and hyphens."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> str | None: ...  # None: there is none
    def write(self, name: str, text: str, *, before: str | None) -> None: ...  # before: what it takes the place of
    def remove(self, name: str) -> None: ...  # one that is not there is no error


def shelf_of(location: str | Path, kind: str) -> Shelf:
    """Return the shelf of a store. kind: what lies on it, boards or views."""
    return Remote(whole(location), kind) if is_url(location) else Folder(Path(location) / f"_{kind}")


@dataclass
class Memory:
    """A shelf of a source that keeps nothing: its texts are there as long as this process."""

    texts: dict[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        return sorted(self.texts)

    def read(self, name: str) -> str | None:
        return self.texts.get(name)

    def write(self, name: str, text: str, *, before: str | None) -> None:
        _check(name, text, self.read(name), before)
        self.texts[name] = text

    def remove(self, name: str) -> None:
        self.texts.pop(name, None)


@dataclass
class Folder:
    """A shelf on a local disk."""

    path: Path

    def names(self) -> list[str]:
        return sorted(file.stem for file in self.path.glob(f"*{ENDING}") if NAME.fullmatch(file.stem))

    def read(self, name: str) -> str | None:
        with suppress(FileNotFoundError), self._told():
            return self._file(name).read_text(encoding="utf-8")
        return None

    def write(self, name: str, text: str, *, before: str | None) -> None:
        """Put a text in the place of `before`; None: there is none yet. Raises Changed, StoreError."""
        with self._told():
            self.path.mkdir(exist_ok=True)
            with self._alone():
                _check(name, text, self.read(name), before)
                draft = self.path / f".{name}.draft"
                with draft.open("w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(self._file(name))
                self._sync()

    def remove(self, name: str) -> None:
        with self._told():
            self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.path / f"{_named(name)}{ENDING}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.path / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _sync(self) -> None:
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(
                f"{self.path}: {error.strerror}. May the dashboard write there? Export what you want to keep."
            ) from error


@dataclass
class Remote:
    """A shelf on object storage. It has no lock: two who write within the same moment are not told apart."""

    url: str
    kind: str

    @cached_property
    def _files(self) -> fs.PyFileSystem:
        return fs.PyFileSystem(DeltaStorageHandler(self.url, {"max_retries": "2", "retry_timeout": "5s"}))

    def names(self) -> list[str]:
        with self._told():
            listed = self._files.get_file_info(fs.FileSelector(f"_{self.kind}", allow_not_found=True))
        stems = (file.path.rpartition("/")[2].removesuffix(ENDING) for file in listed if file.path.endswith(ENDING))
        return sorted(stem for stem in stems if NAME.fullmatch(stem))

    def read(self, name: str) -> str | None:
        with self._told():
            (told,) = self._files.get_file_info([self._path(name)])
            if told.type is fs.FileType.NotFound:
                return None
            with self._files.open_input_file(self._path(name)) as file:
                return bytes(file.read()).decode("utf-8").removesuffix("\n")

    def write(self, name: str, text: str, *, before: str | None) -> None:
        """Put a text in the place of `before`; None: there is none yet. Raises Changed, StoreError."""
        _check(name, text, self.read(name), before)
        # A table of one cell without a head is its text and a line's end.
        cell = pl.LazyFrame({"text": [text]})
        with self._told():
            cell.sink_csv(
                f"{self.url}/{self._path(name)}",
                include_header=False,
                quote_style="never",
                storage_options={"max_retries": 2, "retry_timeout_ms": 5_000},
            )

    def remove(self, name: str) -> None:
        with self._told(), suppress(FileNotFoundError):
            self._files.delete_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"_{self.kind}/{_named(name)}{ENDING}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
            raise StoreError(f"{self.url}: {' '.join(str(error).split())[:400]}") from error


def _named(name: str) -> str:
    if not NAME.fullmatch(name):
        raise StoreError(f"{name!r} is no name of a file here: lower-case letters, digits and hyphens are.")
    return name


def _check(name: str, text: str, found: str | None, before: str | None) -> None:
    _named(name)
    if len(text) > MOST_BYTES:
        raise StoreError(f"{name} is larger than {MOST_BYTES >> 20} MiB.")
    if found != before:
        raise Changed(
            f"{name} is there already: choose another name."
            if before is None
            else f"{name} was changed by somebody else meanwhile. Load the page again, and repeat your change."
        )
