"""The verb `critical-path`: where the latency of many traces goes."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tracelens.cli.options import Asked, Format, RouteOption, Switch, asks
from tracelens.cli.verbs import EMPTY
from tracelens.errors import UsageError


class PathFormat(StrEnum):
    """How a profile is written: as any answer, or as stacks."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    FOLDED = "folded"
    SPEEDSCOPE = "speedscope"
    PPROF = "pprof"


STACKS = frozenset({PathFormat.FOLDED, PathFormat.SPEEDSCOPE, PathFormat.PPROF})


@asks(
    "tracelens critical-path tracelens-data --route 'GET /cart/{id}' --band 99-100",
    "critical-path",
    without=frozenset({"output"}),
)
def critical_path(
    asked: Asked,
    route: RouteOption = None,
    band: Annotated[str, typer.Option(help="Bands of latency in percent, as 0-50,90-99,99-100.")] = "0-100",
    sections: Annotated[bool, typer.Option("--sections", help="One row a section instead of sums.")] = False,
    percentiles: Annotated[
        bool, typer.Option("--percentiles", help="p50, p90, p99 of what each node takes in a call; they do not add up.")
    ] = False,
    written: Annotated[
        PathFormat, typer.Option("--format", help="How the answer is written; the last three for viewers of stacks.")
    ] = PathFormat.TEXT,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the answer there, not to stdout.")
    ] = None,
) -> None:
    """Where the latency of many traces goes, summed along their critical paths."""
    if sections and percentiles:
        raise UsageError("--sections and --percentiles are two answers. Give one of them.")
    if (sections or percentiles) and written in STACKS:
        told = "--sections" if sections else "--percentiles"
        raise UsageError(f"{told} are no stacks. Leave them out, or give another --format than {written}.")
    if written is PathFormat.PPROF and file is None and sys.stdout.isatty():
        raise UsageError("pprof is binary, and stdout a terminal. Give -o FILE, then run: go tool pprof -http=: FILE")
    from tracelens.cli.values import bands, route_named
    from tracelens.report import document, text
    from tracelens.report.stacks import RENDERERS

    lens = asked.lens()
    question = asked.question(lens)
    walk, on = asked.walk, asked.skew is Switch.ON
    key = None if route is None else route_named(lens.routes(question).rows, route)
    if written not in STACKS:
        asked = replace(asked, output=Format(written.value))
    with _into(file):
        if sections:
            found = lens.sections(question, key, walk=walk, skew=on)
            asked.write(found, text.SECTIONS, empty=EMPTY, keep=document.SECTIONS)
            return
        if percentiles:
            told_of = lens.shares(question, key, walk=walk, skew=on)
            asked.write(told_of, text.SHARES, empty=EMPTY, keep=document.SHARES)
            return
        found = lens.profile(question, key, bands(band), walk=walk, skew=on)
        if written in STACKS:
            with asked.losses(found.source):
                sys.stdout.buffer.write(RENDERERS[written.value](asked.limited(found)))
        elif written is PathFormat.TEXT:
            with asked.losses(found.source):
                text.profile(asked.limited(found), sys.stdout, empty=EMPTY)
        else:
            asked.write(found, text.PROFILE, empty="", keep=document.PROFILE)


@contextmanager
def _into(file: Path | None) -> Iterator[None]:
    """Write what goes to stdout into a file instead, all of it at the end or nothing. Raises UsageError."""
    if file is None:
        yield
        return
    answer = io.BytesIO()
    partly: typer.Exit | None = None
    with redirect_stdout(io.TextIOWrapper(answer, encoding="utf-8", write_through=True)):
        try:
            yield
        except typer.Exit as status:  # answered, with losses
            partly = status
        held = answer.getvalue()
    try:
        file.write_bytes(held)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}. Give -o another FILE.") from error
    if partly:
        raise partly
