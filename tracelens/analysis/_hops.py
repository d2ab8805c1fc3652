"""Kernels of the hops: which spans are one request on its way, and where its time went.

Owns the grouping by parent ids and the arithmetic on intervals; what the
layers mean stands in `hops.py`. Rows are the forest's: preorder, so that the
subtree of row i is i … until[i].
"""

from __future__ import annotations

import numpy as np

from tracelens._fold import APP_CLIENT, APP_SERVER, ATTEMPT, GATEWAY, INBOUND, OUTBOUND, PROXY
from tracelens._kernels import inline, kernel
from tracelens._link import I8, I64, Bool

# What a span is to the request that passes through it, seen from the caller.
INNER, BY_CLIENT, BY_EGRESS, BY_ATTEMPT = range(4)
# Columns of the layers' nanoseconds.
CLIENT, EGRESS, NETWORK, INGRESS, APP, DOWNSTREAM, TRIED, BACKOFF = range(8)
LAYERS = 8
UNKNOWN_NANO = -1  # a layer that the spans do not tell


@kernel
def find_stages(
    parent: I64,
    role: I8,
    direction: I8,
    is_entry: Bool,
    message: Bool,
    blocking: Bool,
    stage: I8,
    near: I64,
    branches: I64,
) -> None:
    """Fill stage, near and branches of every span.

    is_entry: spans that begin a call. message: spans that hand something to a queue, and wait for nobody.
    near: the closest span above that makes, carries or takes a request, past internal ones.
    branches: of a client span, how many requests begin below it.
    """
    for i in range(len(parent)):
        p = parent[i]
        above = np.int64(-1)
        if p >= 0:
            above = p if stage[p] != INNER or is_entry[p] or role[p] == APP_SERVER else near[p]
        near[i] = above
        carried = above >= 0 and stage[above] in (BY_EGRESS, BY_ATTEMPT)
        if role[i] == APP_CLIENT:
            stage[i] = INNER if message[i] else BY_CLIENT
        elif role[i] == PROXY and direction[i] == GATEWAY:
            stage[i] = BY_EGRESS
        elif role[i] == PROXY and direction[i] == OUTBOUND:
            stage[i] = INNER if carried else BY_EGRESS
        elif role[i] == ATTEMPT and direction[i] != INBOUND:
            stage[i] = INNER if above >= 0 and stage[above] == BY_ATTEMPT else BY_ATTEMPT
        else:
            stage[i] = INNER
        if above >= 0 and stage[above] == BY_CLIENT and (stage[i] != INNER or (is_entry[i] and blocking[i])):
            branches[above] += 1


@inline
def _joins(i: int, near: I64, stage: I8, branches: I64, is_entry: Bool) -> bool:
    """Whether a span of the caller's side goes on with the request of the one above it."""
    above = near[i]
    if above < 0 or is_entry[i]:  # a gateway passes on what it took: a request of its own
        return False
    if stage[above] == BY_CLIENT:
        return bool(branches[above] == 1)
    return bool(stage[i] == BY_ATTEMPT and stage[above] == BY_EGRESS)


@inline
def _is_taken(i: int, near: I64, stage: I8, branches: I64, blocking: Bool) -> bool:
    """Whether an entry takes the request of the span above it."""
    above = near[i]
    if above < 0 or not blocking[i] or stage[above] == INNER:
        return False
    return bool(stage[above] != BY_CLIENT or branches[above] == 1)


@kernel
def _latest(rows: I64, n: int, start: I64, near: I64, under: int) -> int:
    """Return which of n rows starts last, -1 for none; under: look only at those right below this row, unless -1."""
    found = -1
    for k in range(n):
        row = rows[k]
        if (under < 0 or near[row] == under) and (found < 0 or start[row] >= start[found]):
            found = row
    return found


@kernel
def union(begins: I64, ends: I64, n: int, low: int, high: int) -> np.int64:
    """Return how much of [low, high) n intervals cover together; sorts them by their begin."""
    for k in range(1, n):
        if begins[k] < begins[k - 1]:
            order = np.argsort(begins[:n], kind="mergesort")
            begins[:n] = begins[:n][order]
            ends[:n] = ends[:n][order]
            break
    total = np.int64(0)
    reached = np.int64(low)
    for k in range(n):
        begin = max(begins[k], reached)
        end = min(ends[k], high)
        if end > begin:
            total += end - begin
            reached = end
    return total


@kernel
def _book_callee(
    f: int,
    low: int,
    high: int,
    shift: int,
    start: I64,
    end: I64,
    until: I64,
    role: I8,
    direction: I8,
    is_entry: Bool,
    blocking: Bool,
    stage: I8,
    near: I64,
    sent: I64,
    held: I64,
    most: int,
    begins: I64,
    ends: I64,
    layers: I64,
    m: int,
) -> int:
    """Book [low, high) to the callee's layers of request m; return the level that its spans show.

    f: the row where the callee's call begins. shift: added to the times of f and of what is below it.
    """
    waits = 0  # requests of its own come first in the buffers, what is within its proxy from the end
    within = len(begins)
    served = False
    attempted = False
    i = f + 1
    while i < until[f]:
        if is_entry[i] or stage[i] != INNER:
            if blocking[i]:
                begins[waits] = start[i] + shift
                ends[waits] = end[i] + shift
                waits += 1
                attempted |= stage[i] == BY_ATTEMPT
            i = until[i]
            continue
        if near[i] == f and role[f] == PROXY:
            by_app = role[i] == APP_SERVER and most >= 3
            if by_app and not served:
                served = True
                within = len(begins)
            if by_app or (role[i] == ATTEMPT and direction[i] == INBOUND and most >= 1 and not served):
                within -= 1
                begins[within] = start[i] + shift
                ends[within] = end[i] + shift
        i += 1
    waited = union(begins, ends, waits, low, high)
    layers[m, DOWNSTREAM] = waited
    if role[f] == PROXY and direction[f] == GATEWAY:
        layers[m, INGRESS] = high - low - waited
        return 1 if attempted and most >= 1 else 0
    level = 0
    inside = len(begins) - within
    if inside > 0:
        for k in range(inside):
            begins[waits + k] = begins[within + k]
            ends[waits + k] = ends[within + k]
        level = 3 if served else 1
    elif role[f] == PROXY and most >= 2 and held[f] >= 0:
        inside = 1
        begins[waits] = start[f] + shift + sent[f]
        ends[waits] = begins[waits] + held[f]
        level = 2
    if inside > 0:
        busy = union(begins, ends, waits + inside, low, high)
        layers[m, APP] = busy - waited
        layers[m, INGRESS] = high - low - busy
        return level
    layers[m, APP] = high - low - waited
    return 0 if role[f] == PROXY else 3


@kernel
def book(
    offsets: I64,
    first: int,
    last: int,
    start: I64,
    end: I64,
    until: I64,
    role: I8,
    direction: I8,
    is_entry: Bool,
    blocking: Bool,
    stage: I8,
    near: I64,
    branches: I64,
    unplaced: Bool,
    sent: I64,
    held: I64,
    attempt_of: I64,
    most: int,
) -> tuple[I64, I64, I64, I64, Bool, I8, I64, I64]:
    """Book the time of each request in traces first … last to its layers.

    unplaced: spans whose clock is too far from their parent's to be corrected.
    sent, held: of a proxy's span, nanoseconds until the request went on, and from then until the answer
    had come; held is -1 where that is not known. most: the highest level to use.
    attempt_of: filled with the top span of the request that each attempt belongs to, where that took several.
    Returns per request: the top span; the lowest span of the caller's side, or -1; the proxy's span that
    sent it, or -1; the entry of the callee, of the last attempt that has one, or -1; whether the last attempt
    has one; the level; attempts seen; nanoseconds by layer.
    """
    room = 0
    longest = 1
    for t in range(first, last):
        longest = max(longest, offsets[t + 1] - offsets[t])
        for i in range(offsets[t], offsets[t + 1]):
            if stage[i] != INNER and not _joins(i, near, stage, branches, is_entry):
                room += 1
            if is_entry[i] and not _is_taken(i, near, stage, branches, blocking):
                room += 1
    top, side = np.empty(room, np.int64), np.empty(room, np.int64)
    sender, entry = np.empty(room, np.int64), np.empty(room, np.int64)
    reached, level, tries = np.empty(room, np.bool_), np.zeros(room, np.int8), np.zeros(room, np.int64)
    layers = np.full((room, LAYERS), UNKNOWN_NANO, np.int64)
    begins, ends = np.empty(2 * longest, np.int64), np.empty(2 * longest, np.int64)
    attempts, takers = np.empty(longest, np.int64), np.empty(longest, np.int64)
    m = 0
    for t in range(offsets[first], offsets[last]):
        if is_entry[t] and not _is_taken(t, near, stage, branches, blocking):
            top[m], side[m], sender[m], entry[m], reached[m] = t, -1, -1, t, True
            level[m] = _book_callee(
                t, start[t], end[t], 0, start, end, until, role, direction, is_entry, blocking, stage, near, sent, held,
                most, begins, ends, layers, m,
            )  # fmt: skip
            m += 1
        if stage[t] == INNER or _joins(t, near, stage, branches, is_entry):
            continue
        # -- the spans of the caller's side, and who took the request
        lowest = t
        e = t if stage[t] == BY_EGRESS else -1
        n = 0
        taken = 0
        if stage[t] == BY_ATTEMPT:
            attempts[0] = t
            n = 1
        i = t + 1
        while i < until[t]:
            if is_entry[i]:
                if _is_taken(i, near, stage, branches, blocking):
                    takers[taken] = i
                    taken += 1
                i = until[i]
                continue
            if stage[i] != INNER:
                if not _joins(i, near, stage, branches, is_entry):
                    i = until[i]
                    continue
                if stage[i] == BY_ATTEMPT:
                    attempts[n] = i
                    n += 1
                else:
                    lowest = i
                    if stage[i] == BY_EGRESS:
                        e = i
            i += 1
        if stage[lowest] == BY_CLIENT and branches[lowest] > 1:
            continue  # several requests begin here, each on its own
        low, high = start[t], end[t]
        if e >= 0 and e != t:
            low, high = max(start[e], low), min(end[e], high)
            high = max(low, high)
            layers[m, CLIENT] = end[t] - start[t] - (high - low)
        # -- the last attempt: the one whose time is looked into
        best = -1
        if n > 0 and most >= 1:
            best = attempts[0]
            for k in range(n):
                r = attempts[k]
                begins[k], ends[k] = max(start[r], low), max(min(end[r], high), start[r], low)
                if start[r] > start[best] or (start[r] == start[best] and end[r] >= end[best]):
                    best = r
            final_low = min(max(start[best], low), high)
            final_high = max(min(end[best], high), final_low)
            layers[m, TRIED] = union(begins, ends, n, low, high) - (final_high - final_low)
            from_ = min(max(begins[0], low), high)
            to = from_
            for k in range(n):
                to = max(to, min(ends[k], high))
            layers[m, BACKOFF] = to - from_ - layers[m, TRIED] - (final_high - final_low)
            if e >= 0:
                layers[m, EGRESS] = high - low - (to - from_)
            elif stage[t] == BY_CLIENT:  # the proxy's own span is lost, or the proxy writes none
                layers[m, CLIENT] = high - low - (to - from_)
            low, high = final_low, final_high
            f = _latest(takers, taken, start, near, best if n > 1 else -1)
            level[m] = 1
            tries[m] = n
            if n > 1:
                for k in range(n):
                    attempt_of[attempts[k]] = t
        else:
            f = _latest(takers, taken, start, near, -1)
            tries[m] = max(taken, 1)
            if taken > 1:
                for k in range(taken):
                    attempt_of[takers[k]] = t
        if e >= 0 and n <= 1 and taken <= 1 and most >= 2 and held[e] >= 0:
            outer_low, outer_high = max(start[e], start[t]), min(end[e], end[t])
            outer_high = max(outer_low, outer_high)
            low = min(max(start[e] + sent[e], outer_low), outer_high)
            high = max(min(low + held[e], outer_high), low)
            layers[m, EGRESS] = outer_high - outer_low - (high - low)
            layers[m, TRIED] = 0
            level[m] = 2
        named = f if f >= 0 else _latest(takers, taken, start, near, -1)
        top[m], side[m], sender[m], entry[m], reached[m] = t, lowest, e, named, f >= 0
        if f < 0:
            layers[m, NETWORK] = high - low
            m += 1
            continue
        # -- the callee, in the window of its attempt
        shift = 0
        if unplaced[f]:
            if start[f] < low or end[f] - start[f] > high - low:
                shift = low - start[f]
            elif end[f] > high:
                shift = high - end[f]
        inner_low = min(max(start[f] + shift, low), high)
        inner_high = max(min(end[f] + shift, high), inner_low)
        together = inner_high - inner_low
        if best < 0 and level[m] == 0:
            # Attempts nobody wrote a span for are seen at the callee: all before the last were in vain.
            for k in range(taken):
                last_one = takers[k] == f
                begins[k] = inner_low if last_one else start[takers[k]]
                ends[k] = inner_high if last_one else end[takers[k]]
            together = union(begins, ends, taken, low, high)
            layers[m, TRIED] = together - (inner_high - inner_low)
        layers[m, NETWORK] = high - low - together
        shown = _book_callee(
            f, inner_low, inner_high, shift, start, end, until, role, direction, is_entry, blocking, stage, near, sent,
            held, most, begins, ends, layers, m,
        )  # fmt: skip
        level[m] = max(level[m], shown)
        m += 1
    return top[:m], side[:m], sender[:m], entry[:m], reached[:m], level[:m], tries[:m], layers[:m]
