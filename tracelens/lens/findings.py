"""What is wrong in known ways, and what it costs; whose clock is off."""

from __future__ import annotations

import numpy as np

from tracelens._link import Bool
from tracelens.analysis import findings as analysis
from tracelens.lens.analysed import Analysed
from tracelens.lens.hops import answer, requests
from tracelens.lens.question import Answer, Question


def findings(window: Analysed, question: Question) -> Answer:
    """Return FINDINGS rows, those with most time on critical paths first, of the calls that a question is about."""
    table = requests(window, question)
    rows = analysis.findings(
        window.forest,
        window.calls,
        table,
        clocks=window.clocks,
        spans=spans_of(window, question),
        whole=traces_of(window, question),
    )
    return answer(window, table, rows.lazy())


def spans_of(window: Analysed, question: Question) -> Bool:
    """Return which spans work for a call that a question is about; those of no call where it is about all."""
    of_call = np.zeros(len(window.calls.call) + 1, np.bool_)
    of_call[window.selected(question)["span"].to_numpy()] = True
    of_call[-1] = not question.conditions and question.start_nano is None and question.end_nano is None
    asked: Bool = of_call[window.calls.call] & np.repeat(window.settled, np.diff(window.forest.trace_offsets))
    return asked


def traces_of(window: Analysed, question: Question) -> Bool:
    """Return which settled traces begin in a question's window: what its slow ones are is told by all of them."""
    start = window.forest.start[window.forest.entry]
    asked: Bool = window.settled.copy()
    if question.start_nano is not None:
        asked &= start >= question.start_nano
    if question.end_nano is not None:
        asked &= start < question.end_nano
    return asked


def clocks(window: Analysed, question: Question) -> Answer:
    """Return CLOCKS rows, those furthest apart first: of the whole window, whatever the filter."""
    del question
    return Answer(rows=window.clocks, source=window.info, method=window.method)
