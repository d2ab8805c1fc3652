"""Calls: which spans are one request, who served it, and under which name.

Owns the folding of a request's proxy and app spans into one call, by parent
ids only, and the labels (workload, operation, layer) that analysis groups by.
Names of a single span come from `names.py`; percentiles and critical paths
are computed elsewhere.

A call begins at its *entry* span: the inbound span of the callee's proxy, else
the app's SERVER or CONSUMER span, else a root that states no kind. The app span
behind an inbound proxy span joins its call; outbound proxy and CLIENT spans
belong to the call that makes the request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from tracelens import _direction, _fold, names, semconv
from tracelens.columns import Arranged, over
from tracelens.forest import Forest, over_traces
from tracelens.learned import ECHOES, ROUTES, Evidence, dropping, rare_routes
from tracelens.names import NOTHING, OTHER, codes, has_flag
from tracelens.sampling import Sampling, draws, request_ids, sampling
from tracelens.spans import CLIENT, CONSUMER, PRODUCER, SERVER, STATUS_ERROR, UNSPECIFIED, attribute, owned, whole
from tracelens.taught import Taught

CALLS = pl.Schema(
    {
        "span": pl.Int64,  # row of the entry span in the forest
        "trace": pl.Int64,  # index of the trace in the forest
        "trace_id": pl.Binary,
        "service": pl.String,  # the callee's workload
        "namespace": pl.String,  # null when nothing tells it
        "route": pl.String,
        "caller": pl.String,  # workload of the call that made this one; null at the edge
        "start_unix_nano": pl.Int64,  # of the entry span, after skew correction
        "duration_nano": pl.Int64,  # of the entry span
        "error": pl.Boolean,  # 5xx, a gRPC status other than OK, or status ERROR
        "censored": pl.Boolean,  # the client went away (DC, DR): how long it would have taken is unknown
        "timed_out": pl.Boolean,  # ended by a limit: the caller waited this long
        "is_root": pl.Boolean,  # the first call of its trace
        # Told a second time: by the app, in a trace of its own, where its proxy told it before the context was dropped.
        "echo": pl.Boolean,
        "weight": pl.Float64,  # requests it stands for: 1 / sampling rate
    }
)

LAYERS = ("app", "ingress_proxy", "egress_proxy", "network_queueing", "client")  # by _fold's codes
GATEWAY_ROUTE = "^(?:http|grpc|tls|tcp|udp)route/"  # a cluster of Envoy Gateway: kind/namespace/name/rule/number
GRPC_OK = ("0", "OK", "Ok", "ok")


# Attributes that tell what a span is; the values of others do not matter here.
TELLING = frozenset(
    key
    for keys in (
        semconv.ENVOY_NODE_ID,
        semconv.ENVOY_CLUSTER,
        semconv.ENVOY_COMPONENT,
        semconv.ENVOY_RESPONSE_FLAGS,
        semconv.LINKERD_WORKLOAD,
        semconv.LINKERD_DIRECTION,
        semconv.HTTP_STATUS,
        semconv.GRPC_STATUS,
    )
    for key in keys
)
# Attributes of which it matters only whether a span has them.
PRESENT = (semconv.ENVOY_REQUEST_ID, semconv.ENVOY_UPSTREAM_ADDRESS, semconv.HTTP_ROUTE, semconv.RPC_SERVICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The calls of a forest, and a label for each of its spans."""

    table: pl.DataFrame  # CALLS, by trace, then start
    service: pl.Series  # workload of each span
    operation: pl.Series  # of each span; an entry span's is its call's route
    rule: pl.Series  # what named it: names.RULES
    layer: pl.Series  # LAYERS, of each span
    call: npt.NDArray[np.int64]  # row of the entry span each span works for; -1 for none
    role: npt.NDArray[np.int8]  # what made each span: _fold's codes
    direction: npt.NDArray[np.int8]  # which way a proxy carried each request: _fold's codes
    outcome: pl.DataFrame  # error, censored and timed_out of each span by itself
    sampling: Sampling  # of each trace
    evidence: Evidence  # what these traces tell of others


def calls(
    forest: Forest, taught: Taught = NOTHING, learned: Evidence | None = None, drawn_of: pl.DataFrame | None = None
) -> Calls:
    """Return the calls of a forest.

    taught: what the mesh's owner says of routes and sampling. learned: the evidence of more traces than these,
    by which they are judged; by their own without it. drawn_of: DRAWS of more traces, where only that is known of them.
    Every trace has at least one call: where no span is an entry, the primary root is.
    """
    facts = _of_their_proxy(forest, _facts(forest.told, taught))
    told = _proxies(forest, facts)
    own = _direction.evidence(told)
    _direction.decide(told, learned or own, facts["sidecar"].to_numpy(), forest.told.column("kind"))
    folded = _fold_spans(forest, facts, told)
    operation, rule = _route_of_app(facts, folded)
    echoes = _app_roots(forest, facts)
    drawn = request_ids(forest, facts["workload"])
    own = replace(
        own,
        routes=_routes(facts, operation),
        echoes=_without_app(facts, folded),
        draws=draws(drawn),
    )
    known = learned or own
    operation, rule = _capped(facts, operation, rule, known)
    echoes &= facts["workload"].is_in(dropping(known.echoes).implode()).to_numpy()
    sampled = sampling(forest, drawn, taught, known.draws if drawn_of is None else drawn_of)
    return Calls(
        table=_table(forest, facts, folded, operation, sampled, echoes),
        rule=rule,
        sampling=sampled,
        service=facts["workload"],
        operation=operation,
        layer=pl.Series("layer", LAYERS, pl.String).gather(pl.Series(folded.layer, dtype=pl.UInt32)),
        call=folded.call,
        role=folded.role,
        direction=folded.direction,
        outcome=facts.select("error", "censored", "timed_out"),
        evidence=own,
    )


@dataclass(frozen=True, slots=True)
class _Folded:
    role: npt.NDArray[np.int8]
    direction: npt.NDArray[np.int8]
    call: npt.NDArray[np.int64]
    layer: npt.NDArray[np.int8]


def _facts(told: Arranged, taught: Taught) -> pl.DataFrame:
    """Return what each span tells by itself, one row a span."""
    columns = told.columns
    own = ["name", "kind", "status_code", "scope_name", "service_name"]
    own += [name for name in columns if names.is_wanted(name, TELLING)]
    present = [name for key in PRESENT for name in owned(columns, "attr", key) if name not in own]
    linked = told.select("kind", "parent_span_id").select(
        typed=(pl.col("kind") != UNSPECIFIED).cast(pl.Int8),
        referenced=pl.col("parent_span_id").is_not_null().cast(pl.Int8),
    )
    works: list[Callable[[], pl.DataFrame]] = [
        lambda: names.of_rows(told, own, _of_itself(columns), present=present, coded=("node", "cluster")),
        lambda: names.operations(told, taught),
        lambda: names.workloads(told),
    ]
    parts = over(len(told), works, lambda work: work())  # side by side: each waits for single threads again and again
    return pl.concat([*parts, linked], how="horizontal")


def _of_itself(columns: Collection[str]) -> dict[str, pl.Expr]:
    """Return what a span's own attributes tell of it."""
    has_request_id, has_address, has_route, has_rpc = (attribute(columns, key).is_not_null() for key in PRESENT)
    node = attribute(columns, semconv.ENVOY_NODE_ID)
    cluster = attribute(columns, semconv.ENVOY_CLUSTER)
    kind = pl.col("kind")
    proxy = names.is_proxy(columns)
    said = attribute(columns, semconv.LINKERD_DIRECTION)
    # Envoy's upstream spans have neither node id nor request id, and the name that `upstream_operation` gives them.
    reaching = node.is_null() & ~has_request_id & (kind == CLIENT) & has_address
    name = pl.col("name")
    attempt = proxy & (name.str.contains("^router .* egress$") | (reaching & name.str.starts_with("async ").not_()))
    role = (
        pl.when(attempt)
        .then(_fold.ATTEMPT)
        .when(proxy)
        .then(_fold.PROXY)
        .when(kind.is_in([SERVER, CONSUMER]))
        .then(_fold.APP_SERVER)
        .when(kind.is_in([CLIENT, PRODUCER]))
        .then(_fold.APP_CLIENT)
        .otherwise(_fold.APP)
    )
    gateway_node = node.str.contains("^(?:router|waypoint)~").fill_null(value=False)
    hint = (
        pl.when(proxy & gateway_node)
        .then(_fold.GATEWAY)
        .when(proxy & cluster.str.contains(GATEWAY_ROUTE))
        .then(_fold.GATEWAY)
        .when(cluster.str.starts_with("inbound|") | (proxy & (said == "inbound")))
        .then(_fold.INBOUND)
        .when(cluster.str.starts_with("outbound|") | (proxy & (said == "outbound")))
        .then(_fold.OUTBOUND)
        # An Envoy says CLIENT of outbound spans only, but of these not always; and no route is named "egress …".
        .when(proxy & ((kind == CLIENT) | name.str.starts_with("egress ")))
        .then(_fold.OUTBOUND)
        .when(proxy & node.is_null())
        .then(_fold.INBOUND)
        .otherwise(_fold.UNKNOWN)
    )
    status = whole(columns, semconv.HTTP_STATUS)
    grpc = attribute(columns, semconv.GRPC_STATUS)
    failed = (
        (pl.col("status_code") == STATUS_ERROR).fill_null(value=False)
        | (status >= 500).fill_null(value=False)
        | grpc.is_in(GRPC_OK).not_().fill_null(value=False)
    )
    return {
        "chosen": has_route | has_rpc,
        "role": role.cast(pl.Int8),
        "hint": hint.cast(pl.Int8),
        "node": node,
        "cluster": cluster,
        "sidecar": node.str.starts_with("sidecar~").fill_null(value=False),
        "error": failed,
        "censored": has_flag(columns, semconv.ABORTED),
        "timed_out": has_flag(columns, semconv.TIMED_OUT),
    }


def _of_their_proxy(forest: Forest, facts: pl.DataFrame) -> pl.DataFrame:
    """Return facts in which attempts have workload and namespace of the proxy's span above them: they name neither."""
    role, parent = facts["role"].to_numpy(), forest.parent
    tried = np.flatnonzero((role == _fold.ATTEMPT) & (parent >= 0) & (role[np.maximum(parent, 0)] == _fold.PROXY))
    if not len(tried):
        return facts
    owner = np.arange(len(facts))
    owner[tried] = parent[tried]
    return facts.with_columns(facts.select("workload", "namespace")[owner])


def _proxies(forest: Forest, facts: pl.DataFrame) -> _direction.Proxies:
    """Return what the spans tell of the Envoys that wrote them."""
    hint, role = _array(facts["hint"], np.int8), _array(facts["role"], np.int8)
    return _direction.proxies(facts["node"], facts["cluster"], hint, role, forest.parent)


def _fold_spans(forest: Forest, facts: pl.DataFrame, told: _direction.Proxies) -> _Folded:
    """Run the kernel, and give every trace a call."""
    n = len(facts)
    typed, referenced = (_array(facts[name], np.int8) for name in ("typed", "referenced"))
    folded = _Folded(told.role, np.zeros(n, np.int8), np.full(n, -1, np.int64), np.zeros(n, np.int8))
    workload = codes(facts["workload"])
    offsets = forest.trace_offsets

    def work(first: int, last: int) -> None:
        _fold.fold(
            forest.parent,
            offsets[first],
            offsets[last],
            told.role,
            told.hint,
            told.node,
            workload,
            typed,
            referenced,
            folded.direction,
            folded.call,
            folded.layer,
        )

    over_traces(offsets, work)
    if n:
        without = np.add.reduceat(folded.call >= 0, offsets[:-1]) == 0
        alone = np.repeat(without, np.diff(offsets))
        folded.call[alone] = np.repeat(forest.entry[without], np.diff(offsets)[without])
    return folded


def _array(series: pl.Series, dtype: type[np.generic]) -> npt.NDArray[np.int8]:
    """Return a writable, contiguous array: kernels are compiled for one kind only."""
    return np.array(series.fill_null(0).to_numpy(), dtype=dtype)


def _route_of_app(facts: pl.DataFrame, folded: _Folded) -> tuple[pl.Series, pl.Series]:
    """Return (operation, rule) of each span, a proxy's taken from the app span behind it that knows its route."""
    role, call = facts["role"].to_numpy(), folded.call
    rows = np.arange(len(call))
    behind = (role == _fold.APP_SERVER) & (call >= 0) & (call != rows) & facts["chosen"].to_numpy()
    taught = facts["rule"] == "taught"
    behind &= ~taught.gather(np.maximum(call, 0)).to_numpy()
    operation, rule = facts["operation"], facts["rule"]
    if behind.any():
        # Of several app spans behind one proxy span the first names the route.
        entry, first = np.unique(call[behind], return_index=True)
        source = np.arange(len(call))
        source[entry] = np.flatnonzero(behind)[first]
        operation, rule = operation.gather(source), rule.gather(source)
    return operation.rename("operation"), rule


def _routes(facts: pl.DataFrame, operation: pl.Series) -> pl.DataFrame:
    """Return the counts of ROUTES."""
    named = pl.DataFrame({"workload": facts["workload"], "operation": operation})
    return named.lazy().group_by("workload", "operation").agg(spans=pl.len()).collect().cast(ROUTES)


def _capped(
    facts: pl.DataFrame, operation: pl.Series, rule: pl.Series, learned: Evidence
) -> tuple[pl.Series, pl.Series]:
    """Return (operation, rule) of each span; names beyond MAX_ROUTES of a workload, rarest first, become OTHER."""
    rare = rare_routes(learned.routes).with_columns(rare=pl.lit(value=True))
    if rare.is_empty():
        return operation, rule
    named = pl.DataFrame({"workload": facts["workload"], "operation": operation})
    marked = named.join(rare, on=["workload", "operation"], how="left", validate="m:1", maintain_order="left")
    capped = marked.select(
        operation=pl.when(pl.col("rare")).then(pl.lit(OTHER)).otherwise("operation"),
        rule=pl.when(pl.col("rare")).then(pl.lit("other", rule.dtype)).otherwise(rule),
    )
    return capped["operation"], capped["rule"]


def _app_roots(forest: Forest, facts: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which spans are an app's that begins a trace of its own."""
    begins = (forest.parent < 0) & (facts["referenced"].to_numpy() == 0)
    roots: npt.NDArray[np.bool_] = begins & (facts["role"].to_numpy() == _fold.APP_SERVER)
    return roots


def _without_app(facts: pl.DataFrame, folded: _Folded) -> pl.DataFrame:
    """Return the counts of ECHOES: requests that a sidecar took, and those without a span of the app below them."""
    taken = (folded.role == _fold.PROXY) & (folded.direction == _fold.INBOUND)
    served = np.zeros(len(taken), np.bool_)
    served[folded.call[(folded.role == _fold.APP_SERVER) & (folded.call >= 0)]] = True
    every = pl.DataFrame({"workload": facts["workload"], "taken": taken, "bare": taken & ~served})
    counted = every.lazy().filter("taken").group_by("workload").agg(pl.col("taken", "bare").sum())
    return counted.collect().cast(ECHOES)


def _table(
    forest: Forest,
    facts: pl.DataFrame,
    folded: _Folded,
    operation: pl.Series,
    sampled: Sampling,
    echoes: npt.NDArray[np.bool_],
) -> pl.DataFrame:
    """Return CALLS: one row an entry span, in the order of the forest's rows."""
    begins = np.zeros(len(folded.call), np.bool_)
    begins[folded.call[folded.call >= 0]] = True
    entry = np.flatnonzero(begins)
    trace = np.searchsorted(forest.trace_offsets, entry, side="right") - 1
    above = forest.parent[entry]
    caller_call = np.where(above >= 0, folded.call[above], -1)
    workload = facts["workload"]
    caller_row = np.where(caller_call >= 0, caller_call, above)
    caller = workload.gather(np.maximum(caller_row, 0))
    of = facts.select("namespace", "error", "censored", "timed_out")[entry]
    duration = forest.end[entry] - forest.start[entry]
    return (
        pl.DataFrame(
            {
                "span": entry,
                "trace": trace,
                "trace_id": forest.told.gather(["trace_id"], entry)["trace_id"],
                "service": workload.gather(entry),
                "namespace": of["namespace"],
                "route": operation.gather(entry),
                "caller": caller,
                "start_unix_nano": forest.start[entry],
                "duration_nano": duration,
                "error": of["error"],
                "censored": of["censored"],
                "timed_out": of["timed_out"],
                "is_root": entry == forest.entry[trace],
                "echo": echoes[entry],
                "weight": sampled.weight[trace],
            }
        )
        .with_columns(caller=pl.when(pl.Series(caller_row >= 0)).then("caller"))
        .cast(CALLS)
        .select(CALLS.names())
    )
