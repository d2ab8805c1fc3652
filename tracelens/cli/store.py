"""The verbs that care for a store: `store info`, `compact`, `settle`, `retain` and `verify`.

Owns their options and what they print; what is done is `tracelens.store`'s, and `verify.py`'s.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracelens.cli.options import Format
from tracelens.errors import UsageError

if TYPE_CHECKING:
    from tracelens.settle import Merged, Settled
    from tracelens.store import Compacted, Store

app = typer.Typer(help="Care for a store.", no_args_is_help=True, rich_markup_mode=None)
HOURS_SHOWN = 24
StoreArgument = Annotated[
    str, typer.Argument(metavar="DIR", help="A store: folder or URL; or a collector's data directory.")
]


@app.callback(epilog="Example: tracelens store verify tracelens-data")
def store() -> None:
    """Care for a store."""


@app.command(epilog="Example: tracelens store info tracelens-data")
def info(
    directory: StoreArgument,
    output: Annotated[Format, typer.Option("--format", help="text or json, which has every hour.")] = Format.TEXT,
) -> None:
    """How much is there: spans, bytes and files, by hour of arrival."""
    if output not in (Format.TEXT, Format.JSON):
        raise UsageError(f"--format {output.value}: a store is told as text or json.")
    from tracelens.settle import Rollups, name_of
    from tracelens.store import hours
    from tracelens.store.compact import is_compact
    from tracelens.store.fold import unneeded

    found = _opened(directory)
    every = hours(found)
    span, size = found.time_range(), sum(hour.size for hour in every)
    waiting = sum(file.size for file in unneeded(found))
    rollups = Rollups(found)
    parts = [part for table in rollups.every for part in table.parts()]
    rollup_size, settled = sum(part.size for part in parts), rollups.settled()
    told = {
        "version": found.version(),
        "spans": found.span_count(),
        "bytes": size,
        "files": found.file_count(),
        "bytes_waiting": waiting,  # of files that nobody needs, for queries that still read them
        "rollup_bytes": rollup_size,
        "settled_until": None if settled < 0 else name_of(settled + 1),  # hours of arrival
        "attribute_columns": sum(name.startswith(("attr:", "res:", "scope:")) for name in found.columns()),
        "start_unix_nano": span and span[0],
        "end_unix_nano": span and span[1],
        "hours": [
            {
                "hour": hour.name,
                "spans": hour.spans,
                "bytes": hour.size,
                "files": len(hour.files),
                "compacted": is_compact(hour.files),
            }
            for hour in every
        ],
    }
    if output is Format.JSON:
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
        return
    sys.stdout.write(
        f"version {told['version']:,} · {told['spans']:,} spans · {size:,} bytes{_a_span(size, found.span_count())} · "
        f"{told['files']:,} files · {told['attribute_columns']} attribute columns\n"
    )
    if waiting:
        sys.stdout.write(f"{waiting:,} bytes more of files that are removed when nobody can be reading them\n")
    if parts:
        sys.stdout.write(
            f"{rollup_size:,} bytes of rollups{_a_span(rollup_size, found.span_count())}: "
            f"what arrived before {told['settled_until']}\n"
        )
    if len(every) > HOURS_SHOWN:
        sys.stdout.write(f"the newest {HOURS_SHOWN} of {len(every)} hours; --format json has all\n")
    for hour in every[-HOURS_SHOWN:]:
        files = f"{len(hour.files):,} files" if len(hour.files) != 1 else "1 file"
        state = "compacted" if is_compact(hour.files) else "as it came"
        sys.stdout.write(
            f"{hour.name}  {hour.spans:>12,} spans  {hour.size:>14,} bytes{_a_span(hour.size, hour.spans)}  "
            f"{files}, {state}\n"
        )


@app.command(epilog="Example: tracelens store compact tracelens-data")
def compact(
    directory: StoreArgument,
    everything: Annotated[bool, typer.Option("--all", help="Hours that are not over, too.")] = False,
) -> None:
    """Put hours that are over in few files, sorted by trace, and what was counted of a day in one.

    A running collector does so by itself.
    """
    from tracelens.settle import Rollups, merge
    from tracelens.store import compact as work

    def told(hour: str, done: Compacted) -> None:
        if not done.spans:
            sys.stderr.write(f"{hour}: somebody else is just replacing its files\n")
            return
        sys.stderr.write(f"{hour}: {done.spans:,} spans, {done.files_before:,} files into {done.files_after:,}\n")

    def told_day(done: Merged) -> None:
        sys.stderr.write(f"{done.day}: {done.files_before:,} files of rollups into {done.files_after:,}\n")

    store = _opened(directory)
    found = work(store, everything=everything, told=told)
    days = merge(Rollups(store), told=told_day)
    sys.stdout.write(
        f"{_hours(found.hours)} compacted: {found.spans:,} spans in {found.files_before:,} files of "
        f"{found.bytes_read:,} bytes, now in {found.files_after:,} of {found.bytes_written:,}\n"
    )
    if days:
        before, after = (sum(getattr(day, name) for day in days) for name in ("files_before", "files_after"))
        sys.stdout.write(f"{_days(len(days))} of rollups: {before:,} files, now {after:,}\n")


@app.command(epilog="Example: tracelens store settle tracelens-data")
def settle(
    directory: StoreArgument,
    config: Annotated[Path | None, typer.Option(help="TOML: names of [routes], rates of [sampling].")] = None,
) -> None:
    """Count hours that are over, for answers about long windows. A running collector does so by itself."""
    from tracelens.settle import settle as work
    from tracelens.taught import Taught

    def told(done: Settled) -> None:
        sys.stderr.write(f"{done.hour}: {done.traces:,} traces of {done.spans:,} spans, {done.late:,} spans late\n")

    found = work(_opened(directory), taught=Taught.read(config), told=told)
    spans, late = sum(done.spans for done in found), sum(done.late for done in found)
    sys.stdout.write(f"{_hours(len(found))} settled: {spans:,} spans, {late:,} of them late\n")


@app.command(epilog="Example: tracelens store retain tracelens-data --age 14d --size 200GB --dry-run")
def retain(
    directory: StoreArgument,
    age: Annotated[str | None, typer.Option(help="Let go of hours that ended longer ago, as 14d.")] = None,
    size: Annotated[str | None, typer.Option(help="Let go of the oldest hours until the rest is so small.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
) -> None:
    """Let go of old spans, by whole hours of arrival; a collector does so as its `[store]` says."""
    from tracelens.settle import Rollups, let_go
    from tracelens.store import Retention, beyond
    from tracelens.store import retain as work
    from tracelens.units import nanoseconds
    from tracelens.units import size as in_bytes

    if age is None and size is None:
        raise UsageError("nothing says how much to keep. Give --age, --size, or both.")
    keep = Retention(
        None if age is None else nanoseconds(age) / 1e9,
        None if size is None else in_bytes(size),
    )
    found = _opened(directory)
    gone = beyond(found, keep) if dry_run else work(found, keep)
    if not dry_run:
        let_go(Rollups(found), [hour.name for hour in gone])
    for hour in gone:
        sys.stdout.write(f"{hour.name}  {hour.spans:>12,} spans  {hour.size:>14,} bytes\n")
    spans, freed = sum(hour.spans for hour in gone), sum(hour.size for hour in gone)
    said = (
        "would be let go"
        if dry_run
        else "let go; the room is there again within some minutes, of a URL within some hours"
    )
    sys.stdout.write(f"{_hours(len(gone))}, {spans:,} spans, {freed:,} bytes {said}\n")


def _opened(directory: str) -> Store:
    """Return the store in a folder, at a URL, or in a data directory."""
    from tracelens.locations import is_url
    from tracelens.store import Store, is_store

    if is_url(directory):
        return Store.open(directory)
    path = Path(directory)
    return Store.open(path if is_store(path) or not is_store(path / "store") else path / "store")


def _hours(count: int) -> str:
    return "1 hour" if count == 1 else f"{count:,} hours"


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count:,} days"


def _a_span(size: int, spans: int) -> str:
    return f" ({size / spans:.1f} a span)" if spans else ""


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
