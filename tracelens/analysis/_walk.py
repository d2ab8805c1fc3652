"""Kernels of the critical path: the walk and its check.

Owns the loops; the rules stand in `critical_path.py`. The walk works on a
range of entries and keeps its own stack, so that depth costs memory only and
threads can share the work.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import kernel
from tracelens._link import I32, I64, U64, Bool
from tracelens._windows import sort_children

Rows = NDArray[np.int64]  # two dimensions


@kernel
def longer(array: I64, room: int, used: int) -> I64:
    grown = np.empty(room, np.int64)
    grown[:used] = array[:used]
    return grown


@kernel
def longer_short(array: I32, room: int, used: int) -> I32:
    grown = np.empty(room, np.int32)
    grown[:used] = array[:used]
    return grown


class Stacks(NamedTuple):
    """What a walk keeps by level, and the children it sorted anew, a stretch a level."""

    node: I64
    cursor: I64
    low: I64
    high: I64
    pointer: I64
    stop: I64
    origin: I64  # of the level's stretch of `again`; -1 when the stored order serves
    after_coarse: Bool
    again: I64
    spare: I64


@kernel
def walk_until_full(
    entries: I64,
    first: int,
    last: int,
    start: I64,
    end: I64,
    lo: I64,
    hi: I64,
    span: U64,
    waited: Bool,
    until: I64,
    child_offsets: I64,
    children: I64,
    coarse: Bool,
    fine: int,
    rough: int,
    hundredth: bool,
    stacks: Stacks,
    out_entry: I32,
    out_span: I64,
    out_start: I64,
    out_end: I64,
    used: int,
) -> tuple[int, int]:
    """Walk from each entry, and write its sections after the `used` ones; see `walk`.

    A span whose window here is not the stored one (it was cut by an ancestor
    above the entry, or by a sibling within the tolerance) gets its children
    sorted anew. Returns (entry that was not walked from, sections): the end,
    or where there was no room. A function of its own: an array that is
    replaced within a loop is counted at each turn.
    """
    node, cursor, low, high, pointer = stacks.node, stacks.cursor, stacks.low, stacks.high, stacks.pointer
    stop, origin, after_coarse = stacks.stop, stacks.origin, stacks.after_coarse
    again, spare = stacks.again, stacks.spare
    for k in range(first, last):
        begin = used
        top = entries[k]
        if used + 2 * (until[top] - top) + 1 > len(out_span):
            return k, used
        filled = 0
        level = -1
        child = top
        child_low = start[top]
        child_high = end[top]
        while True:
            if child >= 0:  # go down
                level += 1
                node[level] = child
                cursor[level] = child_high
                low[level] = child_low
                high[level] = child_high
                after_coarse[level] = False
                if child_low == lo[child] and child_high == hi[child]:
                    origin[level] = -1
                    pointer[level] = child_offsets[child]
                    stop[level] = child_offsets[child + 1]
                else:
                    origin[level] = filled
                    pointer[level] = filled
                    for i in range(child_offsets[child], child_offsets[child + 1]):
                        c = children[i]
                        if waited[c] and min(end[c], child_high) > max(start[c], child_low):
                            again[filled] = c
                            filled += 1
                    stop[level] = filled
                    count = filled - origin[level]
                    sort_children(again, origin[level], count, spare, start, end, span, child_low, child_high)
            own = node[level]
            t = cursor[level]
            bottom = low[level]
            child = np.int64(-1)
            i = pointer[level]
            while i < stop[level] and t > bottom:
                c = again[i] if origin[level] >= 0 else children[i]
                i += 1
                if not waited[c]:
                    continue
                child_low = max(start[c], bottom)
                child_high = min(end[c], high[level])
                if child_high <= child_low:
                    continue
                if child_high > t:
                    if child_low >= t:
                        continue
                    allowed = rough if coarse[c] or after_coarse[level] else fine
                    if hundredth:
                        allowed = min(allowed, (high[level] - bottom) // 100)
                    if child_high - t > allowed:
                        continue
                    child_high = t
                child = c
                break
            if child >= 0:
                if child_high < t:
                    out_entry[used] = k
                    out_span[used] = own
                    out_start[used] = child_high
                    out_end[used] = t
                    used += 1
                cursor[level] = child_low
                after_coarse[level] = coarse[child]
                pointer[level] = i
                continue
            if t > bottom:
                out_entry[used] = k
                out_span[used] = own
                out_start[used] = bottom
                out_end[used] = t
                used += 1
            if origin[level] >= 0:
                filled = origin[level]
            level -= 1
            if level < 0:
                break
        a = begin
        b = used - 1
        while a < b:  # the walk goes from late to early
            out_span[a], out_span[b] = out_span[b], out_span[a]
            out_start[a], out_start[b] = out_start[b], out_start[a]
            out_end[a], out_end[b] = out_end[b], out_end[a]
            a += 1
            b -= 1
    return last, used


@kernel
def walk(
    entries: I64,
    first: int,
    last: int,
    start: I64,
    end: I64,
    lo: I64,
    hi: I64,
    span: U64,
    waited: Bool,
    until: I64,
    child_offsets: I64,
    children: I64,
    coarse: Bool,
    fine: int,
    rough: int,
    hundredth: bool,
    deepest: int,
) -> tuple[I32, I64, I64, I64]:
    """Walk from each entry in its own interval: (entry, span, start, end) per section, ascending.

    fine, rough: the overlap that is tolerated, rough when one of the two
    siblings keeps `coarse` time; hundredth: and never more than 1 % of the
    parent's window.
    """
    widest = 0
    total = 0
    for k in range(first, last):
        size = until[entries[k]] - entries[k]
        widest = max(widest, size)
        total += size
    room = 2 * widest + 1 + (total if total < 1 << 20 else 1 << 20)
    out_entry = np.empty(room, np.int32)
    out_span = np.empty(room, np.int64)
    out_start = np.empty(room, np.int64)
    out_end = np.empty(room, np.int64)
    stacks = Stacks(
        np.empty(deepest + 2, np.int64),
        np.empty(deepest + 2, np.int64),
        np.empty(deepest + 2, np.int64),
        np.empty(deepest + 2, np.int64),
        np.empty(deepest + 2, np.int64),
        np.empty(deepest + 2, np.int64),
        np.empty(deepest + 2, np.int64),
        np.empty(deepest + 2, np.bool_),
        np.empty(widest, np.int64),
        np.empty(widest, np.int64),
    )
    used = 0
    while True:
        first, used = walk_until_full(
            entries, first, last, start, end, lo, hi, span, waited, until, child_offsets, children, coarse,
            fine, rough, hundredth, stacks, out_entry, out_span, out_start, out_end, used,
        )  # fmt: skip
        if first == last:
            return out_entry[:used], out_span[:used], out_start[:used], out_end[:used]
        top = entries[first]
        room = max(used + 2 * (until[top] - top) + 1, 2 * room)
        out_entry = longer_short(out_entry, room, used)
        out_span = longer(out_span, room, used)
        out_start = longer(out_start, room, used)
        out_end = longer(out_end, room, used)


@kernel
def first_broken(entry: I32, begins: I64, ends: I64, entries: I64, first: int, last: int, start: I64, end: I64) -> int:
    """Return which of the entries from `first` to before `last` its sections do not tile exactly; -1 for none."""
    i = 0
    for k in range(first, last):
        cursor = start[entries[k]]
        while i < len(entry) and entry[i] == k:
            if begins[i] != cursor or ends[i] <= begins[i]:
                return k
            cursor = ends[i]
            i += 1
        if cursor != end[entries[k]]:
            return k
    return -1 if i == len(entry) else last


@kernel
def add_times(span: I64, begins: I64, ends: I64, total: I64) -> None:
    """Add each section's length to its span's total."""
    for i in range(len(span)):
        total[span[i]] += ends[i] - begins[i]


@kernel
def count_whole(code: I32, start: I64, skew: I64, step: int, first: int, last: int, counts: Rows) -> None:
    """Count spans by service, and those whose received start is a whole number of steps; -1 counts as the last."""
    for i in range(first, last):
        c = code[i] if code[i] >= 0 else len(counts) - 1
        counts[c, 0] += 1
        if (start[i] - skew[i]) % step == 0:
            counts[c, 1] += 1
