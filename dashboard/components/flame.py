"""The flame graph of many critical paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard import terms
from dashboard.components import mount
from dashboard.queries import PathNode


def flame(
    nodes: Sequence[PathNode],
    entries: int,
    *,
    colors: Mapping[str, str],
    zoom: str,
    key: str,
    title: str,
    note: str,
    label: str,
    change: Sequence[int] | None = None,
    sure: Sequence[bool] = (),
) -> str | None:
    """Draw the nodes; return the key of the one zoomed to since the last run.

    nodes: the root first, parents before their children. colors: of each
    service. zoom: key of the node to fill the width with. change: of each node,
    by how many nanoseconds its own time rose; then that is what is coloured,
    strongly where it is beyond chance (sure).
    """
    data: dict[str, Any] = {
        "title": title,
        "terms": terms.some("critical path", "call path", "on the path", "share", "own", "calls"),
        "note": note,
        "label": label,
        "zoom": zoom,
        "entries": entries,
        "colors": dict(colors),
        "nodes": {
            "key": [node.key for node in nodes],
            "parent": [node.parent for node in nodes],
            "service": [node.service for node in nodes],
            "operation": [node.operation for node in nodes],
            "layer": [node.layer for node in nodes],
            "inclusive": [node.inclusive_nano for node in nodes],
            "exclusive": [node.exclusive_nano for node in nodes],
            "calls": [node.calls for node in nodes],
        },
    }
    if change is not None:
        data["nodes"] |= {"change": list(change), "sure": list(sure)}
    zoomed: str | None = mount("flame", data, key=key, events=("zoom",)).zoom
    return zoomed
