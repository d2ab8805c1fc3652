"""Who handled a span, and what it was asked: workload, namespace, operation.

Owns the fixed rules that turn attributes into names, for one span at a time.
Which spans are one request is the business of `calls.py`.

An operation is, first that exists: what the mesh's owner taught (`taught.py`);
the method and `http.route`; the gRPC service and method; a span name somebody
chose; the method and the URL's path with its ids replaced. The template needs no history: a segment becomes `{id}`
when it is hexadecimal of 8 or more, longer than 40 characters, or holds a
digit and is not a version such as `v1`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens import semconv
from tracelens._link import number_traces
from tracelens.spans import TYPES, attribute, column
from tracelens.taught import METHODS, Taught

NO_ROUTE = "(unrouted)"  # NR: the path and the host are the sender's invention
OTHER = "(other)"  # what a workload has beyond learned.MAX_ROUTES

# What named a route, for those who ask why.
RULES = (
    "unrouted",
    "taught",
    "http.route",
    "rpc",
    "grpc path",
    "decorator",
    "name",
    "template",
    "span name",
    "other",
)
NOTHING = Taught()

METHOD = rf"(?:{'|'.join(METHODS)})"
VERSION = r"/(v[0-9]{1,3}(?:(?:alpha|beta|rc)[0-9]{0,3})?)/"
IDENTIFIER = r"/(?:[^/\x00]*[0-9][^/\x00]*|[0-9a-fA-F]{8,}|[0-9a-fA-F-]{32,}|[^/\x00]{41,})/"
GRPC_PATH = r"^/((?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*/[A-Za-z_]\w*)$"
# Names that a proxy or an SDK makes up when nobody chose one.
GENERIC = (
    rf"^(?:ingress|egress(?: .*)?|router .* egress|async .* egress|.*\*|(?i:(?:HTTP )?{METHOD}(?: default)?)|HTTP)$"
)
# What Istio's decorator adds before the path that a route matches.
HOST_AND_PORT = r"^[A-Za-z0-9][A-Za-z0-9.-]*:[0-9]+(/.*)$"
AUTHORITY = r"^[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*?)(?::[0-9]*)?(?:[/?#]|$)"  # of a URL, without its port
# Istio's node id: type~address~pod.namespace~domain.
NODE_ID = r"^[^~]*~[^~]*~([^~]+)\.([^.~]+)~"
# Kuma's name of a Kubernetes service: name_namespace_svc_port.
KUMA_SERVICE = r"^([^_]+)_([^_]+)_svc(?:_[0-9]+)?$"
# Kubernetes' pod names: deployment-replicaset-xxxxx and statefulset-N.
POD_SUFFIX = r"(?:-[a-z0-9]{6,10}-[a-z0-9]{4,5}|-[0-9]+)$"


def template(path: pl.Expr) -> pl.Expr:
    """Return a URL path with its ids replaced by `{id}`.

    Slashes are doubled first, so that each segment has two of its own and one
    pass replaces neighbours too; a version is marked with NUL, which no path
    that came through UTF-8 text and a URL holds, to be left alone.
    """
    doubled = pl.concat_str(path.str.replace_all("\x00", "", literal=True), pl.lit("/"))
    return (
        doubled.str.replace_all("/", "//", literal=True)
        .str.replace_all(VERSION, "/${1}\x00/")
        .str.replace_all(IDENTIFIER, "/{id}/")
        .str.replace_all("\x00", "", literal=True)
        .str.replace_all("//", "/", literal=True)
        .str.replace(r"(.)/$", "${1}")
    )


def url_path(url: pl.Expr) -> pl.Expr:
    """Return the path of a URL or of a request target, without its query; null when there is none."""
    return url.str.extract(r"^(?:[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)?(/[^?#]*)")


def is_proxy(columns: Collection[str]) -> pl.Expr:
    """Whether a proxy wrote a span: Envoy or Linkerd's."""
    by_linkerd = pl.any_horizontal(
        pl.col("service_name") == semconv.LINKERD_SERVICE,
        attribute(columns, semconv.LINKERD_WORKLOAD).is_not_null(),
        attribute(columns, semconv.LINKERD_WORKLOAD, "res").is_not_null(),
    )
    by_envoy = (pl.col("scope_name") == semconv.ENVOY_SCOPE) | (attribute(columns, semconv.ENVOY_COMPONENT) == "proxy")
    return by_envoy.fill_null(value=False) | by_linkerd.fill_null(value=False)


def workload(columns: Collection[str]) -> tuple[pl.Expr, pl.Expr]:
    """Return (workload, namespace) of a span; the namespace is null when nothing tells it."""
    node = attribute(columns, semconv.ENVOY_NODE_ID)
    service = pl.col("service_name")
    namespace = pl.coalesce(
        attribute(columns, semconv.SERVICE_NAMESPACE, "res"),
        attribute(columns, semconv.ISTIO_NAMESPACE),
        node.str.extract(NODE_ID, 2),
        service.str.extract(KUMA_SERVICE, 2),
    )
    # Linkerd's proxies share one name: the pod's says whose it is.
    pod = pl.when(service == semconv.LINKERD_SERVICE).then(
        pl.coalesce(
            attribute(columns, semconv.K8S_POD_NAME, "res"),
            attribute(columns, semconv.HOST_NAME, "res"),
            attribute(columns, semconv.HOST_NAME),
        )
    )
    # Istio names a proxy's service NAME.NAMESPACE; its app is NAME.
    bare = (
        pl.when(service.str.ends_with(pl.concat_str(pl.lit("."), namespace)))
        .then(service.str.head(-(namespace.str.len_chars().cast(pl.Int64) + 1)))
        .otherwise(service)
    )
    name = pl.coalesce(
        attribute(columns, semconv.ISTIO_CANONICAL_SERVICE),
        attribute(columns, semconv.ISTIO_CANONICAL_SERVICE, "res"),
        attribute(columns, semconv.K8S_WORKLOAD, "res"),
        attribute(columns, semconv.LINKERD_WORKLOAD, "res"),
        attribute(columns, semconv.LINKERD_WORKLOAD),
        node.str.extract(NODE_ID, 1).str.replace(POD_SUFFIX, ""),
        pod.str.replace(POD_SUFFIX, ""),
        service.str.extract(KUMA_SERVICE, 1),
        bare,
        service,
    )
    return name, namespace


def workload_inputs(columns: Collection[str]) -> list[str]:
    """Return the columns that `workload` reads, of those there are."""
    owned = (
        (
            "attr",
            (
                *semconv.ENVOY_NODE_ID,
                *semconv.ISTIO_NAMESPACE,
                *semconv.ISTIO_CANONICAL_SERVICE,
                *semconv.LINKERD_WORKLOAD,
                *semconv.HOST_NAME,
            ),
        ),
        (
            "res",
            (
                *semconv.SERVICE_NAMESPACE,
                *semconv.ISTIO_CANONICAL_SERVICE,
                *semconv.K8S_WORKLOAD,
                *semconv.LINKERD_WORKLOAD,
                *semconv.K8S_POD_NAME,
                *semconv.HOST_NAME,
            ),
        ),
    )
    wanted = {column(owner, key, kind) for owner, keys in owned for key in keys for kind in TYPES}
    return ["service_name", *sorted(wanted & set(columns))]


def workloads(spans: pl.DataFrame) -> pl.DataFrame:
    """Return workload and namespace of each span."""
    inputs = spans.select(workload_inputs(spans.columns))
    name, namespace = workload(inputs.columns)
    return per_distinct(inputs, {"workload": name, "namespace": namespace})


def per_distinct(inputs: pl.DataFrame, wanted: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """Return expressions over `inputs` row by row, each worked out once for a distinct row.

    Names repeat: a million spans have some hundred, and text is what costs.
    Rows are told apart by 128 bits of keyed hash.
    """
    present = [column.name for column in inputs if column.null_count() < len(inputs)]
    known = inputs.select(present) if present else inputs.select(inputs.columns[:1])
    high, low = (_keyed(known) for _ in range(2))
    number, first = number_traces(high, low, np.uint64(secrets.randbits(64)))
    return inputs[first].select(**wanted)[number]


def _keyed(rows: pl.DataFrame) -> npt.NDArray[np.uint64]:
    """Return a hash of each row under a key that nobody can guess."""
    return np.array(rows.hash_rows(secrets.randbits(64)).to_numpy(), np.uint64)


def codes(values: pl.Series) -> npt.NDArray[np.int32]:
    """Return a small code per distinct value, -1 for null."""
    arrow = values.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    indices = arrow.dictionary_encode().indices.fill_null(-1)
    return np.array(indices.to_numpy(zero_copy_only=False), np.int32)


def operations(spans: pl.DataFrame, taught: Taught = NOTHING) -> pl.DataFrame:
    """Return (operation, rule) of each span: what it was asked to do, and which of RULES named it."""
    columns = spans.columns
    # URLs first, by themselves: many have one path.
    url, own_path = attribute(columns, semconv.HTTP_URL), attribute(columns, semconv.URL_PATH)
    asked = spans.select("kind", url=url, path=own_path).select("url", "path")
    parts = per_distinct(
        asked, {"path": url_path(pl.coalesce("path", "url")), "host": pl.col("url").str.extract(AUTHORITY)}
    )
    told = spans.lazy().select(
        name=pl.col("name"),
        method=attribute(columns, semconv.HTTP_METHOD),
        path=parts["path"],
        host=parts["host"],
        route=attribute(columns, semconv.HTTP_ROUTE),
        rpc_service=attribute(columns, semconv.RPC_SERVICE),
        rpc_method=attribute(columns, semconv.RPC_METHOD),
        is_grpc=attribute(columns, semconv.GRPC_STATUS).is_not_null(),
        unrouted=has_flag(columns, semconv.UNROUTED),
    )
    operation, rule = _operation(taught)
    return per_distinct(told.collect(), {"operation": operation, "rule": rule})


def path(columns: Collection[str]) -> pl.Expr:
    """Return the path that a span's request asked for; null when it names none."""
    return url_path(pl.coalesce(attribute(columns, semconv.URL_PATH), attribute(columns, semconv.HTTP_URL)))


def _is_host(name: pl.Expr, host: pl.Expr) -> pl.Expr:
    """Whether a span is named by its URL's host, with a port or without: Envoy's Zipkin tracer does so."""
    return (name.str.replace(r":[0-9]*$", "") == host).fill_null(value=False)


def _operation(taught: Taught) -> tuple[pl.Expr, pl.Expr]:
    """Return (operation, the rule that gave it), of columns as `operations` makes them."""
    name, method, path, route = (pl.col(column_name) for column_name in ("name", "method", "path", "route"))
    # A name that is the request's own path, with or without the method, was chosen by nobody.
    named_path = name.str.extract(rf"^(?:{METHOD} )?(/.*)$")
    raw = named_path.is_not_null() & (path.is_null() | (url_path(named_path) == path))
    chosen = name.str.contains(GENERIC).not_() & raw.not_() & _is_host(name, pl.col("host")).not_()
    matched = name.str.extract(HOST_AND_PORT)
    asked = pl.coalesce(path, url_path(named_path))
    with_method = pl.coalesce(method, name.str.extract(rf"^({METHOD}) "))

    def of_method(what: pl.Expr, method: pl.Expr = method) -> pl.Expr:
        return pl.concat_str(method, what, separator=" ", ignore_nulls=True)

    cases: list[tuple[pl.Expr, pl.Expr, str]] = [(pl.col("unrouted"), pl.lit(NO_ROUTE), "unrouted")]
    for one in taught.routes:
        fits = asked.str.contains(one.path)
        fits = fits if one.method is None else fits & (with_method == one.method)
        named = pl.lit(one.name)
        cases.append((fits, of_method(named, with_method) if one.name.startswith("/") else named, "taught"))
    cases += [
        (route.is_not_null(), of_method(route), "http.route"),
        (
            pl.col("rpc_service").is_not_null(),
            pl.concat_str("rpc_service", "rpc_method", separator="/", ignore_nulls=True),
            "rpc",
        ),
        (pl.col("is_grpc") & path.str.contains(GRPC_PATH), path.str.extract(GRPC_PATH), "grpc path"),
        (chosen & matched.is_not_null(), of_method(matched), "decorator"),
        (chosen, name, "name"),
        (asked.is_not_null(), of_method(template(asked), with_method), "template"),
    ]
    number = pl.coalesce(
        *(pl.when(case.fill_null(value=False)).then(pl.lit(k)) for k, (case, _, _) in enumerate(cases)),
        pl.lit(len(cases)),
    )
    # Each rule once: the operation is worked out for a distinct row only.
    operation = pl.coalesce(
        *(pl.when(number == k).then(value) for k, (_, value, _) in enumerate(cases)), _short_cluster(name)
    )
    told = [rule for _, _, rule in cases] + ["span name"]
    return operation, number.replace_strict(dict(enumerate(told)), return_dtype=pl.Enum(RULES))


def _short_cluster(name: pl.Expr) -> pl.Expr:
    """Return the name of Envoy's upstream span with the first label of the cluster's host alone.

    `router outbound|80||cart.shop.svc egress` becomes `router cart egress`.
    """
    return name.str.replace(r"^router (?:(?:in|out)bound\|[0-9]*\|[^|]*\|)([^. ]*)[^ ]* egress$", "router ${1} egress")


def has_flag(columns: Collection[str], flags: Collection[str]) -> pl.Expr:
    """Whether one of `flags` is among a span's Envoy response flags (a list such as `URX,UF`)."""
    found = attribute(columns, semconv.ENVOY_RESPONSE_FLAGS)
    return found.str.contains(rf"(?:^|,)(?:{'|'.join(flags)})(?:,|$)").fill_null(value=False)


def wanted_columns() -> set[str]:
    """Return the attribute keys the rules of this module and of `calls.py` look at."""
    keys: set[str] = set()
    for value in vars(semconv).values():
        if isinstance(value, tuple):
            keys.update(value)
    return keys


def is_wanted(name: str, keys: Collection[str]) -> bool:
    """Whether the attribute column `name` holds one of `keys`, in whatever type."""
    return any(name.startswith(column(owner, key)) for owner in ("attr", "res", "scope") for key in keys)
