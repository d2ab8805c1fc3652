"""One request as each kind of proxy reports it, and beside it what we fold it to.

A drawing's options are what that proxy writes (a dot stands for a space in a name); the fold has a line a call, with
the layers in columns of the drawing (milliseconds). Facts: the configuration
and sources of each mesh, and spans of real Envoys.
"""

from __future__ import annotations

import polars as pl
import pytest

from tests.builders import MILLISECOND, trace
from tracelens.analysis.hops import LAYERS, requests
from tracelens.calls import calls
from tracelens.forest import link


def fold(drawing: str) -> list[str]:
    """Return a line a request: caller, callee, route, level, and the layers that are not nothing."""
    spans = trace(drawing).with_columns(pl.col("name").str.replace_all("·", " "))
    if "attr:scope" in spans.columns:  # drawings know attributes only
        spans = spans.with_columns(scope_name=pl.col("attr:scope")).drop("attr:scope")
    forest = link(spans)
    rows = requests(forest, calls(forest)).sort("start_unix_nano", "span").to_dicts()
    lines = []
    for row in rows:
        told = [
            f"{layer} {row[f'{layer}_nano'] / MILLISECOND:g}"
            for layer in LAYERS
            if row[f"{layer}_nano"] not in (None, 0)
        ]
        lines.append(f"{row['caller'] or '-'} > {row['service']} {row['route']} | {row['level']} {', '.join(told)}")
    return lines


ISTIO = """
    gate  |--------------------|  kind=server service=istio-ingressgateway.edge op=cart.shop.svc.cluster.local:80/* attr:scope=envoy attr:node_id=router~10.0.0.1~istio-ingressgateway-5c9-x2k4q.edge~edge.svc attr:istio.canonical_service=istio-ingressgateway attr:upstream_cluster=outbound|80||cart.shop.svc.cluster.local attr:http.method=GET attr:http.url=http://shop/carts/17
     try   |------------------|   kind=client service=istio-ingressgateway.edge op=router·x·egress attr:scope=envoy attr:upstream_address=10.0.0.2:80 attr:upstream_cluster=outbound|80||cart.shop.svc.cluster.local
      in     |--------------|     kind=server service=cart.shop op=cart.shop.svc.cluster.local:80/* attr:scope=envoy attr:node_id=sidecar~10.0.0.2~cart-7c9f5b6d4-x2k8p.shop~shop.svc attr:istio.canonical_service=cart attr:upstream_cluster=inbound|80|| attr:http.method=GET attr:http.url=http://shop/carts/17
       app    |-----------|       kind=server service=cart attr:http.route=/carts/{user} attr:http.method=GET
        out      |-----|          kind=client service=cart.shop op=db.shop.svc.cluster.local:80/rows attr:scope=envoy attr:node_id=sidecar~10.0.0.2~cart-7c9f5b6d4-x2k8p.shop~shop.svc attr:istio.canonical_service=cart attr:upstream_cluster=outbound|80||db.shop.svc.cluster.local attr:http.method=GET attr:http.url=http://db/rows
         db       |--|            kind=server service=db.shop op=db.shop.svc.cluster.local:80/rows attr:scope=envoy attr:node_id=sidecar~10.0.0.3~db-0.shop~shop.svc attr:istio.canonical_service=db attr:upstream_cluster=inbound|80|| attr:http.method=GET attr:http.url=http://db/rows
"""

WAYPOINT = """
    web   |------------------|  kind=client service=web attr:http.request.method=GET
     way    |------------|      kind=server service=cart-waypoint.shop op=cart.shop.svc.cluster.local:80/* attr:scope=envoy attr:node_id=waypoint~10.0.0.9~cart-waypoint-6b8f7c9d5-abcde.shop~shop.svc attr:upstream_cluster=inbound-vip|80|http|cart.shop.svc.cluster.local attr:http.method=GET attr:http.url=http://cart/carts/17
      app      |------|         kind=server service=cart attr:http.route=/carts/{user} attr:http.request.method=GET
"""

LINKERD = """
    out   |------------------|  kind=client service=linkerd-proxy op=/carts/17 attr:direction=outbound res:k8s.pod.name=web-7c9f5b6d4-x2k8p attr:http.method=GET attr:http.path=/carts/17
     in     |------------|      kind=server service=linkerd-proxy op=/carts/17 attr:direction=inbound attr:linkerd.io/proxy-deployment=cart attr:http.method=GET attr:http.path=/carts/17
      app     |------|          kind=server service=cart attr:http.route=/carts/{user} attr:http.request.method=GET
"""

KUMA = """
    out   |------------------|  kind=client service=web_shop_svc_80 op=egress attr:scope=envoy attr:node_id=default.web-7c9f5b6d4-x2k8p attr:upstream_cluster=cart_shop_svc_80 attr:http.method=GET attr:http.url=http://cart/carts/17
     in     |------------|      kind=server service=cart_shop_svc_80 op=ingress attr:scope=envoy attr:node_id=default.cart-7c9f5b6d4-aaaaa attr:upstream_cluster=localhost:8080 attr:http.method=GET attr:http.url=http://cart/carts/17
      out     |------|          kind=client service=cart_shop_svc_80 op=egress attr:scope=envoy attr:node_id=default.cart-7c9f5b6d4-aaaaa attr:upstream_cluster=db_shop_svc_80 attr:http.method=GET attr:http.url=http://db/rows
       db       |--|            kind=server service=db_shop_svc_80 op=ingress attr:scope=envoy attr:node_id=default.db-0 attr:upstream_cluster=localhost:5432 attr:http.method=GET attr:http.url=http://db/rows
"""

CONSUL = """
    in    |--------------------|  kind=server service=web op=ingress attr:scope=envoy attr:node_id=web-sidecar-proxy attr:upstream_cluster=local_app attr:http.method=GET attr:http.url=http://web/
     out   |------------------|   kind=server service=web op=egress·x attr:scope=envoy attr:node_id=web-sidecar-proxy attr:upstream_cluster=cart.default.dc1.internal.trust.consul attr:http.method=GET attr:http.url=http://cart/carts/17
      try   |----------------|    kind=client service=web op=router·x·egress attr:scope=envoy attr:upstream_address=10.0.0.2:80 attr:upstream_cluster=cart.default.dc1.internal.trust.consul
       in     |-----------|       kind=server service=cart op=ingress attr:scope=envoy attr:node_id=cart-sidecar-proxy attr:upstream_cluster=local_app attr:http.method=GET attr:http.url=http://cart/carts/17
        out      |-----|          kind=server service=cart op=egress·x attr:scope=envoy attr:node_id=cart-sidecar-proxy attr:upstream_cluster=db.default.dc1.internal.trust.consul attr:http.method=GET attr:http.url=http://db/rows
         try      |---|           kind=client service=cart op=router·x·egress attr:scope=envoy attr:upstream_address=10.0.0.3:80 attr:upstream_cluster=db.default.dc1.internal.trust.consul
          db       |-|            kind=server service=db op=ingress attr:scope=envoy attr:node_id=db-sidecar-proxy attr:upstream_cluster=local_app attr:http.method=GET attr:http.url=http://db/rows
"""

ENVOY_GATEWAY = """
    gate  |------------------|  kind=server service=eg op=ingress attr:scope=envoy attr:node_id=envoy-default-eg-e41e7b31 attr:upstream_cluster=httproute/shop/cart/rule/0 attr:http.method=GET attr:http.url=http://shop/carts/17
     try   |----------------|   kind=client service=eg op=router·x·egress attr:scope=envoy attr:upstream_address=10.0.0.2:80 attr:upstream_cluster=httproute/shop/cart/rule/0
      app    |-----------|      kind=server service=cart attr:http.route=/carts/{user} attr:http.request.method=GET
"""

OPENCENSUS = """
    web   |------------------|  kind=server service=web op=Recv.shop.Web.Cart
     out    |------------|      kind=client service=web op=Sent.shop.Cart.Get
      cart    |------|          kind=server service=cart op=Recv.shop.Cart.Get
"""

ZIPKIN = """
    get   |------------------|  kind=client service=web op=get attr:http.method=GET attr:http.path=/carts/17
     get    |------------|      kind=server service=cart op=get attr:http.method=GET attr:http.path=/carts/17
"""

NO_SIDECAR = """
    web   |------------------|  kind=server service=web attr:http.route=/cart attr:http.request.method=GET
     out    |------------|      kind=client service=web attr:http.request.method=GET
      cart    |------|          kind=server service=cart attr:http.route=/carts/{user} attr:http.request.method=GET
       sql     |--|             kind=client service=cart op=SELECT attr:peer.service=postgres
"""

DIALECTS = {
    "Istio: gateway and sidecars": (
        ISTIO,
        [
            "- > istio-ingressgateway GET /carts/{id} | L1 ingress_proxy 2, downstream 19",
            "istio-ingressgateway > cart GET /carts/{user} | L3 egress_proxy 2, network_queueing 4, ingress_proxy 3, app 6, downstream 6",
            "cart > db GET /rows | L0 network_queueing 3, app 3",
        ],
    ),
    "Istio: waypoint": (
        WAYPOINT,
        [
            "web > cart-waypoint GET /carts/{id} | L0 network_queueing 6, ingress_proxy 6, downstream 7",
            "cart-waypoint > cart GET /carts/{user} | L3 network_queueing 6, app 7",
        ],
    ),
    "Linkerd": (
        LINKERD,
        [
            "web > cart GET /carts/{user} | L3 network_queueing 6, ingress_proxy 6, app 7",
        ],
    ),
    "Kuma": (
        KUMA,
        [
            "web > cart GET /carts/{id} | L0 network_queueing 6, app 6, downstream 7",
            "cart > db GET /rows | L0 network_queueing 4, app 3",
        ],
    ),
    "Consul": (
        CONSUL,
        [
            "- > web GET / | L0 app 2, downstream 19",
            "web > cart GET /carts/{id} | L1 egress_proxy 2, network_queueing 5, app 6, downstream 6",
            "cart > db GET /rows | L1 egress_proxy 2, network_queueing 2, app 2",
        ],
    ),
    "Envoy Gateway": (
        ENVOY_GATEWAY,
        [
            "- > eg GET /carts/{id} | L1 ingress_proxy 2, downstream 17",
            "eg > cart GET /carts/{user} | L3 egress_proxy 2, network_queueing 5, app 12",
        ],
    ),
    "OpenCensus": (
        OPENCENSUS,
        [
            "- > web Recv.shop.Web.Cart | L3 app 6, downstream 13",
            "web > cart Recv.shop.Cart.Get | L3 network_queueing 6, app 7",
        ],
    ),
    "Zipkin": (
        ZIPKIN,
        [
            "web > cart GET /carts/{id} | L3 network_queueing 6, app 13",
        ],
    ),
    "no sidecar": (
        NO_SIDECAR,
        [
            "- > web GET /cart | L3 app 6, downstream 13",
            "web > cart GET /carts/{user} | L3 network_queueing 6, app 4, downstream 3",
            "cart > postgres SELECT | L0 ",
        ],
    ),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_dialect_folds(dialect: str) -> None:
    drawing, expected = DIALECTS[dialect]
    assert fold(drawing) == expected
