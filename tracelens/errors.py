"""The error tree, and the exit code each branch ends a command with.

    TracelensError              1
    ├── UsageError              2   wrong arguments
    ├── InputError              3   unreadable input
    │   ├── DecodeError         3   bytes that are not what they claim
    │   ├── SchemaError         3   a frame without the columns asked for
    │   └── StoreError          3   a store that cannot be read or written
    └── StartError              5   could not start
        ├── PortTaken           5
        └── Locked              5

Every message says what, where, and what to do. Only `cli.py` and the
programs' `__main__` catch the tree; anything else raised is a bug and keeps
its traceback.
"""

from __future__ import annotations

from typing import ClassVar

PARTLY_UNREADABLE = 4  # answered, with losses counted on stderr
INTERRUPTED = 130  # 128 + SIGINT


class TracelensError(Exception):
    """Anything a person can do something about."""

    exit_code: ClassVar[int] = 1


class UsageError(TracelensError):
    """Wrong arguments."""

    exit_code = 2


class InputError(TracelensError):
    """Input that cannot be read."""

    exit_code = 3


class DecodeError(InputError):
    """Bytes that are not what they claim to be.

    record: which body of those given, from 0.
    byte: where in that body, from 0; -1 when unknown.
    """

    def __init__(self, reason: str, *, record: int = 0, byte: int = -1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.record = record
        self.byte = byte


class SchemaError(InputError):
    """A frame that lacks a column, or has it in another type."""


class StoreError(InputError):
    """A store that cannot be read or written."""


class StartError(TracelensError):
    """A program that could not start."""

    exit_code = 5


class PortTaken(StartError):
    """Somebody else listens on the address."""


class Locked(StartError):
    """Somebody else holds the data directory or the store."""
