"""An app of one's own, instrumented: what it takes, to copy.

    python -m samples.sdk

The exporter reads OTEL_EXPORTER_OTLP_ENDPOINT; without it spans go to the
collector of `tracelens up` on this machine. Behind a sidecar, pass the headers
`traceparent`, `tracestate` and `x-request-id` of each request on to the
requests it makes: Envoy needs the last to keep its sampling decision.
"""

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

if __name__ == "__main__":
    provider = TracerProvider(resource=Resource.create({"service.name": "greeter"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(insecure=True)))
    trace.set_tracer_provider(provider)

    tracer = trace.get_tracer("samples.sdk")
    with tracer.start_as_current_span("GET /hello/{name}", kind=trace.SpanKind.SERVER) as span:
        span.set_attribute("http.route", "/hello/{name}")
        with tracer.start_as_current_span("look up the name"):
            print("hello")
    provider.shutdown()  # sends what is left
