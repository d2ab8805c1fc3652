"""Whom a request went to whose callee wrote no span.

Owns the names that stand in for a callee's; `hops.py` has the requests.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from tracelens import semconv
from tracelens._link import I64
from tracelens.calls import Calls
from tracelens.forest import Forest
from tracelens.names import is_wanted
from tracelens.spans import attribute

HOST_OF_CLUSTER = r"^(?:in|out)bound\|[0-9]*\|[^|]*\|([^.|]+)"  # Istio's cluster: direction|port|subset|host
FIRST_LABEL = r"^([A-Za-z][^.:/]*)"  # of a host name; an address is kept whole


def name_missing(found: pl.DataFrame, forest: Forest, calls: Calls, side: I64, entry: I64) -> pl.DataFrame:
    """Return `found`, rows of REQUESTS, with callee, route and level of those without a callee's span.

    A request is named as most of its like were: those of the same caller, to the
    same cluster or host, of the same operation. Without one, by that cluster or
    host, and the operation as the caller knows it.
    """
    rows = np.maximum(side, 0)
    told = found.with_columns(
        peer=_peers(forest, rows),
        sent=pl.Series(side >= 0),
        asked=calls.operation.gather(rows),
        missing=pl.Series(entry < 0),
    ).with_row_index()
    sample = told.lazy().filter(pl.col("missing").not_() & pl.col("sent"))
    like = _commonest(sample, ["caller", "peer", "asked"], ["service", "route"])
    to_peer = _commonest(sample, ["peer"], ["service"])
    named = (
        told.lazy()
        .filter("missing")
        .drop("service", "route")
        .join(like, on=["caller", "peer", "asked"], how="left", validate="m:1", nulls_equal=True)
        .join(to_peer.rename({"service": "by_peer"}), on="peer", how="left", validate="m:1")
        .with_columns(service=pl.coalesce("service", "by_peer", _short("peer")), route=pl.coalesce("route", "asked"))
    )
    usual = _commonest(sample, ["caller", "service", "route"], ["level"])
    levelled = named.rename({"level": "own"}).join(
        usual, on=["caller", "service", "route"], how="left", validate="m:1", nulls_equal=True
    )
    completed = levelled.with_columns(level=pl.coalesce("level", "own")).select("index", "service", "route", "level")
    return told.update(completed.collect(), on="index", how="left")


def _commonest(frame: pl.LazyFrame, by: list[str], wanted: list[str]) -> pl.LazyFrame:
    """Return the most frequent `wanted` per `by`; of equally frequent ones the first in order."""
    return (
        frame.group_by(*by, *wanted)
        .len()
        .sort("len", *wanted, descending=[True, *(False for _ in wanted)])
        .unique(by, keep="first", maintain_order=True)
        .drop("len")
    )


def _peers(forest: Forest, rows: I64) -> pl.Series:
    """Return the cluster or host that each of `rows` names as the one it calls."""
    keys = {*semconv.ENVOY_CLUSTER, *semconv.PEER_SERVICE, *semconv.SERVER_ADDRESS}
    names = [name for name in forest.spans.columns if is_wanted(name, keys)]
    peer = pl.coalesce(
        attribute(names, semconv.ENVOY_CLUSTER),
        attribute(names, semconv.PEER_SERVICE),
        attribute(names, semconv.SERVER_ADDRESS),
    )
    told = forest.spans.select("kind", *names)[rows].with_columns(peer=peer)["peer"]
    return told.replace("-", None)  # Envoy's word for none


def _short(peer: str) -> pl.Expr:
    """Return the name of whom a cluster or host stands for."""
    name = pl.col(peer)
    return pl.coalesce(name.str.extract(HOST_OF_CLUSTER), name.str.extract(FIRST_LABEL), name)
