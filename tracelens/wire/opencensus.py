"""OpenCensus: requests of the agent's trace service become spans, as of one stream."""

from __future__ import annotations

from collections.abc import Sequence

from tracelens.errors import DecodeError
from tracelens.wire import otlp
from tracelens.wire.decoded import Decoded
from tracelens.wire.translate.opencensus import Sticky, translate


def decode(bodies: Sequence[bytes], received_unix_nano: Sequence[int] | None = None) -> Decoded:
    """Return the spans of some requests of one stream, in their order.

    Raises DecodeError for the first that is no protobuf.
    """
    sticky = Sticky()
    translated = []
    for record, body in enumerate(bodies):
        try:
            translated.append(translate(body, sticky))
        except DecodeError as error:
            raise DecodeError(error.reason, record=record, byte=error.byte) from None
    return otlp.decode(translated, received_unix_nano)
