"""The verbs that run something: `up`, `collect`, `demo`.

Owns their options; what they do is in `programs`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tracelens.ports import OFF, PORTS, WORDS, flag, usual

GRPC, HTTP, ZIPKIN, OPENCENSUS, API = map(usual, PORTS)
DASHBOARD = usual("dashboard")
DATA_DIR = Path("tracelens-data")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Engine(StrEnum):
    """What speaks gRPC on the OTLP/gRPC door."""

    GRPCIO = "grpcio"
    ASGI = "asgi"


class LogFormat(StrEnum):
    """How a log is written."""

    TEXT = "text"
    JSON = "json"


DataOption = Annotated[
    Path, typer.Option(envvar="TRACELENS_DATA_DIR", help="Local folder of the collector: log, lock, addresses.")
]
StoreOption = Annotated[
    str | None, typer.Option(help="Store: a folder, or a URL as s3://BUCKET/PREFIX; DATA_DIR/store when not given.")
]
InsecureOption = Annotated[bool, typer.Option(help="Allow addresses beyond loopback without encryption or a password.")]


def _door(door: str) -> typer.models.OptionInfo:
    """Return the option for a door's address."""
    words = f"HOST:PORT of the {WORDS[door]} door, or off; :0 picks a port."
    option: typer.models.OptionInfo = typer.Option(flag(door), envvar=f"TRACELENS_{door.upper()}", help=words)
    return option


GrpcOption = Annotated[str, _door("otlp_grpc")]
HttpOption = Annotated[str, _door("otlp_http")]
ZipkinOption = Annotated[str, _door("zipkin")]
OpenCensusOption = Annotated[str, _door("opencensus")]
ApiOption = Annotated[str, _door("api")]
DashboardOption = Annotated[str, _door("dashboard")]
WorkersOption = Annotated[
    int, typer.Option(min=1, envvar="TRACELENS_WORKERS", help="Ingest processes; one a core unless told.")
]
EngineOption = Annotated[Engine, typer.Option("--grpc-engine", help="What speaks gRPC.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="TRACELENS_CONFIG",
        help="TOML: [redact] and [limits] before spans are stored; [routes] and [sampling] of the dashboard.",
    ),
]
TelemetryOption = Annotated[
    str | None, typer.Option(help="HOST:PORT of an OTLP/gRPC collector that our own metrics are sent to.")
]
LogOption = Annotated[LogFormat, typer.Option("--log-format", help="How the collector writes its log.")]


def up(
    data_dir: DataOption = DATA_DIR,
    store: StoreOption = None,
    otlp_grpc: GrpcOption = GRPC,
    otlp_http: HttpOption = HTTP,
    zipkin: ZipkinOption = ZIPKIN,
    opencensus: OpenCensusOption = OPENCENSUS,
    api: ApiOption = API,
    dashboard: DashboardOption = DASHBOARD,
    workers: WorkersOption = CORES,
    engine: EngineOption = Engine.ASGI,
    config: ConfigOption = None,
    telemetry: TelemetryOption = None,
    log_format: LogOption = LogFormat.TEXT,
    insecure: InsecureOption = False,
) -> None:
    """Run it all on this machine: collector, store, dashboard."""
    from tracelens.programs import Options, run_up

    doors = {
        "otlp_grpc": otlp_grpc,
        "otlp_http": otlp_http,
        "zipkin": zipkin,
        "opencensus": opencensus,
        "api": api,
    }
    options = Options(
        data_dir=data_dir,
        store=store,
        doors=doors,
        dashboard=dashboard,
        workers=workers,
        engine=engine.value,
        config=config,
        telemetry=telemetry,
        log_format=log_format.value,
        insecure=insecure,
    )
    raise typer.Exit(run_up(options))


def collect(
    data_dir: DataOption = DATA_DIR,
    store: StoreOption = None,
    otlp_grpc: GrpcOption = GRPC,
    otlp_http: HttpOption = HTTP,
    zipkin: ZipkinOption = ZIPKIN,
    opencensus: OpenCensusOption = OPENCENSUS,
    api: ApiOption = API,
    workers: WorkersOption = CORES,
    engine: EngineOption = Engine.ASGI,
    config: ConfigOption = None,
    telemetry: TelemetryOption = None,
    log_format: LogOption = LogFormat.TEXT,
    insecure: InsecureOption = False,
) -> None:
    """Run the collector alone: what sidecars and SDKs point at."""
    up(
        data_dir,
        store,
        otlp_grpc,
        otlp_http,
        zipkin,
        opencensus,
        api,
        OFF,
        workers,
        engine,
        config,
        telemetry,
        log_format,
        insecure,
    )


def demo(
    rate: Annotated[float, typer.Option(min=0.1, help="Requests a second.")] = 20.0,
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the dashboard in a browser.")] = True,
) -> None:
    """`up` on a temporary store, with live traffic of real Envoy sidecars."""
    from tracelens.programs import run_demo

    raise typer.Exit(run_demo(rate, open_browser=browser))


VERBS: dict[Callable[..., None], str] = {
    up: "tracelens up --data-dir /var/lib/tracelens",
    collect: "tracelens collect --store s3://bucket/spans --workers 4",
    demo: "tracelens demo --rate 50",
}
