"""OTLP over gRPC as an ASGI application: frames, deadlines and trailers over HTTP/2.

Owns gRPC's framing. It is the cheaper of the two engines: a small call costs
a fraction of what it costs grpcio. What is answered is the same in both.
Source: "gRPC over HTTP2" of the gRPC project.
"""

from __future__ import annotations

from urllib.parse import quote

from collector.admission import Charge
from collector.intake import OTLP, Intake, TooLarge, Undecodable
from collector.receivers import answers
from collector.receivers.body import GZIP, WINDOWS, Gone, Receive, Scope, Send, inflate, read
from tracelens.wal import MAX_BODY

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
DOOR = "otlp_grpc"
FRAME = 5  # a flag and a length before each message
UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"identity,gzip,deflate")],
    "trailers": True,
}
NOTHING = {"type": "http.response.body", "body": b""}
OK = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")], "more_trailers": False}


class Refused(Exception):
    """A call that is answered with another status than OK."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class GrpcDoor:
    """An ASGI application for the port of OTLP/gRPC."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        if not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            # Not gRPC: in words that a browser or curl shows.
            self._intake.telemetry.refused(DOOR, "not_spans")
            said = b"this port speaks gRPC; OTLP/HTTP has a port of its own"
            start = [(b"content-type", b"text/plain"), (b"content-length", str(len(said)).encode())]
            await send({"type": "http.response.start", "status": 415, "headers": start})
            await send({"type": "http.response.body", "body": said})
            return
        try:
            if scope["path"] != EXPORT:
                raise Refused(answers.UNIMPLEMENTED, f"no such method: {scope['path'][:200]}")
            with self._intake.admission.charge(remaining(headers.get(b"grpc-timeout"))) as charge:
                frame, message = await read(receive, charge, MAX_BODY, 1, head=FRAME)
                body = await self._message(frame, message, headers.get(b"grpc-encoding", b"identity"), charge)
                verdict = await self._intake.take(body, OTLP, charge, DOOR)
        except Gone:
            self._intake.telemetry.refused(DOOR, "gone")
            return
        except Exception as error:  # whatever it is: UNKNOWN has clients drop their spans
            refused = self._refused(error)
            await send(START)
            await send(NOTHING)
            await send({"type": "http.response.trailers", "headers": refusal_trailers(refused), "more_trailers": False})
            return
        answer = answers.response(verdict)
        await send(START)
        await send({"type": "http.response.body", "body": b"\0" + len(answer).to_bytes(4, "big") + answer})
        await send(OK)

    @staticmethod
    async def _message(frame: bytes, message: bytes, encoding: bytes, charge: Charge) -> bytes:
        """Return the one message of a call, inflated. frame: what stands before it."""
        if len(frame) < FRAME:
            raise Undecodable(f"{len(frame)} bytes, and a message begins with a frame of {FRAME}")
        size = int.from_bytes(frame[1:], "big")
        if size > MAX_BODY:
            raise TooLarge(f"{size:,} bytes; a request may have {MAX_BODY:,}. Send smaller batches.")
        if len(message) != size:
            raise Undecodable(f"the frame says {size:,} bytes, and {len(message):,} came")
        if frame[0] == 0:
            return message
        if frame[0] != 1:
            raise Undecodable(f"flag {frame[0]}: a message is compressed (1) or not (0)")
        name = encoding.decode("latin-1").strip().lower()
        if name == "identity":
            raise Undecodable("a compressed message, and no grpc-encoding says how")
        if name not in WINDOWS:
            raise Refused(answers.UNIMPLEMENTED, f"grpc-encoding {name[:40]} is not known; gzip is")
        return await inflate(message, WINDOWS.get(name, GZIP), charge, MAX_BODY, 1)

    def _refused(self, error: Exception) -> Refused:
        """Return an answer for what went wrong, and count it."""
        if isinstance(error, Refused):
            self._intake.telemetry.refused(DOOR, "not_spans")
            return error.with_traceback(None)  # it would hold the body
        refusal = self._intake.refusal(error, DOOR)
        return Refused(answers.CODES[type(refusal)], str(refusal))


def refusal_trailers(refused: Refused) -> list[tuple[bytes, bytes]]:
    """Return the trailers of a call that is refused."""
    found = [
        (b"grpc-status", str(refused.code).encode()),
        (b"grpc-message", quote(refused.message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~").encode()),
    ]
    more = answers.trailers(refused.code, refused.message)
    return [*found, *((name.encode(), answers.binary(value)) for name, value in more)]


def remaining(timeout: bytes | None) -> float | None:
    """Return the seconds a caller waits, of a grpc-timeout header; None when it does not say."""
    if not timeout or timeout[-1:] not in UNITS or not timeout[:-1].isdigit() or len(timeout) > 9:
        return None
    return int(timeout[:-1]) * UNITS[timeout[-1:]]
