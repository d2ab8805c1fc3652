"""The SDK of the sample services: one tracer a workload, and a count of its spans.

Owns how the OpenTelemetry SDK is set up here. `sdk.py` shows the same for one
service, to copy.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from samples.shop import NAMESPACE, VERSION, Reply
from tracelens.errors import StartError, UsageError

DELAY_MS = 1000  # a demo wants to see its spans soon; the SDK's default is 5 s
EXPORT_SECONDS = 5.0  # until a batch is given up; a collector of ours answers within milliseconds


class Count(SpanProcessor):
    """Counts the spans that ended."""

    def __init__(self) -> None:
        self.spans = 0

    def on_end(self, span: ReadableSpan) -> None:  # noqa: ARG002  # the SDK's signature
        self.spans += 1


class Telemetry:
    """The tracers of all workloads, exporting to one address."""

    def __init__(self, otlp: str, services: tuple[str, ...]) -> None:
        self.count = Count()
        self.providers = {service: self.provider(service, otlp) for service in services}

    def provider(self, service: str, otlp: str) -> TracerProvider:
        """Return the provider of a workload."""
        resource = Resource.create(
            {
                "service.name": service,
                "service.namespace": NAMESPACE,
                "service.version": VERSION,
                "k8s.pod.name": pod(service),
                "k8s.deployment.name": service,
            }
        )
        made = TracerProvider(resource=resource)
        made.add_span_processor(self.count)
        exporter = OTLPSpanExporter(endpoint=otlp, insecure=True, timeout=EXPORT_SECONDS)
        made.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=DELAY_MS))
        return made

    def tracer(self, service: str) -> Tracer:
        """Return the tracer of a workload."""
        return self.providers[service].get_tracer("samples.shop", VERSION)

    def close(self) -> int:
        """Export what is left; return how many spans there were in all."""
        with ThreadPoolExecutor(
            len(self.providers)
        ) as pool:  # side by side: each may wait for a collector that is gone
            for done in [pool.submit(provider.shutdown) for provider in self.providers.values()]:
                done.result()
        return self.count.spans


def pod(service: str) -> str:
    """Return the pod's name as Kubernetes would make it: the same in every run."""
    return f"{service}-5d9c7b8f6-x2k4q"


@contextmanager
def calling(tracer: Tracer, host: str, method: str, path: str) -> Iterator[Span]:
    """Make the CLIENT span of a request."""
    attributes = {"http.request.method": method, "url.full": f"http://{host}{path}", "server.address": host}
    with tracer.start_as_current_span(method, kind=SpanKind.CLIENT, attributes=attributes) as span:
        yield span


def answered(span: Span, status: int) -> None:
    """Write down what a request was answered with."""
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)


async def serving(
    tracer: Tracer, method: str, path: str, reply: Awaitable[Reply], parent: Context | None = None
) -> Reply:
    """Await a reply in the SERVER span of its request; the parent is the current span unless told."""
    attributes = {"http.request.method": method, "url.path": path}
    with tracer.start_as_current_span(method, context=parent, kind=SpanKind.SERVER, attributes=attributes) as span:
        found = await reply
        span.update_name(f"{method} {found.route}")
        span.set_attribute("http.route", found.route)
        answered(span, found.status)
    return found


def reachable(otlp: str) -> tuple[str, int]:
    """Return the numeric address of a collector that listens; raises UsageError or StartError."""
    name, _, port = otlp.removeprefix("http://").rstrip("/").rpartition(":")
    if not name or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--otlp {otlp!r} is no address. Write HOST:PORT.")
    try:
        with socket.create_connection((name.strip("[]"), int(port)), timeout=5) as connection:
            return connection.getpeername()[0], int(port)
    except OSError as error:
        raise StartError(f"nobody takes spans on {otlp} ({error}). Start one: tracelens up") from error
