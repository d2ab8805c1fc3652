"""Overflow: one JSON object a span, of the attributes that are no column.

Owns how those of a span, its resource and its scope come together. A resource
is shared by many spans, so what it brings must not be multiplied without
bound: where that would take more than there is room for, it is kept at the
first of its spans only. Nothing is lost, and a hostile resource costs little.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tracelens.wire._messages import finite
from tracelens.wire._rows import BOOL, DOUBLE, DUPLICATE_KEY, INT, JSON, OF_RESOURCE, OF_SCOPE, OF_SPAN, Attributes

Fields = dict[str, Any]
Read = Callable[[int, int], bytes]  # (position, length) of a value -> its bytes, made ones included


def varint(raw: bytes) -> int:
    """Return the first varint of some bytes, as a signed 64-bit number."""
    value = 0
    for place, byte in enumerate(raw):
        value |= (byte & 0x7F) << 7 * place
        if byte < 128:
            break
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def value(kind: int, at: int, length: int, read: Read) -> Any:
    """Return what JSON shall hold of one attribute."""
    if kind == INT:
        return varint(read(at, 10))
    if kind == BOOL:
        return bool(varint(read(at, 10)))
    if kind == DOUBLE:
        return finite(struct.unpack("<d", read(at, 8))[0])
    if kind == JSON:
        return orjson.Fragment(read(at, length))
    return read(at, length).decode()


@dataclass(frozen=True, slots=True)
class Overflow:
    """The attributes that are in no column."""

    held: Attributes
    over: NDArray[np.int64]  # which of them
    owner: NDArray[np.int8]  # whose each of those is
    resource: NDArray[np.int32]  # of each span
    scope: NDArray[np.int32]
    marks: NDArray[np.int32]  # by owner and row; receives duplicate_key
    name: Callable[[int, int], str]  # (key, kind) -> column name
    read: Read
    room: int  # bytes of text that spans may repeat because they share a resource or scope

    def fields(self, owner: int) -> Iterator[tuple[int, bytes]]:
        """Yield (row, its fields as members of a JSON object) of the spans, resources or scopes that have some."""
        of = self.over[self.owner == owner]
        parts = (self.held.row, self.held.key, self.held.kind, self.held.at, self.held.length)
        entries = zip(*(part[of].tolist() for part in parts), strict=True)
        for row, group in groupby(entries, key=itemgetter(0)):
            found: Fields = {}
            for _, key, kind, at, length in group:
                name = self.name(key, kind)
                if name in found:  # keys that became equal when their text was repaired
                    self.marks[owner, row] |= DUPLICATE_KEY
                found[name] = value(kind, at, length, self.read)
            yield row, orjson.dumps(found)[1:-1]

    def texts(self) -> Iterator[tuple[NDArray[np.int64], bytes]]:
        """Yield (spans, the overflow of each of them); every span that has some comes once."""
        shared: dict[int, dict[int, bytes]] = {OF_RESOURCE: {}, OF_SCOPE: {}}
        alone: dict[int, list[bytes]] = {}  # by span: what would be too much for all
        sharing = np.zeros(len(self.resource), np.bool_)
        room = self.room
        for owner, rows in ((OF_RESOURCE, self.resource), (OF_SCOPE, self.scope)):
            for row, text in self.fields(owner):
                first, last = np.searchsorted(rows, [row, row + 1]).tolist()  # spans of one owner stand together
                if len(text) * (last - first) > room:
                    alone.setdefault(first, []).append(text)
                else:
                    room -= len(text) * (last - first)
                    shared[owner][row] = text
                    sharing[first:last] = True

        def joined(span: int, *more: bytes) -> bytes:
            """Return one object of the members that are a span's."""
            resource, scope = int(self.resource[span]), int(self.scope[span])
            members = (shared[OF_RESOURCE].get(resource), shared[OF_SCOPE].get(scope), *alone.pop(span, ()), *more)
            return b"{" + b",".join(text for text in members if text) + b"}"

        for span, text in self.fields(OF_SPAN):
            yield np.array([span]), joined(span, text)
            sharing[span] = False
        for span in list(alone):
            yield np.array([span]), joined(span)
            sharing[span] = False
        left = np.flatnonzero(sharing)
        # A scope belongs to one resource: spans of one scope have the same overflow.
        for spans in np.split(left, np.flatnonzero(np.diff(self.scope[left])) + 1):
            if len(spans):
                yield spans, joined(int(spans[0]))
