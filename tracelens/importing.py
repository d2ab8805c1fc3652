"""Import: the spans of a dump, into a store, once.

Owns the identity of a dump (a hash of its bytes), by which the same dump
imported again, or an import cut short and run again, stores nothing twice.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tracelens import dumps
from tracelens.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did."""

    stored: int
    known: int  # spans of batches that an earlier import had stored
    rejected: int
    losses: tuple[str, ...]

    def sentence(self) -> str:
        """Return what happened, for a person."""
        parts = [f"{self.stored:,} spans stored"]
        if self.known:
            parts.append(f"{self.known:,} were there already")
        if self.rejected:
            parts.append(f"{self.rejected:,} rejected: no usable trace id or span id")
        if self.losses:
            parts.append(f"{len(self.losses):,} records unreadable")
        return ", ".join(parts)


def import_into(dump: str, store: str, *, input_format: str | None = None, strict: bool = False) -> Imported:
    """Append a dump to a store, which is made when it is not there.

    Raises InputError when the dump cannot be read. A collector may be writing
    the same store meanwhile.
    """
    if dump == "-":
        with tempfile.NamedTemporaryFile(prefix="tracelens-stdin-") as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
            spool.flush()
            return import_into(spool.name, store, input_format=input_format, strict=strict)
    identity = f"import-{_hash(dump)}"
    target = Store.open(store, create=True)
    stored = known = 0
    rejected: Counter[str] = Counter()
    losses: list[str] = []
    for number, batch in enumerate(dumps.read(dump, input_format=input_format, strict=strict)):
        rejected.update(batch.rejected)
        losses.extend(batch.losses)
        if batch.spans.is_empty():
            continue
        if target.append(batch.spans, {identity: number}):
            stored += len(batch.spans)
        else:
            known += len(batch.spans)
    return Imported(stored=stored, known=known, rejected=sum(rejected.values()), losses=tuple(losses))


def _hash(dump: str) -> str:
    """Return a hash of the bytes of a dump's files, whatever they are called."""
    digest = hashlib.blake2b(digest_size=16)
    for path in dumps.files(dump):
        with Path(path).open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()
