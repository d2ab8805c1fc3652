"""Whom a request went to whose callee wrote no span.

Owns the names that stand in for a callee's; `hops.py` has the requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from tracelens import semconv
from tracelens._link import I64
from tracelens.forest import Forest
from tracelens.names import is_wanted
from tracelens.spans import attribute

HOST_OF_CLUSTER = r"^(?:in|out)bound\|[0-9]*\|[^|]*\|([^.|]+)"  # Istio's cluster: direction|port|subset|host
FIRST_LABEL = r"^([A-Za-z][^.:/]*)"  # of a host name; an address is kept whole


@dataclass(frozen=True, slots=True)
class Names:
    """What requests with a callee's span tell of those without one."""

    like: pl.DataFrame  # (caller, peer, asked) -> service, route
    to_peer: pl.DataFrame  # peer -> service
    usual: pl.DataFrame  # (caller, service, route) -> level


def names(kinds: pl.DataFrame) -> Names:
    """Return what most requests of each kind were. kinds: KINDS of `kinds.py`."""
    sample = kinds.lazy().filter(~pl.col("unseen") & pl.col("sent"))
    found = pl.collect_all(
        [
            _commonest(sample, ["caller", "peer", "asked"], ["service", "route"]),
            _commonest(sample, ["peer"], ["service"]),
            _commonest(sample, ["caller", "service", "route"], ["level"]),
        ]
    )
    return Names(*found)


def named(requests: pl.DataFrame, known: Names) -> pl.DataFrame:
    """Return requests, or kinds of them, with callee, route and level of those without a callee's span.

    A request is named as most of its like were: those of the same caller, to the
    same cluster or host, of the same operation. Without one, by that cluster or
    host, and the operation as the caller knows it.
    """
    if not requests["unseen"].any():
        return requests
    told = requests.with_row_index()
    lost = told.lazy().filter("unseen").select("index", "caller", "peer", "asked", own="level")
    whom = (
        lost.join(known.like.lazy(), on=["caller", "peer", "asked"], how="left", validate="m:1", nulls_equal=True)
        .join(known.to_peer.lazy().rename({"service": "by_peer"}), on="peer", how="left", validate="m:1")
        .with_columns(service=pl.coalesce("service", "by_peer", _short("peer")), route=pl.coalesce("route", "asked"))
        .join(known.usual.lazy(), on=["caller", "service", "route"], how="left", validate="m:1", nulls_equal=True)
        .select("index", "service", "route", level=pl.coalesce("level", "own"))
    )
    return told.update(whom.collect(), on="index", how="left").drop("index")


def _commonest(frame: pl.LazyFrame, by: list[str], wanted: list[str]) -> pl.LazyFrame:
    """Return the most frequent `wanted` per `by`; of equally frequent ones the first in order."""
    return (
        frame.group_by(*by, *wanted)
        .agg(pl.col("n").sum())
        .sort("n", *wanted, descending=[True, *(False for _ in wanted)])
        .unique(by, keep="first", maintain_order=True)
        .drop("n")
    )


def peers(forest: Forest, rows: I64) -> pl.Series:
    """Return the cluster or host that each of `rows` names as the one it calls."""
    keys = {*semconv.ENVOY_CLUSTER, *semconv.PEER_SERVICE, *semconv.SERVER_ADDRESS}
    columns = [name for name in forest.told.columns if is_wanted(name, keys)]
    peer = pl.coalesce(
        attribute(columns, semconv.ENVOY_CLUSTER),
        attribute(columns, semconv.PEER_SERVICE),
        attribute(columns, semconv.SERVER_ADDRESS),
    )
    told = forest.told.gather(["kind", *columns], rows).with_columns(peer=peer)["peer"]
    return told.replace("-", None)  # Envoy's word for none


def _short(peer: str) -> pl.Expr:
    """Return the name of whom a cluster or host stands for."""
    name = pl.col(peer)
    return pl.coalesce(name.str.extract(HOST_OF_CLUSTER), name.str.extract(FIRST_LABEL), name)
