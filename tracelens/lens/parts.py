"""Answers from more spans than memory holds: looked at a unit of buckets at a time, and added up.

Owns the way there. What is learned from all spans (`learned.py`) is first
learned from each unit by itself; where all of them together decide otherwise,
a unit is looked at again. So answers are those that memory would have given.
What is known of a unit is on disk, and is used again by the next attempt.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from tracelens.analysis.critical_path import ticks
from tracelens.learned import Evidence, judged, merge
from tracelens.lens.analysed import Analysed, analysed
from tracelens.lens.buckets import Buckets, Told, Unit, write
from tracelens.lens.question import Method, Question, SourceInfo
from tracelens.lens.sources import Loaded, Source
from tracelens.sampling import TOLD_BY, UNKNOWN
from tracelens.taught import Taught

AT_ONCE = 2  # units: kernels and polars leave the interpreter's lock, and memory holds two

Work = Callable[[Analysed, Evidence], dict[str, pl.DataFrame]]  # what is wanted of a unit, by name


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a unit."""

    digest: str  # of what was decided about its names
    evidence: Evidence
    info: dict[str, Any]  # SourceInfo
    kept: int  # traces whose sampling rate is told
    weight: float  # what these stand for
    weights: tuple[float, float]  # the least and the greatest of all traces


@dataclass
class Parts:
    """A question's spans on disk, and what is known of each unit of them."""

    buckets: Buckets
    source: Source
    question: Question
    taught: Taught
    folder: Path
    told: Told
    skew: bool = True
    draws: pl.DataFrame | None = None  # DRAWS of all traces, where these are not all
    now_nano: int = field(default_factory=time.time_ns)
    learned: Evidence | None = None  # by all units, once they have been looked at
    _known: dict[int, _Known] = field(default_factory=dict)

    @property
    def weighted(self) -> bool:
        """Whether traces stand for different numbers of requests."""
        least = [known.weights[0] for known in self._known.values()]
        most = [known.weights[1] for known in self._known.values()]
        return bool(least) and min(least) != max(most)

    @property
    def sampled(self) -> bool:
        """Whether a trace stands for more requests than its own."""
        return any(known.weights[1] > 1 for known in self._known.values())

    def gathered(self, name: str, work: Work) -> dict[str, list[Path]]:
        """Return the files of frames that `work` makes of each unit, by what it calls them.

        name: of the work, in which everything stands that it depends on.
        """
        key = hashlib.blake2b(
            f"{name} {self.question!r} {self.skew} {self.taught!r} {self.now_nano * self.source.live}".encode(),
            digest_size=8,
        ).hexdigest()
        units = self.buckets.units()
        while True:
            waiting = [unit for unit in units if not self._is_done(unit, key)]
            self._look(waiting, len(units), key, work)
            if self.learned is not None and not waiting:
                break
            self.learned = merge(self._known[unit.number].evidence for unit in units)
            if self.draws is not None:
                self.learned = replace(self.learned, draws=self.draws)
        names = {path.name.split(".")[2] for path in self.folder.glob(f"{key}.{units[0].number}.*.parquet")}
        return {what: [self._file(key, unit, what) for unit in units] for what in sorted(names)}

    def again(self, unit: Unit, traces: pl.Series) -> Analysed:
        """Return some traces of a unit, labelled as all of them were."""
        return self._analysed(self.buckets.spans(unit, pl.col("trace_id").is_in(traces.implode())))

    def of(self, spans: pl.DataFrame) -> Analysed:
        """Return whole traces of the source, labelled as all of them were."""
        return self._analysed(spans)

    def info(self) -> SourceInfo:
        """Return what the answer was computed from."""
        known = list(self._known.values())
        infos = [one.info for one in known]
        added = {
            what: sum(info[what] for info in infos) for what in ("spans", "traces", "complete_traces", "open_traces")
        }
        starts = [info["start_unix_nano"] for info in infos if info["start_unix_nano"] is not None]
        ends = [info["end_unix_nano"] for info in infos if info["end_unix_nano"] is not None]
        marks = sorted({mark for info in infos for mark in info["repairs"]})
        kept, weight = sum(one.kept for one in known), sum(one.weight for one in known)
        by = {source for info in infos for source in info["sampling_told_by"]}
        return SourceInfo(
            kind=self.buckets.described.kind,
            format=self.buckets.described.format,
            files=self.buckets.described.files,
            **added,
            start_unix_nano=min(starts, default=None),
            end_unix_nano=max(ends, default=None),
            repairs={mark: sum(info["repairs"].get(mark, 0) for info in infos) for mark in marks},
            rejected_spans=self.buckets.rejected,
            losses=self.buckets.losses,
            sampling_rate=kept / weight if kept else None,
            sampling_told_by=tuple(source for source in TOLD_BY if source in by),
        )

    def method(self) -> Method:
        """Return how numbers are computed."""
        rate = self.info().sampling_rate
        return Method(sampled=rate is not None and rate < 1)

    def _look(self, waiting: Sequence[Unit], of: int, key: str, work: Work) -> None:
        """Look at units, some at once, and keep what is found."""
        done = of - len(waiting)
        with ThreadPoolExecutor(AT_ONCE, "unit") as pool:
            for unit, known in pool.map(lambda unit: (unit, self._one(unit, key, work)), waiting):
                self._known[unit.number] = known
                done += 1
                self.told("looking at traces", done, of)

    def _one(self, unit: Unit, key: str, work: Work) -> _Known:
        window = self._analysed(self.buckets.spans(unit))
        own = replace(window.calls.evidence, clocks=ticks(window.forest))
        decided_by = self.learned or own
        for what, frame in work(window, decided_by).items():
            draft = self._file(key, unit, what).with_suffix(".draft")
            frame.write_parquet(draft, compression="lz4")
            draft.replace(self._file(key, unit, what))
        sampled = window.calls.sampling
        told = sampled.told_by != UNKNOWN
        weights = (float(sampled.weight.min()), float(sampled.weight.max())) if len(sampled.weight) else (1.0, 1.0)
        known = _Known(
            judged(own, decided_by),
            own,
            asdict(window.info),
            int(told.sum()),
            float(sampled.weight[told].sum()),
            weights,
        )
        write(self._marker(key, unit), _packed(known))
        return known

    def _analysed(self, spans: pl.DataFrame) -> Analysed:
        return analysed(
            Loaded(spans, draws=self.draws),
            self.buckets.described,
            live=self.source.live,
            now_nano=self.now_nano,
            taught=self.taught,
            skew=self.skew,
            learned=self.learned,
        )

    def _is_done(self, unit: Unit, key: str) -> bool:
        """Whether a unit has been looked at, under labels that hold."""
        marker = self._marker(key, unit)
        if not marker.exists():
            return False
        known = _unpacked(marker.read_bytes())
        self._known[unit.number] = known
        return self.learned is None or judged(known.evidence, self.learned) == known.digest

    def _marker(self, key: str, unit: Unit) -> Path:
        return self.folder / f"{key}.{unit.number}.json"

    def _file(self, key: str, unit: Unit, what: str) -> Path:
        return self.folder / f"{key}.{unit.number}.{what}.parquet"


def _packed(known: _Known) -> bytes:
    frames = {one.name: getattr(known.evidence, one.name).to_dict(as_series=False) for one in fields(Evidence)}
    return orjson.dumps({**{one.name: getattr(known, one.name) for one in fields(_Known)}, "evidence": frames})


def _unpacked(data: bytes) -> _Known:
    told = orjson.loads(data)
    empty = Evidence()
    frames = {
        name: pl.DataFrame(columns, schema=getattr(empty, name).schema) for name, columns in told["evidence"].items()
    }
    return _Known(**{**told, "evidence": Evidence(**frames), "weights": tuple(told["weights"])})
