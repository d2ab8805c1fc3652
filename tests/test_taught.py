"""What a mesh's owner teaches: patterns of routes, rates, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders import frame
from tracelens import names
from tracelens.errors import UsageError
from tracelens.taught import Taught

PATTERNS = {
    "GET /img/**": "images",
    "/users/*/orders/{order}": "/users/{user}/orders/{order}",
    "/users/me": "/users/me",
    "/files/*.pdf": "pdf",
    "/**": "rest",
}


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("GET", "/img/a/b.png", "images"),
        ("GET", "/img", "images"),
        ("POST", "/img/a", "rest"),
        ("PUT", "/users/17/orders/x?y=1", "PUT /users/{user}/orders/{order}"),
        ("GET", "/users/17/orders/", "rest"),
        ("GET", "/users/me/", "GET /users/me"),
        ("GET", "/files/report.pdf", "pdf"),
        ("GET", "/files/reportXpdf", "rest"),
        ("GET", "/", "rest"),
    ],
)
def test_the_first_pattern_that_fits_names_the_route(method: str, path: str, named: str) -> None:
    row = {"attr:http.method": method, "attr:http.url": f"http://shop{path}", "attr:http.route": "/from/the/app"}
    (found,) = names.operations(frame([row]), Taught.of({"routes": PATTERNS})).rows()
    assert found == (named, "taught")


def test_what_no_pattern_fits_is_named_as_ever() -> None:
    row = {"name": "ingress", "attr:http.method": "GET", "attr:http.url": "http://shop/a/7"}
    taught = Taught.of({"routes": {"/b": "/b"}})
    assert names.operations(frame([row]), taught).rows() == [("GET /a/{id}", "template")]


@pytest.mark.parametrize(
    "tables",
    [
        {"routes": {"img/*": "x"}},
        {"routes": {"FETCH /img": "x"}},
        {"routes": {"/a/b**": "x"}},
        {"routes": {"/a": ""}},
        {"routes": {"/a": 7}},
        {"routes": {"/a": "x\n"}},
        {"routes": ["/a"]},
        {"sampling": {"rate": 0}},
        {"sampling": {"rate": 1.5}},
        {"sampling": {"rate": True}},
        {"sampling": {"rates": 0.1}},
        {"sampling": {"services": {"web": "1 %"}}},
        {"sampling": {"services": 0.1}},
    ],
)
def test_what_makes_no_sense_is_refused_with_a_remedy(tables: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"Write|Put|there are|table"):
        Taught.of(tables)


def test_a_file_is_read_whole_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "tracelens.toml"
    file.write_text('[routes]\n"/a/*" = "/a/{b}"\n[sampling]\nrate = 0.01\nservices.web = 1\n')
    taught = Taught.read(file)
    assert (len(taught.routes), taught.rate, taught.rates) == (1, 0.01, {"web": 1.0})
    file.write_text("[route]\n")
    with pytest.raises(UsageError, match="no table is called 'route'"):
        Taught.read(file)
    with pytest.raises(UsageError, match="cannot be read"):
        Taught.read(tmp_path / "absent.toml")
