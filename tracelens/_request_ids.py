"""The kernel of request ids: what Envoy drew when it made one, and what it wrote of that into it.

Owns the two places of an id that tell: its first eight digits, a random number, and the fifteenth
character, where Envoy marks why a request is traced.

Source: Envoy's extensions/request_id/uuid/config.cc.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tracelens._kernels import inline, kernel
from tracelens._link import I8, I64
from tracelens._text import AHEAD, EIGHT, HALF, LENGTH, Views, is_valid, signed
from tracelens._words import byte_at, fetch, word_at

MARK: Final = 14  # the place of the mark
DIGITS: Final = 8


@inline
def digit(byte: int) -> int:
    """Return what a hexadecimal digit stands for; -1 for what is none."""
    found = -1
    if 48 <= byte <= 57:
        found = byte - 48
    elif 97 <= byte <= 102:
        found = byte - 87
    elif 65 <= byte <= 70:
        found = byte - 55
    return found


@kernel
def read_request_ids(column: Views, mark: I8, drawn: I64) -> None:
    """Read the mark of each id, 0 where it has none, and its number, -1 where its digits are none."""
    for chunk in range(len(column.at)):
        begin = column.starts[chunk]
        at, valid, shift = column.at[chunk], column.valid[chunk], column.shift[chunk]
        buffer = column.first[chunk]
        end = column.starts[chunk + 1]
        for row in range(begin, end):
            mark[row] = 0
            drawn[row] = -1
            view = at + np.uint64(16 * (row - begin))
            if row + AHEAD < end and is_valid(valid, shift, row - begin + AHEAD):  # ids stand far from each other
                later = view + np.uint64(16 * AHEAD)
                if signed(word_at(later) & LENGTH) > MARK:
                    where = word_at(later + EIGHT)
                    fetch(column.data[buffer + signed(where & LENGTH)] + (where >> HALF))
            if not is_valid(valid, shift, row - begin) or signed(word_at(view) & LENGTH) <= MARK:
                continue
            where = word_at(view + EIGHT)
            text = column.data[buffer + signed(where & LENGTH)] + (where >> HALF)
            mark[row] = signed(byte_at(text + np.uint64(MARK)))
            number = 0
            for place in range(DIGITS):
                found = digit(signed(byte_at(text + np.uint64(place))))
                number = -1 if number < 0 or found < 0 else 16 * number + found
            drawn[row] = number
