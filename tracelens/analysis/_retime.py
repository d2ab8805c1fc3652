"""Kernels of the what-if: a trace timed anew, with some of its times changed.

Owns the loops; the rule and what may be changed stand in `whatif.py`. A span's
length depends on the spans below it and on nothing else, so that rows are
visited from the last to the first, children before parents, without a stack.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import inline, kernel
from tracelens._link import I32, I64, Bool
from tracelens.analysis._walk import longer

F64 = NDArray[np.float64]
FEW = 16  # rows looked through for the greatest; with more, all rows are gone through instead
LONGEST = np.int64(4_000_000_000_000_000_000)  # a stretched time is cut there: sums of two stay within 64 bits


@kernel
def _in_order(keys: I64, rows: I64, first: int, last: int) -> None:
    """Sort rows[first:last] by their keys, ascending; equal ones stay as they stand."""
    sorted_ = True
    for i in range(first + 1, last):
        if keys[rows[i]] < keys[rows[i - 1]]:
            sorted_ = False
            break
    if sorted_:
        return
    if last - first > 24:
        part = rows[first:last].copy()
        order = np.argsort(keys[part], kind="mergesort")
        for i in range(last - first):
            rows[first + i] = part[order[i]]
        return
    for i in range(first + 1, last):
        row = rows[i]
        j = i - 1
        while j >= first and keys[rows[j]] > keys[row]:
            rows[j + 1] = rows[j]
            j -= 1
        rows[j + 1] = row


@kernel
def _lay_out(
    top: int,
    start: I64,
    end: I64,
    waited: Bool,
    until: I64,
    parent: I64,
    child_offsets: I64,
    children: I64,
    lo: I64,
    hi: I64,
    by_start: I64,
    by_end: I64,
    used: I64,
) -> None:
    """Fill what is known of an entry before anything changes; all by row, counted from the entry.

    lo, hi: windows, cut to the parent's. by_start, by_end: the children that are waited for and have a window, in
    order of its start and of its end; those of row i begin at the place where the forest's do, and are used[i].
    """
    lo[0] = start[top]
    hi[0] = end[top]
    for i in range(1, until[top] - top):
        row = top + i
        p = parent[row] - top
        if waited[row]:
            lo[i] = min(max(start[row], lo[p]), hi[p])
            hi[i] = max(min(end[row], hi[p]), lo[i])
        else:
            lo[i] = 0
            hi[i] = 0
    origin = child_offsets[top]
    for i in range(until[top] - top):
        row = top + i
        begin = child_offsets[row] - origin
        n = begin
        # The forest's order is by end, descending.
        for k in range(child_offsets[row + 1] - 1, child_offsets[row] - 1, -1):
            c = children[k] - top
            if hi[c] > lo[c]:
                by_end[n] = c
                by_start[n] = c
                n += 1
        used[i] = n - begin
        _in_order(hi, by_end, begin, n)
        if n > begin + 1:
            by_start[begin:n] = np.sort(by_start[begin:n])
            _in_order(lo, by_start, begin, n)


@kernel
def _find_serial(
    size: int, lo: I64, hi: I64, by_start: I64, used: I64, child_offsets: I64, top: int, serial: Bool
) -> None:
    """Say of each row whether its children come one after the other, without overlap: then each waits for all before.

    Such a span gets shorter by what its children do, all together.
    """
    origin = child_offsets[top]
    for i in range(size):
        begin = child_offsets[top + i] - origin
        reached = lo[i]
        serial[i] = True
        for k in range(begin, begin + used[i]):
            if lo[by_start[k]] < reached:
                serial[i] = False
                break
            reached = hi[by_start[k]]


@inline
def _scaled(gap: int, factor: float) -> np.int64:
    if factor == 1.0:
        return np.int64(gap)
    longer_gap = gap * factor + 0.5
    return LONGEST if longer_gap > LONGEST else np.int64(longer_gap)


@kernel
def _length(
    i: int,
    begin: int,
    n: int,
    lo: I64,
    hi: I64,
    by_start: I64,
    by_end: I64,
    slack: int,
    factor: float,
    shift: int,
    beside: bool,
    length: I64,
    done: I64,
    cut: I64,
) -> np.int64:
    """Return how long span i takes when its children take `length`; times within it count from its start.

    slack: by how much siblings may overlap and still be one after the other. beside: children do not wait for each
    other. done, cut: room for what is worked out of each child: when those that wait for it may go on, and how much
    of a negative shift has been taken by then.
    """
    base = max(shift, 0)
    budget = max(-shift, 0)
    latest = np.int64(base)  # when the last of the finished ones finished, now
    before = lo[i]  # and when it did
    taken = np.int64(0)
    out = np.int64(base)
    out_taken = np.int64(0)
    for k in range(begin, begin + n):
        done[by_start[k]] = -1
    j = begin
    for k in range(begin, begin + n):
        c = by_start[k]
        while j < begin + n:
            p = by_end[j]
            if hi[p] > lo[c] + slack or done[p] < 0:
                break
            if done[p] > latest or (done[p] == latest and cut[p] < taken):
                latest = done[p]
                taken = cut[p]
            before = hi[p]
            j += 1
        gap = lo[c] - before
        now_taken = taken
        if gap > 0:
            less = min(budget - taken, gap)
            now_taken = taken + less
            gap = _scaled(gap - less, factor)
        at = max(latest + gap, 0)
        ends = min(at + length[c], LONGEST)
        done[c] = at if beside else ends
        cut[c] = now_taken
        if ends > out or (ends == out and now_taken < out_taken):
            out = ends
            out_taken = now_taken
    rest = hi[i] - (hi[by_end[begin + n - 1]] if n > 0 else lo[i])
    less = min(budget - out_taken, rest)
    return min(out + _scaled(rest - less, factor), LONGEST)


@inline
def _slack(row: int, width: int, coarse_below: Bool, fine: int, rough: int, hundredth: bool) -> int:
    allowed = rough if coarse_below[row] else fine
    return min(allowed, width // 100) if hundredth else allowed


@kernel
def retime(
    entries: I64,
    first: int,
    last: int,
    start: I64,
    end: I64,
    waited: Bool,
    until: I64,
    parent: I64,
    child_offsets: I64,
    children: I64,
    coarse_below: Bool,
    fine: int,
    rough: int,
    hundredth: bool,
    factor: F64,
    shift: I64,
    most: I64,
    beside: Bool,
    left_out: Bool,
    out: I64,
) -> None:
    """Fill `out` with how long each entry takes after the changes, nanoseconds.

    Of each span: factor of its own time, shift added to it, `most` it may take (-1: no limit), whether its children
    are called beside each other, whether it is left out. coarse_below: one of its children has a rough clock.
    """
    widest = 1
    for k in range(first, last):
        widest = max(widest, until[entries[k]] - entries[k])
    lo = np.empty(widest, np.int64)
    hi = np.empty(widest, np.int64)
    by_start = np.empty(widest, np.int64)
    by_end = np.empty(widest, np.int64)
    used = np.empty(widest, np.int64)
    length = np.empty(widest, np.int64)
    done = np.empty(widest, np.int64)
    cut = np.empty(widest, np.int64)
    for k in range(first, last):
        top = entries[k]
        _lay_out(top, start, end, waited, until, parent, child_offsets, children, lo, hi, by_start, by_end, used)
        for i in range(until[top] - top - 1, -1, -1):
            row = top + i
            if hi[i] <= lo[i] or left_out[row]:
                length[i] = 0
                continue
            begin = child_offsets[row] - child_offsets[top]
            slack = _slack(row, hi[i] - lo[i], coarse_below, fine, rough, hundredth)
            took = _length(
                i, begin, used[i], lo, hi, by_start, by_end, slack,
                factor[row], shift[row], beside[row], length, done, cut,
            )  # fmt: skip
            length[i] = min(took, most[row]) if most[row] >= 0 else took
        out[k] = length[0]


@kernel
def retime_each(
    entries: I64,
    first: int,
    last: int,
    start: I64,
    end: I64,
    waited: Bool,
    until: I64,
    parent: I64,
    child_offsets: I64,
    children: I64,
    coarse_below: Bool,
    fine: int,
    rough: int,
    hundredth: bool,
    code: I32,
    factor: float,
    offsets: I64,
    span: I64,
) -> tuple[I64, I64, I64]:
    """Return (entry, code, length): how long an entry takes when all spans of one code take `factor` of their time.

    Asked of each code that has time on an entry's critical path; the others change nothing, for the path stays.
    code: of each span, small integers. offsets, span: sections of all entries.
    """
    widest = 1
    codes = 0
    for k in range(first, last):
        widest = max(widest, until[entries[k]] - entries[k])
        for s in range(offsets[k], offsets[k + 1]):
            codes = max(codes, code[span[s]] + 1)
    lo = np.empty(widest, np.int64)
    hi = np.empty(widest, np.int64)
    by_start = np.empty(widest, np.int64)
    by_end = np.empty(widest, np.int64)
    used = np.empty(widest, np.int64)
    length = np.empty(widest, np.int64)
    now = np.empty(widest, np.int64)
    done = np.empty(widest, np.int64)
    cut = np.empty(widest, np.int64)
    stirred = np.zeros(widest, np.bool_)  # a child has another length now
    serial = np.empty(widest, np.bool_)
    shorter = np.zeros(widest, np.int64)  # by how much its children are, together
    waiting = np.empty(FEW, np.int64)  # the same rows as a list, while they are few
    touched = np.empty(widest, np.int64)
    seen = np.full(codes, -1, np.int64)
    last_of = np.empty(codes, np.int64)  # of each code the last row, and from each row to the one before
    before = np.empty(widest, np.int64)
    room = max(1024, 4 * (last - first))
    out_entry = np.empty(room, np.int64)
    out_code = np.empty(room, np.int64)
    out_length = np.empty(room, np.int64)
    n = 0
    for k in range(first, last):
        top = entries[k]
        size = until[top] - top
        origin = child_offsets[top]
        _lay_out(top, start, end, waited, until, parent, child_offsets, children, lo, hi, by_start, by_end, used)
        _find_serial(size, lo, hi, by_start, used, child_offsets, top, serial)
        for s in range(offsets[k], offsets[k + 1]):
            last_of[code[span[s]]] = -1
            seen[code[span[s]]] = k
        for i in range(size):
            length[i] = hi[i] - lo[i]
            now[i] = length[i]
            x = code[top + i]
            if length[i] > 0 and x < codes and seen[x] == k:
                before[i] = last_of[x]
                last_of[x] = i
        for s in range(offsets[k], offsets[k + 1]):
            x = code[span[s]]
            if seen[x] != k:
                continue
            seen[x] = -1
            own = last_of[x]
            few = 0
            many = False
            changed = 0
            i = size
            while True:  # the next row from the end that is of the code, or above a row that changed
                if many:
                    i -= 1
                    while i >= 0 and i != own and not stirred[i]:
                        i -= 1
                else:
                    i = own
                    for q in range(few):
                        i = max(i, waiting[q])
                if i < 0:
                    break
                is_own = i == own
                if is_own:
                    own = before[i]
                if stirred[i]:
                    stirred[i] = False
                    for q in range(few):
                        if waiting[q] == i:
                            few -= 1
                            waiting[q] = waiting[few]
                            break
                if serial[i] and not is_own:
                    now[i] = length[i] - shorter[i]
                elif used[i] == 0:
                    now[i] = _scaled(length[i], factor)
                else:
                    slack = _slack(top + i, hi[i] - lo[i], coarse_below, fine, rough, hundredth)
                    now[i] = _length(
                        i, child_offsets[top + i] - origin, used[i], lo, hi, by_start, by_end, slack,
                        factor if is_own else 1.0, 0, False, now, done, cut,
                    )  # fmt: skip
                shorter[i] = 0
                touched[changed] = i
                changed += 1
                above = parent[top + i] - top
                if i > 0 and now[i] != length[i]:
                    shorter[above] += length[i] - now[i]
                if i > 0 and now[i] != length[i] and not stirred[above]:
                    stirred[above] = True
                    if few == FEW:
                        many = True
                    if not many:
                        waiting[few] = above
                        few += 1
            if n == room:
                room *= 2
                out_entry = longer(out_entry, room, n)
                out_code = longer(out_code, room, n)
                out_length = longer(out_length, room, n)
            out_entry[n] = k
            out_code[n] = x
            out_length[n] = now[0]
            n += 1
            for q in range(changed):
                now[touched[q]] = length[touched[q]]
    return out_entry[:n].copy(), out_code[:n].copy(), out_length[:n].copy()


@kernel
def ranks_after(values: I64, old: I64, new: I64, rank: I64, out: I64) -> None:
    """Fill out[r] with the value at rank[r] of `values`, in which all of `old` have become `new`; all ascending."""
    least, greatest = values[0], values[len(values) - 1]
    if len(new):
        least, greatest = min(least, new[0]), max(greatest, new[len(new) - 1])
    for r in range(len(rank)):
        low, high = least, greatest
        while low < high:
            middle = low + (high - low) // 2
            within = (
                np.searchsorted(values, middle, side="right")
                - np.searchsorted(old, middle, side="right")
                + np.searchsorted(new, middle, side="right")
            )
            if within > rank[r]:
                high = middle
            else:
                low = middle + 1
        out[r] = low


@kernel
def any_below(parent: I64, flag: Bool, out: Bool) -> None:
    """Say of each row whether one of its children is flagged."""
    for i in range(len(parent)):
        if flag[i] and parent[i] >= 0:
            out[parent[i]] = True


@kernel
def sections_of(entry_index: I32, entries: int) -> I64:
    """Return where the sections of each entry begin, and the end."""
    offsets = np.zeros(entries + 1, np.int64)
    for i in range(len(entry_index)):
        offsets[entry_index[i] + 1] += 1
    for k in range(entries):
        offsets[k + 1] += offsets[k]
    return offsets
