"""OTLP keys: which key of those that were seen stands at a place.

Owns how keys are found: by a guess that is mostly right, else in a hash table.
"""

from __future__ import annotations

import numpy as np

from tracelens._kernels import inline, piece
from tracelens.wire._memory import Word, signed, word
from tracelens.wire._rows import Keys
from tracelens.wire._views import MASKS, is_text, same

NEAR = 10  # bits: keys that are guessed by their length, their first and their last bytes


@piece
def find(base: int, at: int, length: int, owner: int, table: Keys, known: int, seed: int) -> int:
    """Return the index of the key at an address; `known` when it is new, and it is entered there.

    base: where the requests begin. The hash is a polynomial modulo 2^31 - 1 at a secret point: nobody can
    choose keys that collide, so a hostile request costs what any other does.
    """
    prime = np.uint64(0x7FFFFFFF)
    point = np.uint64(seed)
    value = (np.uint64(length) * np.uint64(3) + np.uint64(owner)) & prime
    i = 0
    while i < length:  # 3 bytes a step stay below the prime
        chunk = word(at + i) & MASKS[min(3, length - i)]
        value = value * point + chunk
        value = (value & prime) + (value >> np.uint64(31))
        value = (value & prime) + (value >> np.uint64(31))
        i += 3
    mask = signed(len(table.slots) - 1)
    value *= np.uint64(0x9E3779B97F4A7C15)  # spreads 31 bits over larger tables
    slot = signed(value >> np.uint64(20)) & mask
    while True:
        key: int = signed(table.slots[slot]) - 1
        if key < 0:
            break
        if table.length[key] == length and table.owner[key] == owner and same(base + table.at[key], at, length):
            return key
        slot = (slot + 1) & mask
    table.slots[slot] = known + 1
    table.owner[known] = owner
    table.at[known] = at - base
    table.length[known] = length
    table.bad[known] = not is_text(at, length)
    table.holder[known] = -1
    return known


@inline
def look(at: int, length: int, owner: int) -> Word:
    """Return a number below 1 << NEAR that keys of other looks mostly do not have."""
    kept = min(length, 8)
    seen = (word(at) & MASKS[kept]) ^ (word(at + length - kept) & MASKS[kept]) << np.uint64(1)
    seen ^= np.uint64(4 * length + owner) << np.uint64(40)
    return seen * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - NEAR)
