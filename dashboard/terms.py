"""What the words on the pages mean: one plain sentence each, one hover away wherever they stand.

Owns the glossary. Words of headings are looked up by themselves; in running
text `marked` finds them. Findings have theirs in `kinds.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

P50 = "Half of the calls take no longer than this."
P90 = "Nine of ten calls take no longer than this."
P99 = "All but the slowest hundredth of the calls take no longer than this."
CRITICAL_PATH = "The parts of spans that set how long a call took: had they been shorter, so had the call."
OWN = "Time that an operation itself spent on the critical path, and nothing below it: exclusive, or self, time."
ERRORS = "Calls that failed, as a share of all calls or as their number."

TERMS: dict[str, str] = {
    # Calls and their numbers.
    "n": "How many calls the numbers beside it stand on.",
    "calls": "How many calls have it.",
    "calls/s": "Calls a second, over the whole window.",
    "route": "An operation as others call it: a workload and what is asked of it, with ids taken out of its path.",
    "n (calls)": "How many calls the numbers beside it stand on.",
    "n (traces)": "How many traces the numbers beside it stand on.",
    "path": "Mean time of a trace's critical path that it takes; traces without any count as nothing.",
    "errors": ERRORS,
    "p50": P50,
    "p90": P90,
    "p99": P99,
    "percentile": "The duration that so many of a hundred calls do not exceed.",
    "p50 · p90 · p99, log": "The three percentiles as dots, on one logarithmic scale for all rows.",
    "mean": "The sum over all calls, shared out evenly.",
    "impact": "Time that the calls of a route spent above its own p50, summed: what a faster tail would win.",
    "change": "The p99 of this window against that of the window before.",
    "duration": "How long it took, from its begin to its end.",
    "95 % interval": "The true value lies within it in 95 of 100 such windows.",
    "exact": "Percentiles are of all durations themselves, not of a summary of them.",
    "sketch": "Percentiles come from counted steps of duration and are off by no more than is said.",
    "censored": "A call whose client went away: counted, but in no percentile, since it was never answered.",
    # What was seen.
    "sampled": "The share of traces that is kept; counts and percentiles are put right for it.",
    "coverage": "The share of calls whose callee left the spans it should have.",
    "covered": "The share of calls whose callee left the spans it should have.",
    "open": "A trace whose spans may still come: it is in no percentile yet.",
    "complete": "Every span's parent is there, and there is one root.",
    "spans": "Pieces of work that services wrote down, each with its begin and end.",
    "services": "How many workloads have spans in it.",
    "mended": "What was put right before anything was counted, such as clocks that differ.",
    # Where time goes.
    "critical path": CRITICAL_PATH,
    "on the critical path": CRITICAL_PATH,
    "on the path": "Time on the critical path of the operation and all that is below it: inclusive time.",
    "own": OWN,
    "own time on the path": OWN,
    "call path": "An operation, and by which calls it was reached.",
    "call path node": "An operation, and by which calls it was reached.",
    "operation": "A span's name, beside the service that wrote it.",
    "share": "Of the whole that the heading names.",
    "a call": "The sum shared out over all calls, those without it too.",
    "slow − typical": "What the mean slow call spends there beyond the mean typical one.",
    "tail attribution": "The difference between slow and typical calls, shared out over the operations of their "
    "critical paths: it adds up.",
    "layer": "What a call's time is made of: the app, a proxy, what lies between.",
    "level": "What the spans allowed to tell apart: L0 proxies only, L1 attempts, L2 Envoy's phases, L3 the app too.",
    "hop": "One call from a service to the next, with all that lies between the two.",
    "hop bar": "One call's time, from the caller's app to the callee's, cut into layers that add up.",
    "client": "The caller's app, before and after its own proxy has the request.",
    "egress proxy": "The proxy beside the caller, but not the attempts it made.",
    "ingress proxy": "The proxy beside the callee, without the app behind it.",
    "network + queueing": "Between the caller's side and the callee's: the wire, and waiting at both of its ends.",
    "app": "The callee's own work, without the calls it makes.",
    "its own calls": "What the callee waits for.",
    "attempts in vain": "Attempts before the one that was answered.",
    "between attempts": "Pauses before an attempt is made again.",
    # Comparisons.
    "selected": "Of the calls in the box, the share that have this value.",
    "rest": "The baseline: of all other calls of the route, the share that have this value.",
    "selected · rest": "How common the value is in the box, and below it, in the baseline of all other calls.",
    "baseline": "What is compared with: the calls that are not selected, or the earlier side.",
    "lift": "How many times more common the value is among the selected calls than among the rest.",
    "attribute": "What spans or their resources say about themselves: a key and a value.",
    "n A": "Calls seen on side A, the earlier one.",
    "n B": "Calls seen on side B, the later one.",
    "A": "The side that is compared with.",
    "B": "The side that is looked at.",
    "B − A": "By how much B is above A.",
    "own time, A": OWN,
    "own time, B": OWN,
    "beyond chance": "So large a difference would come by luck in at most one of twenty such comparisons.",
    # Fixes.
    "measured": "As the calls of this window were.",
    "projected": "What it would be with the change, worked out call by call along the critical path.",
    "what-if": "Each call timed anew with something in it shorter, all else as it was.",
    # Clocks.
    "the other is ahead by": "How far the clocks of the two hosts differ, estimated over many calls.",
    "at least": "The least by which they differ, for what was sent must arrive later.",
    "at most": "The most by which they differ, for what was sent must arrive later.",
    "spans moved": "Spans whose times were put right, since they lay outside their parent.",
}
# In running text: each as it is written there, longer ones first.
WRITTEN = {
    r"critical paths?": "critical path",
    r"impact": "impact",
    r"still open": "open",
    r"beyond chance": "beyond chance",
    r"coverage": "coverage",
    r"sampled": "sampled",
    r"mended": "mended",
    r"incomplete|complete": "complete",
    r"exact": "exact",
    r"sketch": "sketch",
    r"time on the path": "on the path",
    r"calls/s": "calls/s",
    r"p50": "p50",
    r"p90": "p90",
    r"p99": "p99",
    r"n(?= [0-9])": "n",
}
WORD = re.compile("|".join(rf"(?<![\w-])({pattern})(?![\w-])" for pattern in WRITTEN))


def help_of(word: str) -> str | None:
    """Return what a word means; None when it is no term."""
    return TERMS.get(word)


def some(*words: str) -> dict[str, str]:
    """Return the sentences of several terms, as components take them."""
    return {word: TERMS[word] for word in words}


def marked(text: str) -> list[tuple[str, str | None]]:
    """Return a text in stretches, those that are terms with their sentence; each term once."""
    found: list[tuple[str, str | None]] = []
    seen: set[str] = set()
    at = 0
    for match in WORD.finditer(text):
        term = list(WRITTEN.values())[(match.lastindex or 0) - 1]
        if term in seen:
            continue
        seen.add(term)
        found += [(text[at : match.start()], None), (match[0], TERMS[term])]
        at = match.end()
    return [(part, meaning) for part, meaning in [*found, (text[at:], None)] if part]


def glossary(words: Iterable[str] = TERMS) -> str:
    """Return all terms as a table in Markdown; those with one meaning once."""
    by_meaning: dict[str, list[str]] = {}
    for word in words:
        by_meaning.setdefault(TERMS[word], []).append(word)
    named = [(", ".join(some), meaning) for meaning, some in by_meaning.items()]
    lines = sorted(named, key=lambda one: one[0].casefold())
    return "\n".join(["| word | means |", "| --- | --- |", *(f"| {names} | {means} |" for names, means in lines)])
