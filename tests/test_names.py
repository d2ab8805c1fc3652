"""From attributes to names: paths without their ids, workloads without their pods."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import frame
from tracelens import names
from tracelens.columns import Arranged
from tracelens.names import NO_ROUTE


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/", "/"),
        ("/cart", "/cart"),
        ("/cart/", "/cart/"),
        ("/product/17", "/product/{id}"),
        ("/a/1/2/3/b", "/a/{id}/{id}/{id}/b"),
        ("/v1/items/x9", "/v1/items/{id}"),
        ("/v2beta1/v10/items", "/v2beta1/v10/items"),
        ("/deadbeef/facade", "/{id}/facade"),  # hexadecimal of eight, and of six
        ("/" + "z" * 40, "/" + "z" * 40),
        ("/" + "z" * 41, "/{id}"),
        ("/x/550e8400-e29b-41d4-a716-446655440000", "/x/{id}"),
        ("/product/{id}", "/product/{id}"),
        ("/\x00v1", "/v1"),
    ],
)
def test_templates(path: str, template: str) -> None:
    found = pl.DataFrame({"path": [path]}).select(names.template(pl.col("path")))
    assert found.item() == template


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://shop:8080/cart/1?user=2", "/cart/1"),
        ("/cart#top", "/cart"),
        ("http://shop", None),
        ("https://u:p@[::1]:80/x", "/x"),
        ("*", None),
    ],
)
def test_paths_of_urls(url: str, path: str | None) -> None:
    assert pl.DataFrame({"url": [url]}).select(names.url_path(pl.col("url"))).item() == path


def operation(name: str, **attributes: Any) -> str:
    row = {f"attr:{key.replace('__', '.')}": value for key, value in attributes.items()}
    spans = frame([{"name": name, "kind": 2, **row}])
    found: str = names.operations(spans)["operation"].item()
    return found


def test_the_route_an_app_states_comes_first() -> None:
    assert operation("GET", http__route="/a/{b}", http__method="GET", http__url="http://x/a/1") == "GET /a/{b}"
    assert operation("handle", http__route="/a/{b}") == "/a/{b}"


def test_newer_names_of_attributes_win() -> None:
    row = {
        "attr:http.request.method": "PUT",
        "attr:http.method": "GET",
        "attr:url.path": "/new",
        "attr:http.url": "http://x/old",
    }
    spans = frame([{"name": "HTTP PUT", **row}])
    assert names.operations(spans)["operation"].item() == "PUT /new"


def test_grpc_methods_are_routes() -> None:
    assert operation("x", rpc__service="shop.Cart", rpc__method="Get") == "shop.Cart/Get"
    assert (
        operation("ingress", http__url="http://h/shop.Cart/Get", grpc__status_code="0", http__method="POST")
        == "shop.Cart/Get"
    )


def test_a_path_like_a_grpc_method_is_a_path_without_a_grpc_status() -> None:
    assert operation("ingress", http__url="http://h/shop.Cart/Get", http__method="POST") == "POST /shop.Cart/Get"


@pytest.mark.parametrize(
    "name", ["ingress", "egress shop:80", "shop.svc:80/*", "GET", "HTTP GET", "/cart/7", "GET /cart/7"]
)
def test_names_nobody_chose_give_way_to_the_template(name: str) -> None:
    assert operation(name, http__method="GET", http__url="http://shop/cart/7?x=1") == "GET /cart/{id}"


@pytest.mark.parametrize("name", ["checkout", "GET /cart/{user}", "product-route"])
def test_names_somebody_chose_stand(name: str) -> None:
    assert operation(name, http__method="GET", http__url="http://shop/cart/7") == name


def test_a_raw_path_without_a_url_is_templated() -> None:
    """Linkerd names its spans by the raw path."""
    assert operation("/cart/7") == "/cart/{id}"


def test_an_unrouted_request_has_no_route_of_its_own() -> None:
    assert operation("ingress", http__url="http://evil/1", response_flags="NR") == NO_ROUTE
    assert operation("chosen", response_flags="NRX") == "chosen"


def test_upstream_spans_are_named_by_the_first_label_of_the_host() -> None:
    assert operation("router outbound|8080||cart.shop.svc.cluster.local egress") == "router cart egress"


def workload(service: str, **columns: Any) -> tuple[str, str | None]:
    spans = frame([{"service_name": service, **columns}])
    name, namespace = names.workloads(spans).row(0)
    return name, namespace


NODE = "sidecar~10.0.0.1~cart-7c9f5b6d4-x2k8p.shop~shop.svc.cluster.local"


def test_workloads() -> None:
    assert workload("cart") == ("cart", None)
    assert workload("cart.shop") == ("cart.shop", None)  # nothing says that shop is a namespace
    assert workload("cart.shop", **{"res:k8s.namespace.name": "shop"}) == ("cart", "shop")
    assert workload("x", **{"attr:istio.canonical_service": "cart", "attr:istio.namespace": "shop"}) == ("cart", "shop")
    assert workload("x", **{"res:k8s.deployment.name": "cart"}) == ("cart", None)
    assert workload("x", **{"attr:node_id": NODE}) == ("cart", "shop")
    assert workload("x", **{"attr:node_id": NODE.replace("cart-7c9f5b6d4-x2k8p", "db-0")}) == ("db", "shop")
    assert workload("x", **{"attr:node_id": "frontend-sidecar"}) == ("x", None)


CELLS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "aa", "\x00"]))


@given(st.lists(st.tuples(CELLS, CELLS, st.one_of(st.none(), st.integers(0, 2))), max_size=40))
def test_what_is_worked_out_for_a_distinct_row_is_that_rows(
    rows: list[tuple[str | None, str | None, int | None]],
) -> None:
    frame = pl.DataFrame(rows, schema={"one": pl.String, "other": pl.String, "number": pl.Int64}, orient="row")
    found = names.of_rows(Arranged(frame), frame.columns, {name: pl.col(name) for name in frame.columns})
    assert found.equals(frame)
    assert len(set(names.codes(frame["one"]).tolist()) - {-1}) == frame["one"].drop_nulls().n_unique()
