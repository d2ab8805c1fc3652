"""What is wrong in known ways, and what it costs."""

from __future__ import annotations

from tracelens.analysis import findings as analysis
from tracelens.lens.analysed import Analysed
from tracelens.lens.hops import requests
from tracelens.lens.question import Answer, Question


def findings(window: Analysed, question: Question) -> Answer:
    """Return FINDINGS rows, the costliest first, of the calls that a question is about."""
    return Answer(rows=analysis.findings(requests(window, question).lazy()).collect(), source=window.info)
