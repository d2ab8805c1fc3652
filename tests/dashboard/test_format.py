"""How numbers, changes and colours are written."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest

from dashboard.format import calls_per_second, change, clock, compact, layer_suffix, points, split, whole_percent
from dashboard.palette import SERVICES, service_colors

MS = 1_000_000


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (18_400, "18.4 k"),
        (999_949, "1000 k"),
        (1_840_000, "1.84 M"),
        (2_000_000_000, "2.00 G"),
    ],
)
def test_counts_keep_three_digits(number: int, text: str) -> None:
    assert compact(number) == text


@pytest.mark.parametrize(
    ("now", "before", "told"),
    [
        (412 * MS, 328 * MS, ("+84.0 ms", "bad")),
        (300 * MS, 328 * MS, ("−28.0 ms", "good")),
        (329 * MS, 328 * MS, ("+1.00 ms", "muted")),
        (328 * MS, 328 * MS, ("±0 ns", "muted")),
        (328 * MS, None, None),
        (None, 328 * MS, None),
    ],
)
def test_a_change_has_a_sign_and_a_colour_when_it_matters(
    now: int | None, before: int | None, told: tuple[str, str] | None
) -> None:
    assert change(now, before) == told


def test_error_rates_change_in_points() -> None:
    assert points(0.018, 0.017) == ("+0.1 pt", "muted")
    assert points(0.02, 0.01) == ("+1.0 pt", "bad")
    assert points(0.0, 0.5) == ("−50.0 pt", "good")
    assert points(None, 0.5) is None


def test_rates_keep_three_digits() -> None:
    second = 1_000_000_000
    assert [calls_per_second(n, 100 * second) for n in (2, 340, 2_100, 18_200, 1_000_000)] == [
        "0.02",
        "3.40",
        "21.0",
        "182",
        "10,000",
    ]


def test_a_clock_is_the_viewers() -> None:
    at = 1_790_000_000_114_000_000
    assert clock(at, UTC, milliseconds=True) == "14:13:20.114"
    assert clock(at, timezone(timedelta(hours=2))) == "16:13:20"


def test_small_words() -> None:
    assert split("8.21 ms") == ("8.21", "ms")
    assert split("–") == ("–", "")
    assert (layer_suffix("app"), layer_suffix("egress_proxy")) == ("", " · egress proxy")
    assert layer_suffix("network_queueing") == " · network + queueing"
    assert [whole_percent(share) for share in (0.996, -0.001, -0.25)] == ["100 %", "0 %", "-25 %"]


def test_a_service_has_one_colour_by_its_name() -> None:
    """The hash is stable: these do not change with Python's seed, nor with the order of arrival."""
    names = ["cart", "frontend", "db", "日本", ""]
    assert service_colors(names) == service_colors(reversed(names))
    assert service_colors(["cart"]) == {"cart": "#86BD7B"}


def test_two_services_of_one_window_have_two_colours() -> None:
    """The hashes of service-96 and cart point to the same one."""
    assert service_colors(["service-96"])["service-96"] == service_colors(["cart"])["cart"]
    both = service_colors(["service-96", "cart"])
    assert both["service-96"] != both["cart"] == service_colors(["cart"])["cart"]


def test_more_services_than_colours_share_them() -> None:
    names = [f"service-{number}" for number in range(100)]
    assert set(service_colors(names).values()) == set(SERVICES)
