"""Configuration of the mesh's Envoys: what a control plane would write for the shop.

Owns the bootstrap of one Envoy. Names follow Istio (node ids, clusters
`inbound|8080||` and `outbound|8080||cart.shop.svc.cluster.local`, decorators
`HOST:PORT/*`), so that spans look as in a mesh. Every port is 0: Envoy picks a
free one, and `sidecars` reads which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from samples.http1 import Address
from samples.shop import GATEWAY, NAMESPACE, PEERS, RETRIES, RETRY_AFTER_MS, VERSION, VISITS
from samples.telemetry import pod

LOOPBACK = "127.0.0.1"
PORT = 8080  # that the services have in names; nothing listens there
DOMAIN = f"{NAMESPACE}.svc.cluster.local"
FLUSH_MS = 1000  # a demo wants to see its spans soon; Envoy's default is 5 s
COLLECTOR = "tracelens"
INBOUND, OUTBOUND = "virtualInbound", "virtualOutbound"  # the listeners' names
Json = dict[str, Any]


def host(service: str) -> str:
    """Return the name that callers ask for."""
    return f"{service}.{DOMAIN}"


def typed(kind: str, **fields: Any) -> Json:
    """Return a message of an extension."""
    return {"@type": f"type.googleapis.com/{kind}", **fields}


def cluster_name(direction: str, service: str = "") -> str:
    """Return a cluster's name as Istio writes it."""
    return f"{direction}|{PORT}||{host(service) if service else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """One Envoy: whose it is, and where everything it talks to is."""

    service: str
    collector: Address  # OTLP/gRPC
    app: Address | None  # the gateway has none
    peers: Mapping[str, Address]  # the inbound listener of each callee
    access_log: str | None = None

    def bootstrap(self) -> Json:
        """Return the configuration."""
        kind = "router" if self.service == GATEWAY else "sidecar"
        address = f"10.1.0.{list(PEERS).index(self.service) + 10}"
        return {
            "node": {
                "id": f"{kind}~{address}~{pod(self.service)}.{NAMESPACE}~{DOMAIN}",
                "cluster": f"{self.service}.{NAMESPACE}",
            },
            "admin": {"address": socket(LOOPBACK, 0)},
            "layered_runtime": {
                "layers": [
                    {
                        "name": "demo",
                        "static_layer": {
                            "tracing.opentelemetry.flush_interval_ms": FLUSH_MS,
                            "overload.global_downstream_max_connections": 10_000,
                        },
                    }
                ]
            },
            "static_resources": {"listeners": self.listeners(), "clusters": self.clusters()},
        }

    def listeners(self) -> list[Json]:
        """Return the listeners: the gateway's takes requests from outside and sends them inside."""
        if self.service == GATEWAY:
            return [listener(OUTBOUND, "OUTBOUND", self.manager("gateway", [self.entrance()], upstream_spans=True))]
        inbound = {"name": cluster_name("inbound"), "domains": ["*"], "routes": [self.route("inbound", self.service)]}
        found = [listener(INBOUND, "INBOUND", self.manager("inbound", [inbound], upstream_spans=False))]
        if self.peers:
            hosts = [
                {"name": f"{host(peer)}:{PORT}", "domains": [host(peer)], "routes": self.routes_to(peer)}
                for peer in self.peers
            ]
            found.append(listener(OUTBOUND, "OUTBOUND", self.manager("outbound", hosts, upstream_spans=True)))
        return found

    def entrance(self) -> Json:
        """Return the gateway's virtual host: a route for each kind of request, so that its access log names them."""
        routes = []
        for visit in VISITS:
            pattern = visit.route.replace("{id}", "[0-9]+")
            route = self.route("outbound", "frontend")
            method = {"name": ":method", "string_match": {"exact": visit.method}}
            matched = {"safe_regex": {"regex": pattern}, "headers": [method]}
            routes.append({**route, "name": visit.name, "match": matched})
        return {"name": host(GATEWAY), "domains": ["*"], "routes": routes}

    def routes_to(self, peer: str) -> list[Json]:
        """Return the routes to a callee; recommendations are tried again."""
        routes = [self.route("outbound", peer)]
        if peer == "catalog":
            route = self.route("outbound", peer)
            again = {
                "retry_on": "5xx,reset,connect-failure",
                "num_retries": RETRIES,
                "retry_back_off": {"base_interval": f"{RETRY_AFTER_MS / 1000}s", "max_interval": "0.1s"},
            }
            action = {**route["route"], "retry_policy": again}
            routes.insert(0, {**route, "name": "retried", "match": {"path": "/recommendations"}, "route": action})
        return routes

    def route(self, direction: str, service: str) -> Json:
        """Return a route of everything to one cluster."""
        target = cluster_name(direction, service if direction == "outbound" else "")
        return {
            "name": "default",
            "match": {"prefix": "/"},
            "route": {"cluster": target, "timeout": "0s"},
            "decorator": {"operation": f"{host(service)}:{PORT}/*"},
        }

    def manager(self, name: str, hosts: list[Json], *, upstream_spans: bool) -> Json:
        """Return the filter that speaks HTTP; upstream_spans: a span for each attempt too."""
        fields: Json = {
            "stat_prefix": name,
            "codec_type": "AUTO",
            "generate_request_id": True,
            "server_name": "istio-envoy",
            "route_config": {"name": name, "virtual_hosts": hosts, "ignore_port_in_host_matching": True},
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": typed("envoy.extensions.filters.http.router.v3.Router"),
                }
            ],
            "tracing": self.tracing(upstream_spans=upstream_spans),
        }
        if self.access_log:
            fields["access_log"] = [access_log(self.access_log)]
        kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        return {"name": "envoy.filters.network.http_connection_manager", "typed_config": typed(kind, **fields)}

    def tracing(self, *, upstream_spans: bool) -> Json:
        """Return where spans go and what they carry."""
        tags = {
            "istio.canonical_service": self.service,
            "istio.canonical_revision": VERSION,
            "istio.namespace": NAMESPACE,
        }
        resource = typed(
            "envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig",
            attributes={"service.namespace": NAMESPACE, "k8s.pod.name": pod(self.service)},
        )
        provider = typed(
            "envoy.config.trace.v3.OpenTelemetryConfig",
            service_name=f"{self.service}.{NAMESPACE}",
            grpc_service={"envoy_grpc": {"cluster_name": COLLECTOR}, "timeout": "5s"},
            resource_detectors=[
                {
                    "name": "envoy.tracers.opentelemetry.resource_detectors.static_config",
                    "typed_config": resource,
                }
            ],
        )
        return {
            "random_sampling": {"value": 100},
            "max_path_tag_length": 256,
            "spawn_upstream_span": upstream_spans,
            "custom_tags": [{"tag": key, "literal": {"value": value}} for key, value in tags.items()],
            "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": provider},
        }

    def clusters(self) -> list[Json]:
        """Return the collector, the app and the callees."""
        found = [cluster(COLLECTOR, self.collector, http2=True)]
        if self.app is not None:
            found.append(cluster(cluster_name("inbound"), self.app))
        return found + [cluster(cluster_name("outbound", peer), address) for peer, address in self.peers.items()]


def socket(name: str, port: int) -> Json:
    """Return an address."""
    return {"socket_address": {"address": name, "port_value": port}}


def listener(name: str, direction: str, manager: Json) -> Json:
    """Return a listener on a free port."""
    return {
        "name": name,
        "traffic_direction": direction,
        "address": socket(LOOPBACK, 0),
        "filter_chains": [{"filters": [manager]}],
    }


def cluster(name: str, address: Address, *, http2: bool = False) -> Json:
    """Return a cluster of one endpoint."""
    endpoint = {"endpoint": {"address": socket(*address)}}
    found: Json = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if http2:
        kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        options = typed(kind, explicit_http_config={"http2_protocol_options": {}})
        found["typed_extension_protocol_options"] = {kind: options}
    return found


def access_log(path: str) -> Json:
    """Return an access log of JSON lines: route, status, trace id, and microseconds from first byte to last."""
    line = {
        "route": "%ROUTE_NAME%",
        "status": "%RESPONSE_CODE%",
        "trace_id": "%TRACE_ID%",
        "total_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
    }
    kind = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": typed(kind, path=path, log_format={"json_format": line}),
    }
