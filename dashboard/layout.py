"""Where the services of the map stand: callers left of callees, few crossings.

Owns places only. Layers by the longest way from a service that nobody calls,
calls that lead back left aside; in a layer, services stand by the middle of
their neighbours, swept a few times to and fro.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Edge = tuple[str, str]  # caller, callee
SWEEPS = 4


def layout(edges: Iterable[Edge], services: Iterable[str]) -> list[list[str]]:
    """Return the services by layer, each layer in the order it is drawn; the same for the same graph."""
    known = sorted(set(edges))
    names = sorted({*services, *(name for edge in known for name in edge)})
    forward = _without_cycles(names, [edge for edge in known if edge[0] != edge[1]])
    depth = _depths(names, forward)
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in names:
        layers[depth[name]].append(name)
    return _ordered(layers, forward)


def _without_cycles(names: Sequence[str], edges: Sequence[Edge]) -> list[Edge]:
    """Return the edges but those that lead back to a caller on the way, seen from the services nobody calls."""
    callees: dict[str, list[str]] = {name: [] for name in names}
    for caller, callee in edges:
        callees[caller].append(callee)
    called = {callee for _, callee in edges}
    begin = [name for name in names if name not in called] + list(names)
    state: dict[str, int] = {}  # 1: on the way, 2: done
    kept: list[Edge] = []
    for root in begin:
        stack = [(root, iter(callees[root]))] if root not in state else []
        state.setdefault(root, 1)
        while stack:
            name, rest = stack[-1]
            for callee in rest:
                if state.get(callee) == 1:
                    continue
                kept.append((name, callee))
                if callee not in state:
                    state[callee] = 1
                    stack.append((callee, iter(callees[callee])))
                    break
            else:
                state[name] = 2
                stack.pop()
    return kept


def _depths(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Return the longest way to each service in a graph without cycles."""
    depth = dict.fromkeys(names, 0)
    waiting = dict.fromkeys(names, 0)
    callees: dict[str, list[str]] = {name: [] for name in names}
    for caller, callee in edges:
        callees[caller].append(callee)
        waiting[callee] += 1
    free = [name for name in names if not waiting[name]]
    while free:
        name = free.pop()
        for callee in callees[name]:
            depth[callee] = max(depth[callee], depth[name] + 1)
            waiting[callee] -= 1
            if not waiting[callee]:
                free.append(callee)
    return depth


def _ordered(layers: list[list[str]], edges: Sequence[Edge]) -> list[list[str]]:
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for caller, callee in edges:
        above.setdefault(callee, []).append(caller)
        below.setdefault(caller, []).append(callee)
    for sweep in range(SWEEPS):
        neighbours = above if sweep % 2 == 0 else below
        place = _places(layers)
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            layer.sort(key=lambda name: _middle(name, neighbours, place))
            place |= _places([layer])
    return layers


def _places(layers: Iterable[Sequence[str]]) -> dict[str, float]:
    """Return where each service stands in its layer, 0 to 1."""
    return {name: (at + 0.5) / len(layer) for layer in layers for at, name in enumerate(layer)}


def _middle(name: str, neighbours: Mapping[str, list[str]], place: Mapping[str, float]) -> tuple[float, str]:
    others = neighbours.get(name)
    return (sum(place[other] for other in others) / len(others) if others else place[name]), name
