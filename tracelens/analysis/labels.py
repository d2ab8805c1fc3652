"""Labels of spans as numbers: what nodes of a profile, fixes and shares are told apart by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl

from tracelens._link import I32, U64
from tracelens.columns import add_digit, equal, over
from tracelens.forest import codes

NODE = ("service", "operation", "layer")


def numbered(labels: Sequence[pl.Series]) -> tuple[I32, pl.DataFrame]:
    """Return (a number per span, NODE by number).

    labels: service, operation and layer of each span; null is the empty text.
    """
    n = len(labels[0])
    coded = over(n, labels, lambda series: codes(series.fill_null("")))
    key, size = np.zeros(n, np.int64), 1
    for digit, names in coded:
        add_digit(key, digit, len(names))
        size *= len(names) + 1
    label, first = equal(key, size)
    named = [values.gather(number[first]) for number, values in coded]
    return label, pl.DataFrame(dict(zip(NODE, named, strict=True)), schema=dict.fromkeys(NODE, pl.String))


def hashed(names: pl.DataFrame) -> U64:
    """Return a hash of each row of NODE, the same in every run."""
    rows = ("\0".join(row).encode() for row in names.iter_rows())
    return np.array([int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "little") for row in rows], np.uint64)
