"""Which way proxies carried requests, where a span by itself does not tell it.

Owns what is learned about an Envoy from its other spans. What a span tells by
itself is read in `calls.py`; the rest follows from the spans above it, in the
kernel of `_fold.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens import _fold
from tracelens._fold import GATEWAY, INBOUND, OUTBOUND, PROXY, UNKNOWN
from tracelens.names import codes
from tracelens.spans import SERVER

Codes = npt.NDArray[np.int32]
Small = npt.NDArray[np.int8]


def learn(
    node: Codes,
    hint: Small,
    role: Small,
    sidecar: npt.NDArray[np.bool_],
    kind: pl.Series,
    cluster: pl.Series,
    parent: npt.NDArray[np.int64],
) -> None:
    """Complete `hint` by what an Envoy's other spans tell of it.

    node: code of the Envoy's node id, -1 without one. sidecar: the id says so. kind, cluster: as the spans have them.
    """
    _mark_gateways(node, hint, role, sidecar, kind)
    _mark_roots(node, hint, role, cluster, parent)


def _mark_gateways(node: Codes, hint: Small, role: Small, sidecar: npt.NDArray[np.bool_], kind: pl.Series) -> None:
    """Call an outbound SERVER span of an Envoy that carries no request inbound a gateway's, unless it is a sidecar."""
    known = (node >= 0) & (role == PROXY)
    other = np.zeros(int(node.max(initial=-1)) + 1, bool)
    other[node[known & ((hint == INBOUND) | (hint == UNKNOWN))]] = True
    outbound = known & ~sidecar & (hint == OUTBOUND) & (kind.fill_null(0).to_numpy() == SERVER)
    outbound[outbound] = ~other[node[outbound]]
    hint[outbound] = GATEWAY


def _mark_roots(node: Codes, hint: Small, role: Small, cluster: pl.Series, parent: npt.NDArray[np.int64]) -> None:
    """Call a span that begins a trace outbound when its Envoy takes requests for another cluster.

    An app that drops headers makes its sidecar's outbound span a root, which nothing above tells from an
    inbound one. But a sidecar takes requests for its own app's cluster only, and spans below another
    Envoy's show which that is.
    """
    open_ = (role == PROXY) & (hint == UNKNOWN) & (node >= 0)
    if not open_.any():
        return
    above = np.empty(len(parent), np.int64)
    _fold.nearest_proxy(parent, role, above)
    roots = open_ & (above < 0)
    if not roots.any():
        return
    taken = (role == PROXY) & (node >= 0) & ((hint == INBOUND) | (open_ & (above >= 0) & (node[above] != node)))
    own = codes(cluster).astype(np.int64) + 1
    both = node.astype(np.int64) * (int(own.max(initial=0)) + 1) + own
    knows = np.isin(node, node[taken])
    hint[roots & knows & (own > 0) & ~np.isin(both, both[taken])] = OUTBOUND
