"""Colours: one for each service, the same on every page.

Owns the service colours only; percentiles, selection and errors have theirs in
the components' style sheet. No hue of a service comes near those.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

# Twelve hues away from orange and red, each in two depths that stand out on white and on black.
SERVICES = (
    "#4E79A7",
    "#59A14F",
    "#B07AA1",
    "#9C755F",
    "#4CA5A0",
    "#8A7CC4",
    "#C9A227",
    "#6B8E23",
    "#3F8FBF",
    "#A5668B",
    "#7D8FA8",
    "#5C9E78",
    "#6F9BD1",
    "#86BD7B",
    "#C79BBD",
    "#BC9A86",
    "#7CC4BF",
    "#ADA2DB",
    "#D8BE5E",
    "#9DB75A",
    "#73B5DB",
    "#C691AF",
    "#A3B0C2",
    "#8AC2A1",
)


# What a call's time is made of; the app's is the calmest, attempts in vain the darkest.
LAYERS = {
    "client": "#5C9E78",
    "egress_proxy": "#8A7CC4",
    "network_queueing": "#C9A227",
    "ingress_proxy": "#ADA2DB",
    "app": "#4E79A7",
    "downstream": "#A3B0C2",
    "attempts": "#7A4E3F",
    "backoff": "#BC9A86",
}

SEED = 1_930  # of the hash: with it the usual names (gateway, frontend, cart, db, …) are far apart


def own_color(name: str) -> int:
    """Return the place in SERVICES that a name's hash points to."""
    return crc32(name.encode(), SEED) % len(SERVICES)


def service_colors(names: Iterable[str]) -> dict[str, str]:
    """Return the colour of each service, `#rrggbb`, by a hash of its name.

    Of two that share one, the later in the alphabet takes the next that is
    free, so that neighbours can be told apart; more services than colours share.
    """
    taken: set[int] = set()
    colors: dict[str, str] = {}
    for name in sorted(set(names)):
        place = own_color(name)
        while place in taken and len(taken) < len(SERVICES):
            place = (place + 1) % len(SERVICES)
        taken.add(place)
        colors[name] = SERVICES[place]
    return colors
