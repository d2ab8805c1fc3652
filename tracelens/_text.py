"""Kernels of columns: text and ids read where they stand, numbered, and put in another order.

Owns the loops over Arrow views: 16 bytes a row, that hold up to 12 bytes of a
text or say where it stands. Nothing is copied but views. Which columns, and
what for, stands in `columns.py`; it keeps the buffers alive while these run.

Source: Arrow "Variable-size Binary View Layout".
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from tracelens._kernels import inline, kernel
from tracelens._link import I32, I64, U64, Bool
from tracelens._words import byte_at, fetch, folded, turned, word_at

signed: Any = np.int64  # numba's int(uint64) stays unsigned
UNBOUNDED: Final = 2**31 - 1
WITHIN: Final = 12  # bytes of a text that its view holds
LENGTH: Final = np.uint64(0xFFFFFFFF)
HALF: Final = np.uint64(32)
AHEAD: Final = 16  # rows whose text is on its way
EIGHT: Final = np.uint64(8)
ONE: Final = np.uint64(1)
ONES: Final = np.uint64(0x0101010101010101)
HIGHS: Final = np.uint64(0x8080808080808080)
QUERY: Final = np.uint64(0x3F3F3F3F3F3F3F3F)  # "?" eight times
FRAGMENT: Final = np.uint64(0x2323232323232323)  # "#"


class Views(NamedTuple):
    """A column's views, chunk by chunk: addresses, for chunks are many and are not copied together."""

    starts: I64  # [c+1] first row of each chunk, and how many rows there are
    at: U64  # [c] address of its first view
    valid: U64  # [c] address of the byte its validity bits begin in; 0 when no row is null
    shift: I64  # [c] the bit in that byte
    first: I64  # [c] its first data buffer
    data: U64  # [b] addresses of all data buffers


@kernel
def chunk_of(starts: I64, row: int) -> int:
    """Return the chunk of a row."""
    low = 0
    high = len(starts) - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if starts[middle] <= row:
            low = middle
        else:
            high = middle
    return low


@inline
def is_valid(valid: np.uint64, shift: int, row: int) -> bool:
    """Whether a row of a chunk is not null."""
    if valid == np.uint64(0):
        return True
    bit = np.uint64(shift + row)
    return bool((byte_at(valid + (bit >> np.uint64(3))) >> np.uint8(bit & np.uint64(7))) & np.uint8(1))


@kernel
def read_ids(column: Views, ids: U64, known: Bool, first: int, last: int) -> int:
    """Read ids of 8 bytes, big-endian; null is 0 and not known. Returns how many have another length."""
    bad = 0
    for chunk in range(len(column.at)):
        begin = column.starts[chunk]
        at, valid, shift = column.at[chunk], column.valid[chunk], column.shift[chunk]
        for row in range(max(begin, first), min(column.starts[chunk + 1], last)):
            if not is_valid(valid, shift, row - begin):
                known[row] = False
                ids[row] = np.uint64(0)
                continue
            view = at + np.uint64(16 * (row - begin))
            bad += (word_at(view) & LENGTH) != EIGHT
            known[row] = True
            ids[row] = turned(word_at(view + np.uint64(4)))
    return bad


@kernel
def read_trace_ids(column: Views, high: U64, low: U64, first: int, last: int) -> int:
    """Read ids of 16 bytes, big-endian, in two words. Returns how many are null or have another length."""
    bad = 0
    data = column.data
    for chunk in range(len(column.at)):
        begin = column.starts[chunk]
        at, valid, shift = column.at[chunk], column.valid[chunk], column.shift[chunk]
        buffer = column.first[chunk]
        for row in range(max(begin, first), min(column.starts[chunk + 1], last)):
            view = at + np.uint64(16 * (row - begin))
            if not is_valid(valid, shift, row - begin) or (word_at(view) & LENGTH) != np.uint64(16):
                bad += 1
                continue
            where = word_at(view + EIGHT)
            place = data[buffer + signed(where & LENGTH)] + (where >> HALF)
            high[row] = turned(word_at(place))
            low[row] = turned(word_at(place + EIGHT))
    return bad


@inline
def ended(word: np.uint64) -> int:
    """Return the place of the first "?" or "#" among 8 bytes; 8 when there is none."""
    query = word ^ QUERY
    fragment = word ^ FRAGMENT
    found = (((query - ONES) & ~query) | ((fragment - ONES) & ~fragment)) & HIGHS
    place = 8
    if found != np.uint64(0):  # the lowest bit set is exact; those above it may be borrows
        place = 0
        while found & np.uint64(0xFF) == np.uint64(0):
            found >>= EIGHT
            place += 1
    return place


@kernel
def shortened(view: np.uint64, at: np.uint64, length: int) -> tuple[int, np.uint64, np.uint64]:
    """Return (length, first word, second word) of the view of a text up to its first "?" or "#"."""
    stop = length
    i = 0
    while i + 8 <= length:
        place = ended(word_at(at + np.uint64(i)))
        if place < 8:
            stop = i + place
            break
        i += 8
    if stop == length:
        for j in range(i, length):
            byte = byte_at(at + np.uint64(j))
            if byte in (63, 35):
                stop = j
                break
    first = word_at(view)
    if stop > WITHIN:
        return stop, np.uint64(stop) | (first >> HALF) << HALF, at
    low = np.uint64(0)
    high = np.uint64(0)
    for j in range(stop):
        byte = np.uint64(byte_at(at + np.uint64(j)))
        if j < 4:
            low |= byte << np.uint64(8 * j)
        else:
            high |= byte << np.uint64(8 * (j - 4))
    return stop, np.uint64(stop) | low << HALF, high


@inline
def differ(one: np.uint64, other: np.uint64, length: int) -> bool:
    """Whether two texts of a length beyond WITHIN differ."""
    i = 0
    while i + 8 < length:
        if word_at(one + np.uint64(i)) != word_at(other + np.uint64(i)):
            return True
        i += 8
    last = np.uint64(length - 8)
    return bool(word_at(one + last) != word_at(other + last))


class Known(NamedTuple):
    """Texts that were seen, and the hash table that finds them: a power of two, at least twice the texts."""

    slots: I32  # number of a text; -1 is free
    rows: I64  # where each appeared first
    hashes: U64
    words: U64  # length and first bytes
    rests: U64  # the other bytes, or where the text stands


@kernel
def room_for(texts: int) -> Known:
    return Known(
        np.full(2 * texts, -1, np.int32),
        np.empty(texts, np.int64),
        np.empty(texts, np.uint64),
        np.empty(texts, np.uint64),
        np.empty(texts, np.uint64),
    )


@kernel
def twice(known: Known) -> Known:
    """Return the same texts with room for twice as many."""
    n = len(known.rows)
    larger = room_for(2 * n)
    larger.rows[:n] = known.rows
    larger.hashes[:n] = known.hashes
    larger.words[:n] = known.words
    larger.rests[:n] = known.rests
    mask = np.uint64(len(larger.slots) - 1)
    for k in range(n):
        slot = known.hashes[k] & mask
        while larger.slots[slot] >= 0:
            slot = (slot + ONE) & mask
        larger.slots[slot] = k
    return larger


@kernel
def number_until_full(
    column: Views, cut: bool, most: int, seed: np.uint64, known: Known, count: int, row: int, number: I32
) -> tuple[int, int]:
    """Number texts from `row` on. Returns (row that was not numbered, texts): the end, or where there was no room.

    A function of its own: an array that is replaced within a loop is counted at each turn, at ten times the cost.
    """
    starts, at_views, valid, shift = column.starts, column.at, column.valid, column.shift
    first_data, data = column.first, column.data
    slots, rows, hashes, words, rests = known.slots, known.rows, known.hashes, known.words, known.rests
    factor = seed | ONE
    mask = np.uint64(len(slots) - 1)
    before = np.int32(-1)
    word_before = np.uint64(0)
    rest_before = np.uint64(0)
    n = starts[-1]
    begin = end = 0
    while row < n:
        if row >= end:
            chunk = chunk_of(starts, row)
            begin, end = starts[chunk], starts[chunk + 1]
            at_chunk, valid_at, bit, buffer = at_views[chunk], valid[chunk], shift[chunk], first_data[chunk]
            before = np.int32(-1)  # the same view means another text in another chunk
        inside = row - begin
        if not is_valid(valid_at, bit, inside):
            number[row] = -1
            row += 1
            continue
        view = at_chunk + np.uint64(16 * inside)
        word = word_at(view)
        rest = word_at(view + EIGHT)
        if before >= 0 and word == word_before and rest == rest_before:
            number[row] = before
            row += 1
            continue
        word_before = word
        rest_before = rest
        length = signed(word & LENGTH)
        at = view + np.uint64(4)
        if length > WITHIN:
            at = data[buffer + signed(rest & LENGTH)] + (rest >> HALF)
            rest = at
            if row + AHEAD < end and is_valid(valid_at, bit, inside + AHEAD):  # waiting for memory takes longest
                later = view + np.uint64(16 * AHEAD)
                where = word_at(later + EIGHT)
                if signed(word_at(later) & LENGTH) > WITHIN:
                    fetch(data[buffer + signed(where & LENGTH)] + (where >> HALF))
        if cut:
            length, word, rest = shortened(view, at, length)
        value = folded(word ^ seed, factor)
        if length > WITHIN:
            i = 0
            while i + 8 < length:
                value = folded(value ^ word_at(rest + np.uint64(i)), factor)
                i += 8
            value = folded(value ^ word_at(rest + np.uint64(length - 8)), factor)
        else:
            value = folded(value ^ rest, factor)
        slot = value & mask
        found = slots[slot]
        while found >= 0:
            alike = hashes[found] == value and words[found] == word
            if alike and (rests[found] == rest or (length > WITHIN and not differ(rests[found], rest, length))):
                break
            slot = (slot + ONE) & mask
            found = slots[slot]
        if found < 0:
            if count == len(rows) or count == most or (most < UNBOUNDED and count > 1024 and 2 * count > row):
                return row, count
            found = np.int32(count)
            slots[slot] = found
            rows[count] = row
            hashes[count] = value
            words[count] = word
            rests[count] = rest
            count += 1
        number[row] = found
        before = found
        row += 1
    return row, count


@kernel
def number_texts(column: Views, cut: bool, most: int, seed: np.uint64, number: I32) -> I64:
    """Number texts in order of first appearance, null as -1. Returns the row where each appears first.

    cut: text is looked at up to its first "?" or "#" only. Gives up when there
    are more than `most`, or nearly all differ: what is returned then is longer than `most`.
    """
    known = room_for(128)
    row, count = 0, 0
    while True:
        row, count = number_until_full(column, cut, most, seed, known, count, row, number)
        if row == column.starts[-1]:
            return known.rows[:count].copy()
        if count < len(known.rows) or count == most:
            return np.empty(most + 1, np.int64)
        known = twice(known)


@kernel
def add_digit(key: I64, digit: I32, size: int, first: int, last: int) -> None:
    """Append a digit to the keys of rows `first` to before `last`: one of -1 to before `size`."""
    for i in range(first, last):
        key[i] = key[i] * (size + 1) + digit[i] + 1


@kernel
def counts_up(order: I64) -> bool:
    """Whether each number is its own place."""
    ordered = True
    for i in range(len(order)):
        if order[i] != i:
            ordered = False
            break
    return ordered


@kernel
def number_small(key: I64, known: I32, number: I32) -> I64:
    """Number keys in order of first appearance; known: -1 for each there may be. Returns where each appears first."""
    rows = np.empty(min(len(known), len(key)), np.int64)
    count = 0
    for i in range(len(key)):
        found = known[key[i]]
        if found < 0:
            found = np.int32(count)
            known[key[i]] = found
            rows[count] = i
            count += 1
        number[i] = found
    return rows[:count].copy()


@kernel
def keys_until_full(
    key: I64, seed: np.uint64, slots: I32, rows: I64, count: int, row: int, number: I32
) -> tuple[int, int]:
    """Number keys from `row` on; see `number_until_full`."""
    factor = seed | ONE
    mask = np.uint64(len(slots) - 1)
    before = np.int32(-1)
    key_before = np.int64(0)
    while row < len(key):
        own = key[row]
        if own != key_before or before < 0:
            slot = folded(np.uint64(own) ^ seed, factor) & mask
            before = slots[slot]
            while before >= 0 and key[rows[before]] != own:
                slot = (slot + ONE) & mask
                before = slots[slot]
            if before < 0:
                if count == len(rows):
                    return row, count
                before = np.int32(count)
                slots[slot] = before
                rows[count] = row
                count += 1
            key_before = own
        number[row] = before
        row += 1
    return row, count


@kernel
def number_keys(key: I64, seed: np.uint64, number: I32) -> I64:
    """Number keys in order of first appearance. Returns the row where each appears first."""
    slots = np.full(256, -1, np.int32)
    rows = np.empty(128, np.int64)
    row, count = 0, 0
    while True:
        row, count = keys_until_full(key, seed, slots, rows, count, row, number)
        if row == len(key):
            return rows[:count].copy()
        rows = np.concatenate((rows, np.empty(count, np.int64)))
        slots = np.full(4 * count, -1, np.int32)
        mask = np.uint64(len(slots) - 1)
        for k in range(count):
            slot = folded(np.uint64(key[rows[k]]) ^ seed, seed | ONE) & mask
            while slots[slot] >= 0:
                slot = (slot + ONE) & mask
            slots[slot] = k


@kernel
def gather_views(column: Views, rows: I64, views: U64, known: Bool) -> None:
    """Write the views of `rows`, over all data buffers together; known: whether each is not null."""
    starts, at_views, valid, shift, first_data = column.starts, column.at, column.valid, column.shift, column.first
    begin = end = 0
    for i in range(len(rows)):
        row = rows[i]
        if row < begin or row >= end:
            chunk = chunk_of(starts, row)
            begin, end = starts[chunk], starts[chunk + 1]
            at, valid_at, bit, buffer = at_views[chunk], valid[chunk], shift[chunk], first_data[chunk]
        if not is_valid(valid_at, bit, row - begin):
            known[i] = False
            views[2 * i] = np.uint64(0)
            views[2 * i + 1] = np.uint64(0)
            continue
        view = at + np.uint64(16 * (row - begin))
        word = word_at(view)
        rest = word_at(view + EIGHT)
        if np.int64(word & LENGTH) > WITHIN:
            rest += np.uint64(buffer)
        known[i] = True
        views[2 * i] = word
        views[2 * i + 1] = rest


@kernel
def spell_codes(code: I32, rows: I64, distinct: U64, views: U64, known: Bool) -> None:
    """Write the view of the code of each of `rows`, from those of the distinct texts; known: whether it is not -1."""
    for i in range(len(rows)):
        c = code[rows[i]]
        known[i] = c >= 0
        views[2 * i] = distinct[2 * c] if c >= 0 else np.uint64(0)
        views[2 * i + 1] = distinct[2 * c + 1] if c >= 0 else np.uint64(0)
