"""The kernel of `shares.py`: what each node of each critical path takes, one row each."""

from __future__ import annotations

import numpy as np

from tracelens._kernels import kernel
from tracelens._link import I32, I64, U64, mix
from tracelens.analysis._walk import longer


@kernel
def list_nodes(
    entry: I32,
    span: I64,
    begins: I64,
    ends: I64,
    entries: I64,
    first: int,
    last: int,
    parent: I64,
    until: I64,
    hashed: U64,
    label: I32,
    deepest: int,
    limit: int,
) -> tuple[I64, I64, I64, I64]:
    """Return (entry, node, exclusive, inclusive) of each node on the paths of entries `first` to before `last`.

    node: the key of `_sums.key_nodes`, a hash of the labels from the entry down; a span more than `limit` levels down
    counts as that deep. hashed: of each label; label: of each span.
    """
    room = 1024
    out_entry = np.empty(room, np.int64)
    out_node = np.empty(room, np.int64)
    own = np.empty(room, np.int64)
    whole = np.empty(room, np.int64)
    used = 0
    n = len(parent)
    place = np.empty(n, np.int64)  # of a span: which of the entry's nodes it is
    seen = np.full(n, -1, np.int64)  # the entry that was written for
    climbed = np.empty(deepest + 2, np.int64)
    widest = 1
    for k in range(first, last):
        widest = max(widest, until[entries[k]] - entries[k])
    slots = 4
    while slots < 2 * widest:
        slots *= 2
    table = np.zeros(slots, np.int64)  # one more than the row of a node; below `begin` it is of an entry before
    mask = np.uint64(slots - 1)
    above = np.empty(room, np.int64)  # of each row of the current entry: the row of the node above, -1 at the entry
    level = np.empty(room, np.int64)
    at = np.searchsorted(entry, np.int32(first))
    for k in range(first, last):
        begin = used
        top = entries[k]
        j = at - 1  # first the entry itself, then its sections
        while True:
            row = top if j < at else span[j]
            up = 0
            while seen[row] != k:
                climbed[up] = row
                up += 1
                if row == top:
                    break
                row = parent[row]
            over = place[row] if seen[row] == k else np.int64(-1)
            while up > 0:
                up -= 1
                row = climbed[up]
                if over >= 0 and level[over] >= limit:
                    over = above[over]
                key = np.uint64(out_node[over]) if over >= 0 else np.uint64(0)
                key = mix(hashed[label[row]] + key * np.uint64(0x9E3779B97F4A7C15), np.uint64(0))
                slot = key & mask
                while table[slot] > begin and np.uint64(out_node[table[slot] - 1]) != key:
                    slot = (slot + np.uint64(1)) & mask
                node = table[slot] - 1
                if node < begin:
                    if used == room:
                        room *= 2
                        out_entry = longer(out_entry, room, used)
                        out_node = longer(out_node, room, used)
                        own = longer(own, room, used)
                        whole = longer(whole, room, used)
                        above = longer(above, room, used)
                        level = longer(level, room, used)
                    node = np.int64(used)
                    table[slot] = node + 1
                    out_entry[node] = k
                    out_node[node] = np.int64(key)
                    own[node] = 0
                    above[node] = over
                    level[node] = level[over] + 1 if over >= 0 else 0
                    used += 1
                seen[row] = k
                place[row] = node
                over = node
            if j >= at:
                own[over] += ends[j] - begins[j]
            j += 1
            if j >= len(entry) or entry[j] != k:
                break
        at = j
        for i in range(begin, used):
            whole[i] = own[i]
        for i in range(used - 1, begin, -1):
            if above[i] >= 0:
                whole[above[i]] += whole[i]
    return out_entry[:used].copy(), out_node[:used].copy(), own[:used].copy(), whole[:used].copy()
