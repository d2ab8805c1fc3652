"""The verbs that care for a store: `store verify`.

Owns their options; what they look at is in `verify`.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

app = typer.Typer(help="Care for a store.", no_args_is_help=True, rich_markup_mode=None)
StoreArgument = Annotated[str, typer.Argument(metavar="DIR", help="A store, or a collector's data directory.")]


@app.callback(epilog="Example: tracelens store verify tracelens-data")
def store() -> None:
    """Care for a store."""


@app.command(epilog="Example: tracelens store verify tracelens-data")
def verify(directory: StoreArgument) -> None:
    """Check that store and log hold what they say; exit 1 when they do not."""
    from tracelens.verify import verify as look

    wrong = 0
    for check in look(directory):
        wrong += check.wrong
        sys.stdout.write(f"{'WRONG' if check.wrong else 'ok':<6} {check.what}: {check.found}\n")
    if wrong:
        sys.stderr.write(f"tracelens: {wrong} of these are wrong\n")
        raise typer.Exit(1)
