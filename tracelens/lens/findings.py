"""What is wrong in known ways, and what it costs."""

from __future__ import annotations

from tracelens.analysis import findings as analysis
from tracelens.analysis.clocks import clocks
from tracelens.lens.analysed import Analysed
from tracelens.lens.hops import answer, requests
from tracelens.lens.question import Answer, Question


def findings(window: Analysed, question: Question) -> Answer:
    """Return FINDINGS rows, the costliest first, of the calls that a question is about."""
    table = requests(window, question)
    found = clocks(window.forest, window.calls)
    return answer(window, table, analysis.findings(table.lazy(), found.lazy()))
