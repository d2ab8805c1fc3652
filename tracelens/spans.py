"""SPANS: the one table of spans, from the wire to the answers.

Owns the columns, how an attribute becomes one, and the marks that repairs
leave. A frame of spans has the columns of SPANS, in this order, and after
them any number of attribute columns (see ATTRIBUTE COLUMNS).

ATTRIBUTE COLUMNS. One column per (owner, key, type), because Envoy says
`http.status_code:"503"` where an SDK says `503`, and one name with two types
cannot be scanned:

    attr:KEY         a span attribute, string
    attr:KEY#int     Int64        attr:KEY#double  Float64
    attr:KEY#bool    Boolean      attr:KEY#json    String: arrays, maps, bytes
    res:KEY…         the same of the resource
    scope:KEY…       the same of the instrumentation scope

What cannot be a column (a name Delta does not allow, a twin that differs only
in case, everything beyond the limit) goes to `overflow`, one JSON object of
column name to value, so that nothing is lost and nothing can widen the table
without bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import polars as pl

from tracelens.errors import SchemaError

SPANS = pl.Schema(
    {
        "trace_id": pl.Binary,  # 16 bytes, opaque; hex only at the edges
        "span_id": pl.Binary,  # 8 bytes
        "parent_span_id": pl.Binary,  # 8 bytes; null at a root
        "follows_from": pl.Boolean,  # the parent did not wait for this span (Jaeger FOLLOWS_FROM)
        "trace_state": pl.String,  # W3C tracestate; null when empty. Sampling thresholds live here
        "flags": pl.Int64,  # W3C trace flags, and OTLP's is-remote bits
        "name": pl.String,  # as sent
        "kind": pl.Int8,  # KINDS: OTLP's numbers
        "start_time_unix_nano": pl.Int64,  # signed: differences may be negative
        "end_time_unix_nano": pl.Int64,  # never before the start
        "status_code": pl.Int8,  # 0 unset, 1 ok, 2 error
        "status_message": pl.String,  # null when empty
        "service_name": pl.String,  # resource service.name, as sent; UNKNOWN_SERVICE when absent
        "scope_name": pl.String,  # who made the span; Envoy writes "envoy"
        "scope_version": pl.String,
        "events": pl.String,  # OTLP JSON array of Span.Event, null when none: kept whole, rarely read
        "links": pl.String,  # OTLP JSON array of Span.Link, null when none; never an edge
        "dropped_attributes_count": pl.Int64,  # by the sender
        "dropped_events_count": pl.Int64,  # by the sender
        "dropped_links_count": pl.Int64,  # by the sender
        "received_unix_nano": pl.Int64,  # when the collector took it; null for a dump
        "repairs": pl.Int32,  # bits of SPAN_MARKS: what the decoder had to mend
        "overflow": pl.String,  # JSON object: attributes that are no column; null when none
    }
)

UNKNOWN_SERVICE = "unknown_service"  # the SDK specification's default

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")  # by OTLP number
UNSPECIFIED, INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(6)
STATUS_UNSET, STATUS_OK, STATUS_ERROR = range(3)

# Marks of repairs that need one span only; bit n of `repairs` is SPAN_MARKS[n].
SPAN_MARKS = (
    "neg_duration",  # the end lay before the start: length 0
    "no_time",  # neither start nor end: transparent, its children go to its nearest timed ancestor
    "bad_utf8",  # text that was not UTF-8: each bad byte became U+FFFD
    "bad_kind",  # a kind outside OTLP's: unspecified
    "bad_parent",  # a parent id of a wrong length, or the span itself: a root
    "no_service",  # no service.name: UNKNOWN_SERVICE
    "duplicate_key",  # an attribute key came twice: the last one stands
    "time_range",  # a time beyond signed 64-bit nanoseconds: cut to the limit
    "bad_status",  # a status code outside OTLP's: unset
    "one_time",  # only one of start and end: length 0 at that one
    "attribute_limit",  # attributes beyond the limit were dropped, or a value was cut
    "redacted",  # a secret was taken out
)
MARK = {name: 1 << bit for bit, name in enumerate(SPAN_MARKS)}

# Why a span is refused, not repaired: without both ids it belongs nowhere.
REJECTIONS = ("trace_id", "span_id")

OWNERS = ("attr", "res", "scope")
TYPES: dict[str, pl.DataType] = {
    "": pl.String(),
    "int": pl.Int64(),
    "double": pl.Float64(),
    "bool": pl.Boolean(),
    "json": pl.String(),
}
MAX_COLUMNS = 150  # attribute columns of a frame and of the store's table, most frequent first
# Delta refuses these in a column name, and NUL ends names in other readers.
UNFIT_NAME = re.compile("[ ,;{}()\n\t=\0]")


def column(owner: str, key: str, kind: str = "") -> str:
    """Return the column that holds attribute `key`: "attr:http.method", "attr:http.status_code#int"."""
    return f"{owner}:{key}#{kind}" if kind else f"{owner}:{key}"


def split_column(name: str) -> tuple[str, str, str]:
    """Return (owner, key, type) of an attribute column's name; type is "" for strings."""
    owner, _, rest = name.partition(":")
    key, mark, kind = rest.rpartition("#")
    if mark and kind in TYPES and kind:
        return owner, key, kind
    return owner, rest, ""


def is_attribute(name: str) -> bool:
    """Whether a column holds an attribute."""
    return name.split(":", 1)[0] in OWNERS and ":" in name


def dtype(name: str) -> pl.DataType:
    """Return the type of an attribute column."""
    return TYPES[split_column(name)[2]]


def empty() -> pl.DataFrame:
    """Return a frame of no spans."""
    return SPANS.to_frame()


def check(frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame` as it is when it holds spans.

    Raises SchemaError naming the first column that is absent or of another type.
    """
    schema = frame.schema
    for name, wanted in SPANS.items():
        if name not in schema:
            raise SchemaError(f"column {name} is missing. Spans come from tracelens.dumps or a store.")
        if schema[name] != wanted:
            raise SchemaError(f"column {name} is {schema[name]}, and spans have {wanted}.")
    for name, found in schema.items():
        if name not in SPANS and (not is_attribute(name) or found != dtype(name)):
            raise SchemaError(f"column {name} ({found}) is no column of spans; attributes are attr:KEY, res:KEY.")
    return frame


def concat(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return all spans of several frames; a column that one lacks is null there."""
    return pl.concat(frames, how="diagonal") if frames else empty()


def owned(columns: Iterable[str], owner: str, keys: Iterable[str]) -> list[str]:
    """Return the columns, of those there are, that hold attributes of these keys, of any type."""
    wanted = {column(owner, key, kind) for key in keys for kind in TYPES}
    return sorted(wanted.intersection(columns))


def attribute(columns: Iterable[str], names: Sequence[str], owner: str = "attr") -> pl.Expr:
    """Return the first of `names` that a span has, as a string; null when none.

    columns: what the frame has. Looks at every type of each name, newest name first.
    """
    present = set(columns)
    found = [
        pl.col(column(owner, name, kind)).cast(pl.String)
        for name in names
        for kind in TYPES
        if column(owner, name, kind) in present
    ]
    return pl.coalesce(found) if found else pl.lit(None, pl.String)


def whole(columns: Iterable[str], names: Sequence[str], owner: str = "attr") -> pl.Expr:
    """Return the first of `names` that a span has, as Int64; null when none or not a number."""
    return attribute(columns, names, owner).cast(pl.Int64, strict=False)
