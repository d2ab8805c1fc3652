"""Who calls whom: the service graph."""

from __future__ import annotations

from tracelens.analysis import edges as analysis
from tracelens.lens.analysed import Analysed
from tracelens.lens.hops import answer, requests
from tracelens.lens.question import Answer, Question


def edges(window: Analysed, question: Question, *, gateways: bool) -> Answer:
    """Return EDGES rows, the busiest first; without gateways, callers and callees on their two sides are joined."""
    table = requests(window, question)
    shown = table if gateways else analysis.without_gateways(table)
    return answer(window, table, analysis.edges(shown.lazy(), weighted=window.weighted))
