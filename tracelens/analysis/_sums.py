"""Kernels of the profile: sections summed along call paths.

Owns the numbering of paths and the sums; what a band is, and the names, stand
in `profile.py`.
"""

from __future__ import annotations

import numpy as np

from tracelens._kernels import kernel
from tracelens._link import I32, I64, U64, Bool, mix
from tracelens.analysis._walk import longer


@kernel
def longer_unsigned(array: U64, room: int, used: int) -> U64:
    grown = np.empty(room, np.uint64)
    grown[:used] = array[:used]
    return grown


@kernel
def _spread(a: int, b: int) -> np.uint64:
    """Hash a pair of integers. Labels come from data, but a key is a pair of small dense codes."""
    x = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b)
    return mix(x, np.uint64(0x2545F4914F6CDD1D))


@kernel
def _doubled(table: I64, first: I64, second: I64, count: int) -> I64:
    """Return a table of twice the size, for keys (first[i], second[i])."""
    mask = np.uint64(2 * len(table) - 1)
    larger = np.full(2 * len(table), -1, np.int64)
    for i in range(count):
        slot = _spread(first[i], second[i]) & mask
        while larger[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        larger[slot] = i
    return larger


@kernel
def _slot(table: I64, first: I64, second: I64, a: int, b: int) -> np.int64:
    """Return the slot of key (a, b), or the empty one where it belongs."""
    mask = np.uint64(len(table) - 1)
    slot = _spread(a, b) & mask
    while table[slot] >= 0 and (first[table[slot]] != a or second[table[slot]] != b):
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot)


@kernel
def sum_paths(
    entry: I32,
    span: I64,
    begins: I64,
    ends: I64,
    entries: I64,
    parent: I64,
    label: I64,
    route: I64,
    group: I64,
    trace: I64,
    deepest: int,
    limit: int,
) -> tuple[I64, I64, I64, I64, I64, I64, U64, U64, I64, I64, I64, I64]:
    """Sum sections per (group, call-path node).

    A node is a path of labels from an entry of one route down. A span more
    than `limit` levels down counts as that deep. Entries of group -1 are left
    out. Every span a walk went through makes its node known, with or without
    time of its own.
    Returns per node: parent (or -1 - route), label, depth; per cell: group,
    node, nanoseconds, their squares' sum in two words (low, high), entries with
    time, most, trace of the most (the smallest), entries that begin here.
    """
    node_parent = np.empty(1024, np.int64)
    node_label = np.empty(1024, np.int64)
    node_depth = np.empty(1024, np.int64)
    node_table = np.full(2048, -1, np.int64)
    nodes = 0
    cell_group = np.empty(1024, np.int64)
    cell_node = np.empty(1024, np.int64)
    cell_table = np.full(2048, -1, np.int64)
    total = np.zeros(1024, np.int64)
    low = np.zeros(1024, np.uint64)
    high = np.zeros(1024, np.uint64)
    count = np.zeros(1024, np.int64)
    most = np.full(1024, -1, np.int64)
    exemplar = np.zeros(1024, np.int64)
    begun = np.zeros(1024, np.int64)
    cells = 0
    of_span = np.empty(len(parent), np.int64)
    seen = np.full(len(parent), -1, np.int64)  # the entry `of_span` was written for
    booked = np.zeros(1024, np.int64)  # per node, of the current entry
    touched = np.full(1024, -1, np.int64)
    order = np.empty(1024, np.int64)
    climbed = np.empty(deepest + 2, np.int64)

    i = 0
    for k in range(len(entries)):
        begin = i
        while i < len(entry) and entry[i] == k:
            i += 1
        if group[k] < 0:
            continue
        top = entries[k]
        known = 0
        for j in range(begin - 1, i):  # first the entry itself, then its sections
            row = top if j < begin else span[j]
            up = 0
            while seen[row] != k:
                climbed[up] = row
                up += 1
                if row == top:
                    break
                row = parent[row]
            above = of_span[row] if seen[row] == k else -1 - route[k]
            while up > 0:
                up -= 1
                row = climbed[up]
                if above >= 0 and node_depth[above] >= limit:
                    above = node_parent[above]
                if 2 * nodes >= len(node_table):
                    node_table = _doubled(node_table, node_parent, node_label, nodes)
                slot = _slot(node_table, node_parent, node_label, above, label[row])
                if node_table[slot] < 0:
                    if nodes == len(node_parent):
                        node_parent = longer(node_parent, 2 * nodes, nodes)
                        node_label = longer(node_label, 2 * nodes, nodes)
                        node_depth = longer(node_depth, 2 * nodes, nodes)
                        booked = longer(booked, 2 * nodes, nodes)
                        order = longer(order, 2 * nodes, nodes)
                        touched = longer(touched, 2 * nodes, nodes)
                        touched[nodes:] = -1
                    node_parent[nodes] = above
                    node_label[nodes] = label[row]
                    node_depth[nodes] = node_depth[above] + 1 if above >= 0 else 0
                    node_table[slot] = nodes
                    nodes += 1
                above = node_table[slot]
                of_span[row] = above
                seen[row] = k
                if touched[above] != k:
                    touched[above] = k
                    booked[above] = 0
                    order[known] = above
                    known += 1
            if j >= begin:
                booked[of_span[row]] += ends[j] - begins[j]
        for j in range(known):
            node = order[j]
            if 2 * cells >= len(cell_table):
                cell_table = _doubled(cell_table, cell_group, cell_node, cells)
            slot = _slot(cell_table, cell_group, cell_node, group[k], node)
            if cell_table[slot] < 0:
                if cells == len(cell_group):
                    cell_group = longer(cell_group, 2 * cells, cells)
                    cell_node = longer(cell_node, 2 * cells, cells)
                    total = longer(total, 2 * cells, cells)
                    low = longer_unsigned(low, 2 * cells, cells)
                    high = longer_unsigned(high, 2 * cells, cells)
                    count = longer(count, 2 * cells, cells)
                    most = longer(most, 2 * cells, cells)
                    exemplar = longer(exemplar, 2 * cells, cells)
                    begun = longer(begun, 2 * cells, cells)
                cell_group[cells] = group[k]
                cell_node[cells] = node
                total[cells] = 0
                low[cells] = 0
                high[cells] = 0
                count[cells] = 0
                most[cells] = -1
                exemplar[cells] = 0
                begun[cells] = 0
                cell_table[slot] = cells
                cells += 1
            c = cell_table[slot]
            time = booked[node]
            total[c] += time
            if time > 0:
                count[c] += 1
            if time > most[c] or (time == most[c] and trace[k] < exemplar[c]):
                most[c] = time
                exemplar[c] = trace[k]
            if j == 0:
                begun[c] += 1
            # time² = a²·2^64 + 2ab·2^32 + b² with time = a·2^32 + b.
            a = np.uint64(time) >> np.uint64(32)
            b = np.uint64(time) & np.uint64(0xFFFFFFFF)
            middle = np.uint64(2) * a * b
            for part in (b * b, middle << np.uint64(32)):
                low[c] += part
                if low[c] < part:
                    high[c] += np.uint64(1)
            high[c] += a * a + (middle >> np.uint64(32))
    return (
        node_parent[:nodes].copy(),
        node_label[:nodes].copy(),
        node_depth[:nodes].copy(),
        cell_group[:cells].copy(),
        cell_node[:cells].copy(),
        total[:cells].copy(),
        low[:cells].copy(),
        high[:cells].copy(),
        count[:cells].copy(),
        most[:cells].copy(),
        exemplar[:cells].copy(),
        begun[:cells].copy(),
    )


@kernel
def sum_subtrees(parent: I64, total: I64) -> None:
    """Add each node's total to its ancestors'; parents have the smaller index."""
    for i in range(len(parent) - 1, -1, -1):
        if parent[i] >= 0:
            total[parent[i]] += total[i]


@kernel
def key_nodes(parent: I64, label: U64, key: U64) -> None:
    """Fill `key` with a hash of the labels from the entry down: the same in every run."""
    for i in range(len(parent)):
        above = key[parent[i]] if parent[i] >= 0 else np.uint64(0)
        key[i] = mix(label[i] + above * np.uint64(0x9E3779B97F4A7C15), np.uint64(0))


@kernel
def spell_paths(parent: I64, depth: I64) -> tuple[I64, I64]:
    """Return (offsets, nodes): node i's path from the entry is nodes[offsets[i] : offsets[i+1]]."""
    offsets = np.zeros(len(parent) + 1, np.int64)
    for i in range(len(parent)):
        offsets[i + 1] = offsets[i] + depth[i] + 1
    nodes = np.empty(offsets[-1], np.int64)
    for i in range(len(parent)):
        node = i
        for k in range(offsets[i + 1] - 1, offsets[i] - 1, -1):
            nodes[k] = node
            node = parent[node]
    return offsets, nodes


@kernel
def is_outermost(parent: I64, group: I64, outermost: Bool) -> None:
    """Say of each node whether no ancestor is of its group."""
    for i in range(len(parent)):
        node = parent[i]
        while node >= 0 and group[node] != group[i]:
            node = parent[node]
        outermost[i] = node < 0
