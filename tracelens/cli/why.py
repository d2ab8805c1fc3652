"""The verbs `explain` and `what-if`: why slow calls are slow, and what a fix would win."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from tracelens.cli.options import Asked, Format, RouteOption, Switch, asks
from tracelens.cli.verbs import EMPTY
from tracelens.errors import UsageError

if TYPE_CHECKING:
    from tracelens.lens import Change, Lens, Question, Route

SELECTED = re.compile(r"(?:^|,)(service|operation|layer)=")
MATCHES = "'service=S', 'operation=O', 'layer=L' or several of them with commas"


@asks("tracelens explain tracelens-data --route 'POST /checkout' --since 1h", without=frozenset({"limit"}))
def explain(
    asked: Asked,
    route: RouteOption = None,
    typical: Annotated[str, typer.Option(help="The band that slow calls are compared with, in percent.")] = "0-50",
    slow: Annotated[
        str | None, typer.Option(help="The slow band; 99-100 unless told, or more where that is below 30 calls.")
    ] = None,
) -> None:
    """Why the slow calls of a route are slow: where the time goes, and which attribute values they share."""
    from tracelens.cli.values import bands
    from tracelens.report import document, why

    lens = asked.lens()
    question = asked.question(lens)
    found = lens.explain(
        question,
        _route(lens, question, route),
        typical=bands(typical)[0],
        slow=bands(slow)[0] if slow else None,
        walk=asked.walk,
        skew=asked.skew is Switch.ON,
    )
    with asked.losses(found.source):
        if asked.output is Format.TEXT:
            why.explanation(found, sys.stdout)
        elif asked.output is Format.JSON:
            sys.stdout.write(why.explanation_json(found))
        else:
            sys.stdout.write(document.TABLES[asked.output.value](found.rows.select(why.EXPLAIN)))


@asks(
    "tracelens what-if tracelens-data --route 'POST /checkout' --scale layer=sidecar:0", "what-if", without=frozenset()
)
def what_if(
    asked: Asked,
    route: RouteOption = None,
    scale: Annotated[
        list[str] | None, typer.Option(help=f"Own time of what matches, times: MATCH:0.5; MATCH is {MATCHES}.")
    ] = None,
    shift: Annotated[list[str] | None, typer.Option(help="Own time of each such span, plus: MATCH:-5ms.")] = None,
    limit_to: Annotated[
        list[str] | None, typer.Option("--cap", help="No such span takes longer (a timeout): MATCH:200ms.")
    ] = None,
    parallel: Annotated[
        list[str] | None, typer.Option(help="What such spans call, they call side by side: MATCH.")
    ] = None,
    cache: Annotated[
        list[str] | None, typer.Option(help="This share of such calls is not made (a cache): MATCH:0.8.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the calls that --cache leaves out.")] = 0,
    fixes: Annotated[
        float | None, typer.Option(min=0, max=1, help="Instead: what each single fix wins, own time times this.")
    ] = None,
) -> None:
    """What percentiles would be if something took less: projected beside measured; alone, the best single fixes."""
    from tracelens.report import text, why

    lens = asked.lens()
    question = asked.question(lens)
    key = _route(lens, question, route)
    changes = [
        *_changes("--scale", scale),
        *_changes("--shift", shift),
        *_changes("--cap", limit_to),
        *_changes("--parallel", parallel),
        *_changes("--cache", cache),
    ]
    if changes and fixes is not None:
        raise UsageError("--fixes looks at each fix by itself. Leave it out, or the changes.")
    walk, on = asked.walk, asked.skew is Switch.ON
    if changes:
        found = lens.what_if(question, key, changes, seed=seed, walk=walk, skew=on)
    else:
        found = lens.fixes(question, key, 0.5 if fixes is None else fixes, walk=walk, skew=on)
    if asked.output is not Format.TEXT:
        asked.write(found, text.ROUTES, empty="")
        return
    with asked.losses(found.source):
        if changes:
            why.projected(asked.limited(found), sys.stdout, empty=EMPTY)
        else:
            why.fixes(asked.limited(found), sys.stdout, 0.5 if fixes is None else fixes, empty=EMPTY)


def _route(lens: Lens, question: Question, name: str | None) -> Route | None:
    from tracelens.cli.values import route_named

    return None if name is None else route_named(lens.routes(question).rows, name)


def _changes(option: str, texts: list[str] | None) -> list[Change]:
    """Return what an option asks for. Raises UsageError for what cannot be read."""
    from tracelens.units import nanoseconds

    found = []
    for text in texts or ():
        match, amount = (text, "") if option == "--parallel" else _split(option, text)
        selected = _selected(option, match)
        if option == "--scale":
            found.append(replace(selected, scale=_number(option, amount)))
        elif option == "--shift":
            sign = -1 if amount.startswith("-") else 1
            found.append(replace(selected, shift_nano=sign * nanoseconds(amount.lstrip("+-"))))
        elif option == "--cap":
            found.append(replace(selected, most_nano=nanoseconds(amount)))
        elif option == "--cache":
            found.append(replace(selected, hits=_number(option, amount)))
        else:
            found.append(replace(selected, beside=True))
    return found


def _split(option: str, text: str) -> tuple[str, str]:
    match, colon, amount = text.rpartition(":")
    if not colon:
        raise UsageError(f"{option} {text!r} names no amount. Write {option} service=cart:AMOUNT.")
    return match, amount


def _selected(option: str, text: str) -> Change:
    """Return a change of nothing to what `service=cart,layer=app` matches; values may hold commas and equal signs."""
    from tracelens.lens import Change

    places = list(SELECTED.finditer(text))
    if not places or places[0].start() != 0:
        raise UsageError(f"{option} {text!r} does not say of what. Write {MATCHES}.")
    ends = [place.start() for place in places[1:]] + [len(text)]
    told = {place[1]: text[place.end() : end] for place, end in zip(places, ends, strict=True)}
    return Change(service=told.get("service"), operation=told.get("operation"), layer=told.get("layer"))


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is no number. Write 0.5 for half.") from None
