"""Which way proxies carried requests, where a span by itself does not tell it.

Owns what an Envoy's other spans tell of it. What a span tells by itself is
read in `calls.py`; the rest follows from the spans above it, in the kernel of
`_fold.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens import _fold
from tracelens._fold import GATEWAY, INBOUND, OUTBOUND, PROXY, UNKNOWN
from tracelens.learned import CLUSTERS, ENVOYS, Evidence
from tracelens.spans import SERVER

Small = npt.NDArray[np.int8]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Proxies:
    """What spans tell of the Envoys that wrote them."""

    node: npt.NDArray[np.int32]  # code of the Envoy's node id, -1 without one
    nodes: pl.Series  # the ids by code
    cluster: npt.NDArray[np.int32]  # code of the cluster the request went to
    clusters: pl.Series
    hint: Small  # a direction told by the span alone, else UNKNOWN
    role: Small
    open_: Bools  # spans of known Envoys whose direction nothing tells yet
    above: npt.NDArray[np.int64]  # the nearest proxy's span above, -1 without one


def proxies(node: pl.Series, cluster: pl.Series, hint: Small, role: Small, parent: npt.NDArray[np.int64]) -> Proxies:
    """Return what the spans of a forest tell of its Envoys. node, cluster: Enums."""
    # Writable: kernels are compiled for one kind of array only.
    of_node, of_cluster = (
        np.array(series.to_physical().cast(pl.Int32).fill_null(-1).to_numpy(), np.int32) for series in (node, cluster)
    )
    nodes, clusters = (cast("pl.Enum", series.dtype).categories for series in (node, cluster))
    above = np.empty(len(parent), np.int64)
    _fold.nearest_proxy(parent, role, above)
    open_ = (role == PROXY) & (hint == UNKNOWN) & (of_node >= 0)
    return Proxies(of_node, nodes, of_cluster, clusters, hint, role, open_, above)


def evidence(told: Proxies) -> Evidence:
    """Return the counts of ENVOYS and CLUSTERS."""
    known = (told.role == PROXY) & (told.node >= 0)
    inbound = known & ((told.hint == INBOUND) | (told.hint == UNKNOWN))
    carried = np.bincount(told.node[inbound], minlength=len(told.nodes))
    # A span below another Envoy's takes its request.
    below = told.open_ & (told.above >= 0)
    below[below] = told.node[told.above[below]] != told.node[below]
    taken = known & ((told.hint == INBOUND) | below)
    width = len(told.clusters) + 1
    both = told.node[taken].astype(np.int64) * width + told.cluster[taken] + 1
    counted = pl.Series("both", both).value_counts(name="taken").sort("both")
    pair = counted["both"]
    return Evidence(
        envoys=pl.DataFrame({"node": told.nodes, "inbound": carried}, schema=ENVOYS),
        clusters=pl.DataFrame(
            {
                "node": told.nodes.gather(pair // width),
                "cluster": told.clusters.gather((pair % width - 1).set(pair % width == 0, None)),
                "taken": counted["taken"],
            },
            schema_overrides=CLUSTERS,
        ),
    )


def decide(told: Proxies, known: Evidence, sidecar: Bools, kind: pl.Series) -> None:
    """Complete `hint`. known: what all traces tell; sidecar: the node id says so; kind: as the spans have it."""
    _mark_gateways(told, known, sidecar, kind)
    _mark_roots(told, known)


def _mark_gateways(told: Proxies, known: Evidence, sidecar: Bools, kind: pl.Series) -> None:
    """Call an outbound SERVER span of an Envoy that carries no request inbound a gateway's, unless it is a sidecar."""
    asked = (told.role == PROXY) & (told.node >= 0) & ~sidecar & (told.hint == OUTBOUND)
    asked &= kind.fill_null(0).to_numpy() == SERVER
    busy = told.nodes.is_in(known.envoys.filter(pl.col("inbound") > 0)["node"].implode()).to_numpy()
    asked[asked] = ~busy[told.node[asked]]
    told.hint[asked] = GATEWAY


def _mark_roots(told: Proxies, known: Evidence) -> None:
    """Call a span that begins a trace outbound when its Envoy takes requests for another cluster.

    An app that drops headers makes its sidecar's outbound span a root, which nothing above tells from an
    inbound one. But a sidecar takes requests for its own app's cluster only, and spans below another
    Envoy's show which that is.
    """
    roots = np.flatnonzero(told.open_ & (told.above < 0) & (told.cluster >= 0))
    if not len(roots):
        return
    asked = pl.DataFrame(
        {"node": told.nodes.gather(told.node[roots]), "cluster": told.clusters.gather(told.cluster[roots])}
    )
    taking = asked["node"].is_in(known.clusters["node"].implode())
    own = asked.join(known.clusters, on=["node", "cluster"], how="left", validate="m:1", maintain_order="left")["taken"]
    told.hint[roots[(taking & own.is_null()).to_numpy()]] = OUTBOUND
