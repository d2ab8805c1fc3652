"""A well-behaved neighbour: sends at a steady pace, sends again when asked to, and keeps a ledger."""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import grpc

from tests.ledger import EXPORT, request
from tests.senders import GRPC_WORDS, HTTP_WORDS, PROTOBUF

PER_SECOND = 20
SPANS = 5
ATTEMPTS = 10
TIMEOUT = 10.0  # seconds

Send = Callable[[bytes], str]


def over_http(address: str) -> Send:
    """Return what sends over one OTLP/HTTP connection, opened anew when it ended."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT)

    def send(body: bytes) -> str:
        try:
            connection.request("POST", "/v1/traces", body, {"content-type": PROTOBUF})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return "reset"
        return "ok" if answer.status == 200 else HTTP_WORDS.get(answer.status, str(answer.status))

    return send


def over_grpc(address: str) -> Send:
    """Return what sends over one gRPC channel."""
    channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
    export = channel.unary_unary(EXPORT)

    def send(body: bytes) -> str:
        try:
            export(body, timeout=TIMEOUT)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]  # it is a call, too
            return GRPC_WORDS.get(code, str(code))
        return "ok"

    return send


class Neighbour:
    """Sends in its own thread until stopped.

    What is not acknowledged it sends again, as a sender should; its latency is
    counted from when the request was due, so that what waits behind one that hangs counts too.
    """

    def __init__(self, path: Path, send: Send) -> None:
        self.words: Counter[str] = Counter()  # all answers but ok
        self._send, self._path = send, path
        self._latencies: list[tuple[float, float]] = []  # (when due, seconds)
        self._stop = threading.Event()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._file)

    def acknowledged(self) -> list[bytes]:
        """Return the ids of all acknowledged spans."""
        data = self._path.read_bytes()
        return [data[at : at + 8] for at in range(0, len(data), 8)]

    def between(self, begin: float, end: float) -> list[float]:
        """Return the seconds that requests took which were due in a time."""
        return [seconds for due, seconds in self._latencies if begin <= due < end]

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(due - time.monotonic(), 0)):
            body, ids = request(SPANS)
            for _ in range(ATTEMPTS):
                word = self._send(body)
                if word == "ok":
                    self._latencies.append((due, time.monotonic() - due))
                    os.write(self._file, b"".join(ids))
                    os.fdatasync(self._file)
                    break
                self.words[word] += 1
                time.sleep(0.1)
            else:
                self.words["never taken"] += 1
            due += 1 / PER_SECOND
