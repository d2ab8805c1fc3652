"""Which spans are one request, who served it, and what it is called."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.builders import frame, span_id, trace, trace_id, traces
from tracelens import _fold
from tracelens.calls import Calls, calls
from tracelens.forest import link
from tracelens.learned import MAX_ROUTES
from tracelens.names import NO_ROUTE, OTHER
from tracelens.spans import CLIENT, SERVER

PRODUCT = "http://shop/product/17?ref=home"


def folded(spans: pl.DataFrame) -> Calls:
    return calls(link(spans))


def table(spans: pl.DataFrame) -> list[tuple[str, str, str | None]]:
    """Return (service, route, caller) of each call, callers first."""
    return folded(spans).table.select("service", "route", "caller").rows()


def layers(spans: pl.DataFrame) -> dict[str, str]:
    """Return the layer of each span, by its name as sent."""
    forest = link(spans)
    return dict(zip(forest.spans["name"], calls(forest).layer, strict=True))


def proxy(number: int, parent: int | None, workload: str, direction: str, **more: Any) -> dict[str, Any]:
    """Return a row of an Envoy's span of PRODUCT, 10 ms a level, as Istio's sidecars write it."""
    kind = "router" if workload == "gateway" else "sidecar"
    cluster = f"{direction}|8080||{'' if direction == 'inbound' else 'catalog.shop.svc.cluster.local'}"
    return {
        "span_id": span_id(number),
        "parent_span_id": None if parent is None else span_id(parent),
        "name": "catalog.shop.svc.cluster.local:8080/*",
        "kind": CLIENT if direction == "outbound" and kind == "sidecar" else SERVER,
        "service_name": f"{workload}.shop",
        "scope_name": "envoy",
        "start_time_unix_nano": number * 1_000_000,
        "end_time_unix_nano": 100_000_000 - number * 1_000_000,
        "res:service.namespace": "shop",
        "attr:node_id": f"{kind}~10.0.0.1~{workload}-7c9f5b6d4-x2k8p.shop~shop.svc.cluster.local",
        "attr:upstream_cluster": cluster,
        "attr:http.method": "GET",
        "attr:http.url": PRODUCT,
        "attr:http.status_code": "200",
        "attr:response_flags": "-",
        **more,
    }


def attempt(number: int, parent: int, workload: str) -> dict[str, Any]:
    """Return a row of an Envoy's upstream span."""
    row = proxy(number, parent, workload, "outbound", name="router outbound|8080||catalog.shop.svc egress", kind=CLIENT)
    row["attr:node_id"] = row["attr:http.url"] = row["attr:http.method"] = None
    return row


def app(number: int, parent: int, service: str, kind: int, **more: Any) -> dict[str, Any]:
    """Return a row of an app's own span."""
    return {
        "span_id": span_id(number),
        "parent_span_id": span_id(parent),
        "name": service,
        "kind": kind,
        "service_name": service,
        "start_time_unix_nano": number * 1_000_000,
        "end_time_unix_nano": 100_000_000 - number * 1_000_000,
        "res:service.namespace": "shop",
        **more,
    }


def mesh() -> pl.DataFrame:
    """Return one request through a gateway, two sidecars each with an app, and on to a third."""
    return frame(
        [
            proxy(1, None, "gateway", "outbound"),
            attempt(2, 1, "gateway"),
            proxy(3, 2, "frontend", "inbound"),
            app(4, 3, "frontend", SERVER),
            app(5, 4, "frontend", CLIENT, name="GET"),
            proxy(6, 5, "frontend", "outbound"),
            proxy(7, 6, "catalog", "inbound"),
            app(8, 7, "catalog", SERVER, **{"attr:http.route": "/product/{sku}", "attr:http.method": "GET"}),
        ]
    )


def test_one_request_through_gateway_sidecars_and_apps_is_one_call_for_each_workload() -> None:
    assert table(mesh()) == [
        ("gateway", "GET /product/{id}", None),
        ("frontend", "GET /product/{id}", "gateway"),
        ("catalog", "GET /product/{sku}", "frontend"),
    ]


def test_a_call_lasts_as_long_as_its_entry_span() -> None:
    assert folded(mesh()).table["duration_nano"].to_list() == [98_000_000, 94_000_000, 86_000_000]


def test_every_span_works_for_one_call() -> None:
    assert folded(mesh()).call.tolist() == [0, 0, 2, 2, 2, 2, 6, 6]


def test_layers_say_whose_time_it_is() -> None:
    assert folded(mesh()).layer.to_list() == [
        "ingress_proxy",
        "network_queueing",
        "ingress_proxy",
        "app",
        "client",
        "network_queueing",  # with what the proxy itself took: nothing tells them apart
        "ingress_proxy",
        "app",
    ]


def test_an_attempt_tells_the_proxy_that_sends_from_the_network() -> None:
    spans = frame([proxy(1, None, "web", "outbound"), attempt(2, 1, "web"), proxy(3, 2, "catalog", "inbound")])
    assert folded(spans).layer.to_list() == ["egress_proxy", "network_queueing", "app"]


def test_without_a_span_of_the_app_the_inbound_proxys_time_is_the_workloads() -> None:
    spans = frame([proxy(1, None, "gateway", "outbound"), proxy(2, 1, "catalog", "inbound")])
    assert folded(spans).layer.to_list() == ["ingress_proxy", "app"]


def test_an_outbound_sidecar_span_without_its_caller_is_nobodys_call() -> None:
    """An app that forwards no headers makes its egress a new root; the callee's call is still one."""
    spans = frame([proxy(1, None, "pricing", "outbound"), proxy(2, 1, "db", "inbound")])
    assert table(spans) == [("db", "GET /product/{id}", "pricing")]


@pytest.mark.parametrize("prefixed", [True, False])
def test_direction_without_cluster_prefixes_comes_from_the_nearest_proxy_above(prefixed: bool) -> None:
    """With upstream spans a sidecar's outbound span may say SERVER: its kind proves nothing."""
    rows = [
        proxy(1, None, "frontend", "inbound"),
        proxy(2, 1, "frontend", "outbound", kind=SERVER),
        proxy(3, 2, "catalog", "inbound"),
    ]
    if not prefixed:
        for row in rows:
            row["attr:upstream_cluster"] = "local_app"
    assert [service for service, _, _ in table(frame(rows))] == ["frontend", "catalog"]


def test_a_plain_gateway_is_known_by_never_carrying_a_request_inbound() -> None:
    plain = {"attr:node_id": "edge-1", "service_name": "edge"}
    row = proxy(1, None, "edge", "outbound", kind=SERVER, **plain)
    assert table(frame([row, proxy(2, 1, "catalog", "inbound")]))[0] == ("edge", "GET /product/{id}", None)


def test_a_sidecar_that_only_sends_is_no_gateway() -> None:
    """A job's: with upstream spans all of its spans say SERVER."""
    row = proxy(1, None, "job", "outbound", kind=SERVER)
    assert table(frame([row, proxy(2, 1, "catalog", "inbound")])) == [("catalog", "GET /product/{id}", "job")]


def test_a_root_of_a_sidecar_goes_out_when_its_other_requests_come_in_for_another_cluster() -> None:
    """Plain Envoys' clusters have no prefix, and with upstream spans all kinds are SERVER: pricing drops headers."""
    rows = [
        proxy(1, None, "gateway", "outbound"),
        proxy(2, 1, "pricing", "inbound"),
        {**proxy(3, None, "pricing", "outbound", kind=SERVER), "trace_id": trace_id(2)},
        {**proxy(4, 3, "db", "inbound"), "trace_id": trace_id(2)},
    ]
    for row, cluster in zip(rows, ("pricing", "local_app", "db", "local_app"), strict=True):
        row["attr:upstream_cluster"] = cluster
    assert [(service, caller) for service, _, caller in table(frame(rows))] == [
        ("gateway", None),
        ("pricing", "gateway"),
        ("db", "pricing"),
    ]


def test_an_app_that_drops_headers_is_not_counted_beside_its_proxy() -> None:
    """Its span begins a trace of its own: the proxy told the call already."""
    taken = [{**proxy(n, None, "pricing", "inbound"), "trace_id": trace_id(n)} for n in (1, 2)]
    own = [{**app(n, 0, "pricing", SERVER), "trace_id": trace_id(n), "parent_span_id": None} for n in (3, 4)]
    assert folded(frame(taken + own)).table["echo"].to_list() == [False, False, True, True]
    # Where most calls go on below the proxy's span, a span without one is a call of its own: a probe, say.
    linked = [{**app(n + 10, n, "pricing", SERVER), "trace_id": trace_id(n)} for n in (1, 2)]
    assert not folded(frame(taken + linked + own)).table["echo"].any()


def test_an_attempt_is_known_by_what_it_lacks_whatever_its_name() -> None:
    """`upstream_operation` names it: no node id, no request id, an upstream address."""
    row = attempt(2, 1, "web") | {"name": "GET -> catalog", "attr:upstream_address": "10.0.0.7:80"}
    spans = frame([proxy(1, None, "web", "outbound"), row, proxy(3, 2, "catalog", "inbound")])
    assert folded(spans).role.tolist() == [_fold.PROXY, _fold.ATTEMPT, _fold.PROXY]


def test_apps_without_sidecars_have_calls() -> None:
    spans = trace("""
        web   |---------|  kind=server attr:http.route=/cart attr:http.method=GET
         out   |------|    kind=client service=web
          api   |---|      kind=server op=api.Cart
    """)
    assert table(spans) == [("web", "GET /cart", None), ("api", "api.Cart", "web")]
    assert layers(spans) == {"web": "app", "out": "network_queueing", "api.Cart": "app"}


def test_a_client_span_without_a_callee_stays_the_clients_time() -> None:
    spans = trace("""
        web   |---------|  kind=server
         sql   |------|    kind=client service=web
    """)
    assert layers(spans) == {"web": "app", "sql": "client"}


def test_spans_that_state_no_kind_are_calls_where_the_service_changes() -> None:
    spans = trace("""
        web   |---------|  kind=unspecified
         work  |------|    kind=unspecified service=web
          api   |---|      kind=unspecified
    """)
    assert table(spans) == [("web", "web", None), ("api", "api", "web")]


def test_every_trace_has_a_call() -> None:
    """A lone client span is nobody's request, and yet a trace to look at."""
    assert table(trace("tool |----| kind=client")) == [("tool", "tool", None)]


def test_a_root_within_an_app_is_a_call_and_an_orphan_within_is_not() -> None:
    spans = traces("job |----| kind=internal", "job |----| kind=internal parent=!9\n rpc |--| kind=server")
    assert [(service, route) for service, route, _ in table(spans)] == [("job", "job"), ("rpc", "rpc")]


def outcome(**more: Any) -> tuple[bool, bool, bool]:
    return (
        folded(frame([proxy(1, None, "gateway", "outbound", **more)]))
        .table.select("error", "censored", "timed_out")
        .row(0)
    )


def test_outcomes() -> None:
    """A 503 is an error; of a client that left, and of a limit that struck, the answer is not."""
    assert outcome() == (False, False, False)
    assert outcome(**{"attr:http.status_code": "503"}) == (True, False, False)
    assert outcome(**{"attr:http.status_code": "404"}) == (False, False, False)
    assert outcome(**{"attr:grpc.status_code": "14"}) == (True, False, False)
    assert outcome(**{"attr:grpc.status_code": "0"}) == (False, False, False)
    assert outcome(**{"attr:http.status_code": "0", "attr:response_flags": "DC"}) == (False, True, False)
    assert outcome(**{"attr:http.status_code": "504", "attr:response_flags": "URX,UT"}) == (True, False, True)


def test_unrouted_requests_share_a_name() -> None:
    """Hosts and paths of requests nobody routes are the sender's invention."""
    rows = [
        proxy(n, None, "gateway", "outbound", trace_id=n.to_bytes(16, "big"), **flags)
        for n, flags in enumerate(
            ({"attr:http.url": f"http://evil{n}/x", "attr:response_flags": "NR"} for n in range(3)), 1
        )
    ]
    assert {route for _, route, _ in table(frame(rows))} == {NO_ROUTE}


def test_names_beyond_the_limit_become_other() -> None:
    many = MAX_ROUTES + 5
    spans = pl.concat(
        [trace("web |--| kind=server", number=n).with_columns(name=pl.lit(f"op-{n:04}")) for n in range(1, many + 1)]
    )
    routes = folded(spans).table["route"]
    assert routes.n_unique() == MAX_ROUTES + 1
    assert (routes == OTHER).sum() == 5


def test_no_spans_are_no_calls() -> None:
    assert folded(frame([])).table.is_empty()


def test_the_kernel_is_compiled_once() -> None:
    """Read-only and writable arrays would be two compilations."""
    folded(mesh())
    folded(frame([]))
    signatures: Any = _fold.fold
    assert len(signatures.signatures) == 1


def test_calls_do_not_depend_on_the_order_of_spans() -> None:
    spans = mesh()
    shuffled = spans[np.random.default_rng(1).permutation(len(spans))]
    assert folded(shuffled).table.equals(folded(spans).table)
