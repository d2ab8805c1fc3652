"""What is wrong in known ways, and what it costs; whose clock is off."""

from __future__ import annotations

from tracelens.analysis import findings as analysis
from tracelens.lens.analysed import Analysed
from tracelens.lens.hops import answer, requests
from tracelens.lens.question import Answer, Question


def findings(window: Analysed, question: Question) -> Answer:
    """Return FINDINGS rows, the costliest first, of the calls that a question is about."""
    table = requests(window, question)
    return answer(window, table, analysis.findings(table.lazy(), window.clocks.lazy()))


def clocks(window: Analysed, question: Question) -> Answer:
    """Return CLOCKS rows, those furthest apart first: of the whole window, whatever the filter."""
    del question
    return Answer(rows=window.clocks, source=window.info, method=window.method)
