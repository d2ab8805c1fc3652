"""What findings are called, what they mean, and what to do about them.

Owns words only; patterns and thresholds are the Lens's (`docs/findings.md`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding."""

    name: str
    means: str
    advice: str


KINDS = {
    "n_plus_one": Kind(
        "N+1 calls",
        "One call makes the same call over and over, one after the other. Cost: all of them but the longest.",
        "Ask for all at once.",
    ),
    "retries": Kind(
        "Retries",
        "Requests took more than one attempt, by their proxy or by the app. Cost: attempts in vain, and pauses.",
        "Find out why attempts fail; make fewer, or make them sooner.",
    ),
    "lock_step_retries": Kind(
        "Retries in lock step",
        "Retries come after a pause that hardly differs, so callers who fail together come again together. "
        "Cost: the pauses.",
        "Add jitter to the backoff.",
    ),
    "timeout_before_answer": Kind(
        "Timeouts before the answer",
        "The sender gave up while the callee was at work, in vain. Cost: the time waited.",
        "Pass the deadline on, so that the callee stops; or wait longer.",
    ),
    "serial_fan_out": Kind(
        "Serial calls",
        "One call makes calls of several kinds, one after the other. Cost: all but the longest, which is what can be "
        "won at most: whether one needs the other's answer is not seen.",
        "Make those beside each other that do not need each other's answer.",
    ),
    "chatty_edge": Kind(
        "Chatty edge",
        "One call makes very many calls to one callee. Cost: their time on the critical path but the largest.",
        "Batch, cache, or move the work to the callee.",
    ),
    "sidecar_heavy": Kind(
        "Heavy sidecars",
        "Proxies take a fifth of the calls' time or more. Cost: that time.",
        "Give the proxy more CPU or workers, or fewer filters.",
    ),
    "uninstrumented_gap": Kind(
        "Time that no span tells of",
        "Calls to where nobody writes spans, or an operation's own time around the calls it makes. Cost: that time.",
        "Give the callee a sidecar or an SDK; write spans for what the app does between its calls.",
    ),
    "outside_parent": Kind(
        "Spans outside their parent",
        "Spans begin before their parent or end after it. Cost: their time outside, which is on no path.",
        "Make them spans that nobody waits for (links), or end the parent later.",
    ),
    "unrouted": Kind("Unrouted requests", "A proxy had no route for what was asked.", "Add the route, or stop asking."),
    "broken_propagation": Kind(
        "Missing propagation",
        "A workload that is called makes calls that begin traces of their own.",
        "Pass the trace headers on.",
    ),
    "request_id_dropped": Kind(
        "Sampled anew",
        "A workload's calls have another x-request-id than it was called with: Envoys decide about them anew, and of "
        "sampled traces most end here.",
        "Pass x-request-id on.",
    ),
    "missing_spans": Kind(
        "Missing spans",
        "The callee should have written a span, and none is here; the evidence says why.",
        "Give the callee a sidecar or an SDK, or sample callers and callees alike.",
    ),
    "clock_skew": Kind(
        "Clocks that differ",
        "The clocks of two hosts differ for certain, and spans had to be moved.",
        "Synchronise the clocks.",
    ),
}


def kind(name: str) -> Kind:
    """Return the words for a kind; one without words is called what it is."""
    return KINDS.get(name) or Kind(name.replace("_", " "), "", "")
