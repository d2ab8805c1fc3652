"""How long components take to draw very much: a waterfall while it scrolls, a flame graph.

The component of an open page is given more than any page has, and says itself
how long each drawing took (`data-draw-ms`).
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from playwright.sync_api import Page

SPANS = 10_000
NODES = 20_000
DRAWINGS = 200
SERVICES = 40
STEP = 470  # pixels a drawing: most rows are others than before

DRAWN = """async ([name, data, times, step]) => {
  const within = (root) => [...root.querySelectorAll('*')].flatMap((one) => one.shadowRoot ? [one.shadowRoot] : []);
  const place = document.querySelector(`.st-key-${name}`);
  const root = [place, ...within(place)].map((one) => one.querySelector('.tracelens')).find(Boolean);
  const files = performance.getEntriesByType('resource').map((one) => one.name);
  const component = (await import(files.find((file) => file.includes(`/${name}.js`)))).default;
  const frame = () => new Promise(requestAnimationFrame);
  const changed = async (act) => {
    const before = root.dataset.ready;
    act();
    while (root.dataset.ready === before) await frame();
    return Number(root.dataset.drawMs);
  };
  const nothing = () => {};
  const given = { data, parentElement: root.parentNode, setStateValue: nothing, setTriggerValue: nothing };
  const draw = () => component(given);
  await changed(draw);
  const scroll = root.querySelector('.scroll');
  const took = [];
  while (took.length < times) {
    took.push(await changed(scroll ? () => { scroll.scrollTop += step; } : draw));
  }
  return [took, Number(root.dataset.rows)];
}"""


def drawn(page: Page, name: str, data: dict[str, Any]) -> list[float]:
    """Give the component `name` of an open page other data; return the milliseconds of each of its drawings."""
    took, rows = page.evaluate(DRAWN, [name, data, DRAWINGS, STEP])
    assert rows, name
    return [float(one) for one in took]


def p95(took: list[float]) -> float:
    """Return the milliseconds that 95 of 100 drawings keep within."""
    return statistics.quantiles(took, n=20)[-1]


def waterfall(spans: int = SPANS) -> dict[str, Any]:
    """Return a trace of so many spans, each below one of the few before it, half of them on the critical path."""
    rng = np.random.default_rng(1)
    parent = np.maximum(np.arange(spans) - rng.integers(1, 12, spans), -1)
    parent[0] = -1
    parent[1:] = np.maximum(parent[1:], 0)
    depth = np.zeros(spans, np.int64)
    for row in range(1, spans):
        depth[row] = min(depth[parent[row]] + 1, 60)
    start = np.sort(rng.integers(0, 10**9, spans))
    start[0] = 0
    end = start + rng.integers(10**5, 10**8, spans)
    path = rng.integers(0, 2, spans) * 10**5
    return {
        "trace": "ab" * 16,
        "label": "",
        "terms": {},
        "start": 0,
        "end": int(end.max()),
        "only": False,
        "chosen": -1,
        "colors": _colors(),
        "proxies": None,
        "shares": [],
        "layers": [],
        "spans": {
            "id": [f"{row:016x}" for row in range(spans)],
            "parent": parent.tolist(),
            "depth": depth.tolist(),
            "service": [f"service-{row % SERVICES}" for row in range(spans)],
            "operation": [f"GET /things/{{id}}/{row % 300}" for row in range(spans)],
            "layer": ["app"] * spans,
            "start": start.tolist(),
            "end": end.tolist(),
            "error": (rng.random(spans) < 0.02).tolist(),
            "path": path.tolist(),
            "marks": [["clip_after"] if row % 50 == 0 else [] for row in range(spans)],
        },
        "sections": {
            "row": np.flatnonzero(path).tolist(),
            "start": start[path > 0].tolist(),
            "end": (start + path)[path > 0].tolist(),
        },
    }


def flame(nodes: int = NODES) -> dict[str, Any]:
    """Return the sums of critical paths with so many nodes, three below each, the first of them the heaviest."""
    parent = [-1, *((node - 1) // 3 for node in range(1, nodes))]
    inclusive = [10**12]
    for node in range(1, nodes):
        inclusive.append(inclusive[parent[node]] * (6, 2, 1)[(node - 1) % 3] // 10)
    return {
        "title": "",
        "terms": {},
        "note": "",
        "label": "",
        "zoom": "",
        "entries": 1_000,
        "colors": _colors(),
        "nodes": {
            "key": [f"{node:016x}" for node in range(nodes)],
            "parent": parent,
            "service": [f"service-{node % SERVICES}" for node in range(nodes)],
            "operation": [f"GET /things/{{id}}/{node}" for node in range(nodes)],
            "layer": ["app"] * nodes,
            "inclusive": inclusive,
            "exclusive": [one // 10 for one in inclusive],
            "calls": [1_000] * nodes,
        },
    }


def _colors() -> dict[str, str]:
    return {f"service-{number}": f"#{4_000_000 + number * 270_000:06x}" for number in range(SERVICES)}
