"""Since when: the moment a route's p99 changed, in words, with the deployment that came with it.

Owns what is worth saying. That two things came together is said; that one
caused the other is not.
"""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.components.headline import Run, run
from dashboard.deploys import Deploy, since_link
from dashboard.format import duration
from dashboard.page import Page, link_to
from tracelens.lens import Since

RISE = 1.2  # times what it was: less is weather
LEAST_NANO = 1_000_000
TOGETHER = 2  # stretches of time: further apart, a deployment did not come with a change


def is_notable(found: Since | None) -> bool:
    """Whether a change is worth a sentence."""
    if found is None or abs(found.after_nano - found.before_nano) < LEAST_NANO:
        return False
    low, high = sorted((found.before_nano, found.after_nano))
    return high > RISE * low


def rose(found: Since | None) -> bool:
    return found is not None and is_notable(found) and found.after_nano > found.before_nano


def came_with(found: Since, deploys: Sequence[Deploy]) -> Deploy | None:
    """Return the deployment nearest to a change, if one came with it."""
    near = [one for one in deploys if abs(one.at_nano - found.at_nano) <= TOGETHER * found.width_nano]
    return min(near, key=lambda one: abs(one.at_nano - found.at_nano), default=None)


def sentence(
    page: Page, found: Since | None, deploys: Sequence[Deploy], key: tuple[str, str], bounds: tuple[int, int]
) -> list[Run]:
    """Return when a route's p99 changed and what came then, with the way to what changed; else the last deployment."""
    if found is not None and is_notable(found):
        deploy = came_with(found, deploys)
        at = deploy.at_nano if deploy else found.at_nano
        verb = "rose" if found.after_nano > found.before_nano else "fell"
        runs = [
            run(f"p99 {verb} from about {duration(found.before_nano)} to "),
            run(duration(found.after_nano), strong=True, tone="p99"),
            run(f" at {page.clock(found.at_nano)}"),
        ]
        if deploy:
            runs += [run(", when "), run(f"{deploy.service} {deploy.version}", strong=True), run(" came")]
    elif deploys:
        deploy, at = deploys[0], deploys[0].at_nano
        runs = [run(f"{deploy.service} {deploy.version}", strong=True), run(f" came at {page.clock(at)}")]
    else:
        return []
    return [*runs, run(". "), run("What changed →", link=link_to("compare", **since_link(at, *bounds, key))), run(" ")]
