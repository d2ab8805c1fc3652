"""OTLP rows: the arrays that hold what spans, resources and scopes say.

Owns their shape and their codes. Filling them is left to `_read`, making
columns of attributes to `_columns`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracelens.wire._views import Views

OF_SPAN, OF_RESOURCE, OF_SCOPE = range(3)  # whose attribute: an index into spans.OWNERS
STRING, INT, DOUBLE, BOOL, JSON = range(5)  # of what type: an index into spans.TYPES
BAD_TEXT = 5  # a string that is not UTF-8, until it is repaired
GONE = -1  # another value of the same key came after it

DUPLICATE_KEY, BAD_UTF8 = 1 << 6, 1 << 2  # bits of Rows.marks, as in spans.MARK
# Bits of Rows.slow: what of a span is left to Python.
BAD_NAME, BAD_STATE, BAD_MESSAGE, HAS_EVENTS, HAS_LINKS = 1, 2, 4, 8, 16
BAD_VERSION = 2  # bit of Rows.scope_slow, beside BAD_NAME

RAW, TEXT = range(2)  # data buffers of a view: the request, and text made by repairs


class Rows(NamedTuple):
    """What is read of each span, resource and scope; text as views of the request.

    One row more than there are spans: a span is refused only when all of it is read.
    """

    ids: NDArray[np.uint8]  # 16 bytes a span, beside each other
    trace_id: Views  # points into ids
    span_id: Views
    parent: Views
    trace_state: Views
    name: Views
    message: Views
    kind: NDArray[np.int32]
    status: NDArray[np.int32]
    start: NDArray[np.uint64]
    end: NDArray[np.uint64]
    flags: NDArray[np.int64]
    dropped: NDArray[np.int64]  # by what (attributes, events, links) and span
    at: NDArray[np.int32]  # where the span stands
    length: NDArray[np.int32]
    slow: NDArray[np.uint8]
    resource: NDArray[np.int32]  # row of the span's resource
    scope: NDArray[np.int32]
    scope_name: Views
    scope_version: Views
    scope_slow: NDArray[np.uint8]
    marks: NDArray[np.int32]  # by owner and row


class Attributes(NamedTuple):
    """All attributes, in the order of the wire. A key is an index into Keys."""

    key: NDArray[np.int32]
    row: NDArray[np.int32]  # of its owner
    kind: NDArray[np.int8]
    at: NDArray[np.int64]  # of the value; of the whole KeyValue when JSON; -1 - n: byte n of the made text
    length: NDArray[np.int32]


class Keys(NamedTuple):
    """Distinct (owner, key) pairs, and the hash table that finds them."""

    slots: NDArray[np.int32]  # key + 1; 0 is free. A power of two, at least twice the keys
    owner: NDArray[np.int8]
    at: NDArray[np.int32]
    length: NDArray[np.int32]
    bad: NDArray[np.bool_]  # not UTF-8
    last: NDArray[np.int64]  # the attribute that had it last
    holder: NDArray[np.int64]  # and whose that was


def rows(spans: int) -> Rows:
    """Return room for that many spans. What no span touches stays unclaimed memory."""
    n = spans + 1
    return Rows(
        ids=np.empty(16 * n, np.uint8),
        trace_id=np.empty(2 * n, np.uint64),
        span_id=np.empty(2 * n, np.uint64),
        parent=np.empty(2 * n, np.uint64),
        trace_state=np.empty(2 * n, np.uint64),
        name=np.empty(2 * n, np.uint64),
        message=np.empty(2 * n, np.uint64),
        kind=np.empty(n, np.int32),
        status=np.empty(n, np.int32),
        start=np.empty(n, np.uint64),
        end=np.empty(n, np.uint64),
        flags=np.empty(n, np.int64),
        dropped=np.empty((3, n), np.int64),
        at=np.empty(n, np.int32),
        length=np.empty(n, np.int32),
        slow=np.empty(n, np.uint8),
        resource=np.empty(n, np.int32),
        scope=np.empty(n, np.int32),
        scope_name=np.empty(2 * n, np.uint64),
        scope_version=np.empty(2 * n, np.uint64),
        scope_slow=np.empty(n, np.uint8),
        marks=np.empty((3, n), np.int32),
    )


def attributes(count: int) -> Attributes:
    """Return room for that many attributes."""
    n = count + 1
    return Attributes(
        key=np.empty(n, np.int32),
        row=np.empty(n, np.int32),
        kind=np.empty(n, np.int8),
        at=np.empty(n, np.int64),
        length=np.empty(n, np.int32),
    )


def keys(count: int) -> Keys:
    """Return room for that many distinct keys. What no key touches stays unclaimed memory."""
    n = count + 1
    return Keys(
        slots=np.zeros(1 << (2 * n).bit_length(), np.int32),
        owner=np.zeros(n, np.int8),
        at=np.zeros(n, np.int32),
        length=np.zeros(n, np.int32),
        bad=np.zeros(n, np.bool_),
        last=np.zeros(n, np.int64),
        holder=np.zeros(n, np.int64),
    )
