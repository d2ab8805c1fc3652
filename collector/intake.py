"""Intake: the one handler behind every door.

Owns what becomes of a body once a door has read it: translated to OTLP where
it is not, checked by one pass over its bytes, logged, and answered for. Doors
own their protocols; what is in a span, the writer finds out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from collector.admission import Admission, Charge, Overloaded
from collector.group_commit import GroupCommit, NotDurable
from collector.telemetry import Telemetry
from tracelens.errors import DecodeError
from tracelens.wal import MAX_BODY, OTLP_PROTOBUF, Record
from tracelens.wire._scan import Verdict, validate
from tracelens.wire.salvage import salvage
from tracelens.wire.translate import otlp_json, zipkin, zipkin_proto

LOG = logging.getLogger(__name__)
RETRY_SECONDS = 2  # how long a sender that was refused is asked to wait
MAX_JSON = 16 << 20  # of a body that is parsed to objects
# Bytes of memory that a byte of JSON takes while it is translated: 8 for Zipkin's, 15 for OTLP's; measured.
OBJECTS = 16
# Bytes of JSON for each object, list and comma in it. Real spans have 9 and more; `{},{},…` has 1.5, and would
# take 70 times its size and half a minute.
DENSEST = 6
LARGE = 256 << 10  # bytes from which a body is worked on beside the loop, so that others are answered meanwhile


@dataclass(frozen=True, slots=True)
class Format:
    """What a door's bodies are."""

    name: str
    max_body: int = MAX_BODY  # bytes, after decompression
    weight: int = 1  # bytes charged for a byte of the body
    translate: Callable[[bytes], bytes] | None = None  # to OTLP protobuf
    is_json: bool = False


OTLP = Format("otlp-proto")
OTLP_JSON = Format("otlp-json", MAX_JSON, OBJECTS, otlp_json.translate, is_json=True)
ZIPKIN_JSON = Format("zipkin-json", MAX_JSON, OBJECTS, zipkin.translate, is_json=True)
ZIPKIN_PROTO = Format("zipkin-proto", MAX_JSON, OBJECTS, zipkin_proto.translate)


class Undecodable(Exception):
    """The body is not what it should be; sending it again changes nothing."""

    reason = "undecodable"


class TooLarge(Exception):
    """The body is over the limit; smaller batches are not."""

    reason = "too_large"

    def __init__(self, message: str, *, unread: bool = False) -> None:
        super().__init__(message)
        self.unread = unread  # the sender is still sending it


class Later(Exception):
    """Refused for now; the same body may be taken in a moment."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason  # of the counter: overloaded, disk, stopping, internal


Refusal = Undecodable | TooLarge | Later


class Intake:
    """Takes bodies for one worker."""

    def __init__(self, log: GroupCommit, admission: Admission, telemetry: Telemetry) -> None:
        self._log, self.admission, self.telemetry = log, admission, telemetry
        self._beside = ThreadPoolExecutor(1, "large")

    async def take(self, body: bytes, form: Format, charge: Charge, door: str) -> Verdict:
        """Return what was found once all that is good of a body is on disk.

        What it raises, `refusal` takes.
        """
        received = time.time_ns()
        if len(body) > form.max_body:
            raise TooLarge(f"{len(body):,} bytes; a request may have {form.max_body:,}. Send smaller batches.")
        await charge.hold(len(body) * form.weight)
        if len(body) < LARGE:
            body, verdict = check(body, form)
        else:
            body, verdict = await asyncio.get_running_loop().run_in_executor(self._beside, check, body, form)
        if verdict.spans > verdict.rejected:
            await self._log.append(Record(received, OTLP_PROTOBUF, "", body))
        self.telemetry.accepted(door, form.name, verdict.spans - verdict.rejected, len(body))
        if verdict.rejected:
            self.telemetry.rejected(door, verdict.rejected)
        return verdict

    def refusal(self, error: Exception, door: str) -> Refusal:
        """Count what ended a request, and return what its sender is to be told.

        An error that is none of ours is a bug of ours: logged, and the sender
        is asked to try again, for other words have clients drop their spans.
        Its traceback is dropped: by way of it whoever holds the refusal would hold the body, until cycles are
        collected.
        """
        match error:
            case Undecodable() | TooLarge() | Later():
                refusal: Refusal = error.with_traceback(None)
            case Overloaded():
                refusal = Later("overloaded", str(error))
            case NotDurable():
                refusal = Later(error.reason, str(error))
            case _:
                LOG.error("a request failed by a bug of ours", exc_info=error)
                refusal = Later("internal", "internal error; the collector's log has it")
        self.telemetry.refused(door, refusal.reason)
        return refusal

    def close(self) -> None:
        """End the thread for large bodies."""
        self._beside.shutdown()


def check(body: bytes, form: Format) -> tuple[bytes, Verdict]:
    """Return a body as OTLP protobuf that is sound, and what was found in it. Raises Undecodable, TooLarge."""
    if form.translate is not None:
        if form.is_json and sum(map(body.count, (b"{", b"[", b","))) > 1_000 + len(body) // DENSEST:
            raise Undecodable(f"not {form.name}: more objects, lists and commas than {len(body):,} bytes of spans have")
        try:
            body = form.translate(body)
        except DecodeError as error:
            place = f"byte {error.byte}: " if error.byte >= 0 else ""
            raise Undecodable(f"not {form.name}: {place}{error.reason}") from None
        if len(body) > MAX_BODY:
            raise TooLarge(f"{len(body):,} bytes as OTLP; a request may have {MAX_BODY:,}. Send smaller batches.")
    verdict = validate(body)
    if verdict.error_byte < 0:
        return body, verdict
    saved = salvage(body)
    if saved is None:
        raise Undecodable(f"not an ExportTraceServiceRequest: byte {verdict.error_byte}: {verdict.reason}")
    return saved
