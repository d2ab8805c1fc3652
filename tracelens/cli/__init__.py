"""The command line: parse, ask, render; the one place that catches errors.

One verb a question. Progress goes to stderr, the answer to stdout. Heavy
imports stand inside the verbs, so that --help answers at once.
"""

from __future__ import annotations

import sys

from tracelens.cli import compare, critical_path, run, store, verbs, why
from tracelens.cli.options import app
from tracelens.errors import INTERRUPTED, TracelensError

__all__ = ["app", "compare", "critical_path", "main", "verbs", "why"]

app.add_typer(store.app, name="store")
for function, example in run.VERBS.items():
    app.command(epilog=f"Example: {example}")(function)


def main() -> None:
    """Run the command line and end the process with its exit status."""
    try:
        app()
    except TracelensError as error:
        sys.stderr.write(f"tracelens: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
