"""Kernels of the forest: clocks, windows, the order of children, roots.

Owns what is computed once rows are in their final order, a parent before its
children: everything here goes down the rows once. Parents are found in
`_link.py`; the rules stand in `forest.py`.
"""

from __future__ import annotations

import numpy as np

from tracelens._kernels import inline, kernel
from tracelens._link import CLIENT, I8, I32, I64, ORPHAN, ROOT, SERVER, SHORT, U64, Bool


@kernel
def find_crossings(
    parent: I64,
    first: int,
    last: int,
    kind: I8,
    number: I32,
    level: I8,
    host: I32,
    pod: I32,
    proxy: Bool,
    workload: I32,
    crossing: I8,
) -> None:
    """Mark the edges to parents that join two clocks; the rule stands in `forest.py`.

    number: of what a span tells by itself, which the other arrays have by number:
    level: which attribute names its host, -1 for none; host, pod and workload:
    codes, -1 for none; proxy: whether a proxy wrote it.
    """
    for i in range(first, last):
        p = parent[i]
        if p < 0:
            continue
        a, b = number[i], number[p]
        if level[a] >= 0 and level[a] == level[b]:
            crosses = host[a] != host[b]
        else:
            crosses = kind[p] == CLIENT and kind[i] == SERVER
        one_pod = pod[a] >= 0 and pod[a] == pod[b]
        one_call = proxy[a] != proxy[b] and workload[a] == workload[b]
        crossing[i] = crosses and not one_pod and not one_call


@kernel
def begin(
    offsets: I64,
    first: int,
    last: int,
    parent: I64,
    aside: Bool,
    cut: Bool,
    half: I8,
    bits: I32,
    blocking: Bool,
    marks: I32,
    children: I64,
) -> None:
    """Fill who is waited for, the first marks, and how many children each row has.

    bits: marks for orphans, cuts of cycles, halves of shared spans.
    """
    for i in range(offsets[first], offsets[last]):
        p = parent[i]
        blocking[i] = not aside[i] or p < 0
        marks[i] = (bits[0] if p == ORPHAN else 0) | (bits[1] if cut[i] else 0) | (bits[2] if half[i] > 0 else 0)
        if p >= 0:
            children[p] += 1


@kernel
def settle_times(
    offsets: I64,
    first: int,
    last: int,
    parent: I64,
    timed: Bool,
    blocking: Bool,
    crossing: I8,
    cap: int,
    bits: I32,
    start: I64,
    end: I64,
    skew: I64,
    marks: I32,
) -> None:
    """Correct clock skew top-down, and give timeless spans their ancestor's start.

    crossing: 1 where the edge to the parent joins two clocks.
    bits: marks for shifted, aligned, capped, moved along.
    """
    for t in range(first, last):
        earliest = np.int64(0)
        known = False
        for i in range(offsets[t], offsets[t + 1]):
            if timed[i] and (not known or start[i] < earliest):
                earliest = start[i]
                known = True
        for i in range(offsets[t], offsets[t + 1]):
            p = parent[i]
            if not timed[i]:
                start[i] = start[p] if p >= 0 else earliest
                end[i] = start[i]
                continue
            if p < 0:
                continue
            if crossing[i] == 0:
                shift = skew[p]
                if shift != 0:
                    marks[i] |= bits[3]
            else:
                shift = np.int64(0)
                if blocking[i]:
                    fits = end[i] - start[i] <= end[p] - start[p]
                    if start[i] < start[p]:
                        shift = start[p] - start[i]
                    elif fits and end[i] > end[p]:
                        shift = end[p] - end[i]
                    if abs(shift) > cap:
                        shift = np.int64(0)
                        marks[i] |= bits[2]
                    elif shift != 0:
                        marks[i] |= bits[0] if fits else bits[1]
            start[i] += shift
            end[i] += shift
            skew[i] = shift


@kernel
def cut_windows(
    offsets: I64,
    first: int,
    last: int,
    parent: I64,
    blocking: Bool,
    bits: I32,
    start: I64,
    end: I64,
    lo: I64,
    hi: I64,
    marks: I32,
) -> None:
    """Cut each span to its parent's window; what nobody waits for keeps its own interval.

    bits: marks for cut before, cut after, outside. Below an empty window
    nothing is marked: the span above it says it.
    """
    for i in range(offsets[first], offsets[last]):
        p = parent[i]
        if p < 0 or not blocking[i]:
            lo[i] = start[i]
            hi[i] = end[i]
            continue
        lo[i] = min(max(start[i], lo[p]), hi[p])
        hi[i] = max(min(end[i], hi[p]), lo[i])
        if lo[p] == hi[p] and start[p] != end[p]:
            continue
        if end[i] < lo[p] or start[i] > hi[p] or (lo[i] == hi[i] and start[i] != end[i]):
            marks[i] |= bits[2]
            continue
        if start[i] < lo[p]:
            marks[i] |= bits[0]
        if end[i] > hi[p]:
            marks[i] |= bits[1]


@inline
def _sooner(end: int, start: int, span: np.uint64, other_end: int, other_start: int, other_span: np.uint64) -> bool:
    """Whether one child comes before another: window end descending, start ascending, id ascending."""
    return bool(
        end > other_end or (end == other_end and (start < other_start or (start == other_start and span < other_span)))
    )


@kernel
def sort_children(rows: I64, a: int, n: int, spare: I64, start: I64, end: I64, span: U64, lo: int, hi: int) -> None:
    """Sort n children from rows[a] on in the order the walk asks for them, in the window [lo, hi)."""
    for run in range(0, n, SHORT):
        for i in range(a + run + 1, a + min(run + SHORT, n)):
            x = rows[i]
            x_end, x_start, x_span = min(end[x], hi), max(start[x], lo), span[x]
            k = i
            while k > a + run:
                y = rows[k - 1]
                if not _sooner(x_end, x_start, x_span, min(end[y], hi), max(start[y], lo), span[y]):
                    break
                rows[k] = y
                k -= 1
            rows[k] = x
    width = SHORT
    while width < n:
        for left in range(0, n - width, 2 * width):
            middle = a + left + width
            right = a + min(left + 2 * width, n)
            x, y = rows[middle], rows[middle - 1]
            x_end, x_start, y_end, y_start = min(end[x], hi), max(start[x], lo), min(end[y], hi), max(start[y], lo)
            if not _sooner(x_end, x_start, span[x], y_end, y_start, span[y]):
                continue
            for i in range(width):
                spare[i] = rows[a + left + i]
            i = 0
            j = middle
            k = a + left
            while i < width:
                x, y = rows[min(j, right - 1)], spare[i]
                x_end, x_start, y_end, y_start = min(end[x], hi), max(start[x], lo), min(end[y], hi), max(start[y], lo)
                if j < right and _sooner(x_end, x_start, span[x], y_end, y_start, span[y]):
                    rows[k] = x
                    j += 1
                else:
                    rows[k] = y
                    i += 1
                k += 1
        width *= 2


@kernel
def order_children(
    offsets: I64,
    first: int,
    last: int,
    parent: I64,
    start: I64,
    end: I64,
    span: U64,
    lo: I64,
    hi: I64,
    child_offsets: I64,
    children: I64,
) -> None:
    """Fill `children`: those of row i from child_offsets[i] on, in the order of the walk."""
    a = offsets[first]
    b = offsets[last]
    most = 0
    for i in range(a, b):
        most = max(most, child_offsets[i + 1] - child_offsets[i])
    spare = np.empty(most if most > SHORT else 0, np.int64)
    cursor = child_offsets[a:b].copy()
    for i in range(a, b):
        # From the last to the first: children mostly finish in the order they
        # start, and the one that finishes last comes first.
        k = b - 1 - (i - a)
        p = parent[k]
        if p >= 0:
            children[cursor[p - a]] = k
            cursor[p - a] += 1
    for i in range(a, b):
        n = child_offsets[i + 1] - child_offsets[i]
        if n > 1:
            sort_children(children, child_offsets[i], n, spare, start, end, span, lo[i], hi[i])


@kernel
def find_roots(
    offsets: I64,
    first: int,
    last: int,
    parent: I64,
    timed: Bool,
    start: I64,
    end: I64,
    span: U64,
    entry: I64,
    n_roots: I32,
    n_orphans: I32,
) -> None:
    """Choose each trace's primary root: a root before an orphan, then earliest, longest, smallest id.

    Afterwards the parent of an orphan is -1, too.
    """
    for t in range(first, last):
        a = offsets[t]
        best = a
        for i in range(a, offsets[t + 1]):
            if parent[i] >= 0:
                continue
            if parent[i] == ORPHAN:
                n_orphans[t] += 1
            elif timed[i]:
                n_roots[t] += 1
            if timed[i] != timed[best]:
                better = timed[i]
            elif parent[i] != parent[best]:
                better = parent[i] > parent[best]
            elif start[i] != start[best]:
                better = start[i] < start[best]
            elif end[i] != end[best]:
                better = end[i] > end[best]
            else:
                better = span[i] < span[best]
            if better:
                best = i
        entry[t] = best
        if n_roots[t] == 0 and parent[best] == ROOT:
            n_roots[t] = 1  # nothing in this trace has a time
        for i in range(a, offsets[t + 1]):
            if parent[i] == ORPHAN:
                parent[i] = -1  # from here on a root is a root


@kernel
def count_bits(marks: I32, counts: I64) -> None:
    """Add to counts[k] how many marks have bit k."""
    for mark in marks:
        if mark != 0:
            for k in range(len(counts)):
                if mark >> k & 1:
                    counts[k] += 1
