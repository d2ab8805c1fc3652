"""The API port's application: metrics, health and readiness.

Owns paths and statuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tracelens.api import exposition


def make_app(metrics_folder: Path, readiness: Callable[[], Mapping[str, bool]]) -> Starlette:
    """Return the application; readiness: which parts take spans now."""

    async def metrics(_request: Request) -> Response:
        body = await run_in_threadpool(exposition.text, metrics_folder)
        return Response(body, headers={"content-type": exposition.CONTENT_TYPE})

    async def healthy(_request: Request) -> Response:
        return JSONResponse({"healthy": True})

    async def ready(_request: Request) -> Response:
        parts = dict(readiness())
        everything = bool(parts) and all(parts.values())
        return JSONResponse({"ready": everything, "parts": parts}, 200 if everything else 503)

    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    routes = [Route("/metrics", metrics), Route("/healthz", healthy), Route("/readyz", ready)]
    return Starlette(routes=routes, exception_handlers={HTTPException: refused})
