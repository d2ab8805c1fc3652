"""Repairs: what dirty spans and traces are marked with.

Owns the marks of repairs that need a whole trace; `forest` makes them, in the
order its docstring states.
"""

from __future__ import annotations

# Marks of repairs that need a trace; bit n of `Forest.marks` is TRACE_MARKS[n].
TRACE_MARKS = (
    "orphan",  # its parent is referred to and absent
    "cycle",  # its ancestors led back to it: the edge to its parent was cut
    "shared_split",  # one of two halves, client and server, that came with one id
    "skew_shifted",  # moved by the least amount that puts it inside its parent
    "skew_aligned",  # longer than its parent and earlier: moved to its parent's start
    "skew_capped",  # would have to be moved by more than a clock may be wrong: untouched
    "skew_moved",  # moved along with an ancestor on the same clock
    "clip_before",  # starts before its parent's window: the window is cut, the span is not
    "clip_after",  # ends after it
    "outside",  # has no time inside it: off the path, with its subtree
)
TRACE_MARK = {name: 1 << bit for bit, name in enumerate(TRACE_MARKS)}
