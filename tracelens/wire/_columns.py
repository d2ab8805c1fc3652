"""OTLP columns: a list of attributes becomes the buffers of Arrow columns.

Owns the kernels that count keys and write columns. Reading the list is left
to `_rows`, naming columns and building frames to `otlp`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import kernel
from tracelens.wire._memory import address, signed, word
from tracelens.wire._rows import BAD_TEXT, DOUBLE, GONE, INT, JSON, OF_SPAN, RAW, STRING, TEXT, Attributes, Keys
from tracelens.wire._scan import Bytes
from tracelens.wire._views import Views, number, put

KINDS = 5  # types a key may have
LEFT_OUT = -2


@kernel
def tally(
    held: Attributes, count: int, table: Keys, weight: NDArray[np.int64], totals: NDArray[np.int64]
) -> tuple[int, int]:
    """Add up, by key and type, the spans that have it.

    weight: by owner and row, the spans that share the row. Returns (attributes
    whose text must be repaired, attributes that are JSON).
    """
    bad = structured = 0
    for i in range(count):
        kind = signed(held.kind[i])
        if kind == GONE:
            continue
        if kind == BAD_TEXT:
            bad += 1
            kind = STRING
        elif kind == JSON:
            structured += 1
        key = signed(held.key[i])
        owner = signed(table.owner[key])
        totals[key * KINDS + kind] += 1 if owner == OF_SPAN else weight[owner, held.row[i]]
    return bad, structured


@kernel
def spread(
    buffer: Bytes,
    made: Bytes,
    held: Attributes,
    count: int,
    table: Keys,
    column: NDArray[np.int64],
    first_word: NDArray[np.int64],
    words: NDArray[np.uint64],
    first_bit: NDArray[np.int64],
    valid: NDArray[np.uint8],
    over: NDArray[np.int64],
    weight: NDArray[np.int64],
    room: int,
) -> int:
    """Write each attribute into its column.

    column: by key and type, -1 for none, LEFT_OUT for what nobody wants. A column's values begin at
    words[first_word], two words a row for text, one for numbers, one bit for
    booleans; its validity bits at valid[first_bit // 8]. over: receives the
    attributes that are in no column. weight: as in `tally`. room: bytes of text
    that spans may repeat because they share a resource or scope; what would
    take more is in no column. Returns how many attributes are in none.
    """
    base = address(buffer)
    texts = address(made)
    into = address(words)
    left = 0
    for i in range(count):
        kind = signed(held.kind[i])
        if kind == GONE:
            continue
        key = signed(held.key[i])
        c = column[key * KINDS + kind]
        if c == LEFT_OUT:
            continue
        at = held.at[i]
        length = signed(held.length[i])
        textual = kind in (STRING, JSON)
        row = signed(held.row[i])
        owner = signed(table.owner[key])
        cost = length * weight[owner, row] if textual and owner != OF_SPAN else 0
        if c < 0 or cost > room:
            over[left] = i
            left += 1
            continue
        room -= cost
        bit = first_bit[c] + row
        valid[bit >> 3] |= np.uint8(1 << (bit & 7))
        first = first_word[c]
        if textual:
            if at >= 0:
                put(into + 8 * (first + 2 * row), base + at, length, RAW, at)
            else:
                put(into + 8 * (first + 2 * row), texts - 1 - at, length, TEXT, -1 - at)
        elif kind == INT:
            value, _ = number(base + at)
            words[first + row] = value
        elif kind == DOUBLE:
            words[first + row] = word(base + at)
        else:
            value, _ = number(base + at)
            if value != np.uint64(0):
                words[first + (row >> 6)] |= np.uint64(1) << np.uint64(row & 63)
    return left


@kernel
def place(
    views: Views, where: NDArray[np.int64], made: Bytes, at: NDArray[np.int64], length: NDArray[np.int64]
) -> None:
    """Write the views of made texts into the rows `where`."""
    texts = address(made)
    into = address(views)
    for i in range(len(where)):
        put(into + 16 * where[i], texts + at[i], length[i], TEXT, at[i])
