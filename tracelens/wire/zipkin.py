"""Zipkin: lists of spans, as JSON or as protobuf, become spans.

Owns nothing but the way: `translate.zipkin` and `translate.zipkin_proto` write
them as OTLP, which `otlp` reads, so that the same span is the same row
whichever way it came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracelens.errors import DecodeError
from tracelens.wire import otlp
from tracelens.wire.decoded import Decoded
from tracelens.wire.translate import zipkin, zipkin_proto


def decode(bodies: Sequence[bytes], received_unix_nano: Sequence[int] | None = None) -> Decoded:
    """Return the spans of some lists in JSON.

    Raises DecodeError for the first body that is no such list.
    """
    return _decode(zipkin.translate, bodies, received_unix_nano)


def decode_proto(bodies: Sequence[bytes], received_unix_nano: Sequence[int] | None = None) -> Decoded:
    """Return the spans of some zipkin.proto3.ListOfSpans.

    Raises DecodeError for the first body that is no such message.
    """
    return _decode(zipkin_proto.translate, bodies, received_unix_nano)


def _decode(
    translate: Callable[[bytes], bytes], bodies: Sequence[bytes], received_unix_nano: Sequence[int] | None
) -> Decoded:
    requests = []
    for i, body in enumerate(bodies):
        try:
            requests.append(translate(body))
        except DecodeError as error:
            raise DecodeError(error.reason, record=i, byte=error.byte) from None
    return otlp.decode(requests, received_unix_nano)
