"""`python -m tests.prove [NAME …]`: the long proofs, one row a promise; ends with 1 when one is broken."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.prove.proofs import PROOFS
from tests.prove.rows import show


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(PROOFS)}; all when none is named")
    parser.add_argument("--times", type=int, help="instead of each proof's own number")
    options = parser.parse_args()
    if unknown := set(options.names) - set(PROOFS):
        parser.error(f"no such proof: {', '.join(sorted(unknown))}")
    console = Console(width=None if sys.stdout.isatty() else 200)
    rows = []
    for name in options.names or PROOFS:
        with tempfile.TemporaryDirectory(prefix="tracelens-prove-") as folder:
            found = PROOFS[name].run(Path(folder), options.times)
        for row in found:
            console.print(f"{name}: {row}", soft_wrap=True)
        rows += found
    show(rows, console)
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
