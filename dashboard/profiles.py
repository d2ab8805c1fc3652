"""Profiles as pages show them: a tree to draw, and what makes a slow band slow.

Owns shaping PROFILE rows. The sums are the Lens's; nothing is estimated here.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from tracelens.lens import Band

NODE = ("service", "operation", "layer")


@dataclass(frozen=True, slots=True)
class PathNode:
    """One box of the flame graph."""

    key: str  # the same in every profile
    parent: int  # index of the node above; -1 at the root
    service: str
    operation: str
    layer: str
    inclusive_nano: int  # summed over the calls, with everything below
    exclusive_nano: int
    calls: int  # in which it has time of its own


@dataclass(frozen=True, slots=True)
class Reason:
    """How much longer one operation is on the path of a slow call than on that of a typical one."""

    service: str
    operation: str
    layer: str
    difference_nano: float  # mean a call
    share: float  # of the whole difference


@dataclass(frozen=True, slots=True)
class Why:
    """The difference of two bands, taken apart: the reasons sum to it."""

    difference_nano: float
    typical_calls: int
    slow_calls: int
    reasons: list[Reason]  # largest difference first, either sign


def tree(rows: pl.DataFrame, name: tuple[str, str]) -> tuple[list[PathNode], int]:
    """Return the nodes of one band, the root first and parents before children, and how many calls it sums.

    name: service and operation of the root when the profile has none or several.
    """
    if rows.is_empty():
        return [], 0
    entries = int(rows["entries"][0])
    ordered = rows.sort(pl.col("path").list.len(), "inclusive_nano", "node", descending=[False, True, False])
    tops = ordered.filter(pl.col("parent").is_null())
    nodes: list[PathNode] = []
    if len(tops) != 1:
        total = int(rows["exclusive_nano"].sum())
        nodes.append(PathNode("", -1, *name, "", total, 0, entries))
    index: dict[int, int] = {}
    for row in ordered.iter_rows(named=True):
        index[row["node"]] = len(nodes)
        nodes.append(
            PathNode(
                key=f"{row['node'] & (1 << 64) - 1:016x}",
                # A node whose parent is not in the band stands under the root.
                parent=index.get(row["parent"], 0) if nodes else -1,
                service=row["service"],
                operation=row["operation"],
                layer=row["layer"],
                inclusive_nano=row["inclusive_nano"],
                exclusive_nano=row["exclusive_nano"],
                calls=row["traces"],
            )
        )
    return nodes, entries


def change_of(nodes: list[PathNode], entries: int, others: list[PathNode], other_entries: int) -> list[int]:
    """Return by how much each node's own time a call is longer than in another tree, nanoseconds."""
    before = {node.key: node.exclusive_nano / max(other_entries, 1) for node in others}
    return [round(node.exclusive_nano / max(entries, 1) - before.get(node.key, 0.0)) for node in nodes]


def why(rows: pl.DataFrame, typical: Band, slow: Band) -> Why:
    """Return what a slow call has on its path beyond a typical one, by operation.

    rows: PROFILE of one route in both bands.
    """
    names = {"typical": f"{typical[0]:g}-{typical[1]:g}", "slow": f"{slow[0]:g}-{slow[1]:g}"}
    calls = {name: _entries(rows, band) for name, band in names.items()}
    if not all(calls.values()):
        return Why(0.0, calls["typical"], calls["slow"], [])
    of = {name: pl.col("mean_nano").filter(pl.col("band") == band).sum() for name, band in names.items()}
    summed = (
        rows.lazy()
        .group_by(*NODE)
        .agg(difference_nano=of["slow"] - of["typical"])
        .sort(pl.col("difference_nano").abs(), *NODE, descending=[True, False, False, False])
        .collect()
    )
    whole = float(summed["difference_nano"].sum())
    reasons = [
        Reason(service, operation, layer, difference, difference / whole if whole else 0.0)
        for service, operation, layer, difference in summed.iter_rows()
    ]
    return Why(whole, calls["typical"], calls["slow"], reasons)


def _entries(rows: pl.DataFrame, band: str) -> int:
    found = rows.filter(pl.col("band") == band)["entries"]
    return int(found[0]) if len(found) else 0
