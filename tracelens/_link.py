"""Kernels of the forest: from ids to parents and their order.

Owns the loops that frames cannot express, each over a range of traces so that
threads can share the work, each iterative so that depth costs nothing. What
the columns mean, and in which order the steps run, stands in `forest.py`; what
follows once parents stand before their children, in `_windows.py`.

Rows are positions in arrays sorted by (trace, start, span id) until
`preorder` gives the final order, in which a parent stands before its children
and a subtree is one stretch of rows.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import inline, kernel

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
I8 = NDArray[np.int8]
U64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]

ROOT: Final = -1  # no parent reference
ORPHAN: Final = -2  # a parent reference to a span that is not there, or the cut of a cycle

SERVER: Final = 2  # OTLP's numbers of kinds, as in tracelens.spans
CLIENT: Final = 3
PRODUCER: Final = 4
CONSUMER: Final = 5

SHORT: Final = 12  # below this length an insertion sort beats merging

# The finalizer of splitmix64 (Steele, Lea, Flood, OOPSLA '14).
_M1: Final = np.uint64(0xBF58476D1CE4E5B9)
_M2: Final = np.uint64(0x94D049BB133111EB)
_S30: Final = np.uint64(30)
_S27: Final = np.uint64(27)
_S31: Final = np.uint64(31)


@inline
def mix(value: np.uint64, seed: np.uint64) -> np.uint64:
    """Spread the bits of `value`; the seed differs per call, so that no sender can craft collisions."""
    x = value ^ seed
    x = (x ^ (x >> _S30)) * _M1
    x = (x ^ (x >> _S27)) * _M2
    return x ^ (x >> _S31)


@kernel
def traces_until_full(
    high: U64, low: U64, seed: np.uint64, table: I64, number: I64, first: I64, row: int, count: int
) -> tuple[int, int]:
    """Number traces from `row` on. Returns (row that was not numbered, traces): the end, or where there was no room.

    A function of its own, as all that grow: numba counts the references of an array that is replaced within a
    loop at each turn, at ten times the cost of the rest. So it does with arrays that are handed to an `inline`.
    """
    mask = np.uint64(len(table) - 1)
    while row < len(high):
        if row > 0 and high[row] == high[row - 1] and low[row] == low[row - 1]:
            number[row] = number[row - 1]
            row += 1
            continue
        slot = mix(high[row] ^ mix(low[row], seed), seed) & mask
        known = table[slot]
        while known >= 0 and (high[first[known]] != high[row] or low[first[known]] != low[row]):
            slot = (slot + np.uint64(1)) & mask
            known = table[slot]
        if known < 0:
            if 2 * count == len(table):
                return row, count
            known = count
            table[slot] = count
            first[count] = row
            count += 1
        number[row] = known
        row += 1
    return row, count


@kernel
def number_traces(high: U64, low: U64, seed: np.uint64) -> tuple[I64, I64]:
    """Number traces in order of first appearance: (number per row, first row per trace)."""
    n = len(high)
    number = np.empty(n, np.int64)
    first = np.empty(n, np.int64)
    table = np.full(1024, -1, np.int64)
    row, count = 0, 0
    while True:
        row, count = traces_until_full(high, low, seed, table, number, first, row, count)
        if row == n:
            return number, first[:count].copy()
        table = np.full(4 * len(table), -1, np.int64)
        mask = np.uint64(len(table) - 1)
        for known in range(count):
            slot = mix(high[first[known]] ^ mix(low[first[known]], seed), seed) & mask
            while table[slot] >= 0:
                slot = (slot + np.uint64(1)) & mask
            table[slot] = known


@kernel
def count_ordered(high: U64, low: U64, first: int, last: int) -> int:
    """Return how many rows begin a trace, of stretches whose ids ascend; -1 where they do not."""
    count = 0
    for i in range(max(first, 1), last):
        if high[i] != high[i - 1] or low[i] != low[i - 1]:
            if high[i] < high[i - 1] or (high[i] == high[i - 1] and low[i] < low[i - 1]):
                return -1
            count += 1
    return count + (first == 0 and last > 0)


@kernel
def bounds_ordered(high: U64, low: U64, first: int, last: int, place: int, offsets: I64) -> None:
    """Write where traces begin, of stretches whose ids ascend; place: of the first that begins there."""
    for i in range(first, last):
        if i == 0 or high[i] != high[i - 1] or low[i] != low[i - 1]:
            offsets[place] = i
            place += 1


@kernel
def group_rows(number: I64, place: I64, count: int) -> tuple[I64, I64]:
    """Return (offsets per trace, rows by trace), traces in the order `place` gives their numbers."""
    n = len(number)
    offsets = np.zeros(count + 1, np.int64)
    for i in range(n):
        offsets[place[number[i]] + 1] += 1
    for t in range(count):
        offsets[t + 1] += offsets[t]
    cursor = offsets[:count].copy()
    order = np.empty(n, np.int64)
    for i in range(n):
        t = place[number[i]]
        order[cursor[t]] = i
        cursor[t] += 1
    return offsets, order


@inline
def _before(start: int, span: np.uint64, other: int, other_span: np.uint64) -> bool:
    return bool(start < other or (start == other and span < other_span))


@kernel
def sort_traces(offsets: I64, first: int, last: int, order: I64, start: I64, span: U64) -> None:
    """Sort the rows of each trace by (start, span id), in place."""
    longest = 0
    for t in range(first, last):
        longest = max(longest, offsets[t + 1] - offsets[t])
    spare = np.empty(longest if longest > SHORT else 0, np.int64)
    for t in range(first, last):
        a = offsets[t]
        n = offsets[t + 1] - a
        for run in range(0, n, SHORT):  # runs by insertion
            for i in range(a + run + 1, a + min(run + SHORT, n)):
                row = order[i]
                begin, own = start[row], span[row]
                k = i
                while k > a + run and _before(begin, own, start[order[k - 1]], span[order[k - 1]]):
                    order[k] = order[k - 1]
                    k -= 1
                order[k] = row
        width = SHORT
        while width < n:  # then merged, bottom up
            for left in range(0, n - width, 2 * width):
                middle = a + left + width
                right = a + min(left + 2 * width, n)
                x, y = order[middle], order[middle - 1]
                if not _before(start[x], span[x], start[y], span[y]):
                    continue
                for i in range(width):
                    spare[i] = order[a + left + i]
                i = 0
                j = middle
                k = a + left
                while i < width:
                    x, y = order[min(j, right - 1)], spare[i]
                    if j < right and _before(start[x], span[x], start[y], span[y]):
                        order[k] = x
                        j += 1
                    else:
                        order[k] = y
                        i += 1
                    k += 1
            width *= 2


@kernel
def find_parents(
    offsets: I64,
    first: int,
    last: int,
    span: U64,
    parent: U64,
    has_parent: Bool,
    half: I8,
    service: I32,
    seed: np.uint64,
    up: I64,
    doubled: Bool,
) -> int:
    """Fill `up` with the position of each span's parent, ROOT or ORPHAN.

    half: 1 and 2 for the client and server half of a shared span, else 0.
    A span that is its own parent has none. Children of a shared span go to its
    server unless their service is only the client's.
    doubled: set for every span whose id another has too; `up` is of no use then.
    Returns how many ids were met again.
    """
    longest = 0
    for t in range(first, last):
        longest = max(longest, offsets[t + 1] - offsets[t])
    room = 4
    while room < 2 * longest:
        room *= 2
    table = np.zeros(room, np.int64)
    twin = np.full(longest, -1, np.int64)  # of a client half: its server half
    repeated = 0
    for t in range(first, last):
        a = offsets[t]
        b = offsets[t + 1]
        if b == a + 1:
            up[a] = ROOT if not has_parent[a] or parent[a] == span[a] else ORPHAN
            continue
        size = 4
        while size < 2 * (b - a):
            size *= 2
        mask = np.uint64(size - 1)
        for i in range(size):
            table[i] = 0
        shared = False
        for i in range(a, b):
            if half[i] == 2:
                shared = True
                continue
            slot = mix(span[i], seed) & mask
            while table[slot] != 0 and span[a + table[slot] - 1] != span[i]:
                slot = (slot + np.uint64(1)) & mask
            if table[slot] != 0:
                doubled[i] = True
                doubled[a + table[slot] - 1] = True
                repeated += 1
            else:
                table[slot] = i - a + 1
        if shared:
            for i in range(b - a):
                twin[i] = -1
            for i in range(a, b):
                if half[i] == 2:
                    slot = mix(span[i], seed) & mask
                    while span[a + table[slot] - 1] != span[i]:
                        slot = (slot + np.uint64(1)) & mask
                    twin[table[slot] - 1] = i
                    up[i] = a + table[slot] - 1
        for i in range(a, b):
            if half[i] == 2:
                continue
            if not has_parent[i] or parent[i] == span[i]:
                up[i] = ROOT
                continue
            slot = mix(parent[i], seed) & mask
            while table[slot] != 0 and span[a + table[slot] - 1] != parent[i]:
                slot = (slot + np.uint64(1)) & mask
            if table[slot] == 0:
                up[i] = ORPHAN
                continue
            found = a + table[slot] - 1
            if shared and twin[found - a] >= 0:
                server = twin[found - a]
                if service[i] != service[found] or service[i] == service[server]:
                    found = server
            up[i] = found
    return repeated


@kernel
def cut_cycles(offsets: I64, first: int, last: int, start: I64, span: U64, timed: Bool, up: I64, cut: Bool) -> None:
    """Make the earliest (start, id) of each cycle an orphan, and say so in `cut`."""
    longest = 0
    for t in range(first, last):
        longest = max(longest, offsets[t + 1] - offsets[t])
    seen = np.empty(longest, np.int64)
    for t in range(first, last):
        a = offsets[t]
        b = offsets[t + 1]
        backwards = False
        for i in range(a, b):
            if up[i] > i:
                backwards = True  # to a later row: every cycle has such an edge
                break
        if not backwards:
            continue
        seen[: b - a] = 0
        for i in range(a, b):
            stamp = i - a + 1
            node = i
            while node >= 0 and seen[node - a] == 0:
                seen[node - a] = stamp
                node = up[node]
            if node < 0 or seen[node - a] != stamp:
                continue
            best = node
            k = up[node]
            while k != node:
                if timed[k] != timed[best]:
                    earlier = timed[k]
                else:
                    earlier = start[k] < start[best] or (start[k] == start[best] and span[k] < span[best])
                if earlier:
                    best = k
                k = up[k]
            up[best] = ORPHAN
            cut[best] = True


@kernel
def lift_timeless(offsets: I64, first: int, last: int, timed: Bool, up: I64, aside: Bool) -> None:
    """Hang every span on its nearest timed ancestor; an edge is aside when any edge it replaces was."""
    longest = 0
    for t in range(first, last):
        longest = max(longest, offsets[t + 1] - offsets[t])
    lifted = np.zeros(longest, np.bool_)
    stack = np.empty(longest, np.int64)
    for t in range(first, last):
        a = offsets[t]
        b = offsets[t + 1]
        lifted[: b - a] = False
        for i in range(a, b):
            node = i
            high = 0
            while node >= 0 and not timed[node] and not lifted[node - a]:
                stack[high] = node
                high += 1
                node = up[node]
            while high > 0:  # from the topmost down, so that each looks one step up
                high -= 1
                node = stack[high]
                p = up[node]
                if p >= 0 and not timed[p]:
                    aside[node] = aside[node] or aside[p]
                    up[node] = up[p]
                lifted[node - a] = True
        for i in range(a, b):
            p = up[i]
            if timed[i] and p >= 0 and not timed[p]:
                aside[i] = aside[i] or aside[p]
                up[i] = up[p]


@kernel
def preorder(offsets: I64, first: int, last: int, up: I64, order: I64, parent: I64, until: I64, depth: I32) -> None:
    """Number spans so that a parent stands before its children: siblings by (start, id).

    order: position of each row. parent: row, ROOT or ORPHAN. until: one past
    the last row of its subtree.
    """
    longest = 0
    for t in range(first, last):
        longest = max(longest, offsets[t + 1] - offsets[t])
    child = np.empty(longest, np.int64)  # first child, then each next sibling
    after = np.empty(longest, np.int64)
    row = np.empty(longest, np.int64)
    for t in range(first, last):
        a = offsets[t]
        n = offsets[t + 1] - a
        child[:n] = -1
        top = -1
        for i in range(n - 1, -1, -1):
            p = up[a + i]
            if p >= 0:
                after[i] = child[p - a]
                child[p - a] = i
            else:
                after[i] = top
                top = i
        node = top
        k = a
        level = 0
        while node >= 0:
            row[node] = k
            order[k] = a + node
            p = up[a + node]
            parent[k] = row[p - a] if p >= 0 else p
            depth[k] = level
            k += 1
            if child[node] >= 0:
                node = child[node]
                level += 1
                continue
            while node >= 0:
                until[row[node]] = k
                if after[node] >= 0:
                    node = after[node]
                    break
                p = up[a + node]
                node = p - a if p >= 0 else -1
                level -= 1
