"""Jaeger's tables: what kernels know of a trace until all of it is read.

Owns their columns, their size, and how rows are found by what they are known by.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import piece
from tracelens.wire._jaeger_tags import FAILED
from tracelens.wire._memory import ZERO, Word, signed, word
from tracelens.wire._put import ROOM, low_word
from tracelens.wire._views import MASKS

Table = NDArray[np.int64]  # rows of numbers and addresses

# Columns of what is known of a span. A piece is where it stands, and its bytes.
TRACE, TRACE_END, SPAN, PARENT, HAS_PARENT, REFERENCE, REFERENCES, NAME, NAME_SIZE = range(9)
ATTRIBUTES, ATTRIBUTES_SIZE, EVENTS, EVENTS_SIZE, START, END, FLAGS, KIND, STATUS = range(9, 18)
GROUP, PROCESS_SIZE, GROUP_SIZE, SIZE, NEXT = range(18, 23)  # of GROUP's bytes the process has the first
FIELD = 23  # from here on, by field: where its text stands, and its bytes, below zero where there is none
SPAN_COLUMNS = FIELD + 2 * FAILED
# Columns of a reference.
OF_TRACE, OF_TRACE_END, OF_SPAN, SORT = range(4)
CHILD_OF, FOLLOWS_FROM, OTHER_SORT = range(3)
LINK_SIZE = 30


Written = NDArray[np.uint8]

LEAST_SPAN = 96  # bytes: what is shorter and more leaves no room in the tables, and is left to Python

# Columns of processes and groups: what they are known by, its bytes, how many of them are the process's; then
# of a process its resource, and of a group the bytes of its spans; the first and the last span.
KEY, KEY_SIZE, SPLIT, BODY, BODY_SIZE, FIRST, LAST = range(7)
COLUMNS = 7
FOLLOWER = 24  # bytes: a trace id and a span id


class Room(NamedTuple):
    """Where one call of `write` works; as much as its longest document may need."""

    text: Written  # attributes and events of a trace
    side: Written  # its other text
    rows: Table  # of spans
    known: Table  # of references
    processes: Table
    groups: Table
    slots: NDArray[np.int64]  # of a hash table, now of span ids, now of groups, now of processes


def room_for(longest: int) -> Room:
    """Return room for documents of that many bytes; what is not touched stays unclaimed memory."""
    spans = longest // LEAST_SPAN + 16
    return Room(
        text=np.empty(longest + 4 * ROOM, np.uint8),
        side=np.empty(longest + 4 * ROOM, np.uint8),
        rows=np.empty((spans, SPAN_COLUMNS), np.int64),
        known=np.empty((2 * spans, 4), np.int64),
        processes=np.empty((spans, COLUMNS), np.int64),
        groups=np.empty((spans, COLUMNS), np.int64),
        slots=np.zeros(1 << (2 * spans).bit_length(), np.int64),  # see `mask_for`
    )


# -- hash tables: a slot holds the number of the trace that filled it, and a row


@piece
def mask_for(entries: int) -> int:
    """Return the last slot of a hash table with twice the entries or more."""
    mask = 15
    while mask < 2 * entries:
        mask = 2 * mask + 1
    return mask


@piece
def mixed(value: Word, secret: Word) -> Word:
    """Return a word that nobody can foresee who does not know the secret, which is odd."""
    value *= secret
    value ^= value >> np.uint64(32)
    return value * secret


@piece
def equal(one: int, other: int, size: int) -> bool:
    """Whether two texts are."""
    same = True
    for i in range(0, size, 8):
        same = same and (word(one + i) ^ word(other + i)) & MASKS[min(size - i, 8)] == ZERO
    return same


@piece
def slot_of(
    slots: NDArray[np.int64], mask: int, stamp: int, table: Table, at: int, size: int, split: int, secret: Word
) -> int:
    """Return the slot that holds the row of a key, or the free one where it is not."""
    value = np.uint64(size) ^ secret
    for i in range(0, size, 8):
        value = mixed(value ^ low_word(at + i, size - i), secret)
    slot: int = signed(value >> np.uint64(32)) & mask
    while slots[slot] >> 32 == stamp:
        row = slots[slot] & 0xFFFFFFFF
        if table[row, KEY_SIZE] == size and table[row, SPLIT] == split and equal(table[row, KEY], at, size):
            break
        slot = (slot + 1) & mask
    return slot


@piece
def slot_of_span(slots: NDArray[np.int64], mask: int, stamp: int, rows: Table, identity: int, secret: Word) -> int:
    """Return the same of a span id."""
    slot: int = signed(mixed(np.uint64(identity), secret) >> np.uint64(32)) & mask
    while slots[slot] >> 32 == stamp and rows[slots[slot] & 0xFFFFFFFF, SPAN] != identity:
        slot = (slot + 1) & mask
    return slot
