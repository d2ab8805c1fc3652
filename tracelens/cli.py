"""The command line: parse, ask, render; the one place that catches errors.

One verb a question. Progress goes to stderr, the answer to stdout. Heavy
imports stand inside the verbs, so that --help answers at once.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracelens import cli_run, cli_store
from tracelens.errors import INTERRUPTED, PARTLY_UNREADABLE, TracelensError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracelens.lens import Answer, Lens, Question, Route, SourceInfo, Walk
    from tracelens.report.text import Column

app = typer.Typer(
    name="tracelens",
    help="Why is p99 slow? Latency of service-mesh traces: routes, percentiles, critical paths.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(StrEnum):
    """How an answer is written."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class Switch(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A store or data directory; a dump: file, folder, glob, or - for stdin.")
]
FormatOption = Annotated[Format, typer.Option("--format", help="How the answer is written.")]
SinceOption = Annotated[
    str | None, typer.Option(help="The last stretch, as 15m or 1h: before now, in a dump before its end.")
]
StartOption = Annotated[str | None, typer.Option(help="Calls that start at this moment or later (RFC 3339).")]
EndOption = Annotated[str | None, typer.Option(help="Calls that start before this moment (RFC 3339).")]
WhereOption = Annotated[
    list[str] | None, typer.Option(help="Filter, as 'service=cart status=error duration>200ms attr.KEY~text'; ANDed.")
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="At most so many rows.")]
StrictOption = Annotated[bool, typer.Option(help="Any unreadable record ends the command (exit 3).")]
InputOption = Annotated[
    str | None, typer.Option("--input-format", help="otlp-json, otlp-proto, jaeger-json or zipkin-json; else it looks.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", envvar="TRACELENS_CONFIG", help="TOML: names of [routes], rates of [sampling]."),
]
RouteOption = Annotated[
    str | None, typer.Option(help="A route as `routes` prints it, with its service before it when two share the name.")
]
ToleranceOption = Annotated[str, typer.Option(help="Overlap of calls still in series: auto, 0, or as 50us.")]
SkewOption = Annotated[Switch, typer.Option(help="Move spans whose clock is off into their parents.")]
AsyncOption = Annotated[bool, typer.Option("--async", help="A child that outlives its parent is not waited for.")]


@app.command(epilog="Example: tracelens routes samples/dumps/shop.otlp.jsonl.gz --where 'service=frontend'")
def routes(
    source: SourceArgument,
    explain_names: Annotated[
        bool, typer.Option("--explain-names", help="Which rule named each route, of what.")
    ] = False,
    output: FormatOption = Format.TEXT,
    since: SinceOption = None,
    start: StartOption = None,
    end: EndOption = None,
    where: WhereOption = None,
    limit: LimitOption = None,
    strict: StrictOption = False,
    input_format: InputOption = None,
    config: ConfigOption = None,
) -> None:
    """Per route: calls, errors, mean, p50, p90, p99, max."""
    lens = _lens(source, input_format, config, strict=strict)
    question = _question(lens, since, start, end, where)
    from tracelens.report import text

    if explain_names:
        _write(lens.route_names(question), output, text.ROUTE_NAMES, limit, empty="no calls in this window.")
    else:
        _write(lens.routes(question), output, text.ROUTES, limit, empty="no calls in this window.")


@app.command(
    name="critical-path",
    epilog="Example: tracelens critical-path tracelens-data --route 'GET /cart/{id}' --band 99-100",
)
def critical_path(
    source: SourceArgument,
    route: RouteOption = None,
    band: Annotated[str, typer.Option(help="Bands of latency in percent, as 0-50,90-99,99-100.")] = "0-100",
    sections: Annotated[bool, typer.Option("--sections", help="One row a section instead of sums.")] = False,
    tolerance: ToleranceOption = "auto",
    skew: SkewOption = Switch.ON,
    asynchronous: AsyncOption = False,
    output: FormatOption = Format.TEXT,
    since: SinceOption = None,
    start: StartOption = None,
    end: EndOption = None,
    where: WhereOption = None,
    limit: LimitOption = None,
    strict: StrictOption = False,
    input_format: InputOption = None,
    config: ConfigOption = None,
) -> None:
    """Where the latency of many traces goes, summed along their critical paths."""
    from tracelens.cli_values import bands, route_named
    from tracelens.report import document, text

    lens = _lens(source, input_format, config, strict=strict)
    question = _question(lens, since, start, end, where)
    walk, on = _walk(tolerance, asynchronous=asynchronous), skew is Switch.ON
    key: Route | None = None if route is None else route_named(lens.routes(question).rows, route)
    if sections:
        found = lens.sections(question, key, walk=walk, skew=on)
        _write(found, output, text.SECTIONS, limit, empty="no calls in this window.", keep=document.SECTIONS)
        return
    found = lens.profile(question, key, bands(band), walk=walk, skew=on)
    if output is Format.TEXT:
        _losses(found.source)
        text.profile(_limited(found, limit), sys.stdout, empty="no calls in this window.")
        _leave(found.source)
    else:
        _write(found, output, text.PROFILE, limit, empty="", keep=document.PROFILE)


@app.command(epilog="Example: tracelens trace tracelens-data 4bf92f3577b34da6a3ce929d0e0e4736")
def trace(
    source: SourceArgument,
    trace_id: Annotated[str, typer.Argument(metavar="ID", help="The trace id, hexadecimal.")],
    output: FormatOption = Format.TEXT,
    tolerance: ToleranceOption = "auto",
    skew: SkewOption = Switch.ON,
    asynchronous: AsyncOption = False,
    strict: StrictOption = False,
    input_format: InputOption = None,
    config: ConfigOption = None,
) -> None:
    """One trace: its tree, its critical path, and what had to be repaired."""
    from tracelens.report import document, text

    lens = _lens(source, input_format, config, strict=strict)
    found = lens.trace(trace_id, walk=_walk(tolerance, asynchronous=asynchronous), skew=skew is Switch.ON)
    if output is Format.TEXT:
        text.trace(found, sys.stdout)
    elif output is Format.JSON:
        sys.stdout.write(document.trace(found))
    else:
        sys.stdout.write(document.TABLES[output.value](found.rows))


@app.command(epilog="Example: tracelens traces tracelens-data --where 'duration>1s' --slowest 10")
def traces(
    source: SourceArgument,
    slowest: Annotated[int | None, typer.Option(min=1, help="The N slowest instead of the newest.")] = None,
    output: FormatOption = Format.TEXT,
    since: SinceOption = None,
    start: StartOption = None,
    end: EndOption = None,
    where: WhereOption = None,
    limit: LimitOption = None,
    strict: StrictOption = False,
    input_format: InputOption = None,
    config: ConfigOption = None,
) -> None:
    """Search for traces."""
    lens = _lens(source, input_format, config, strict=strict)
    found = lens.traces(_question(lens, since, start, end, where), slowest, limit or 100)
    from tracelens.report import text

    _write(found, output, text.TRACES, limit, empty="no trace matches.")


@app.command(epilog="Example: tracelens hops tracelens-data --where 'service=cart'")
def hops(
    source: SourceArgument,
    output: FormatOption = Format.TEXT,
    since: SinceOption = None,
    start: StartOption = None,
    end: EndOption = None,
    where: WhereOption = None,
    limit: LimitOption = None,
    strict: StrictOption = False,
    input_format: InputOption = None,
    config: ConfigOption = None,
) -> None:
    """Per caller, callee and route: the time of client, proxies, network and app."""
    lens = _lens(source, input_format, config, strict=strict)
    answer = lens.hops(_question(lens, since, start, end, where))
    from tracelens.report import text

    _write(answer, output, text.HOPS, limit, empty="no calls in this window.")


@app.command(epilog="Example: tracelens edges samples/dumps/shop.otlp.jsonl.gz --gateways off")
def edges(
    source: SourceArgument,
    gateways: Annotated[
        Switch, typer.Option(help="Show gateways and waypoints, or join callers and callees on their two sides.")
    ] = Switch.ON,
    output: FormatOption = Format.TEXT,
    since: SinceOption = None,
    start: StartOption = None,
    end: EndOption = None,
    where: WhereOption = None,
    limit: LimitOption = None,
    strict: StrictOption = False,
    input_format: InputOption = None,
    config: ConfigOption = None,
) -> None:
    """Who calls whom: calls, errors, p50, p90, p99 as the caller waited."""
    lens = _lens(source, input_format, config, strict=strict)
    answer = lens.edges(_question(lens, since, start, end, where), gateways=gateways is Switch.ON)
    from tracelens.report import text

    _write(answer, output, text.EDGES, limit, empty="no calls in this window.")


@app.command(epilog="Example: tracelens findings samples/dumps/shop.otlp.jsonl.gz --where service=cart")
def findings(
    source: SourceArgument,
    output: FormatOption = Format.TEXT,
    since: SinceOption = None,
    start: StartOption = None,
    end: EndOption = None,
    where: WhereOption = None,
    limit: LimitOption = None,
    strict: StrictOption = False,
    input_format: InputOption = None,
    config: ConfigOption = None,
) -> None:
    """What is wrong in known ways: retries, N+1, serial calls, timeouts, heavy sidecars, broken propagation."""
    lens = _lens(source, input_format, config, strict=strict)
    answer = lens.findings(_question(lens, since, start, end, where))
    from tracelens.report import text

    _write(answer, output, text.FINDINGS, limit, empty="nothing found in this window.")


@app.command(name="import", epilog="Example: tracelens import spans.jsonl.gz --store tracelens-data/store")
def import_dump(
    dump: Annotated[str, typer.Argument(metavar="DUMP", help="A dump: file, folder, glob, or - for stdin.")],
    store: Annotated[str, typer.Option(help="Folder of the store; made when it is not there.")],
    input_format: InputOption = None,
    strict: StrictOption = False,
) -> None:
    """Put the spans of a dump into a store; the same dump twice is stored once."""
    from tracelens.importing import import_into

    done = import_into(dump, store, input_format=input_format, strict=strict)
    sys.stdout.write(done.sentence() + "\n")
    for loss in done.losses:
        sys.stderr.write(f"tracelens: lost: {loss}\n")
    if done.losses or done.rejected:
        raise typer.Exit(PARTLY_UNREADABLE)


app.add_typer(cli_store.app, name="store")
for verb, example in cli_run.VERBS.items():
    app.command(epilog=f"Example: {example}")(verb)


@app.command(epilog="Example: tracelens version --verbose")
def version(
    verbose: Annotated[bool, typer.Option("--verbose", help="Of everything that matters in a report.")] = False,
) -> None:
    """Print the version."""
    from tracelens.cli_values import versions

    sys.stdout.write(versions(verbose=verbose))


def _lens(source: str, input_format: str | None, config: Path | None, *, strict: bool) -> Lens:
    from tracelens.lens import Lens
    from tracelens.taught import Taught

    return Lens.open(source, input_format=input_format, strict=strict, taught=Taught.read(config))


def _question(lens: Lens, since: str | None, start: str | None, end: str | None, where: list[str] | None) -> Question:
    from tracelens.cli_values import window
    from tracelens.lens import Question

    first, last = window(lens, since, start, end)
    return Question(start_nano=first, end_nano=last, where=tuple(where or ()))


def _walk(tolerance: str, *, asynchronous: bool) -> Walk:
    from tracelens.cli_values import nanoseconds
    from tracelens.lens import Walk

    return Walk(tolerance="auto" if tolerance == "auto" else nanoseconds(tolerance), asynchronous=asynchronous)


def _limited(answer: Answer, limit: int | None) -> Answer:
    from dataclasses import replace

    return answer if limit is None else replace(answer, rows=answer.rows.head(limit))


def _write(
    answer: Answer,
    output: Format,
    columns: Sequence[Column],
    limit: int | None,
    *,
    empty: str,
    keep: tuple[str, ...] | None = None,
) -> None:
    """Write an answer to stdout and its losses to stderr; exit 4 when there were any."""
    from tracelens.report import document, text

    shown = _limited(answer, limit)
    _losses(answer.source)
    if output is Format.TEXT:
        text.answer(shown, columns, sys.stdout, empty=empty)
    elif output is Format.JSON:
        sys.stdout.write(document.json(shown, keep))
    else:
        sys.stdout.write(document.TABLES[output.value](shown.rows.select(keep) if keep else shown.rows))
    _leave(answer.source)


def _losses(info: SourceInfo) -> None:
    """Say on stderr what could not be read; with --strict reading has raised already."""
    for loss in info.losses:
        sys.stderr.write(f"tracelens: lost: {loss}\n")
    if info.rejected_spans:
        sys.stderr.write(f"tracelens: {info.rejected_spans} spans rejected: no usable trace id or span id\n")


def _leave(info: SourceInfo) -> None:
    if info.losses or info.rejected_spans:
        raise typer.Exit(PARTLY_UNREADABLE)


def main() -> None:
    """Run the command line and end the process with its exit status."""
    try:
        app()
    except TracelensError as error:
        sys.stderr.write(f"tracelens: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
