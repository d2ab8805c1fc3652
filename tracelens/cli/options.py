"""What the verbs share: their options, and the way from an answer to stdout.

Heavy imports stand inside the functions, so that --help answers at once.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracelens.errors import PARTLY_UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tracelens.lens import Answer, Lens, Question, Room, SourceInfo, Walk
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
    str,
    typer.Argument(
        metavar="SOURCE", help="A store (folder or URL) or data directory; a dump: file, folder, glob, or - for stdin."
    ),
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
MemoryOption = Annotated[
    str, typer.Option(help="What an answer may take, as 2GiB; beyond it goes by disk. auto: half of what is free.")
]
ScratchOption = Annotated[
    Path | None, typer.Option(help="Folder for that, kept for the next question; else one of ours, removed.")
]
AsyncOption = Annotated[bool, typer.Option("--async", help="A child that outlives its parent is not waited for.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a verb was asked of, about what, and how it is to answer."""

    source: str
    output: Format = Format.TEXT
    since: str | None = None
    start: str | None = None
    end: str | None = None
    where: list[str] | None = None
    limit: int | None = None
    strict: bool = False
    input_format: str | None = None
    config: Path | None = None
    tolerance: str = "auto"
    skew: Switch = Switch.ON
    asynchronous: bool = False
    memory: str = "auto"
    scratch: Path | None = None

    def lens(self, source: str | None = None) -> Lens:
        """Return the Lens on the source, or on another one."""
        from tracelens.keeping import keep_memory
        from tracelens.lens import Lens
        from tracelens.taught import Taught

        keep_memory()
        taught = Taught.read(self.config)
        return Lens.open(
            source or self.source,
            input_format=self.input_format,
            strict=self.strict,
            taught=taught,
            room=self.room,
        )

    @property
    def room(self) -> Room:
        """How much memory the answer may take, and where it goes on disk beyond that."""
        from tracelens.cli.progress import Progress
        from tracelens.lens import Room, free_memory
        from tracelens.units import size

        memory = free_memory() // 2 if self.memory == "auto" else size(self.memory)
        return Room(memory=memory, scratch=self.scratch, told=Progress(sys.stderr))

    def question(self, lens: Lens) -> Question:
        """Return which calls are asked about."""
        from tracelens.cli.values import window
        from tracelens.lens import Question

        first, last = window(lens, self.since, self.start, self.end)
        return Question(start_nano=first, end_nano=last, where=tuple(self.where or ()))

    @property
    def walk(self) -> Walk:
        """How critical paths are to be walked."""
        from tracelens.lens import Walk
        from tracelens.units import nanoseconds

        if self.tolerance == "auto":
            return Walk(asynchronous=self.asynchronous)
        return Walk(tolerance=nanoseconds(self.tolerance), asynchronous=self.asynchronous)

    def write(
        self, answer: Answer, columns: Sequence[Column], *, empty: str, keep: tuple[str, ...] | None = None
    ) -> None:
        """Write an answer to stdout and its losses to stderr; exit 4 when there were any."""
        from tracelens.report import document, text

        shown = self.limited(answer)
        with self.losses(answer.source):
            if self.output is Format.TEXT:
                text.answer(shown, columns, sys.stdout, empty=empty)
            elif self.output is Format.JSON:
                sys.stdout.write(document.json(shown, keep))
            else:
                rows = shown.rows.select(keep) if keep else shown.rows
                sys.stdout.write(document.TABLES[self.output.value](rows))

    def limited(self, answer: Answer) -> Answer:
        """Return an answer cut to --limit."""
        return answer if self.limit is None else replace(answer, rows=answer.rows.head(self.limit))

    @contextmanager
    def losses(self, info: SourceInfo) -> Iterator[None]:
        """Say on stderr what could not be read, and exit 4 behind the answer; with --strict reading has raised."""
        for loss in info.losses:
            sys.stderr.write(f"tracelens: lost: {loss}\n")
        if info.rejected_spans:
            sys.stderr.write(f"tracelens: {info.rejected_spans} spans rejected: no usable trace id or span id\n")
        yield
        if info.losses or info.rejected_spans:
            raise typer.Exit(PARTLY_UNREADABLE)


SHARED = {
    "source": (SourceArgument, Parameter.empty),
    "tolerance": (ToleranceOption, "auto"),
    "skew": (SkewOption, Switch.ON),
    "asynchronous": (AsyncOption, False),
    "output": (FormatOption, Format.TEXT),
    "since": (SinceOption, None),
    "start": (StartOption, None),
    "end": (EndOption, None),
    "where": (WhereOption, None),
    "limit": (LimitOption, None),
    "strict": (StrictOption, False),
    "input_format": (InputOption, None),
    "config": (ConfigOption, None),
    "memory": (MemoryOption, "auto"),
    "scratch": (ScratchOption, None),
}
WALK = frozenset({"tolerance", "skew", "asynchronous"})
LARGE = frozenset({"memory", "scratch"})
WINDOW = frozenset({"since", "start", "end", "where", "limit"})


def asks(
    example: str, name: str | None = None, *, without: frozenset[str] = WALK | LARGE, source: Any = SourceArgument
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator that makes a function a verb, with the options that all verbs share.

    The function takes Asked, then its own options; its help ends with the example.
    without: the shared ones that it has no use for. source: what SOURCE is to it, where that is not usual.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(signature(function, eval_str=True).parameters.values())[1:]
        shared = [
            Parameter(key, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)
            for key, (kind, default) in SHARED.items()
            if key not in without
        ]
        parameters = [shared[0].replace(annotation=source), *own, *shared[1:]]

        def run(**given: Any) -> None:
            asked = Asked(**{key: given.pop(key) for key in SHARED if key in given})
            function(asked, **given)

        run.__doc__ = function.__doc__
        run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        app.command(name=name or function.__name__, epilog=f"Example: {example}")(run)
        return function

    return register
