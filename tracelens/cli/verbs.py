"""The verbs that read: one function a question."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tracelens.cli.options import LARGE, WALK, WINDOW, Asked, Format, InputOption, StrictOption, Switch, app, asks
from tracelens.errors import PARTLY_UNREADABLE

EMPTY = "no calls in this window."


@asks("tracelens routes samples/dumps/shop.otlp.jsonl.gz --where 'service=frontend'", without=WALK)
def routes(
    asked: Asked,
    explain_names: Annotated[
        bool, typer.Option("--explain-names", help="Which rule named each route, of what.")
    ] = False,
) -> None:
    """Per route: calls, errors, mean, p50, p90, p99, max."""
    lens = asked.lens()
    question = asked.question(lens)
    from tracelens.report import text

    if explain_names:
        asked.write(lens.route_names(question), text.ROUTE_NAMES, empty=EMPTY)
    else:
        asked.write(lens.routes(question), text.ROUTES, empty=EMPTY)


@asks("tracelens trace tracelens-data 4bf92f3577b34da6a3ce929d0e0e4736", without=WINDOW | LARGE)
def trace(
    asked: Asked, trace_id: Annotated[str, typer.Argument(metavar="ID", help="The trace id, hexadecimal.")]
) -> None:
    """One trace: its tree, its critical path, and what had to be repaired."""
    from tracelens.report import document, text

    found = asked.lens().trace(trace_id, walk=asked.walk, skew=asked.skew is Switch.ON)
    if asked.output is Format.TEXT:
        text.trace(found, sys.stdout)
    elif asked.output is Format.JSON:
        sys.stdout.write(document.trace(found))
    else:
        sys.stdout.write(document.TABLES[asked.output.value](found.rows))


@asks("tracelens traces tracelens-data --where 'duration>1s' --slowest 10")
def traces(
    asked: Asked,
    slowest: Annotated[int | None, typer.Option(min=1, help="The N slowest instead of the newest.")] = None,
) -> None:
    """Search for traces."""
    lens = asked.lens()
    found = lens.traces(asked.question(lens), slowest, asked.limit or 100)
    from tracelens.report import text

    asked.write(found, text.TRACES, empty="no trace matches.")


@asks("tracelens hops tracelens-data --where 'service=cart'", without=WALK)
def hops(asked: Asked) -> None:
    """Per caller, callee and route: the time of client, proxies, network and app."""
    lens = asked.lens()
    answer = lens.hops(asked.question(lens))
    from tracelens.report import text

    asked.write(answer, text.HOPS, empty=EMPTY)


@asks("tracelens edges samples/dumps/shop.otlp.jsonl.gz --gateways off", without=WALK)
def edges(
    asked: Asked,
    gateways: Annotated[
        Switch, typer.Option(help="Show gateways and waypoints, or join callers and callees on their two sides.")
    ] = Switch.ON,
) -> None:
    """Who calls whom: calls, errors, p50, p90, p99 as the caller waited."""
    lens = asked.lens()
    answer = lens.edges(asked.question(lens), gateways=gateways is Switch.ON)
    from tracelens.report import text

    asked.write(answer, text.EDGES, empty=EMPTY)


@asks("tracelens findings samples/dumps/shop.otlp.jsonl.gz --where service=cart", without=WALK)
def findings(asked: Asked) -> None:
    """What is wrong in known ways, what it costs and how much of that is on critical paths."""
    lens = asked.lens()
    answer = lens.findings(asked.question(lens))
    from tracelens.report import text

    asked.write(answer, text.FINDINGS, empty="nothing found in this window.")


@app.command(name="import", epilog="Example: tracelens import spans.jsonl.gz --store tracelens-data/store")
def import_dump(
    dump: Annotated[str, typer.Argument(metavar="DUMP", help="A dump: file, folder, glob, or - for stdin.")],
    store: Annotated[
        str, typer.Option(help="Store: a folder, or a URL as s3://BUCKET/PREFIX; made when it is not there.")
    ],
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


@app.command(epilog="Example: tracelens version --verbose")
def version(
    verbose: Annotated[bool, typer.Option("--verbose", help="Of everything that matters in a report.")] = False,
) -> None:
    """Print the version."""
    from tracelens.cli.values import versions

    sys.stdout.write(versions(verbose=verbose))
