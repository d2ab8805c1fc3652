"""The kernel of `calls.py`: one pass over spans in preorder.

Owns the walk that needs ancestors. Codes are small integers, so that no text
is compared here; their meaning stands in `calls.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tracelens._kernels import inline, kernel

# What made a span.
APP, APP_SERVER, APP_CLIENT, PROXY, ATTEMPT = range(5)
# Which way a proxy carried the request.
UNKNOWN, INBOUND, OUTBOUND, GATEWAY = range(4)
# Where time booked to a span was spent.
LAYER_APP, LAYER_INGRESS, LAYER_EGRESS, LAYER_NETWORK, LAYER_CLIENT = range(5)
# What children a span has: any, an app that serves, one of another workload, an attempt.
SOME, SERVED, TO_OTHER, TRIED = 1, 2, 4, 8

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
    first: int,
    last: int,
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
    """Fill direction, call and layer of every span of some traces, which stand at rows `first` to before `last`.

    parent: the forest's, whose rows stand in preorder.
    role: APP… of each span; hint: a direction told by the span alone, else UNKNOWN.
    node: code of the Envoy's node id, -1 without one; workload: code of the workload.
    typed: 1 for a span that states its kind; referenced: 1 for a span that names a parent.
    call: the row of the entry span of the call that each span works for, -1 for none.
    """
    nearest = np.empty(last - first, np.int64)  # the proxy's span above, -1 without one
    below = np.zeros(last - first, np.int8)  # what children a span has: bits
    for i in range(first, last):
        p = parent[i]
        call[i] = call[p] if p >= 0 else -1
        above = -1 if p < 0 else p if role[p] == PROXY else nearest[p - first]
        nearest[i - first] = above
        if p >= 0:
            bits = SOME
            if role[i] == APP_SERVER:
                bits |= SERVED if workload[i] == workload[p] else SERVED | TO_OTHER
            elif role[i] == ATTEMPT:
                bits |= TRIED
            below[p - first] |= bits
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
    for i in range(first, last):
        layer[i] = _layer(role[i], direction[i], below[i - first])


@inline
def _layer(role: int, direction: int, below: int) -> int:
    """Return the layer that a span's own time is spent in, by what stands below it."""
    layer = LAYER_APP
    if role == PROXY:
        if direction == OUTBOUND:
            # Without a span of the attempt, proxy, network and queues cannot be told apart, and the proxy is the least.
            layer = LAYER_EGRESS if below & TRIED else LAYER_NETWORK
        elif below & SERVED or direction == GATEWAY:
            layer = LAYER_INGRESS
        # Without a span of the app, proxy and app cannot be told apart: it is the workload's time.
    elif role == ATTEMPT:
        layer = LAYER_APP if direction == INBOUND and not below else LAYER_NETWORK
    elif role == APP_CLIENT:
        layer = LAYER_NETWORK if below & TO_OTHER else LAYER_CLIENT
    return layer
