"""An S3 server for tests: moto's, in a process of its own, behind a front that misbehaves on command.

`python -m tests.s3` prints its port and serves until its input ends. What the
front does is told by POST to /-/fault, as JSON; GET /-/seen tells what came.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

FAULT, SEEN = "/-/fault", "/-/seen"
BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
ANSWERS = {"busy": (BUSY, "503 Slow Down"), "denied": (DENIED, "403 Forbidden")}
NOWHERE = "http://127.0.0.1:1"  # nobody listens there


@dataclass(frozen=True)
class Server:
    """The running server, seen from a test."""

    address: str

    @property
    def environment(self) -> dict[str, str]:
        """What a program is told to find it."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ALLOW_HTTP": "true",
            "AWS_METADATA_ENDPOINT": NOWHERE,
        }

    def bucket(self, name: str) -> str:
        """Make a bucket; return its URL."""
        self._ask("PUT", f"/{name}")
        return f"s3://{name}"

    def fault(self, kind: str, *, request: str = "", times: int | None = None, seconds: float = 0.0) -> None:
        """Misbehave from now on, until `well` or so many times.

        kind: busy (503), denied (403), slow (after so many seconds), cut (the connection ends), lost (done, and the
        connection ends).
        request: a pattern of what is met, as "PUT .*json"; all when not given.
        """
        self._ask("POST", FAULT, {"kind": kind, "request": request, "times": times, "seconds": seconds})

    def well(self) -> None:
        """Misbehave no longer."""
        self._ask("POST", FAULT, {})

    @property
    def seen(self) -> Counter[str]:
        """How many requests there were: all by method, and those that were met by a fault, by its kind."""
        return Counter(json.loads(self._ask("GET", SEEN)))

    def _ask(self, method: str, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.address}{path}", data, method=method), timeout=60
        ) as answer:
            found: bytes = answer.read()
            return found


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server until the block ends."""
    process = subprocess.Popen([sys.executable, "-m", "tests.s3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Server(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


@contextmanager
def environment(server: Server) -> Iterator[Server]:
    """Have this process, and those it starts, find a server until the block ends."""
    before = {name: os.environ.get(name) for name in server.environment}
    os.environ.update(server.environment)
    try:
        yield server
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Front:
    """WSGI before WSGI."""

    def __init__(self, behind: Any) -> None:
        self._behind = behind
        self._fault: dict[str, Any] = {}
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._one_put = threading.Lock()  # moto looks, and then puts: of two at once both would be the first

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path == FAULT:
            size = int(environ["CONTENT_LENGTH"])
            with self._lock:
                self._fault = json.loads(environ["wsgi.input"].read(size))
            return _answer(start, b"{}")
        if path == SEEN:
            with self._lock:
                return _answer(start, json.dumps(self._seen).encode())
        kind, seconds = self._met(method, path)
        if kind in ANSWERS:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return _answer(start, *ANSWERS[kind])
        if kind == "slow":
            time.sleep(seconds)  # that is the fault
        if kind == "cut":
            return _cut(environ)
        if environ.get("HTTP_IF_NONE_MATCH") == "*":
            with self._one_put:
                answer = self._behind(environ, start)
        else:
            answer = self._behind(environ, start)
        return _cut(environ) if kind == "lost" else answer

    def _met(self, method: str, path: str) -> tuple[str, float]:
        """Return the fault that a request meets, "" when none; count it."""
        with self._lock:
            self._seen[method] += 1
            fault = self._fault
            if not fault or not re.search(fault["request"], f"{method} {path}") or fault["times"] == 0:
                return "", 0.0
            if fault["times"] is not None:
                fault["times"] -= 1
            self._seen[fault["kind"]] += 1
            return fault["kind"], fault["seconds"]


def _answer(start: Any, body: bytes, status: str = "200 OK") -> list[bytes]:
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def _cut(environ: dict[str, Any]) -> list[bytes]:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionError("cut, as told")


def main() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            """Nothing."""

        def log_error(self, *_: object) -> None:
            """Nothing: a connection that was cut is what was asked for."""

    front = Front(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, front, threaded=True, request_handler=Quiet)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
