"""Profile: critical paths of many traces, summed per call-path node and band of latency.

Owns the sums; which entries are in which band is in `bands.py`. A node is a path of labels (service, operation,
layer) from an entry down to a span; recursion keeps its depth. Which spans are
entries, their routes and labels come from `calls`; sections from
`critical_path`; why the slow band is slow is `explain.py`'s.

In a band an absent node counts as 0: over the nodes of a route, the integers
`exclusive_nano` sum to the band's durations exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from tracelens import histogram
from tracelens._link import I64
from tracelens.analysis import _sums, critical_path
from tracelens.analysis.bands import EVERYTHING, Band, cuts_of, groups_by_rank, groups_of_buckets
from tracelens.analysis.critical_path import Sections
from tracelens.analysis.labels import NODE, hashed, numbered
from tracelens.forest import Forest, codes, over_traces

PROFILE = pl.Schema(
    {
        "band": pl.String(),  # "90-99"
        "route": pl.String(),  # label of the entries; null when they have none
        "path": pl.List(pl.String()),  # "service operation" from the entry down
        "service": pl.String(),  # of the node itself, as are all columns below
        "operation": pl.String(),
        "layer": pl.String(),
        "traces": pl.Int64(),  # entries in which the node has time of its own
        "exclusive_nano": pl.Int64(),  # sum over the band
        "inclusive_nano": pl.Int64(),  # with everything below it
        "share": pl.Float64(),  # of the band's time, by route
        "mean_nano": pl.Float64(),  # per entry of the band: absent is 0
        "max_nano": pl.Int64(),  # most exclusive time in one entry
        "exemplar_trace_id": pl.Binary(),  # where that was; of several the smallest
        "entries": pl.Int64(),  # of the route in the band
        "spans": pl.Int64(),  # of the node that paths went through: more than `traces` where it is repeated
        "node": pl.Int64(),  # hash of the path with its layers: the same in every profile
        "parent": pl.Int64(),  # node above; null at the entry
    }
)

PROFILE_BUCKETS = pl.Schema(
    {
        "bucket": pl.Int32(),  # histogram bucket of the entry's duration
        "route": pl.String(),
        "node": pl.Int64(),
        "parent": pl.Int64(),
        "path": pl.List(pl.String()),
        "service": pl.String(),
        "operation": pl.String(),
        "layer": pl.String(),
        "exclusive_nano": pl.Int64(),
        "squares_nano2": pl.Decimal(38, 0),  # sum of squares of each entry's time: exact, so that merging is
        "traces": pl.Int64(),  # entries in which the node has time of its own
        "max_nano": pl.Int64(),
        "exemplar_trace_id": pl.Binary(),
        "entries": pl.Int64(),  # that begin at this node: 0 for all nodes below an entry
        "spans": pl.Int64(),
    }
)

MAX_LEVELS = 200  # of a path; what is deeper counts as that deep, or a chain of n would spell n²/2 labels


def profile(
    forest: Forest,
    sections: Sections,
    *,
    entries: I64,
    route: pl.Series | None,
    service: pl.Series,
    operation: pl.Series,
    layer: pl.Series,
    bands: Sequence[Band] | None = None,
) -> pl.DataFrame:
    """Return PROFILE, cut exactly: by each entry's rank, not by log buckets.

    sections: the walks of `entries`. route: label per entry. service,
    operation, layer: per row of the forest. bands: percents; may overlap.
    Rows by band as given, route, and exclusive time descending.
    """
    bands = EVERYTHING if bands is None else bands
    cuts = cuts_of(bands)
    routes, names = _route_codes(route, len(entries))
    group = groups_by_rank(forest, entries, routes, cuts)
    sums = _sum(forest, sections, entries, routes, names, group, (service, operation, layer))
    return _cut(sums, bands, cuts)


def accumulate(
    forest: Forest,
    sections: Sections,
    *,
    entries: I64,
    route: pl.Series | None,
    service: pl.Series,
    operation: pl.Series,
    layer: pl.Series,
    group: I64 | None = None,
) -> pl.DataFrame:
    """Return PROFILE_BUCKETS: what `merge` adds up and `cut` cuts into bands. Parameters as `profile`'s.

    group: of each entry, to be its bucket in place of its duration's; -1 leaves it out.
    """
    routes, names = _route_codes(route, len(entries))
    if group is None:
        duration = pl.Series(forest.end[entries] - forest.start[entries], dtype=pl.Int64)
        bucket = pl.select(histogram.bucket(pl.lit(duration))).to_series()
        number, values = bucket.rank("dense").cast(pl.Int64) - 1, bucket.unique().sort()
        group = np.array(number.to_numpy(), np.int64)
    else:
        values = pl.Series(np.arange(int(group.max(initial=-1)) + 1), dtype=pl.Int32)
    sums = _sum(forest, sections, entries, routes, names, group, (service, operation, layer))
    return (
        sums.cells.join(sums.nodes, on="index", validate="m:1")
        .with_columns(bucket=values.gather(sums.cells["group"]))
        .select(PROFILE_BUCKETS.names())
        .cast(PROFILE_BUCKETS)
        .sort("bucket", "route", "node")
    )


def merge(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return PROFILE_BUCKETS of several shards. Associative and commutative: integers and exact ties."""
    if not frames:
        return PROFILE_BUCKETS.to_frame()
    most = pl.col("max_nano").max()
    return (
        pl.concat(frames)
        .lazy()
        .group_by("bucket", "route", "node")
        .agg(
            pl.col("parent", "path", *NODE).first(),
            pl.col("exclusive_nano", "squares_nano2", "traces", "entries", "spans").sum(),
            max_nano=most,
            exemplar_trace_id=pl.col("exemplar_trace_id").filter(pl.col("max_nano") == most).min(),
        )
        .select(PROFILE_BUCKETS.names())
        .cast(PROFILE_BUCKETS)
        .sort("bucket", "route", "node")
        .collect()
    )


def cut(buckets: pl.DataFrame, bands: Sequence[Band] | None = None) -> pl.DataFrame:
    """Return PROFILE of merged buckets.

    A bucket is never divided: band [a, b) holds the buckets from the one with
    rank floor((n−1)·a) up to, not including, the one with floor((n−1)·b). So a
    band is off by at most one bucket, 2 % of latency, at each end.
    """
    bands = EVERYTHING if bands is None else bands
    cuts = cuts_of(bands)
    merged = merge([buckets])
    counts = (
        merged.group_by("route", "bucket", maintain_order=True).agg(n=pl.col("entries").sum()).sort("route", "bucket")
    )
    parts = [part for _, part in counts.group_by("route", maintain_order=True)]
    groups = [part.with_columns(group=groups_of_buckets(part["n"], cuts)) for part in parts]
    group = pl.concat(groups) if groups else counts.with_columns(group=pl.lit(0, pl.Int64))
    return _banded(merged, group, bands, cuts)


def cut_groups(groups: pl.DataFrame, bands: Sequence[Band]) -> pl.DataFrame:
    """Return PROFILE of PROFILE_BUCKETS whose buckets are groups of `bands.py`: exact."""
    merged = merge([groups])
    group = merged.select("route", "bucket", group=pl.col("bucket").cast(pl.Int64)).unique(maintain_order=True)
    return _banded(merged, group, bands, cuts_of(bands))


def _banded(merged: pl.DataFrame, group: pl.DataFrame, bands: Sequence[Band], cuts: Sequence[float]) -> pl.DataFrame:
    """Return PROFILE of merged buckets. group: that of each route's bucket."""
    nodes = (
        merged.unique(["route", "node"], keep="first", maintain_order=True)
        .select("route", "node", "parent", "path", *NODE)
        .with_columns(level=pl.col("path").list.len())
        .sort("level", "route", "node")
        .with_row_index("index")
    )
    above = nodes.select("route", "index", parent="node").rename({"index": "parent_index"})
    nodes = nodes.join(above, on=["route", "parent"], how="left", validate="m:1", nulls_equal=True).sort("index")
    # An entry's parent is null, and null equals null only among routes.
    at_top = pl.col("parent").is_null()
    nodes = nodes.with_columns(parent_index=pl.when(~at_top).then("parent_index").cast(pl.Int64).fill_null(-1))
    cells = (
        merged.join(nodes.select("route", "node", "index"), on=["route", "node"], validate="m:1", nulls_equal=True)
        .join(group.select("route", "bucket", "group"), on=["route", "bucket"], validate="m:1", nulls_equal=True)
        .select("group", "index", "exclusive_nano", "traces", "max_nano", "exemplar_trace_id", "entries", "spans")
    )
    return _cut(_Sums(nodes, cells), bands, cuts)


def grouped(rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return a profile summed by columns such as `service`, per band and route.

    exclusive_nano adds up to the band's time again; inclusive_nano counts the
    outermost occurrence on each path only, so that recursion is not counted twice.
    """
    keys = ["band", "route"]
    numbered = rows.with_row_index("row").with_columns(group=pl.struct([*keys, *by]).rank("dense").cast(pl.Int64))
    above = numbered.select(*keys, parent="node", above="row")
    linked = numbered.join(above, on=[*keys, "parent"], how="left", validate="m:1", nulls_equal=True).sort("row")
    parent = pl.when(pl.col("parent").is_not_null()).then("above").cast(pl.Int64).fill_null(-1)
    outermost = np.zeros(len(linked), np.bool_)
    _sums.is_outermost(_int64(linked.select(parent).to_series()), _int64(linked["group"]), outermost)
    return (
        linked.with_columns(inclusive_nano=pl.when(pl.Series(outermost)).then("inclusive_nano").otherwise(0))
        .group_by(*keys, *by, maintain_order=True)
        .agg(pl.col("exclusive_nano", "inclusive_nano", "share", "mean_nano").sum(), pl.col("entries").first())
        .sort("exclusive_nano", *by, descending=[True, *(False for _ in by)], maintain_order=True)
    )


def warm() -> None:
    """Compile the sums and what they need, or load them from the cache."""
    forest, found = critical_path.warm()
    name = forest.spans["service_name"]
    sums = accumulate(forest, found, entries=forest.entry, route=None, service=name, operation=name, layer=name)
    grouped(cut(sums), ["service"])
    none = np.empty((0, _sums.WIDTH), np.int64)
    _sums.add_parts(none, none, none, none, 1, 1, 1)  # of threads, which two spans do not need


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums per (group, node). A group is a stretch of entries that no band divides.

    nodes: index, route, node, parent, parent_index, path, service, operation,
    layer; by index, parents first. cells: group, index and sums.
    """

    nodes: pl.DataFrame
    cells: pl.DataFrame


def _sum(
    forest: Forest,
    sections: Sections,
    entries: I64,
    route: I64,
    routes: pl.Series,
    group: I64,
    labels: tuple[pl.Series, pl.Series, pl.Series],
) -> _Sums:
    label, names = numbered(labels)
    begin = np.array(entries, np.int64)
    trace = forest.trace_of(begin)
    groups = int(group.max(initial=0)) + 1
    deepest = int(forest.depth.max(initial=0))

    def work(first_entry: int, last_entry: int) -> tuple[I64, I64]:
        return _sums.sum_paths(
            sections.entry_index,
            sections.span,
            sections.start,
            sections.end,
            begin,
            forest.parent,
            label,
            len(names),
            route,
            len(routes),
            group,
            groups,
            trace,
            deepest,
            MAX_LEVELS - 1,
            first_entry,
            last_entry,
        )

    parts = over_traces(np.concatenate([[0], np.cumsum(forest.until[begin] - begin)]), work)
    nodes, cells = parts[0]
    for more in parts[1:]:
        nodes, cells = _sums.add_parts(nodes, cells, *more, len(names), len(routes), groups)
    first_rows = forest.trace_offsets[:-1][cells[:, _sums.EXEMPLAR]]
    return _Sums(
        _nodes(nodes, routes, names),
        pl.DataFrame(
            {
                "group": cells[:, _sums.KEY] % groups,
                "index": (cells[:, _sums.KEY] // groups).astype(np.uint32),
                "exclusive_nano": cells[:, _sums.TOTAL],
                "squares_nano2": _decimal(cells[:, _sums.LOW], cells[:, _sums.HIGH]),
                "traces": cells[:, _sums.COUNTS] % _sums.BEGUN,
                "max_nano": cells[:, _sums.MOST],
                "exemplar_trace_id": forest.told.gather(["trace_id"], first_rows)["trace_id"],
                "entries": cells[:, _sums.COUNTS] // _sums.BEGUN,
                "spans": cells[:, _sums.SPANS],
            }
        ),
    )


def _nodes(nodes: I64, routes: pl.Series, names: pl.DataFrame) -> pl.DataFrame:
    """Return the nodes by index: their names, their paths, and a key that is the same in every run.

    names: NODE by label.
    """
    parent, label, depth = (nodes[:, k].copy() for k in (_sums.ABOVE, _sums.LABEL, _sums.DEPTH))
    key = np.zeros(len(parent), np.uint64)
    _sums.key_nodes(parent, hashed(names)[label], key)
    offsets, steps = _sums.spell_paths(parent, depth)
    spelled = (
        names.select(pl.concat_str("service", pl.lit(" "), "operation"))
        .to_series()
        .gather(pl.Series(label[steps], dtype=pl.Int64))
    )
    paths = pa.LargeListArray.from_arrays(pa.array(offsets), spelled.to_arrow(compat_level=pl.CompatLevel.oldest()))
    top = steps[offsets[:-1]]
    above = np.maximum(parent, 0)
    node = pl.Series(key.view(np.int64), dtype=pl.Int64)
    at_top = pl.Series(parent < 0, dtype=pl.Boolean)
    return names[label].with_columns(
        index=pl.int_range(len(parent), dtype=pl.UInt32, eager=True),
        route=routes.gather(pl.Series(-1 - parent[top], dtype=pl.Int64)),
        node=node,
        parent=node.gather(pl.Series(above, dtype=pl.Int64)).set(at_top, None),
        parent_index=pl.Series(np.maximum(parent, -1), dtype=pl.Int64),
        path=pl.Series(paths, dtype=pl.List(pl.String)),
    )


def _cut(sums: _Sums, bands: Sequence[Band], cuts: Sequence[float]) -> pl.DataFrame:
    """Return PROFILE: cells added up per band and node, in the order promised."""
    parents = _int64(sums.nodes["parent_index"])
    found = []
    for band in bands:
        low, high = cuts.index(band[0]), cuts.index(band[1])
        inside = sums.cells.lazy().filter(pl.col("group").is_between(low, high, closed="left"))
        most = pl.col("max_nano").max()
        added = (
            inside.group_by("index")
            .agg(
                pl.col("exclusive_nano", "traces", "entries", "spans").sum(),
                max_nano=most,
                exemplar_trace_id=pl.col("exemplar_trace_id").filter(pl.col("max_nano") == most).min(),
            )
            .collect()
        )
        rows = added["index"].to_numpy()
        inclusive = np.zeros(len(parents), np.int64)
        inclusive[rows] = added["exclusive_nano"].to_numpy()
        _sums.sum_subtrees(parents, inclusive)
        found.append(
            added.with_columns(inclusive_nano=pl.Series(inclusive[rows]))
            .join(sums.nodes, on="index", validate="1:1")
            .with_columns(
                band=pl.lit(f"{band[0]:g}-{band[1]:g}"),
                entries=pl.col("entries").sum().over("route"),
                total=pl.col("exclusive_nano").sum().over("route"),
            )
            .with_columns(
                share=pl.when(pl.col("total") > 0).then(pl.col("exclusive_nano") / pl.col("total")).otherwise(0.0),
                mean_nano=pl.col("exclusive_nano") / pl.col("entries"),
            )
            .sort("route", "exclusive_nano", "node", descending=[False, True, False])
        )
    return pl.concat(found).select(PROFILE.names()).cast(PROFILE) if found else PROFILE.to_frame()


def _route_codes(route: pl.Series | None, n: int) -> tuple[I64, pl.Series]:
    """Return (code per entry, label per code); one null label when there are no routes."""
    if route is None:
        return np.zeros(n, np.int64), pl.Series([None], dtype=pl.String)
    number, labels = codes(route)
    number = np.where(number < 0, len(labels), number)
    return number.astype(np.int64), pl.concat([labels, pl.Series(labels.name, [None], dtype=pl.String)])


def _decimal(low: I64, high: I64) -> pl.Series:
    """Return integers of two words as an exact column."""
    words = np.stack([low, high], axis=1)
    array = pa.Array.from_buffers(pa.decimal128(38, 0), len(low), [None, pa.py_buffer(words.tobytes())])
    return pl.Series(array, dtype=pl.Decimal(38, 0))


def _int64(series: pl.Series) -> I64:
    return np.array(series.to_numpy(), np.int64)
