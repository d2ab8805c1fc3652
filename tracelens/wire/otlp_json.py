"""OTLP JSON: documents of ExportTraceServiceRequest or TracesData become spans.

Owns nothing but the way: `translate.otlp_json` writes them as protobuf, and
everything that is decided about a span is decided in `otlp`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracelens.errors import DecodeError
from tracelens.wire import otlp
from tracelens.wire._encode import Encoder
from tracelens.wire.decoded import Decoded
from tracelens.wire.translate.otlp_json import loaded, request


def decode(
    bodies: Sequence[bytes], received_unix_nano: Sequence[int] | None = None, keep: otlp.Keep | None = None
) -> Decoded:
    """Return the spans of some documents, in their order. keep: as `otlp.decode`.

    Raises DecodeError for the first that is no OTLP JSON.
    """
    encoder = Encoder()
    return otlp.decode(
        [each(body, i, lambda found: request(found, encoder)) for i, body in enumerate(bodies)],
        received_unix_nano,
        keep,
    )


def each(body: bytes, record: int, encode: Callable[[Any], bytes]) -> bytes:
    """Return one JSON document encoded. Raises DecodeError with its number, and the byte where JSON ends to be JSON."""
    try:
        return encode(loaded(body))
    except DecodeError as error:
        raise DecodeError(error.reason, record=record, byte=error.byte) from None
    except RecursionError:
        raise DecodeError("JSON nested too deep", record=record) from None
