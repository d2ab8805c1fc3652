"""The kernel of `calls.py`: one pass over spans in preorder.

Owns the walk that needs ancestors. Codes are small integers, so that no text
is compared here; their meaning stands in `calls.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tracelens._kernels import kernel

# What made a span.
APP, APP_SERVER, APP_CLIENT, PROXY, ATTEMPT = range(5)
# Which way a proxy carried the request.
UNKNOWN, INBOUND, OUTBOUND, GATEWAY = range(4)
# Where time booked to a span was spent.
LAYER_APP, LAYER_INGRESS, LAYER_EGRESS, LAYER_NETWORK, LAYER_CLIENT = range(5)

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Small = npt.NDArray[np.int8]


@kernel
def nearest_proxy(parent: Ints, role: Small, above: Ints) -> None:
    """Fill `above`: the row of the nearest proxy's span above each span in its trace, -1 without one."""
    for i in range(len(parent)):
        p = parent[i]
        above[i] = -1 if p < 0 else p if role[p] == PROXY else above[p]


@kernel
def fold(
    parent: Ints,
    child_offsets: Ints,
    children: Ints,
    role: Small,
    hint: Small,
    node: Codes,
    workload: Codes,
    typed: Small,
    referenced: Small,
    direction: Small,
    call: Ints,
    layer: Small,
) -> None:
    """Fill direction, call and layer of every span.

    parent, child_offsets, children: the forest's, whose rows stand in preorder.
    role: APP… of each span; hint: a direction told by the span alone, else UNKNOWN.
    node: code of the Envoy's node id, -1 without one; workload: code of the workload.
    typed: 1 for a span that states its kind; referenced: 1 for a span that names a parent.
    call: the row of the entry span of the call that each span works for, -1 for none.
    """
    n = len(parent)
    nearest = np.empty(n, np.int64)
    nearest_proxy(parent, role, nearest)
    for i in range(n):
        p = parent[i]
        call[i] = call[p] if p >= 0 else -1
        above = nearest[i]
        entry = False
        if role[i] == PROXY:
            d = hint[i]
            if d == UNKNOWN:
                same = above >= 0 and node[i] >= 0 and node[above] == node[i]
                d = OUTBOUND if same else INBOUND
            direction[i] = d
            entry = d in (INBOUND, GATEWAY)
        elif role[i] == APP_SERVER:
            behind = p >= 0 and role[p] in (PROXY, ATTEMPT) and direction[p] == INBOUND
            entry = not (behind and (workload[p] == workload[i] or hint[p] == INBOUND))
        elif role[i] == ATTEMPT:
            direction[i] = direction[p] if p >= 0 else OUTBOUND
        elif role[i] == APP and p < 0:
            entry = referenced[i] == 0
        elif role[i] == APP and typed[i] == 0:
            entry = workload[p] != workload[i] and role[p] != APP_CLIENT
        if entry:
            call[i] = i
        layer[i] = _layer(i, role, direction, workload, children, child_offsets[i], child_offsets[i + 1])


@kernel
def _layer(i: int, role: Small, direction: Small, workload: Codes, children: Ints, first: int, last: int) -> int:
    """Return the layer that time booked to span i belongs to, by what stands below it."""
    served_by_app = False
    to_other = False
    tried = False
    for k in range(first, last):
        c = children[k]
        served_by_app |= role[c] == APP_SERVER
        to_other |= role[c] == APP_SERVER and workload[c] != workload[i]
        tried |= role[c] == ATTEMPT
    if role[i] == PROXY:
        if direction[i] == OUTBOUND:
            # Without a span of the attempt, proxy, network and queues cannot be told apart, and the proxy is the least.
            return LAYER_EGRESS if tried else LAYER_NETWORK
        # Without a span of the app, proxy and app cannot be told apart: it is the workload's time.
        return LAYER_INGRESS if served_by_app or direction[i] == GATEWAY else LAYER_APP
    if role[i] == ATTEMPT:
        return LAYER_APP if direction[i] == INBOUND and first == last else LAYER_NETWORK
    if role[i] == APP_CLIENT:
        return LAYER_NETWORK if to_other else LAYER_CLIENT
    return LAYER_APP
