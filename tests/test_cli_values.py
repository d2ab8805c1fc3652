"""What people type: durations, moments, bands, routes."""

from __future__ import annotations

import polars as pl
import pytest

from tracelens.cli.values import bands, moment, nanoseconds, route_named, versions
from tracelens.errors import UsageError

ROUTES = pl.DataFrame({"service": ["web", "api", "api"], "route": ["GET /", "GET /", "GET /x"]})


def test_durations() -> None:
    assert [nanoseconds(text) for text in ("0", "50us", "50µs", "1.5s", "2h", "1d")] == [
        0,
        50_000,
        50_000,
        1_500_000_000,
        7_200_000_000_000,
        86_400_000_000_000,
    ]


@pytest.mark.parametrize("text", ["", "5", "-1s", "1 s", "1y"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="no duration"):
        nanoseconds(text)


def test_moments() -> None:
    assert moment("1970-01-01T00:00:01Z") == 1_000_000_000
    assert moment("1970-01-01T01:00:00.000000001+01:00") == 1
    assert moment("2026-01-31") == moment("2026-01-31T00:00:00Z")


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(UsageError, match="no moment"):
        moment(text)


def test_bands() -> None:
    assert bands("0-50,90-99.9") == [(0.0, 50.0), (90.0, 99.9)]
    with pytest.raises(UsageError, match="no band"):
        bands("50")


def test_routes_by_name() -> None:
    assert route_named(ROUTES, "GET /x") == ("api", "GET /x")
    assert route_named(ROUTES, "web GET /") == ("web", "GET /")
    with pytest.raises(UsageError, match=r"several services.*'api GET /', 'web GET /'"):
        route_named(ROUTES, "GET /")
    with pytest.raises(UsageError, match="no route 'GET /y'"):
        route_named(ROUTES, "GET /y")


def test_versions_name_what_computes() -> None:
    assert versions(verbose=False).startswith("tracelens ")
    assert "polars 2" in versions(verbose=True)
