"""Profiles as stacks, for the viewers that others have made: folded, speedscope, pprof.

Owns the three formats. A stack is a call path, entry first; its weight is the
time on critical paths of its last frame itself, in integer nanoseconds, so that
the weights of a band add up to its calls' durations. A frame is `service
operation`, with the layer behind it where that is not the app.

    folded      a line a stack, frames joined by `;`, a blank, the weight; with several bands
                the band is the first frame
                (https://www.brendangregg.com/FlameGraphs/cpuflamegraphs.html)
    speedscope  a sampled profile a band (https://www.speedscope.app/file-format-schema.json)
    pprof       a gzipped profile.proto; labels `band` and `route` tell bands and entries apart
                (https://github.com/google/pprof/blob/main/proto/profile.proto)
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
import polars as pl

from tracelens.lens import Answer
from tracelens.wire._encode import message, number, utf8, varint

# What would end a frame or a line of folded stacks: written as in an address, `%3B`.
BREAKS = re.compile(r"[;\x00-\x1f\x7f-\x9f\u2028\u2029]")
SCHEMA = "https://www.speedscope.app/file-format-schema.json"
APP = "app"

# Fields of profile.proto, by message.
SAMPLE_TYPE, SAMPLE, LOCATION, FUNCTION, STRINGS, TIME, LASTED, DEFAULT_TYPE = 1, 2, 4, 5, 6, 9, 10, 14
LOCATIONS, VALUES, LABEL = 1, 2, 3  # of a Sample
LINE = 4  # of a Location


@dataclass(frozen=True, slots=True)
class Stack:
    """One call path in one band."""

    band: str
    frames: tuple[str, ...]  # entry first
    nano: int  # of the last frame itself, on critical paths
    calls: int  # in which that is not nothing


def stacks(profile: pl.DataFrame) -> list[Stack]:
    """Return the stacks of PROFILE rows that have time of their own, by band as it comes, then by frames."""
    found: list[Stack] = []
    for band in profile["band"].unique(maintain_order=True):
        rows = {(row["route"], row["node"]): row for row in profile.filter(band=band).iter_rows(named=True)}
        of_band = [
            Stack(band, _frames(row, rows), row["exclusive_nano"], row["traces"])
            for row in rows.values()
            if row["exclusive_nano"] > 0
        ]
        found += sorted(of_band, key=lambda stack: (stack.frames, -stack.nano))
    return found


def folded(found: Answer) -> bytes:
    """Return folded stacks."""
    several = found.rows["band"].n_unique() > 1
    lines = []
    for stack in stacks(found.rows):
        frames = ((f"band {stack.band} %",) if several else ()) + stack.frames
        lines.append(f"{';'.join(map(_unbroken, frames))} {stack.nano}\n")
    return utf8("".join(lines))


def speedscope(found: Answer) -> bytes:
    """Return a speedscope file."""
    index: dict[str, int] = {}
    profiles: dict[str, dict[str, Any]] = {}
    for stack in stacks(found.rows):
        empty = {"type": "sampled", "name": f"band {stack.band} %", "unit": "nanoseconds"}
        one = profiles.setdefault(stack.band, empty | {"startValue": 0, "endValue": 0, "samples": [], "weights": []})
        one["samples"].append([index.setdefault(frame, len(index)) for frame in stack.frames])
        one["weights"].append(stack.nano)
        one["endValue"] += stack.nano
    whole = {
        "$schema": SCHEMA,
        "exporter": "tracelens",
        "name": "critical path",
        "shared": {"frames": [{"name": frame} for frame in index]},
        "profiles": list(profiles.values()),
    }
    return orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE)


def pprof(found: Answer) -> bytes:
    """Return a gzipped profile.proto; the same bytes for the same answer."""
    strings: dict[str, int] = {"": 0}

    def text(value: str) -> int:
        return strings.setdefault(value, len(strings))

    frames: dict[str, int] = {}
    body = bytearray()
    for kind, unit in (("wall", "nanoseconds"), ("calls", "count")):
        body += message(SAMPLE_TYPE, number(1, text(kind)) + number(2, text(unit)))
    for stack in stacks(found.rows):
        numbers = [frames.setdefault(frame, len(frames) + 1) for frame in stack.frames]
        labels = (("band", stack.band), ("route", stack.frames[0]))
        body += message(
            SAMPLE,
            message(LOCATIONS, b"".join(map(varint, reversed(numbers))))  # the last frame first
            + message(VALUES, varint(stack.nano) + varint(stack.calls))
            + b"".join(message(LABEL, number(1, text(key)) + number(2, text(value))) for key, value in labels),
        )
    for frame, one in frames.items():
        body += message(LOCATION, number(1, one) + message(LINE, number(1, one)))
        body += message(FUNCTION, number(1, one) + number(2, text(frame)) + number(3, text(frame)))
    for value in strings:
        body += message(STRINGS, utf8(value))
    first, last = found.source.start_unix_nano, found.source.end_unix_nano
    if first is not None and last is not None:
        body += number(TIME, first) + number(LASTED, last - first)
    body += number(DEFAULT_TYPE, strings["wall"])
    return gzip.compress(bytes(body), mtime=0)


RENDERERS = {"folded": folded, "speedscope": speedscope, "pprof": pprof}


def _frames(row: dict[str, Any], rows: dict[tuple[str | None, int], dict[str, Any]]) -> tuple[str, ...]:
    """Return a node's frames; above nodes that --limit cut away, layers are not known."""
    frames: list[str] = []
    above: dict[str, Any] | None = row
    for label in reversed(row["path"]):
        layer = above["layer"] if above else APP
        frames.append(label if layer == APP else f"{label} [{layer.replace('_', ' ')}]")
        above = rows.get((row["route"], above["parent"])) if above and above["parent"] is not None else None
    return tuple(reversed(frames))


def _unbroken(frame: str) -> str:
    return BREAKS.sub(lambda broken: quote(broken[0], safe=""), frame)
