"""The new timing of a trace as the rule says it, in plain Python: what the kernel is compared with."""

from __future__ import annotations

from tracelens.forest import Forest


def retimed(forest: Forest, entry: int, factor: list[float], *, slack: int = 0) -> int:
    """Return how long an entry takes when each span's own time is scaled. slack: overlap that counts as none."""
    start, end = forest.start.tolist(), forest.end.tolist()
    below: dict[int, list[int]] = {}
    for i, p in enumerate(forest.parent.tolist()):
        if p >= 0 and forest.blocking[i]:
            below.setdefault(p, []).append(i)

    def length(span: int, lo: int, hi: int) -> int:
        windows = [(max(start[c], lo), min(end[c], hi), c) for c in below.get(span, [])]
        children = sorted(window for window in windows if window[0] < window[1])
        ends: dict[int, int] = {}  # now, from the span's start
        for begins, stops, child in children:
            finished: list[tuple[int, int]] = []  # (then, now) of siblings that had finished
            for _, other_stops, other in sorted(children, key=lambda window: (window[1], window[2])):
                if other_stops > begins + slack or other not in ends:
                    break
                finished.append((other_stops, ends[other]))
            gap = begins - max((then for then, _ in finished), default=lo)
            at = max((now for _, now in finished), default=0) + (int(gap * factor[span] + 0.5) if gap > 0 else gap)
            ends[child] = max(at, 0) + length(child, begins, stops)
        rest = hi - max((stops for _, stops, _ in children), default=lo)
        return max(ends.values(), default=0) + int(rest * factor[span] + 0.5)

    return length(entry, start[entry], end[entry])
