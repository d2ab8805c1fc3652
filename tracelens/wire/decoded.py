"""What every decoder gives back, and how it writes what has no column type.

Owns `Decoded`. Reading a format belongs to the module of that format; the
rules here are what all of them keep, so that one attribute looks the same
whichever door it came through:

- `#json` columns, and the attributes inside `events` and `links`, are OTLP
  JSON: `{"arrayValue":{"values":[{"intValue":"1"}]}}`, `{"kvlistValue":…}`,
  `{"bytesValue":"<base64>"}`, and `{}` for a value with nothing set. Integers
  of 64 bits are strings there, ids are lower-case hex.
- `overflow` is one JSON object of column name to typed value: a string, an
  integer, a number (`"NaN"`, `"Infinity"`, `"-Infinity"` where JSON has none),
  a boolean, or the OTLP JSON object of a `#json` value.
- When a key comes twice in one owner, the last one stands, of whatever type.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl


@dataclass(frozen=True, slots=True)
class Decoded:
    """Spans of one or more bodies, in their order, and what was refused."""

    spans: pl.DataFrame  # SPANS columns, in order, then attribute columns
    rejected: dict[str, int] = field(default_factory=dict)  # reason (spans.REJECTIONS) -> spans refused for it
