"""The map of services: who calls whom, how fast, how often wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard import terms
from dashboard.components import mount


def service_map(
    layers: Sequence[Sequence[str]],
    edges: Sequence[Mapping[str, Any]],
    *,
    nodes: Mapping[str, str],
    colors: Mapping[str, str],
    chosen: str | None,
    key: str,
    title: str,
    note: str,
    label: str,
) -> str | None:
    """Draw the map; return the id of the edge that was pressed since the last run.

    layers: services by column, in the order they are drawn. edges: id, caller, callee, label, rate (0 to 1), slow
    (0 to 1), failing, said. nodes: what stands below each service's name.
    """
    data = {
        "layers": [list(layer) for layer in layers],
        "edges": [dict(edge) for edge in edges],
        "nodes": dict(nodes),
        "colors": dict(colors),
        "chosen": chosen,
        "title": title,
        "terms": terms.some("hop", "percentile", "calls/s", "errors", "p50", "p90", "p99", "covered"),
        "note": note,
        "label": label,
    }
    pressed: str | None = mount("map", data, key=key, events=("edge",)).edge
    return pressed
