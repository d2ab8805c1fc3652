"""The verb `compare`: what differs between two sides, and whether a check on it fails."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracelens.cli.options import Asked, Format, RouteOption, Switch, asks
from tracelens.cli.verbs import EMPTY
from tracelens.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracelens.lens import Comparison, Lens, Question, Route
    from tracelens.lens.regressions import Regression

FAILED = 1  # exit status: a check failed
APART = "--window-a and --window-b, or --where-a and --where-b"

SideArgument = Annotated[str, typer.Argument(metavar="A", help="What was before: a store, data directory or dump.")]
OtherArgument = Annotated[
    str | None, typer.Argument(metavar="B", help=f"What is after; without it A has both sides, told apart by {APART}.")
]
WindowOption = typer.Option(
    metavar="START..END", help="Calls of this side that start then (RFC 3339); either end open."
)
SideWhereOption = typer.Option(help="Filter of this side, as --where, which is for both.")


@asks(
    "tracelens compare before.jsonl.gz after.jsonl.gz --fail-on-regression 'p99>10% & significant'",
    without=frozenset({"limit"}),
    source=SideArgument,
)
def compare(
    asked: Asked,
    other: OtherArgument = None,
    window_a: Annotated[str | None, WindowOption] = None,
    window_b: Annotated[str | None, WindowOption] = None,
    where_a: Annotated[list[str] | None, SideWhereOption] = None,
    where_b: Annotated[list[str] | None, SideWhereOption] = None,
    route: RouteOption = None,
    junit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write JUnit XML too: a test case a route, a failure a regression."),
    ] = None,
    fail_on_regression: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXPRESSION",
            help="Exit 1 when true of a route, as 'p99>10% & significant': p50, p90, p99, mean, errors; > < with % or "
            "20ms (errors: points); significant; & | ( ). Any of several.",
        ),
    ] = None,
    most: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many routes.")] = None,
) -> None:
    """What differs between two sides, route by route, whether chance explains it, and where the time is."""
    from tracelens.lens import regressions

    rules = [regressions.parse(text) for text in fail_on_regression or ()]
    if other in (None, asked.source) and not ((window_a and window_b) or (where_a and where_b)):
        raise UsageError(f"A and B are the same. Give another B, or tell the two sides apart: {APART}.")
    lens = asked.lens()
    second = lens if other in (None, asked.source) else asked.lens(other)
    question = _question(asked, lens, window_a, where_a)
    against = _question(asked, second, window_b, where_b)
    found = lens.compare(
        question,
        second,
        against,
        route=None if route is None else _named(route, (lens, question), (second, against)),
        walk=asked.walk,
        skew=asked.skew is Switch.ON,
    )
    wrong = regressions.regressions(found.rows, rules or [regressions.ANY_RISE])
    if junit is not None:
        _write_junit(junit, found, wrong, f"{asked.source} {other or asked.source}")
    with ExitStack() as told:
        for info in (found.a,) if second is lens else (found.a, found.b):
            told.enter_context(asked.losses(info))
        _write(_limited(found, most), asked.output)
        if rules and wrong:
            _tell(wrong)
            raise typer.Exit(FAILED)


def _question(asked: Asked, lens: Lens, window: str | None, where: Sequence[str] | None) -> Question:
    """Return the question of one side: its own window, or else the one of both; the filters of both and its own."""
    from tracelens.cli.values import moment

    one = replace(asked, where=[*(asked.where or ()), *(where or ())])
    if window is None:
        return one.question(lens)
    if asked.since or asked.start or asked.end:
        raise UsageError("--window-a and --window-b stand for --since, --start and --end. Give either.")
    start, dots, end = window.partition("..")
    if not dots or not (start or end):
        raise UsageError(f"{window!r} is no window. Write START..END: 2026-01-31T13:00:00Z..2026-01-31T14:00:00Z.")
    return replace(
        one.question(lens), start_nano=moment(start) if start else None, end_nano=moment(end) if end else None
    )


def _named(route: str, *sides: tuple[Lens, Question]) -> Route:
    import polars as pl

    from tracelens.cli.values import route_named

    return route_named(pl.concat([lens.routes(question).rows for lens, question in sides]), route)


def _limited(found: Comparison, limit: int | None) -> Comparison:
    """Return a comparison of the first so many routes."""
    from tracelens.lens.compare import KEY

    if limit is None:
        return found
    kept = found.rows.select(KEY).unique(maintain_order=True).head(limit)
    rows = found.rows.join(kept, on=KEY, how="semi", nulls_equal=True, maintain_order="left")
    return replace(found, rows=rows)


def _write(found: Comparison, output: Format) -> None:
    from tracelens.report import compare as report
    from tracelens.report import document

    if output is Format.TEXT:
        report.text(found, sys.stdout, empty=EMPTY)
    elif output is Format.JSON:
        sys.stdout.write(report.json(found))
    else:
        sys.stdout.write(document.TABLES[output.value](report.keyed(found.rows)))


def _write_junit(file: Path, found: Comparison, wrong: Sequence[Regression], name: str) -> None:
    from tracelens.report.junit import junit

    try:
        file.write_bytes(junit(found, wrong, name))
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}. Give --junit another FILE.") from error


def _tell(wrong: Sequence[Regression]) -> None:
    """Say on stderr which routes regressed, and by which expression."""
    from tracelens.report.compare import name_of, sentence

    for one in wrong:
        said = "; ".join(sentence(row) for row in one.rows)
        sys.stderr.write(f"tracelens: regression: {name_of(one.rows[0])}: {said} ({one.rule})\n")
