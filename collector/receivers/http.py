"""OTLP/HTTP and Zipkin: the doors that speak plain HTTP, as one ASGI application.

Owns paths, content types and statuses. Which of its paths a port answers is
told by the door it stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from collector.intake import OTLP, OTLP_JSON, RETRY_SECONDS, ZIPKIN_JSON, ZIPKIN_PROTO, Format, Intake, Later, TooLarge
from collector.receivers import answers
from collector.receivers.body import WINDOWS, Gone, Receive, Scope, Send, discard, inflate, read

JSON, PROTOBUF, TEXT = b"application/json", b"application/x-protobuf", b"text/plain; charset=utf-8"
CLOSE = (b"connection", b"close")
RETRY = (b"retry-after", str(RETRY_SECONDS).encode())


@dataclass(frozen=True, slots=True)
class Path:
    """What a path takes, by content type, and how it says yes."""

    formats: dict[bytes, Format]
    success: int


OTLP_PATHS = {"/v1/traces": Path({PROTOBUF: OTLP, JSON: OTLP_JSON}, 200)}
ZIPKIN_PATHS = {
    "/api/v2/spans": Path({JSON: ZIPKIN_JSON, PROTOBUF: ZIPKIN_PROTO, b"": ZIPKIN_JSON}, 202),
    "/api/v1/spans": Path({JSON: ZIPKIN_JSON, b"": ZIPKIN_JSON}, 202),
}


class Reply(Exception):
    """An answer that is no acceptance."""

    def __init__(self, http: int, message: str, code: int = answers.INVALID_ARGUMENT, *more: tuple[bytes, bytes]):
        super().__init__(message)
        self.http, self.message, self.code, self.more = http, message, code, more


def misdirected(http: int, message: str, *more: tuple[bytes, bytes]) -> Reply:
    """Return a refusal of what is no request for us; it ends the connection, which may have many more of them."""
    return Reply(http, message, answers.INVALID_ARGUMENT, *more, CLOSE)


class HttpDoor:
    """An ASGI application for one port."""

    def __init__(self, intake: Intake, door: str, paths: dict[str, Path]) -> None:
        self._intake, self._door, self._paths = intake, door, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        form: Format | None = None
        path: Path | None = None
        try:
            headers = dict(scope["headers"])
            path = self._paths.get(scope["path"])
            if path is None:
                known = " and ".join(self._paths)
                raise misdirected(404, f"nothing is at {quote(scope['path'])[:200]}; spans go to {known}")
            if scope["method"] != "POST":
                raise misdirected(405, "spans are sent by POST", (b"allow", b"POST"))
            form = path.formats.get(headers.get(b"content-type", b"").partition(b";")[0].strip().lower())
            if form is None:
                wanted = " or ".join(kind.decode() for kind in path.formats if kind)
                raise misdirected(415, f"the content type should be {wanted}")
            with self._intake.admission.charge(None) as charge:
                announced = headers.get(b"content-length", b"")
                _, body = await read(receive, charge, form.max_body, form.weight, announced=announced)
                encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
                if encoding != "identity":
                    window = WINDOWS.get(encoding)
                    if window is None:
                        raise Reply(415, "the content encoding should be gzip, or none")
                    body = await inflate(body, window, charge, form.max_body, form.weight)
                verdict = await self._intake.take(body, form, charge, self._door)
            if path.success != 200:
                await reply(send, path.success, TEXT, b"")
            elif form is OTLP:
                await reply(send, 200, PROTOBUF, answers.response(verdict))
            else:
                await reply(send, 200, JSON, answers.response_json(verdict))
        except Gone:
            self._intake.telemetry.refused(self._door, "gone")
        except Reply as error:
            self._intake.telemetry.refused(self._door, "not_spans")
            await self._refuse(send, form, path, error)
        except Exception as error:  # whatever it is: a 500 would have clients drop their spans
            refusal = self._intake.refusal(error, self._door)
            more = [RETRY] if isinstance(refusal, Later) else []
            if isinstance(refusal, TooLarge) and refusal.unread:
                await discard(receive)  # who is still sending would not hear the answer
                more = [CLOSE]
            code = answers.CODES[type(refusal)]
            await self._refuse(send, form, path, Reply(answers.HTTP_OF[code], str(refusal), code, *more))

    @staticmethod
    async def _refuse(send: Send, form: Format | None, path: Path | None, error: Reply) -> None:
        """Say it in the encoding of the request."""
        if path is not None and path.success != 200:
            await reply(send, error.http, TEXT, error.message.encode(), *error.more)
        elif form is OTLP:
            await reply(send, error.http, PROTOBUF, answers.status(error.code, error.message), *error.more)
        else:
            await reply(send, error.http, JSON, answers.status_json(error.code, error.message), *error.more)


async def reply(send: Send, http: int, kind: bytes, body: bytes, *more: tuple[bytes, bytes]) -> None:
    """Send a whole answer."""
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": http, "headers": headers})
    await send({"type": "http.response.body", "body": body})
