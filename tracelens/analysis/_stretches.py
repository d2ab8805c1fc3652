"""The kernels of `stretches.py`: cells added up by stretch of time, and percentiles of what they come to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import kernel
from tracelens._link import I32, I64

F64 = NDArray[np.float64]
UNKNOWN = -2  # the bucket of calls whose duration is unknown
SHARES = (50, 90, 99)


@kernel
def by_group(group: I32, bucket: I32, groups: int) -> tuple[I64, I64, I32, I32]:
    """Return the rows of group 0, of group 1 and so on, where those of each begin, and their least and greatest bucket.

    The end stands behind the last beginning. Rows of group -1 are in none.
    """
    first = np.zeros(groups + 1, np.int64)
    low = np.full(groups, 0x7FFFFFFF, np.int32)
    high = np.full(groups, UNKNOWN, np.int32)
    for i in range(len(group)):
        g = group[i]
        if g >= 0:
            first[g + 1] += 1
            low[g] = min(low[g], bucket[i])
            high[g] = max(high[g], bucket[i])
    for g in range(groups):
        first[g + 1] += first[g]
    at = first[:-1].copy()
    rows = np.empty(first[groups], np.int64)
    for i in range(len(group)):
        if group[i] >= 0:
            rows[at[group[i]]] = i
            at[group[i]] += 1
    return rows, first, low, high


@kernel
def add_up(
    rows: I64,
    first: I64,
    low: I32,
    high: I32,
    start: I64,
    bucket: I32,
    n: I64,
    weight: F64,
    total: I64,
    weighted: F64,
    longest: I64,
    begin: int,
    width: int,
    points: int,
) -> tuple[I32, I32, I32, I64, F64, I64, F64, I64, I64, I64, I64]:
    """Return (group, stretch, bucket, n, weight, total, weighted, the longest call, its row) of cells added up.

    In order. begin, width, points: when the first of so many stretches begins, and how long each is; what begins before
    or after them is of the first or of the last. total, weighted: empty when nobody asks for them, and zeros returned.
    After these come (which of them, row) of rows with a call that is as long.
    """
    groups, whole = len(low), len(total) > 0
    early, late = points - 1, 0
    if len(start):
        early = min(max((int(start.min()) - begin) // width, 0), points - 1)
        late = min(max((int(start.max()) - begin) // width, 0), points - 1)
    stretches = late - early + 1
    widest = 0
    for g in range(groups):
        widest = max(widest, int(high[g]) - int(low[g]) + 1)
    places = stretches * widest
    calls, heavy, tall = np.zeros(places, np.int64), np.zeros(places, np.float64), np.zeros(places, np.int64)
    sums, heavy_sums = np.zeros(places if whole else 0, np.int64), np.zeros(places if whole else 0, np.float64)
    best, placed = np.zeros(places if whole else 0, np.int64), np.zeros(places if whole else 0, np.int64)
    room, used = len(rows), 0
    out_group, out_stretch, out_bucket = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    out_n, out_weight, out_longest = np.empty(room, np.int64), np.empty(room, np.float64), np.empty(room, np.int64)
    kept = room if whole else 0
    out_total, out_weighted, out_row = np.empty(kept, np.int64), np.empty(kept, np.float64), np.empty(kept, np.int64)
    alike, alike_place, alike_row, found = 0, np.empty(kept, np.int64), np.empty(kept, np.int64), 0
    for g in range(groups):
        if first[g] == first[g + 1]:
            continue
        wide = int(high[g]) - int(low[g]) + 1
        row = since = until = 0  # of the stretch that a cell before was in, which is [since, until)
        alike = found
        for k in range(first[g], first[g + 1]):
            i = rows[k]
            if start[i] < since or start[i] >= until:  # most are in the same one
                s = min(max((int(start[i]) - begin) // width, 0), points - 1)
                since, until = begin + s * width, begin + (s + 1) * width
                row = (s - early) * wide - int(low[g])
            at = row + int(bucket[i])
            if whole:
                if calls[at] == 0 or longest[i] > tall[at]:
                    best[at] = i
                elif longest[i] == tall[at]:
                    alike_place[found], alike_row[found] = at, i
                    found += 1
                sums[at] += total[i]
                heavy_sums[at] += weighted[i]
            calls[at] += n[i]
            heavy[at] += weight[i]
            tall[at] = max(tall[at], longest[i])
        for at in range(stretches * wide):
            if calls[at] == 0:
                continue
            out_group[used] = g
            out_stretch[used] = early + at // wide
            out_bucket[used] = low[g] + at % wide
            out_n[used], out_weight[used], out_longest[used] = calls[at], heavy[at], tall[at]
            calls[at], heavy[at], tall[at] = 0, 0.0, 0
            if whole:
                out_total[used], out_weighted[used], out_row[used] = sums[at], heavy_sums[at], best[at]
                sums[at], heavy_sums[at], placed[at] = 0, 0.0, used
            used += 1
        begun = alike
        for k in range(begun, found):  # those that are as long as the longest in the end
            at = placed[alike_place[k]]
            if longest[alike_row[k]] == out_longest[at]:
                alike_place[alike], alike_row[alike] = at, alike_row[k]
                alike += 1
        found = alike
    kept = used if whole else 0
    return (
        out_group[:used].copy(),
        out_stretch[:used].copy(),
        out_bucket[:used].copy(),
        out_n[:used].copy(),
        out_weight[:used].copy(),
        out_total[:kept].copy(),
        out_weighted[:kept].copy(),
        out_longest[:used].copy(),
        out_row[:kept].copy(),
        alike_place[:found].copy(),
        alike_row[:found].copy(),
    )


@kernel
def percentiles(
    rows: I64,
    first: I64,
    low: I32,
    high: I32,
    stretch: I32,
    bucket: I32,
    n: I64,
    weight: F64,
    wrong: F64,
    longest: I64,
    points: int,
    weighted: bool,
) -> tuple[I64, F64, F64, I32, I64]:
    """Return (n, weight, that of errors, buckets, the longest call in these) of each stretch of each group.

    buckets: those at the rank of each share of SHARES, UNKNOWN for none. Ranks are those of `routes.py`.
    weighted: cells weigh differently.
    """
    groups = len(low)
    told = np.zeros(groups * points, np.int64)
    weights = np.zeros(groups * points, np.float64)
    errors = np.zeros(groups * points, np.float64)
    places = np.full((groups * points, 3), UNKNOWN, np.int32)
    most = np.zeros((groups * points, 3), np.int64)
    for g in range(groups):
        wide = max(int(high[g]) - int(low[g]) + 1, 0)
        calls = np.zeros(points * wide, np.int64)
        heavy = np.zeros(points * wide, np.float64)
        tall = np.zeros(points * wide, np.int64)
        for k in range(first[g], first[g + 1]):
            i = rows[k]
            s = int(stretch[i])
            told[g * points + s] += n[i]
            weights[g * points + s] += weight[i]
            errors[g * points + s] += wrong[i]
            if bucket[i] != UNKNOWN:
                b = s * wide + int(bucket[i]) - int(low[g])
                calls[b] += n[i]
                heavy[b] += weight[i]
                tall[b] = max(tall[b], longest[i])
        for s in range(points):
            row, last = s * wide, -1
            every, every_weight = 0, 0.0
            for b in range(row, row + wide):
                if calls[b] > 0:
                    every += int(calls[b])
                    every_weight += float(heavy[b])
                    last = b
            if last < 0:
                continue
            every_weight -= float(heavy[last]) / int(calls[last])  # without one: those of a bucket weigh about alike
            at = g * points + s
            seen, seen_weight, share = 0, 0.0, 0
            for b in range(row, last + 1):
                if calls[b] == 0:
                    continue
                seen += int(calls[b])
                seen_weight += float(heavy[b])
                while share < 3:
                    percent = SHARES[share]
                    if weighted:
                        there = b == last or seen_weight > every_weight * (percent / 100) * (1 + 1e-9)
                    else:
                        there = seen > (every - 1) * percent // 100
                    if not there:
                        break
                    places[at, share] = b - row + int(low[g])
                    most[at, share] = tall[b]
                    share += 1
    return told, weights, errors, places, most
