"""Jaeger's documents in kernels: traces of a JSON document become ExportTraceServiceRequest.

Owns how a document is told from its first bytes, and cut into traces. A trace
in which anything is not as Jaeger writes it is left to `translate.jaeger`, whose bytes
are the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracelens._kernels import kernel
from tracelens.wire._jaeger_tables import Room, Table, Written
from tracelens.wire._jaeger_trace import W_DATA, W_SPANS, put_followers, put_trace, trace
from tracelens.wire._json import (
    BACKSLASH,
    BAD,
    CLOSE,
    CLOSE_LIST,
    COMMA,
    OPEN,
    OPEN_LIST,
    QUOTE,
    blank,
    following,
    is_unicode,
    literal,
    member,
    skip,
)
from tracelens.wire._memory import ZERO, Word, address, backslashes, bits_set, byte, closings, openings, quotes, word
from tracelens.wire._put import ROOM, low_word
from tracelens.wire._scan import Bytes
from tracelens.wire._views import MASKS

MARK = literal("\ufeff")  # of byte order
MOST_LEFT = 1_000  # traces of a document; one with more is left as a whole
IN_DATA, IN_LIST, ALONE, PART = range(4)  # how traces stand in a document

# What `write` counts from call to call, by index.
DOCUMENT, USED, FOLLOWED, TRACES, LEFT, OUTCOME, COUNTED = range(7)
DONE, IN_PART, AS_WHOLE = range(3)  # outcome: all are written; of the last one some traces, or all of it, are left


@kernel
def head(at: int) -> tuple[int, int]:
    """Return (position, form) of the first trace of a document.

    IN_DATA and IN_LIST: behind the bracket; ALONE: the document is the trace. BAD when it is nothing of it.
    """
    if word(at) & MASKS[3] == MARK:
        at += 3
    start = at = blank(at)
    if byte(at) == OPEN_LIST:
        return blank(at + 1), IN_LIST
    if byte(at) != OPEN:
        return BAD, 0
    at = blank(at + 1)
    more = True
    while more:
        at, key, size = member(at)
        if at < 0:
            return BAD, 0
        what = low_word(key, size)
        if size == 4 and what == W_DATA:
            return (blank(at + 1) if byte(at) == OPEN_LIST else BAD), IN_DATA
        if size == 5 and what == W_SPANS:
            return start, ALONE
        at = skip(at)
        if at < 0:
            return BAD, 0
        at, more = following(at, CLOSE)
        if at < 0:
            return BAD, 0
    return BAD, 0


@kernel
def is_end(at: int, stop: int, form: int) -> bool:
    """Whether a document ends soundly behind its traces."""
    if form == IN_DATA:
        at, more = following(at, CLOSE)
        while more:
            at, key, size = member(at)
            if at < 0 or (size == 4 and low_word(key, 4) == W_DATA):
                return False
            at = skip(at)
            if at < 0:
                return False
            at, more = following(at, CLOSE)
        if at < 0:
            return False
    return blank(at) == stop


@kernel
def write(
    source: Bytes,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    parts: bool,
    room: Room,
    out: Written,
    ends: NDArray[np.int64],
    followers: Written,
    left: Table,
    state: NDArray[np.int64],
    secret: Word,
) -> None:
    """Write the documents at [starts[i], stops[i]) from state[DOCUMENT] on, one behind another.

    A zero byte follows each, and PADDING the last. parts: they are not whole documents, but traces
    between the brackets of one. ends: receives where each ends in `out`. Stops behind a document of
    which traces are left: rows of `left` are where one stands, and where in `out` it is missing; and
    at one that is left as a whole.
    """
    base = address(source)
    begin = address(out)
    limit = begin + len(out) - ROOM
    names = address(followers)
    while state[DOCUMENT] < len(starts):
        i = state[DOCUMENT]
        state[LEFT] = 0
        state[OUTCOME] = AS_WHOLE
        stop = base + stops[i]
        to = begin + state[USED]
        follower = names + state[FOLLOWED]
        at, form = blank(base + starts[i]), PART
        if not parts:  # of which nothing stands before a mark of byte order, not even white space
            at, form = head(base + starts[i])
        if at < 0 or not is_unicode(base + starts[i], base + stops[i]):
            return
        more = True
        if form == IN_LIST and byte(at) == CLOSE_LIST:
            at += 1
            more = False
        while more:
            if byte(at) != OPEN:
                return
            behind, spans, count = trace(at, room)
            end = BAD
            if behind >= 0:
                state[TRACES] += 1
                stamp = 3 * state[TRACES]
                end = put_trace(to, limit, room, spans, count, stamp, secret)
            if end >= 0:
                to = end
                follower = put_followers(follower, names + len(followers), room, spans)
                if follower < 0:
                    return
            else:
                behind = skip(at)
                if behind < 0 or state[LEFT] == len(left) or form == ALONE:
                    return
                left[state[LEFT], 0] = at - base
                left[state[LEFT], 1] = behind - base
                left[state[LEFT], 2] = to - begin
                state[LEFT] += 1
            if form == ALONE:
                at = behind
                break
            if form == PART and blank(behind) == stop:
                at = stop
                break
            at, more = following(behind, CLOSE_LIST)
            if at < 0 or (form == PART and not more):
                return
        if not is_end(at, stop, form):
            return
        state[USED] = to - begin
        state[FOLLOWED] = follower - names
        state[DOCUMENT] += 1
        ends[i] = state[USED]
        if state[LEFT]:
            state[OUTCOME] = IN_PART
            return
    state[OUTCOME] = DONE


@kernel
def cut(source: Bytes, at: int, stop: int, least: int) -> tuple[int, int]:
    """Return (where some traces end, where the next begin) of traces between brackets from `at` on.

    They are `least` bytes or more. The next begin at BAD where the bracket closes, and the first is BAD
    where none does. Only brackets and quotes are looked at: `write` finds all else.
    """
    base = address(source)
    depth = 0
    i = at
    in_text = False
    enough = at + least
    while i < stop:
        # 64 bytes at once, where no text is escaped and no trace can end
        while i + 64 <= stop and backslashes(base + i) == ZERO:
            text = quotes(base + i)
            shift = np.uint64(1)
            while shift < np.uint64(64):  # a bit is set behind an odd number of quotes
                text ^= text << shift
                shift <<= np.uint64(1)
            if in_text:
                text = ~text
            closed = bits_set(closings(base + i) & ~text)
            if closed >= depth:
                break
            depth += bits_set(openings(base + i) & ~text) - closed
            in_text = text >> np.uint64(63) != ZERO
            i += 64
        end = min(i + 64, stop)
        while i < end:
            found = byte(base + i)
            i += 1
            if in_text:
                if found == BACKSLASH:
                    i += 1
                elif found == QUOTE:
                    in_text = False
            elif found == QUOTE:
                in_text = True
            elif found in (OPEN, OPEN_LIST):
                depth += 1
            elif found in (CLOSE, CLOSE_LIST):
                if depth == 0:
                    return i - 1, BAD
                depth -= 1
            elif found == COMMA and depth == 0 and i > enough:
                return i - 1, i
    return BAD, BAD
