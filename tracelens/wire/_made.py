"""Made text: what stands in no request, on its way into columns.

Owns the second data buffer of a decoded frame: repaired text, and JSON.
What the JSON says is left to `_messages`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tracelens.errors import DecodeError
from tracelens.spans import MARK
from tracelens.wire import _columns, _messages
from tracelens.wire._chunk import Chunk
from tracelens.wire._rows import (
    BAD_MESSAGE,
    BAD_NAME,
    BAD_STATE,
    BAD_TEXT,
    BAD_VERSION,
    HAS_EVENTS,
    HAS_LINKS,
    JSON,
    OF_SCOPE,
    OF_SPAN,
    STRING,
)
from tracelens.wire._scan import Bytes
from tracelens.wire._views import PADDING, Views

LONGEST = 2**31 - 1 - PADDING  # bytes: offsets of Arrow views are signed 32-bit


@dataclass(slots=True)
class Made:
    """Texts that stand in no request."""

    parts: bytearray = field(default_factory=bytearray)

    def add(self, text: bytes) -> int:
        """Keep a text; return where it stands."""
        at = len(self.parts)
        if at + len(text) > LONGEST:
            raise DecodeError("arrays, maps and events are more than 2 GiB as JSON. Split the request.")
        self.parts += text
        return at

    def buffer(self) -> Bytes:
        """Return all texts, padded, as kernels read them."""
        return np.frombuffer(bytes(self.parts) + bytes(PADDING), np.uint8)


@dataclass(slots=True)
class Placed:
    """Made texts, by the rows of one column that they belong to."""

    rows: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    length: list[int] = field(default_factory=list)

    def add(self, row: int, at: int, length: int) -> None:
        """Let a row have the made text at `at`."""
        self.rows.append(row)
        self.at.append(at)
        self.length.append(length)

    def write(self, views: Views, made: Bytes) -> None:
        """Write the views of all of them."""
        if self.rows:
            rows, at, length = (np.array(part, np.int64) for part in (self.rows, self.at, self.length))
            _columns.place(views, rows, made, at, length)


def count_keys(chunk: Chunk, made: Made) -> NDArray[np.int64]:
    """Return the spans by key and type; make the text of attributes that are JSON or no UTF-8."""
    rows, held = chunk.rows, chunk.held
    totals = np.zeros(chunk.distinct * _columns.KINDS, np.int64)
    bad, structured = _columns.tally(held, chunk.attributes, chunk.keys, chunk.weight, totals)
    kinds = held.kind[: chunk.attributes]
    if bad:
        for i in np.flatnonzero(kinds == BAD_TEXT).tolist():
            text = repaired(chunk.raw, int(held.at[i]), int(held.length[i]))
            held.kind[i], held.at[i], held.length[i] = STRING, -1 - made.add(text), len(text)
            rows.marks[chunk.keys.owner[held.key[i]], held.row[i]] |= MARK["bad_utf8"]
    if structured:
        known: dict[bytes, tuple[int, int, bool]] = {}  # many spans have the same array
        for i in np.flatnonzero(kinds == JSON).tolist():
            at = int(held.at[i])
            raw = bytes(chunk.raw[at : at + int(held.length[i])])
            if raw not in known:
                text, mended = _messages.key_value(raw)
                known[raw] = made.add(text), len(text), mended
            place, length, mended = known[raw]
            held.at[i], held.length[i] = -1 - place, length
            if mended:
                rows.marks[chunk.keys.owner[held.key[i]], held.row[i]] |= MARK["bad_utf8"]
    return totals


def repaired(raw: memoryview, at: int, length: int) -> bytes:
    """Return text that is UTF-8: each bad sequence becomes U+FFFD."""
    return bytes(raw[at : at + length]).decode(errors="replace").encode()


def viewed(chunk: Chunk, views: Views, row: int) -> bytes:
    """Return the bytes that a view shows."""
    first, second = int(views[2 * row]), int(views[2 * row + 1])
    length = first & 0xFFFFFFFF
    if length <= 12:
        return ((first >> 32) | (second << 32)).to_bytes(12, "little")[:length]
    at = second >> 32
    return bytes(chunk.raw[at : at + length])


def mended(chunk: Chunk, made: Made, views: Views, row: int, into: Placed) -> None:
    """Repair the text of one row."""
    text = viewed(chunk, views, row).decode(errors="replace").encode()
    into.add(row, made.add(text), len(text))


def made_of_spans(chunk: Chunk, made: Made) -> dict[str, Placed]:
    """Make the text of spans that is JSON or no UTF-8; by column."""
    rows = chunk.rows
    texts = {BAD_NAME: ("name", rows.name), BAD_STATE: ("trace_state", rows.trace_state)}
    texts[BAD_MESSAGE] = ("status_message", rows.message)
    placed = {name: Placed() for name in ("events", "links", "name", "trace_state", "status_message")}
    for row in np.flatnonzero(rows.slow[: chunk.counts[OF_SPAN]]).tolist():
        slow = int(rows.slow[row])
        for bit, (name, views) in texts.items():
            if slow & bit:
                mended(chunk, made, views, row, placed[name])
                rows.marks[OF_SPAN, row] |= MARK["bad_utf8"]
        if slow & (HAS_EVENTS | HAS_LINKS):
            at = int(rows.at[row])
            events, links, bad = _messages.events_and_links(bytes(chunk.raw[at : at + int(rows.length[row])]))
            for name, text in (("events", events), ("links", links)):
                if text is not None:
                    placed[name].add(row, made.add(text), len(text))
            if bad:
                rows.marks[OF_SPAN, row] |= MARK["bad_utf8"]
    return placed


def made_of_scopes(chunk: Chunk, made: Made) -> dict[str, Placed]:
    """Repair names and versions of scopes; by column."""
    rows = chunk.rows
    placed = {"scope_name": Placed(), "scope_version": Placed()}
    for row in np.flatnonzero(rows.scope_slow[: chunk.counts[OF_SCOPE]]).tolist():
        if rows.scope_slow[row] & BAD_NAME:
            mended(chunk, made, rows.scope_name, row, placed["scope_name"])
        if rows.scope_slow[row] & BAD_VERSION:
            mended(chunk, made, rows.scope_version, row, placed["scope_version"])
        rows.marks[OF_SCOPE, row] |= MARK["bad_utf8"]
    return placed
