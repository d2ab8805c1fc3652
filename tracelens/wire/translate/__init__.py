"""Other formats of spans as OTLP protobuf: one module a format, each with `translate(body) -> bytes`."""
