"""The walk as the rules say it, in plain Python: what the kernels are compared with.

Slow and short on purpose. Windows are computed on the way down and children
sorted at every step, so that nothing of the forest's order is relied on.
"""

from __future__ import annotations

from tracelens.forest import Forest


class PlainWalk:
    """Walks over one forest."""

    def __init__(self, forest: Forest) -> None:
        self.start, self.end = forest.start.tolist(), forest.end.tolist()
        self.ids = forest.spans["span_id"].to_list()
        self.below: dict[int, list[int]] = {}
        for i, p in enumerate(forest.parent.tolist()):
            if p >= 0 and forest.blocking[i]:
                self.below.setdefault(p, []).append(i)

    def sections(self, entry: int, tolerance: int | None = 0) -> list[tuple[int, int, int]]:
        """Return (row, start, end) of an entry's sections, ascending. tolerance: None is 10 µs and at most 1 %."""
        booked: list[tuple[int, int, int]] = []
        todo = [(entry, self.start[entry], self.end[entry])]
        while todo:
            span, lo, hi = todo.pop()
            allowed = min(10_000, (hi - lo) // 100) if tolerance is None else tolerance
            windows = [(max(self.start[c], lo), min(self.end[c], hi), c) for c in self.below.get(span, [])]
            at = hi
            for begins, ends, child in sorted(windows, key=lambda w: (-w[1], w[0], self.ids[w[2]])):
                if ends <= begins or (ends > at and not (ends - at <= allowed and begins < at)):
                    continue
                cut = min(ends, at)
                booked.append((span, cut, at))
                todo.append((child, begins, cut))
                at = begins
            booked.append((span, lo, at))
        return sorted((section for section in booked if section[1] < section[2]), key=lambda section: section[1])
