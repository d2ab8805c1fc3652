"""Naming: which attributes become columns, and what those are called.

Owns the choice among a request's keys: the most frequent first, up to
spans.MAX_COLUMNS, and only names that every table can hold. The rest overflows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracelens.semconv import SERVICE_NAME
from tracelens.spans import MAX_COLUMNS, OWNERS, TYPES, UNFIT_NAME, column, split_column
from tracelens.wire._columns import KINDS
from tracelens.wire._rows import OF_RESOURCE, STRING, Keys

KIND_NAMES = tuple(TYPES)
LONGEST_NAME = 256  # characters; names stand in every file's footer
SERVICE = column("res", SERVICE_NAME[0])  # never overflows: it names the span's service


@dataclass(frozen=True, slots=True)
class Column:
    """An attribute column and the attributes it holds: those of one key, one owner and one type."""

    name: str
    owner: int
    kind: int
    code: int  # key * KINDS + kind


def name_of(raw: memoryview, table: Keys, key: int, kind: int) -> str:
    """Return the column name of a key, repaired where it is not UTF-8."""
    at = int(table.at[key])
    text = bytes(raw[at : at + int(table.length[key])]).decode(errors="replace")
    return column(OWNERS[table.owner[key]], text, KIND_NAMES[kind])


def fits(name: str, owner: int, kind: int) -> bool:
    """Whether a column can have this name: Delta allows it, it is not empty, and it reads back as what it is.

    A string key "retries#int" would read back as an integer "retries".
    """
    of, key, sort = split_column(name)
    return (
        len(name) <= LONGEST_NAME
        and UNFIT_NAME.search(name) is None
        and key != ""
        and (of, sort) == (OWNERS[owner], KIND_NAMES[kind])
    )


def service_first(raw: memoryview, table: Keys, totals: NDArray[np.int64]) -> Iterator[int]:
    """Yield codes of keys, the resource's service.name first, then by how many spans have them."""
    wanted = SERVICE_NAME[0].encode()
    length = len(wanted)
    named = np.flatnonzero((table.owner == OF_RESOURCE) & (table.length == length))
    for key in named.tolist():
        code = key * KINDS + STRING
        if code < len(totals) and totals[code] and raw[table.at[key] : table.at[key] + length] == wanted:
            yield code
    used = np.flatnonzero(totals)
    yield from used[np.argsort(-totals[used], kind="stable")].tolist()  # ties: as they came


def choose(raw: memoryview, table: Keys, totals: NDArray[np.int64], names: dict[str, str]) -> list[Column]:
    """Return the columns to make.

    totals: spans by code. names: columns that earlier requests made, by
    lower-case name; receives the new ones.
    """
    chosen: dict[str, Column] = {}
    earlier = len(names)
    for code in service_first(raw, table, totals):
        if len(names) >= MAX_COLUMNS and earlier == 0:
            break
        key, kind = divmod(code, KINDS)
        owner = int(table.owner[key])
        if table.bad[key] or table.length[key] > 4 * LONGEST_NAME:
            continue
        name = name_of(raw, table, key, kind)
        if not fits(name, owner, kind) or names.get(name.lower(), name) != name:
            continue
        if name.lower() not in names:
            if len(names) >= MAX_COLUMNS:
                continue
            names[name.lower()] = name
        chosen.setdefault(name, Column(name, owner, kind, code))
    return list(chosen.values())
