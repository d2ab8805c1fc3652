"""`make bench`: how fast, in medians of several runs, each beside a baseline measured in the same run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import answers, compare, decode, fixes, ingest, jaeger_json, large, mesh, paths, remote, store
from tracelens.keeping import keep_memory

RUNS = 5


def start_up() -> dict[str, float]:
    """Seconds that `tracelens --help` takes, and those of a bare Python beside it."""
    help_command = [sys.executable, "-m", "tracelens.cli", "--help"]
    return {
        "tracelens --help, s": timed(help_command),
        "baseline: python -c pass, s": timed([sys.executable, "-c", "pass"]),
    }


def timed(command: list[str]) -> float:
    """Return the median wall time of a command, seconds."""
    took = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


PARTS: dict[str, Callable[[int], dict[str, float]]] = {
    "decode": decode.measure,
    "paths": paths.measure,
    "answers": answers.measure,
    "compare": compare.measure,
    "fixes": fixes.measure,
    "jaeger": jaeger_json.measure,
    "large": large.measure,
    "mesh": mesh.measure,
    "remote": remote.measure,
    "store": store.measure,
    "ingest": lambda _spans: ingest.measure(),
    "start-up": lambda _spans: start_up(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="which; all when none is named")
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    keep_memory()  # as the command line does
    figures: dict[str, dict[str, float]] = {}
    table = Table(
        "part", "what", "median", title=f"{platform.machine()}, {os.cpu_count()} cores, {options.spans:,} spans"
    )
    for name in options.parts or PARTS:
        figures[name] = PARTS[name](options.spans)
        for what, value in figures[name].items():
            table.add_row(name, what, f"{value:,.3f}" if value < 100 else f"{value:,.0f}")
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
