"""Drafts: rollup rows of traces whose hour of arrival is not settled yet.

A long window would look at all spans of that hour one by one otherwise. Owns
that each of them is counted once, in the draft or by who looks at what is left:

* a trace of which nothing came in the last minute is in the draft; one that
  goes on is left;
* what comes of a trace that is in the draft, or that is settled, is late.

A draft is made of the one before and of what was left by it. Nothing else
depends on it: an hour is settled from its spans, and a draft ends with it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import polars as pl

from tracelens.analysis.rollups import HOUR_NANO, LATE
from tracelens.analysis.settled import facts
from tracelens.learned import Evidence
from tracelens.names import NOTHING
from tracelens.needed import is_needed, with_left_out
from tracelens.settle.made import Chunk, Made, Range, going_on, in_range, late_of, made_of, ranges_of, within
from tracelens.settle.tables import Rollups, added_up, digest, known_traces, name_of, number_of
from tracelens.store import Store
from tracelens.store.files import DataFile
from tracelens.store.rollups import Part
from tracelens.taught import Taught

LEAST_ROWS = 50_000  # spans that are left: fewer are looked at in a fifth of a second
GOING = "going"
SUMMED = ("routes", "edges", "facts", "profiles")


@dataclass(frozen=True)
class Draft:
    """Rows of traces, and what they are made of."""

    path: str  # of its file: another draft has another
    rows: pl.LazyFrame  # DRAFT_ROWS: no answer looks at all of them
    traces: tuple[Part, ...]  # of `Rollups.drafted`: its TRACE_ROWS
    late: pl.DataFrame  # trace_id of settled traces of which spans came late: those are counted in `facts`
    held: dict[str, int]  # how many spans of each file are in it, by path
    going: pl.DataFrame  # trace_id of those that went on: their spans are the others of these files
    evidence: Evidence

    def table(self, name: str) -> pl.LazyFrame:
        """Return the rows of minutes of routes, edges or facts, or of profiles, which are those of hours."""
        return pl.scan_parquet(self.rows.filter(pl.col("name") == name).select("data").collect().item())


@dataclass(frozen=True, slots=True)
class Drafted:
    """What was put into a draft."""

    spans: int
    traces: int
    left: int  # spans of traces that go on


@dataclass(frozen=True)
class Left:
    """The spans of a store that neither a rollup nor the draft has."""

    rollups: Rollups
    settled: int  # number of the last hour of arrival that is
    draft: Draft | None

    @cached_property
    def files(self) -> list[DataFile]:
        """Those of hours that are not settled."""
        return [file for file in self.rollups.store.files() if number_of(file.hour) > self.settled]

    @cached_property
    def held(self) -> dict[str, int]:
        """How many spans of each file are in the draft, by path; of files that were folded into others, too."""
        return {} if self.draft is None else self.draft.held

    @cached_property
    def some(self) -> list[DataFile]:
        """Those files that have any that are left."""
        return [file for file in self.files if self.held.get(file.path, 0) < file.rows]

    @cached_property
    def folded(self) -> bool:
        """Whether files that were looked at for the draft are in others now: which of their rows is not known then."""
        return not self.held.keys() <= {file.path for file in self.files}

    @property
    def rows(self) -> int:
        """How many spans are left: those that come late are among them."""
        return max(sum(file.rows for file in self.files) - sum(self.held.values()), 0)

    def spans(self, columns: Collection[str], part: Range = (None, None)) -> tuple[pl.DataFrame, pl.Series]:
        """Return what is left of a range of trace ids, and the starts of spans that were passed over."""
        store, inside = self.rollups.store, within(part)
        unknown, found, passed = self.some, [], pl.Series(dtype=pl.Int64)
        if self.draft is not None and not self.folded:
            known = [file for file in self.some if file.path in self.held]
            unknown = [file for file in self.some if file.path not in self.held]
            going = pl.col("trace_id").is_in(self.draft.going["trace_id"].implode())
            found.append(store.scan_files(in_range(known, part)).filter(inside, going))
        every = store.scan_files(in_range(unknown, part)).filter(inside)
        if self.draft is not None and unknown:
            # Ids first, for most of what there is may be in the draft: then only the rows of the others are read.
            told = every.select("trace_id", start="start_time_unix_nano").collect().lazy()
            of_done, left = pl.collect_all(
                [
                    told.join(self._done(), on="trace_id", how="semi").select("start"),
                    told.join(self._done(), on="trace_id", how="anti").select("trace_id").unique(),
                ]
            )
            passed = of_done["start"]
            every = every.filter(pl.col("trace_id").is_in(left["trace_id"].implode()))
        spans = with_left_out(pl.concat([*found, every]).select(columns)).collect()
        begun = [part for part in self.rollups.carried.parts() if part.arrived == name_of(self.settled)]
        if begun:
            ids = self.rollups.carried.read(begun).select("trace_id").join(self._done(), on="trace_id", how="anti")
            last = [file for file in store.files() if number_of(file.hour) == self.settled]
            older = store.scan_files(last).filter(inside).join(ids, on="trace_id", how="semi").select(columns)
            spans = pl.concat([spans, with_left_out(older).collect()])
        return spans, passed

    def late(self, passed: pl.Series) -> pl.Series:
        """Return the starts of those that came after their traces were drafted: the last ones of what was passed over.

        How many they are is known; which, only where no file was folded since.
        """
        if not self.folded:
            return passed
        read, there = {file.path for file in self.some}, {file.path for file in self.files}
        known = sum(rows for path, rows in self.held.items() if path in read or path not in there)
        return passed.sort().tail(max(len(passed) - known, 0))

    def _done(self) -> pl.LazyFrame:
        """Return the ids of traces of which nothing is left."""
        if self.draft is None:
            return pl.LazyFrame(schema={"trace_id": pl.Binary})
        return pl.concat([self.rollups.drafted.read(self.draft.traces).select("trace_id"), self.draft.late.lazy()])


def newest(rollups: Rollups, settled: int, taught: Taught = NOTHING) -> Draft | None:
    """Return the draft of what came after an hour was settled; None when there is none that was named alike."""
    found = [part for part in rollups.drafts.parts() if part.arrived == name_of(settled)]
    if len(found) != 1:
        return None
    rows = rollups.drafts.read(found)
    small = rows.filter(~pl.col("name").is_in(SUMMED)).select("name", "data").collect()
    if GOING not in small["name"]:  # of a version before, which packed them otherwise
        return None
    frames = {name: _unpacked(data) for name, data in small.iter_rows()}
    there = {part.path: part for part in rollups.drafted.parts()}
    paths = frames["traces"]["path"].to_list()
    if frames["taught"].item() != digest(taught) or not there.keys() >= set(paths):
        return None
    return Draft(
        path=found[0].path,
        rows=rows,
        traces=tuple(there[path] for path in paths),
        late=frames["late"],
        held=dict(frames["held"].rows()),
        going=frames[GOING],
        evidence=Evidence(**{one.name: frames[f"evidence.{one.name}"] for one in fields(Evidence)}),
    )


def draft(
    store: Store, *, taught: Taught = NOTHING, least: int = LEAST_ROWS, stop: Callable[[], bool] = lambda: False
) -> Drafted | None:
    """Put into the draft what came since, once it is at least so many spans; None when nothing was done.

    stop: asked now and then; what is half done is as if it had not been begun.
    """
    rollups = Rollups(store)
    settled = rollups.settled()
    old = rollups.drafts.parts()
    left = Left(rollups, settled, newest(rollups, settled, taught))
    if left.rows < least or not left.some:
        return None
    return _Making(left, taught, stop).put(old)


class _Making:
    """A draft that is being made."""

    def __init__(self, left: Left, taught: Taught, stop: Callable[[], bool]) -> None:
        self.left, self.taught, self.stop = left, taught, stop
        store = left.rollups.store
        self.columns = [name for name in store.columns() if is_needed(name)]
        self.spans = store.scan_files(left.some)
        self.last_nano = self.spans.select(pl.col("received_unix_nano").max()).collect().item() or 0
        self.late: dict[Range, pl.DataFrame] = {}
        self.passed: dict[Range, pl.Series] = {}

    def put(self, old: Sequence[Part]) -> Drafted | None:
        """Make and commit it in the place of the old one; None when told to stop, or when somebody else did so."""
        left, rollups, before = self.left, self.left.rollups, self.left.draft
        ranges = ranges_of(self.spans, sum(file.rows for file in left.some))
        made = made_of(ranges, self._chunk, self.taught, self.stop, None if before is None else before.evidence)
        if made is None:
            return None
        held, traces = self._held(made.carried), made.tables["traces"]
        new = sum(held.values()) - sum(left.held.values())
        if new <= 0:  # all of them go on
            return None
        arrived = name_of(left.settled)
        _let_go(rollups, arrived)
        paths = [] if before is None else [part.path for part in before.traces]
        if len(traces):
            path = rollups.drafted.swap(traces, arrived)
            if path is None:
                return None
            paths.append(path)
        if rollups.drafts.swap(self._rows(made, held, paths), arrived, old) is None:
            return None
        return Drafted(new, len(traces), sum(file.rows for file in left.files) - sum(held.values()))

    def _chunk(self, part: Range) -> Chunk:
        """Return which traces of a range of ids are over."""
        spans, self.passed[part] = self.left.spans(self.columns, part)
        late = known_traces(self.left.rollups, spans, last=name_of(self.left.settled))
        is_late = pl.col("trace_id").is_in(late.implode())
        self.late[part] = late.to_frame()
        rest = spans.filter(~is_late)
        going = going_on(rest, self.last_nano)
        over = rest.join(going, on="trace_id", how="anti")
        return Chunk(over, late_of(spans.filter(is_late)), going)

    def _held(self, going: pl.DataFrame) -> dict[str, int]:
        """Return how many spans of each file are in the draft now: all but those of traces that go on."""
        ids, some = going.lazy().select("trace_id"), self.left.some
        scans = [self.left.rollups.store.scan_files([file]).join(ids, on="trace_id", how="semi") for file in some]
        counts = [frame.item() for frame in pl.collect_all([scan.select(pl.len()) for scan in scans])]
        held = {file.path: file.rows for file in self.left.files}
        return held | {file.path: file.rows - count for file, count in zip(some, counts, strict=True)}

    def _rows(self, made: Made, held: dict[str, int], paths: Sequence[str]) -> pl.DataFrame:
        """Return DRAFT_ROWS."""
        before, new = self.left.draft, made.tables
        seen = facts({LATE: self.left.late(pl.concat(self.passed.values()))})
        new["facts"] = pl.concat([new["facts"], facts({LATE: made.late["start_unix_nano"]}), seen])
        known = [] if before is None else [before.late]
        frames = {
            "taught": pl.DataFrame({"taught": [digest(self.taught)]}),
            "traces": pl.DataFrame({"path": paths}, schema={"path": pl.String}),
            "late": pl.concat([*known, *self.late.values()]).unique(),
            "held": pl.DataFrame({"path": [*held], "rows": [*held.values()]}),
            GOING: made.carried.select("trace_id"),
            **{f"evidence.{one.name}": getattr(made.evidence, one.name) for one in fields(Evidence)},
        }
        rollups = self.left.rollups
        for name in SUMMED:
            table = rollups.profiles if name == "profiles" else getattr(rollups, name)["minutes"]
            rows = [new[name].lazy()] if before is None else [before.table(name), new[name].lazy()]
            frames[name] = added_up(table, pl.concat(rows))
        start = [(self.left.settled + 1) * HOUR_NANO] * len(frames)
        return pl.DataFrame(
            {"start_unix_nano": start, "name": [*frames], "data": [_packed(one) for one in frames.values()]}
        )


def _packed(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file, compression="uncompressed")  # the file that it is put into is compressed
    return file.getvalue()


def _unpacked(data: bytes) -> pl.DataFrame:
    return pl.read_parquet(data)


def _let_go(rollups: Rollups, arrived: str) -> None:
    """Let go of the traces of drafts of hours that are settled."""
    over = {part.arrived for part in rollups.drafted.parts()} - {arrived}
    rollups.drafted.let_go([*over])
