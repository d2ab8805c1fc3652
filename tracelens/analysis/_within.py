"""Kernels of time on the path: a span's part of a stretch, and what a span does itself.

Owns the loops; what they are for stands in `on_path.py`.
"""

from __future__ import annotations

import numpy as np

from tracelens._kernels import kernel
from tracelens._link import I64, Bool


@kernel
def add_within(
    offsets: I64, span: I64, start: I64, end: I64, trace: I64, row: I64, low: I64, high: I64, out: I64
) -> None:
    """Add to out[k] how long the sections of span row[k] are within [low[k], high[k]).

    offsets, span, start, end: sections by trace, ascending. trace: of each row.
    """
    for k in range(len(row)):
        first = offsets[trace[k]]
        last = offsets[trace[k] + 1]
        i = first + np.searchsorted(end[first:last], low[k], side="right")
        while i < last and start[i] < high[k]:
            if span[i] == row[k]:
                out[k] += min(end[i], high[k]) - max(start[i], low[k])
            i += 1


@kernel
def self_times(lo: I64, hi: I64, blocking: Bool, child_offsets: I64, children: I64, out: I64) -> None:
    """Fill `out` with how long each span's window is where no child's is that it waits for.

    children: per span by the end of their windows, descending, as the forest has them.
    """
    for i in range(len(lo)):
        reach = hi[i]
        own = hi[i] - lo[i]
        for k in range(child_offsets[i], child_offsets[i + 1]):
            c = children[k]
            if not blocking[c]:
                continue
            begin = max(lo[c], lo[i])
            ends = min(hi[c], reach)
            if ends > begin:
                own -= ends - begin
                reach = begin
        out[i] = own
