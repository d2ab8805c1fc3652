"""The doors of TraceLens and their usual ports, for the programs and the command line alike."""

from __future__ import annotations

OFF = "off"
LOOPBACK = "127.0.0.1"
# Doors of the collector, in the order in which they are told.
PORTS = {"otlp_grpc": 4317, "otlp_http": 4318, "zipkin": 9411, "opencensus": 55678, "api": 16686}
TAKING = tuple(name for name in PORTS if name != "api")  # those that take spans
DASHBOARD = 8501
WORDS = {
    "otlp_grpc": "OTLP/gRPC",
    "otlp_http": "OTLP/HTTP",
    "zipkin": "Zipkin",
    "opencensus": "OpenCensus",
    "api": "metrics and health",
    "dashboard": "dashboard",
}


def flag(door: str) -> str:
    """Return the option that sets a door's address: --otlp-grpc."""
    return f"--{door.replace('_', '-')}"


def usual(door: str) -> str:
    """Return a door's usual address."""
    return f"{LOOPBACK}:{PORTS.get(door, DASHBOARD)}"
