"""Kernels of the profile: sections summed along call paths.

Owns the numbering of paths and the sums; what a band is, and the names, stand
in `profile.py`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import inline, kernel
from tracelens._link import I32, I64, U64, Bool, mix

Rows = NDArray[np.int64]  # two dimensions: what belongs together is 64 bytes, which a processor fetches at once

# Columns of a node.
ABOVE, LABEL, DEPTH, BOOKED, STAMP, PASSED = range(6)
# Columns of a cell. LOW and HIGH are two words of one unsigned number; COUNTS are two numbers of half a word each:
# entries with time, and BEGUN times the entries that begin there.
KEY, TOTAL, LOW, HIGH, COUNTS, MOST, EXEMPLAR, SPANS = range(8)
BEGUN: Final = 1 << 32
signed: Any = np.int64
WIDTH: Final = 8
LEAST: Final = 1024
WORD: Final = np.uint64(32)
PART: Final = np.uint64(0xFFFFFFFF)
ONE: Final = np.uint64(1)


class Sums(NamedTuple):
    """Nodes and cells, and the hash tables that find them: powers of two, at least twice as long.

    A node's key is (node above + routes) * labels + label, where the node above
    an entry is -1 - route; a cell's is node * groups + group.
    """

    nodes: Rows
    cells: Rows
    node_keys: I64  # by slot
    node_slots: I32  # node; -1 is free
    cell_slots: I32  # cell; -1 is free


@inline
def spread(key: int) -> np.uint64:
    """Hash a key. Labels come from data, but a key is made of small dense codes."""
    return mix(np.uint64(key), np.uint64(0x2545F4914F6CDD1D))


@kernel
def room_for(nodes: int, cells: int) -> Sums:
    """Return room for that many: powers of two."""
    return Sums(
        np.empty((nodes, WIDTH), np.int64),
        np.empty((cells, WIDTH), np.int64),
        np.empty(2 * nodes, np.int64),
        np.full(2 * nodes, -1, np.int32),
        np.full(2 * cells, -1, np.int32),
    )


@kernel
def power(least: int) -> int:
    """Return a power of two that is not less, nor than LEAST."""
    room = LEAST
    while room < least:
        room *= 2
    return room


@kernel
def grown(old: Sums, nodes: int, cells: int, more_nodes: int, more_cells: int) -> Sums:
    """Return the same nodes and cells with room for more."""
    new = room_for(power(nodes + more_nodes), power(cells + more_cells))
    new.nodes[:nodes] = old.nodes[:nodes]
    new.cells[:cells] = old.cells[:cells]
    mask = np.uint64(len(new.node_slots) - 1)
    for i in range(len(old.node_slots)):
        if old.node_slots[i] >= 0:
            slot = spread(old.node_keys[i]) & mask
            while new.node_slots[slot] >= 0:
                slot = (slot + ONE) & mask
            new.node_slots[slot] = old.node_slots[i]
            new.node_keys[slot] = old.node_keys[i]
    mask = np.uint64(len(new.cell_slots) - 1)
    for i in range(cells):
        slot = spread(new.cells[i, KEY]) & mask
        while new.cell_slots[slot] >= 0:
            slot = (slot + ONE) & mask
        new.cell_slots[slot] = i
    return new


@kernel
def sum_until_full(
    entry: I32,
    span: I64,
    begins: I64,
    ends: I64,
    entries: I64,
    parent: I64,
    label: I32,
    labels: int,
    route: I64,
    routes: int,
    group: I64,
    groups: int,
    trace: I64,
    limit: int,
    sums: Sums,
    of_span: I64,
    order: I64,
    climbed: I64,
    first: int,
    last: int,
    at: int,
    nodes: int,
    cells: int,
    stamp: int,
) -> tuple[int, int, int, int, int]:
    """Sum entries from `first` on, whose sections begin at `at`.

    of_span: stamp and node of each span that was climbed to, in one word.
    Returns (entry that was not summed, its sections' begin, nodes, cells, stamp):
    the end, or where there was no room. A function of its own: an array that is
    replaced within a loop is counted at each turn, at ten times the cost.
    """
    of_node, of_cell = sums.nodes, sums.cells
    node_keys, node_slots, cell_slots = sums.node_keys, sums.node_slots, sums.cell_slots
    node_mask, cell_mask = np.uint64(len(node_slots) - 1), np.uint64(len(cell_slots) - 1)
    n = len(entry)
    for k in range(first, last):
        begin = at
        while at < n and entry[at] == k:
            at += 1
        if group[k] < 0:
            continue
        stamp += 1
        top = entries[k]
        known = 0
        for j in range(begin - 1, at):  # first the entry itself, then its sections
            row = top if j < begin else span[j]
            up = 0
            while of_span[row] >> 32 != stamp:
                climbed[up] = row
                up += 1
                if row == top:
                    break
                row = parent[row]
            above = of_span[row] & 0xFFFFFFFF if of_span[row] >> 32 == stamp else -1 - route[k]
            while up > 0:
                up -= 1
                row = climbed[up]
                if above >= 0 and of_node[above, DEPTH] >= limit:
                    above = of_node[above, ABOVE]
                key = (above + routes) * labels + label[row]
                slot = spread(key) & node_mask
                node = signed(node_slots[slot])
                while node >= 0 and node_keys[slot] != key:
                    slot = (slot + ONE) & node_mask
                    node = signed(node_slots[slot])
                if node < 0:
                    if nodes == len(of_node):
                        return k, begin, nodes, cells, stamp
                    node = nodes
                    nodes += 1
                    node_slots[slot] = node
                    node_keys[slot] = key
                    of_node[node, ABOVE] = above
                    of_node[node, LABEL] = label[row]
                    of_node[node, DEPTH] = of_node[above, DEPTH] + 1 if above >= 0 else 0
                    of_node[node, STAMP] = 0
                if of_node[node, STAMP] != stamp:
                    of_node[node, STAMP] = stamp
                    of_node[node, BOOKED] = 0
                    of_node[node, PASSED] = 0
                    order[known] = node
                    known += 1
                of_span[row] = stamp << 32 | node
                of_node[node, PASSED] += 1
                above = node
            if j >= begin:
                of_node[above, BOOKED] += ends[j] - begins[j]
        if cells + known > len(of_cell):
            return k, begin, nodes, cells, stamp
        for j in range(known):
            node = order[j]
            key = node * groups + group[k]
            slot = spread(key) & cell_mask
            c = signed(cell_slots[slot])
            while c >= 0 and of_cell[c, KEY] != key:
                slot = (slot + ONE) & cell_mask
                c = signed(cell_slots[slot])
            if c < 0:
                c = cells
                cells += 1
                cell_slots[slot] = c
                of_cell[c, KEY] = key
                for field in range(1, WIDTH):
                    of_cell[c, field] = 0
                of_cell[c, MOST] = -1
            time = of_node[node, BOOKED]
            of_cell[c, TOTAL] += time
            of_cell[c, SPANS] += of_node[node, PASSED]
            if time > 0:
                of_cell[c, COUNTS] += 1
            if time > of_cell[c, MOST] or (time == of_cell[c, MOST] and trace[k] < of_cell[c, EXEMPLAR]):
                of_cell[c, MOST] = time
                of_cell[c, EXEMPLAR] = trace[k]
            if j == 0:
                of_cell[c, COUNTS] += BEGUN
            # time² = a²·2^64 + 2ab·2^32 + b² with time = a·2^32 + b.
            a = np.uint64(time) >> WORD
            b = np.uint64(time) & PART
            middle = np.uint64(2) * a * b
            low = np.uint64(of_cell[c, LOW])
            high = np.uint64(of_cell[c, HIGH]) + a * a + (middle >> WORD)
            low += b * b
            high += np.uint64(low < b * b)
            low += middle << WORD
            high += np.uint64(low < middle << WORD)
            of_cell[c, LOW] = np.int64(low)
            of_cell[c, HIGH] = np.int64(high)
    return last, at, nodes, cells, stamp


@kernel
def sum_paths(
    entry: I32,
    span: I64,
    begins: I64,
    ends: I64,
    entries: I64,
    parent: I64,
    label: I32,
    labels: int,
    route: I64,
    routes: int,
    group: I64,
    groups: int,
    trace: I64,
    deepest: int,
    limit: int,
    first: int,
    last: int,
) -> tuple[Rows, Rows]:
    """Sum the sections of entries `first` to before `last` per (group, call-path node).

    A node is a path of labels from an entry of one route down. A span more
    than `limit` levels down counts as that deep. Entries of group -1 are left
    out. Every span a walk went through makes its node known, with or without
    time of its own. labels, routes, groups: how many there are.
    Returns nodes and cells: parent (or -1 - route), label and depth of a node,
    parents first; key, nanoseconds, their squares' sum in two words, entries
    with time and those that begin there, most, trace of the most (the
    smallest), and spans that walks went through of a cell.
    """
    sums = room_for(LEAST, LEAST)
    of_span = np.zeros(len(parent), np.int64)
    order = np.empty(LEAST, np.int64)
    climbed = np.empty(deepest + 2, np.int64)
    at = signed(np.searchsorted(entry, np.int32(first)))
    nodes, cells, stamp = 0, 0, 0
    while True:
        first, at, nodes, cells, stamp = sum_until_full(
            entry, span, begins, ends, entries, parent, label, labels, route, routes, group, groups, trace, limit,
            sums, of_span, order, climbed, first, last, at, nodes, cells, stamp,
        )  # fmt: skip
        if first == last:
            return sums.nodes[:nodes].copy(), sums.cells[:cells].copy()
        sums = grown(sums, nodes, cells, len(sums.nodes), len(sums.cells))
        order = np.empty(len(sums.nodes), np.int64)


@kernel
def add_nodes(sums: Sums, part: Rows, labels: int, routes: int, place: I64, nodes: int) -> int:
    """Enter a part's nodes; place: receives the node each is. Returns how many nodes there are then."""
    mask = np.uint64(len(sums.node_slots) - 1)
    for i in range(len(part)):
        above = part[i, ABOVE]
        if above >= 0:
            above = place[above]
        key = (above + routes) * labels + part[i, LABEL]
        slot = spread(key) & mask
        while sums.node_slots[slot] >= 0 and sums.node_keys[slot] != key:
            slot = (slot + ONE) & mask
        if sums.node_slots[slot] < 0:
            sums.node_slots[slot] = nodes
            sums.node_keys[slot] = key
            sums.nodes[nodes, ABOVE] = above
            sums.nodes[nodes, LABEL] = part[i, LABEL]
            sums.nodes[nodes, DEPTH] = part[i, DEPTH]
            nodes += 1
        place[i] = sums.node_slots[slot]
    return nodes


@kernel
def add_cells(sums: Sums, part: Rows, groups: int, place: I64, cells: int) -> int:
    """Add a part's cells to those of the nodes in `place`. Returns how many cells there are then."""
    mask = np.uint64(len(sums.cell_slots) - 1)
    for i in range(len(part)):
        key = place[part[i, KEY] // groups] * groups + part[i, KEY] % groups
        slot = spread(key) & mask
        while sums.cell_slots[slot] >= 0 and sums.cells[sums.cell_slots[slot], KEY] != key:
            slot = (slot + ONE) & mask
        c = np.int64(sums.cell_slots[slot])
        if c < 0:
            sums.cell_slots[slot] = cells
            sums.cells[cells] = part[i]
            sums.cells[cells, KEY] = key
            cells += 1
            continue
        low = np.uint64(sums.cells[c, LOW]) + np.uint64(part[i, LOW])
        carry = np.int64(low < np.uint64(part[i, LOW]))
        sums.cells[c, LOW] = np.int64(low)
        sums.cells[c, HIGH] += part[i, HIGH] + carry
        for field in (TOTAL, COUNTS, SPANS):
            sums.cells[c, field] += part[i, field]
        most, other = sums.cells[c, MOST], part[i, MOST]
        if other > most or (other == most and part[i, EXEMPLAR] < sums.cells[c, EXEMPLAR]):
            sums.cells[c, MOST] = other
            sums.cells[c, EXEMPLAR] = part[i, EXEMPLAR]
    return cells


@kernel
def add_parts(
    nodes: Rows, cells: Rows, more_nodes: Rows, more_cells: Rows, labels: int, routes: int, groups: int
) -> tuple[Rows, Rows]:
    """Return the nodes and cells of two stretches of entries, in the order in which one run over both makes them."""
    sums = room_for(power(len(nodes) + len(more_nodes)), power(len(cells) + len(more_cells)))
    place = np.empty(max(len(nodes), len(more_nodes)), np.int64)
    n = add_nodes(sums, nodes, labels, routes, place, 0)
    c = add_cells(sums, cells, groups, place, 0)
    n = add_nodes(sums, more_nodes, labels, routes, place, n)
    c = add_cells(sums, more_cells, groups, place, c)
    return sums.nodes[:n].copy(), sums.cells[:c].copy()


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
