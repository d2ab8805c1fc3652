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

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens import semconv
from tracelens.columns import Arranged, number, over, spell
from tracelens.spans import attribute, column, is_attribute, owned
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
URLS = (*semconv.HTTP_URL, *semconv.URL_PATH)  # what follows a path in them names nothing

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


def proxy_inputs(columns: Collection[str]) -> list[str]:
    """Return the columns that `is_proxy` reads, of those there are."""
    of_span = owned(columns, "attr", (*semconv.LINKERD_WORKLOAD, *semconv.ENVOY_COMPONENT))
    return ["service_name", "scope_name", *of_span, *owned(columns, "res", semconv.LINKERD_WORKLOAD)]


def workload_inputs(columns: Collection[str]) -> list[str]:
    """Return the columns that `workload` reads, of those there are."""
    of_span = (
        *semconv.ENVOY_NODE_ID,
        *semconv.ISTIO_NAMESPACE,
        *semconv.ISTIO_CANONICAL_SERVICE,
        *semconv.LINKERD_WORKLOAD,
        *semconv.HOST_NAME,
    )
    of_resource = (
        *semconv.SERVICE_NAMESPACE,
        *semconv.ISTIO_CANONICAL_SERVICE,
        *semconv.K8S_WORKLOAD,
        *semconv.LINKERD_WORKLOAD,
        *semconv.K8S_POD_NAME,
        *semconv.HOST_NAME,
    )
    return ["service_name", *owned(columns, "attr", of_span), *owned(columns, "res", of_resource)]


def workloads(spans: pl.DataFrame | Arranged) -> pl.DataFrame:
    """Return workload and namespace of each span."""
    columns = workload_inputs(spans.columns)
    name, namespace = workload(columns)
    return of_rows(_arranged(spans), columns, {"workload": name, "namespace": namespace})


def _arranged(spans: pl.DataFrame | Arranged) -> Arranged:
    return spans if isinstance(spans, Arranged) else Arranged(spans)


def of_rows(
    told: Arranged,
    names: Sequence[str],
    wanted: Mapping[str, pl.Expr],
    cut: Sequence[str] = (),
    present: Sequence[str] = (),
    coded: Sequence[str] = (),
) -> pl.DataFrame:
    """Return expressions over some columns row by row, each worked out once for rows that are equal in them.

    Names repeat: a million spans have some hundred, and text is what costs.
    names, cut, present: see `Arranged.distinct`; of cut text the expressions must not look at the rest.
    coded: those of `wanted` that become Enums.
    """
    number, some = told.distinct(names, cut, present)
    found = some.select(**wanted)
    enums = (found[name].cast(pl.Enum(found[name].drop_nulls().unique(maintain_order=True))) for name in coded)
    return each_row(found.with_columns(enums), number)


def each_row(some: pl.DataFrame, number: npt.NDArray[np.int32]) -> pl.DataFrame:
    """Return the row of `some` with each number."""
    index = pl.Series(number, dtype=pl.UInt32)

    def spread(column: pl.Series) -> pl.Series:
        return spell(column, number) if column.dtype == pl.String else column.gather(index)

    return pl.DataFrame(over(len(number), some.get_columns(), spread))


def texts(columns: Collection[str]) -> tuple[list[str], list[str]]:
    """Return (columns of text that repeats, columns that are looked at up to the first "?" only)."""
    cut = owned(columns, "attr", URLS)
    own = [name for name in ("name", "service_name", "scope_name") if name in columns]
    kept = set(wanted_columns()) - set(semconv.ENVOY_REQUEST_ID)
    return own + [name for name in columns if is_attribute(name) and name not in cut and is_wanted(name, kept)], cut


def codes(values: pl.Series) -> npt.NDArray[np.int32]:
    """Return a small code per distinct value, -1 for null."""
    found = number(values.cast(pl.String))
    assert found is not None  # it is not given up without a limit
    return found.number


def operations(spans: pl.DataFrame | Arranged, taught: Taught = NOTHING) -> pl.DataFrame:
    """Return (operation, rule) of each span: what it was asked to do, and which of RULES named it."""
    columns = spans.columns
    cut = owned(columns, "attr", URLS)
    present = owned(columns, "attr", semconv.GRPC_STATUS)
    read = (
        *semconv.HTTP_METHOD,
        *semconv.HTTP_ROUTE,
        *semconv.RPC_SERVICE,
        *semconv.RPC_METHOD,
        *semconv.ENVOY_RESPONSE_FLAGS,
    )
    whole = ["name", *(name for name in owned(columns, "attr", read) if name not in (*cut, *present))]
    number, some = _arranged(spans).distinct(whole, cut, present)
    parts = some.select(
        name=pl.col("name"),
        method=attribute(columns, semconv.HTTP_METHOD),
        path=path(columns),
        host=attribute(columns, semconv.HTTP_URL).str.extract(AUTHORITY),
        route=attribute(columns, semconv.HTTP_ROUTE),
        rpc_service=attribute(columns, semconv.RPC_SERVICE),
        rpc_method=attribute(columns, semconv.RPC_METHOD),
        is_grpc=attribute(columns, semconv.GRPC_STATUS).is_not_null(),
        unrouted=has_flag(columns, semconv.UNROUTED),
    )
    again, distinct = Arranged(parts).distinct(parts.columns)
    return each_row(each_row(_named(distinct, taught), again), number)


def path(columns: Collection[str]) -> pl.Expr:
    """Return the path that a span's request asked for; null when it names none."""
    return url_path(pl.coalesce(attribute(columns, semconv.URL_PATH), attribute(columns, semconv.HTTP_URL)))


def _is_host(name: pl.Expr, host: pl.Expr) -> pl.Expr:
    """Whether a span is named by its URL's host, with a port or without: Envoy's Zipkin tracer does so."""
    return (name.str.replace(r":[0-9]*$", "") == host).fill_null(value=False)


def _named(parts: pl.DataFrame, taught: Taught) -> pl.DataFrame:
    """Return operation and rule of rows as `operations` makes them; only the rule that applies is worked out."""
    cases = _cases(taught)
    number = pl.coalesce(
        *(pl.when(case.fill_null(value=False)).then(pl.lit(k)) for k, (case, _, _) in enumerate(cases)),
        pl.lit(len(cases)),
    )
    numbered = parts.with_columns(number=number).with_row_index()
    values = [*(value for _, value, _ in cases), _short_cluster(pl.col("name"))]
    rules = [*(rule for _, _, rule in cases), "span name"]
    found = [
        numbered.filter(number=k).select("index", operation=value.cast(pl.String), rule=pl.lit(rule, pl.Enum(RULES)))
        for k, (value, rule) in enumerate(zip(values, rules, strict=True))
    ]
    return pl.concat(found).sort("index").drop("index")


def _cases(taught: Taught) -> list[tuple[pl.Expr, pl.Expr, str]]:
    """Return (whether a rule applies, the operation it gives, its name), of which the first that applies counts."""
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
    return cases


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
