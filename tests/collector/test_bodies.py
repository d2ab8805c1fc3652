"""What a refused body leaves behind."""

from __future__ import annotations

import asyncio
import gc
import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from collector.admission import Admission
from collector.group_commit import GroupCommit
from collector.intake import MAX_JSON, Intake
from collector.receivers.grpc_asgi import EXPORT, GrpcDoor
from collector.receivers.http import OTLP_PATHS, HttpDoor
from collector.telemetry import start

MIB = 1 << 20


async def ask(door: Any, path: str, body: bytes, *headers: tuple[bytes, bytes]) -> list[dict[str, Any]]:
    """Return what an application answers to a body that comes in pieces."""
    pieces = [body[at : at + 65536] for at in range(0, len(body), 65536)]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await door({"type": "http", "method": "POST", "path": path, "headers": headers}, receive, send)
    return sent


@pytest.mark.parametrize("kind", ["bomb", "unknown encoding"])
def test_a_refused_body_is_let_go_at_once(tmp_path: Path, kind: str) -> None:
    """Not when cycles are collected: that may be a hundred such bodies later."""
    (tmp_path / "wal").mkdir()

    async def work() -> int:
        telemetry = start(tmp_path / "metrics")
        log = GroupCommit(tmp_path / "wal", 0, 0, telemetry.synced)
        intake = Intake(log, Admission(), telemetry)
        if kind == "bomb":
            headers = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]
            body = gzip.compress(bytes(MAX_JSON + MIB))
            asked = [HttpDoor(intake, "otlp_http", OTLP_PATHS), "/v1/traces", body, *headers]
        else:
            headers = [(b"content-type", b"application/grpc"), (b"grpc-encoding", b"snappy")]
            asked = [GrpcDoor(intake), EXPORT, b"\1" + (16 * MIB).to_bytes(4, "big") + bytes(16 * MIB), *headers]
        answer = await ask(*asked)
        assert answer[0]["status"] == 413 or answer[-1]["headers"][0] == (b"grpc-status", b"12")
        del answer
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5):
            await ask(*asked)
        left = tracemalloc.get_traced_memory()[0] - before
        intake.close()
        await log.close()
        return left

    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        assert asyncio.run(work()) < 40 * MIB  # the thread that joined the last one may not have let go of it yet
    finally:
        tracemalloc.stop()
        gc.enable()
