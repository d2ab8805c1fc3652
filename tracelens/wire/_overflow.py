"""Overflow: one JSON object a span, of the attributes that are no column.

Owns how those of a span, its resource and its scope come together. A resource
or scope may be shared by all spans of a request, so what it brings must not
be multiplied without bound: beyond SHARED bytes it is kept at the first of
its spans only. Nothing is lost, and a hostile resource costs its own size.
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

SHARED = 1024  # bytes of JSON that each span of a resource repeats
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

    def fields(self, owner: int) -> Iterator[tuple[int, Fields]]:
        """Yield (row, its fields) of the spans, resources or scopes that have some, ascending."""
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
            yield row, found

    def texts(self) -> Iterator[tuple[NDArray[np.int64], bytes]]:
        """Yield (spans, the overflow of each of them); every span that has some comes once."""
        shared: dict[int, dict[int, Fields]] = {OF_RESOURCE: {}, OF_SCOPE: {}}
        alone: dict[int, Fields] = {}  # by span: what would be too much for all
        sharing = np.zeros(len(self.resource), np.bool_)
        for owner, rows in ((OF_RESOURCE, self.resource), (OF_SCOPE, self.scope)):
            for row, fields in self.fields(owner):
                first, last = np.searchsorted(rows, [row, row + 1])  # spans of one owner stand together
                if len(orjson.dumps(fields)) > SHARED:
                    alone.setdefault(int(first), {}).update(fields)
                else:
                    shared[owner][row] = fields
                    sharing[first:last] = True

        def common(span: int) -> Fields:
            resource, scope = int(self.resource[span]), int(self.scope[span])
            return shared[OF_RESOURCE].get(resource, {}) | shared[OF_SCOPE].get(scope, {})

        for span, fields in self.fields(OF_SPAN):
            yield np.array([span]), orjson.dumps(common(span) | alone.pop(span, {}) | fields)
            sharing[span] = False
        for span, fields in alone.items():
            yield np.array([span]), orjson.dumps(common(span) | fields)
            sharing[span] = False
        left = np.flatnonzero(sharing)
        # A scope belongs to one resource: spans of one scope have the same overflow.
        for spans in np.split(left, np.flatnonzero(np.diff(self.scope[left])) + 1):
            if len(spans):
                yield spans, orjson.dumps(common(int(spans[0])))
