"""Attribute names: every spelling we read, newest first.

The only place that spells a name. Each constant lists the current
OpenTelemetry semantic convention first, then what Envoy, Istio, Linkerd,
OpenCensus and older SDKs call the same thing.
"""

from __future__ import annotations

from typing import Final

Names = tuple[str, ...]

# -- resource attributes
SERVICE_NAME: Final[Names] = ("service.name",)
SERVICE_NAMESPACE: Final[Names] = ("service.namespace", "k8s.namespace.name", "istio.namespace")
SERVICE_VERSION: Final[Names] = ("service.version", "istio.canonical_revision")
HOST: Final[Names] = ("k8s.node.name", "host.id", "host.ip", "host.name")
HOST_NAME: Final[Names] = ("host.name", "hostname")
K8S_POD_NAME: Final[Names] = ("k8s.pod.name",)
K8S_POD: Final[Names] = ("k8s.pod.uid", "k8s.pod.name")
K8S_WORKLOAD: Final[Names] = (
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.job.name",
    "k8s.cronjob.name",
)

# -- what Istio writes on its spans
ISTIO_CANONICAL_SERVICE: Final[Names] = ("istio.canonical_service",)
ISTIO_NAMESPACE: Final[Names] = ("istio.namespace",)

# -- what Envoy writes on its spans, always as strings
ENVOY_SCOPE: Final = "envoy"  # the instrumentation scope of its spans
ENVOY_NODE_ID: Final[Names] = ("node_id",)
ENVOY_CLUSTER: Final[Names] = ("upstream_cluster.name", "upstream_cluster")
ENVOY_RESPONSE_FLAGS: Final[Names] = ("response_flags",)
ENVOY_COMPONENT: Final[Names] = ("component",)
ENVOY_REQUEST_ID: Final[Names] = ("guid:x-request-id",)
ENVOY_UPSTREAM_ADDRESS: Final[Names] = ("upstream_address",)
# Tags a mesh's owner sets, in microseconds: %COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%, and US_TX_BEG:US_RX_END.
ENVOY_SENT_US: Final[Names] = ("mesh.req_proxy_us",)
ENVOY_HELD_US: Final[Names] = ("mesh.up_total_us",)
# Events of spans with `verbose`, from Envoy 1.38 on.
ENVOY_SENT_EVENT: Final[Names] = ("first_upstream_tx_byte_sent",)
ENVOY_ANSWERED_EVENT: Final[Names] = ("last_upstream_rx_byte_received",)

# -- what Linkerd's proxies write: labels of their pod, and the way a request went
LINKERD_SERVICE: Final = "linkerd-proxy"  # the service name of all of them, unless somebody sets another
LINKERD_WORKLOAD: Final[Names] = (
    "linkerd.io/proxy-deployment",
    "linkerd.io/proxy-statefulset",
    "linkerd.io/proxy-daemonset",
    "linkerd.io/proxy-job",
    "linkerd.io/proxy-cronjob",
)
LINKERD_DIRECTION: Final[Names] = ("direction",)  # inbound or outbound

# -- whom a client span says it calls
PEER_SERVICE: Final[Names] = ("service.peer.name", "peer.service")
SERVER_ADDRESS: Final[Names] = ("server.address", "net.peer.name")

# -- how often a request was sent before, by a span of its own each time
RESEND_COUNT: Final[Names] = ("http.request.resend_count", "http.resend_count", "retry.count")

# -- HTTP and RPC
HTTP_METHOD: Final[Names] = ("http.request.method", "http.method")
HTTP_ROUTE: Final[Names] = ("http.route",)
HTTP_STATUS: Final[Names] = ("http.response.status_code", "http.status_code")
HTTP_URL: Final[Names] = ("url.full", "http.url")
URL_PATH: Final[Names] = ("url.path", "http.target", "http.path")
RPC_SERVICE: Final[Names] = ("rpc.service",)
RPC_METHOD: Final[Names] = ("rpc.method",)
GRPC_STATUS: Final[Names] = ("rpc.grpc.status_code", "rpc.response.status_code", "grpc.status_code")
DB_SYSTEM: Final[Names] = ("db.system.name", "db.system", "db.type")  # a database: it writes no spans
ERROR: Final[Names] = ("error",)

# -- response flags (Envoy: "Response Flags" of the access log)
ABORTED: Final[Names] = ("DC", "DR")  # the client or the peer went away: how long it would have taken is unknown
TIMED_OUT: Final[Names] = (
    "UT",
    "SI",
    "DT",
    "UMSDR",
)  # ended by a limit: the caller waited this long, the work took longer
UNROUTED: Final[Names] = ("NR", "NC")  # no route or cluster: the host header is the sender's invention
NO_CALLEE: Final[Names] = ("NR", "NC", "UH", "UF", "UO", "RL", "UAEX", "FI")  # no callee span is expected
