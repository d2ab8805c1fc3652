"""Traces: finding them, and looking at one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from tracelens import forest as forests
from tracelens._fold import APP_SERVER, ATTEMPT, INBOUND, OUTBOUND, PROXY
from tracelens.analysis.critical_path import sections as walked
from tracelens.analysis.rollups import TRACE_ROWS
from tracelens.analysis.settled import trace_rows
from tracelens.calls import Calls, calls
from tracelens.errors import InputError
from tracelens.forest import Forest
from tracelens.lens.analysed import Analysed
from tracelens.lens.paths import Walk
from tracelens.lens.question import Answer, Question, SourceInfo, TraceAnswer
from tracelens.lens.sources import Source
from tracelens.lens.where import trace_id as parse_trace_id
from tracelens.names import NOTHING
from tracelens.repair import TRACE_MARKS
from tracelens.spans import KINDS, SPAN_MARKS, is_attribute
from tracelens.taught import Taught

MAX_ROWS = 1_000  # of a search: more is a filter not yet written
LISTED = [name for name in TRACE_ROWS if name not in ("end_unix_nano", "arrived")]


def traces(window: Analysed, question: Question, slowest: int | None, limit: int) -> Answer:
    """Return one row a trace that has a matching call, newest first, or the `slowest` ones.

    Open traces are left out, as from every answer but a single trace and a search.
    """
    rows = listed(window, np.unique(window.selected(question, echoes=True)["trace"].to_numpy()))
    key = "start_unix_nano" if slowest is None else "duration_nano"
    count = min(limit if slowest is None else slowest, MAX_ROWS)
    shown = rows.drop("open").sort(key, "trace_id", descending=[True, False]).head(count)
    return Answer(rows=shown.collect(), source=window.info)


def listed(window: Analysed, matched: npt.NDArray[np.integer] | None = None) -> pl.LazyFrame:
    """Return one row a trace, of those numbers or of all."""
    rows = trace_rows(window.forest, window.calls).with_columns(open=pl.Series(~window.settled, dtype=pl.Boolean))
    return (rows if matched is None else rows[matched]).lazy().select(*LISTED, "open")


def trace(source: Source, text: str, walk: Walk, *, taught: Taught = NOTHING, skew: bool = True) -> TraceAnswer:
    """Return one trace, open or settled, in tree order.

    text: the trace id in hexadecimal. Raises InputError when no span has it.
    """
    found = source.trace(parse_trace_id(text))
    if found.is_empty():
        raise InputError(f"no span of trace {text} is here. It may be outside the retention, or not have arrived yet.")
    forest = forests.link(found, skew=skew)
    folded = calls(forest, taught)
    path = walked(forest, forest.entry, tolerance=walk.tolerance, asynchronous=walk.asynchronous)
    order = _tree_order(forest)
    row_of = np.empty(len(order), np.int64)
    row_of[order] = np.arange(len(order))
    on_path = np.zeros(len(order), np.int64)
    np.add.at(on_path, path.span, path.end - path.start)
    rows = _rows(forest, folded, order, row_of, on_path)
    sections = pl.DataFrame(
        {
            "row": row_of[path.span],
            "layer": folded.layer.gather(path.span),
            "start_unix_nano": path.start,
            "end_unix_nano": path.end,
        },
        schema_overrides={"row": pl.Int64},
    )
    return TraceAnswer(rows=rows, sections=sections, source=_info(source, forest))


def _tree_order(forest: Forest) -> npt.NDArray[np.int64]:
    """Return the spans as a person reads them: the primary root's tree, then the others."""
    rows = np.arange(len(forest.parent), dtype=np.int64)
    primary = (rows >= forest.entry[0]) & (rows < forest.until[forest.entry[0]])
    return np.concatenate([rows[primary], rows[~primary]])


def _rows(
    forest: Forest,
    folded: Calls,
    order: npt.NDArray[np.int64],
    row_of: npt.NDArray[np.int64],
    on_path: npt.NDArray[np.int64],
) -> pl.DataFrame:
    """Return one row a span, in `order`."""
    spans = forest.spans[order]
    parent = forest.parent[order]
    above = np.where(parent >= 0, row_of[np.maximum(parent, 0)], -1)
    error = spans["status_code"].eq(2).to_numpy() | _failed_calls(folded, len(order))[order]
    return pl.DataFrame(
        {
            "row": np.arange(len(order)),
            "parent": above,
            "depth": forest.depth[order],
            "trace_id": spans["trace_id"],
            "span_id": spans["span_id"],
            "service": folded.service.gather(order),
            "operation": folded.operation.gather(order),
            "name": spans["name"],
            "layer": folded.layer.gather(order),
            "carries": _carriers(folded)[order],
            "kind": pl.Series(KINDS, dtype=pl.String).gather(spans["kind"].cast(pl.UInt32)),
            "start_unix_nano": forest.start[order],
            "end_unix_nano": forest.end[order],
            "error": error,
            "on_path_nano": on_path[order],
            "skew_nano": forest.skew[order],
            "marks": _marks(forest, order),
            "attributes": _attributes(spans),
        },
        schema_overrides={"row": pl.Int64, "parent": pl.Int64, "depth": pl.Int64},
    )


def _carriers(folded: Calls) -> npt.NDArray[np.bool_]:
    """Return which spans only carry a request from one workload to another: proxies' with an app's span behind them.

    An inbound proxy's span without one stands for its workload, and so does a gateway's.
    """
    rows = np.arange(len(folded.call))
    served = np.zeros(len(rows), np.bool_)
    behind = (folded.role == APP_SERVER) & (folded.call >= 0) & (folded.call != rows)
    served[folded.call[behind]] = True
    proxy = (folded.role == PROXY) & ((folded.direction == OUTBOUND) | ((folded.direction == INBOUND) & served))
    carriers: npt.NDArray[np.bool_] = proxy | (folded.role == ATTEMPT)
    return carriers


def _failed_calls(folded: Calls, n: int) -> npt.NDArray[np.bool_]:
    """Return whether a span is the entry of a call that failed."""
    failed = np.zeros(n, np.bool_)
    failed[folded.table.filter("error")["span"].to_numpy()] = True
    return failed


def _marks(forest: Forest, order: npt.NDArray[np.int64]) -> list[list[str]]:
    """Return the names of each span's repairs."""
    of_span = forest.spans["repairs"].fill_null(0).to_numpy()
    return [
        [name for bit, name in enumerate(SPAN_MARKS) if of_span[row] >> bit & 1]
        + [name for bit, name in enumerate(TRACE_MARKS) if forest.marks[row] >> bit & 1]
        for row in order
    ]


def _attributes(spans: pl.DataFrame) -> list[str]:
    """Return each span's attributes as a JSON object: column name to value, as it came."""
    columns = [name for name in spans.columns if is_attribute(name)]
    extra = ["status_message", "events", "links"]
    texts = []
    for values in spans.select(*columns, *extra, "overflow").iter_rows(named=True):
        overflow = values.pop("overflow")
        kept = {name: value for name, value in values.items() if value is not None}
        texts.append(orjson.dumps(kept | (orjson.loads(overflow) if overflow else {})).decode())
    return texts


def _info(source: Source, forest: Forest) -> SourceInfo:
    described = source.describe()
    return SourceInfo(
        kind=described.kind,
        format=described.format,
        files=described.files,
        spans=len(forest.spans),
        traces=forest.traces,
        complete_traces=int(forest.complete.sum()),
        start_unix_nano=int(forest.start.min()),
        end_unix_nano=int(forest.end.max()),
        open_traces=0,
        repairs=dict(Counter(forest.repairs())),
        rejected_spans=0,
    )
