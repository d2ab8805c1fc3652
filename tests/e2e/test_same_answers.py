"""The same spans by every way in give the same answers."""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.ledger import EXPORT
from tests.running import eventually, tracelens, up
from tracelens.lens import Lens, Question
from tracelens.store import Store

DUMPS = Path(__file__).parents[2] / "samples" / "dumps"
OTLP, JAEGER = DUMPS / "shop.otlp.jsonl.gz", DUMPS / "shop.jaeger.json.gz"
BANDS = ((0.0, 50.0), (50.0, 90.0), (90.0, 99.0), (99.0, 100.0))
Answers = dict[str, pl.DataFrame]


def answers(source: str | Path) -> Answers:
    """Return routes, profile and sections of a source."""
    lens, everything = Lens.open(str(source)), Question()
    return {
        "routes": lens.routes(everything).rows,
        "profile": lens.profile(everything, None, BANDS).rows,
        "sections": lens.sections(everything, None).rows,
    }


def compare(found: Answers, wanted: Answers) -> None:
    for name, rows in wanted.items():
        assert found[name].height == rows.height > 0, name
        assert found[name].equals(rows.select(found[name].columns)), name


def protobuf() -> list[bytes]:
    """Return the requests of the OTLP JSON dump as protobuf, made by protobuf's own runtime."""
    return [
        json_format.ParseDict(_as_protobuf_json(json.loads(line)), ExportTraceServiceRequest()).SerializeToString()
        for line in gzip.decompress(OTLP.read_bytes()).splitlines()
    ]


def _as_protobuf_json(value: Any) -> Any:
    """Return OTLP JSON as protobuf's JSON mapping has it: ids in base64."""
    if isinstance(value, list):
        return [_as_protobuf_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(item)).decode()
        if key in ("traceId", "spanId", "parentSpanId")
        else _as_protobuf_json(item)
        for key, item in value.items()
    }


@pytest.fixture(scope="module")
def wanted() -> Answers:
    return answers(OTLP)


@pytest.mark.parametrize(
    "written",
    [
        lambda bodies: b"".join(struct.pack(">I", len(body)) + body for body in bodies),
        b"".join,  # messages one after another are one message
    ],
    ids=["after four bytes", "one message"],
)
def test_otlp_protobuf(tmp_path: Path, wanted: Answers, written: Callable[[list[bytes]], bytes]) -> None:
    path = tmp_path / "dump"
    path.write_bytes(written(protobuf()))
    compare(answers(path), wanted)


def test_jaeger_json_at_its_resolution(wanted: Answers) -> None:
    """Envoy's clock has microseconds and so has Jaeger; the apps' nanoseconds are lost there."""
    found = answers(JAEGER)
    routes, expected = found["routes"], wanted["routes"]
    key = ["service", "namespace", "route", "calls", "errors", "censored"]
    assert routes.select(key).sort(key).equals(expected.select(key).sort(key))
    both = routes.join(expected, on=["service", "route"], validate="1:1")
    for name in ("p50_nano", "p90_nano", "p99_nano", "max_nano"):
        assert both.select((pl.col(name) - pl.col(f"{name}_right")).abs().max()).item() <= 2_000
    assert found["profile"]["path"].sort().equals(wanted["profile"]["path"].sort())
    totals = [
        frame.group_by("band").agg(pl.col("exclusive_nano").sum(), pl.col("entries").max()).sort("band")
        for frame in (found["profile"], wanted["profile"])
    ]
    apart = (totals[0]["exclusive_nano"] - totals[1]["exclusive_nano"]).abs() / totals[1]["entries"]
    assert apart.max() <= 2_000  # type: ignore[operator]  # a number
    assert found["sections"]["span_id"].n_unique() == wanted["sections"]["span_id"].n_unique()


@pytest.mark.process
def test_through_the_collector_and_by_import(tmp_path: Path, wanted: Answers) -> None:
    data, imported = tmp_path / "data", tmp_path / "imported"
    bodies = protobuf()
    with up(data) as running, grpc.insecure_channel(running.addresses["otlp_grpc"]) as channel:
        export = channel.unary_unary(EXPORT)
        for body in bodies:
            export(body, timeout=10)
    spans = Store.open(data / "store").span_count()
    # Open until nothing came for fifteen seconds: then the answers are those of the dump.
    eventually(lambda: Lens.open(str(data)).routes(Question()).source.open_traces, lambda n: n == 0, seconds=40)
    compare(answers(data), wanted)
    for turn in range(2):
        done = tracelens("import", str(OTLP), "--store", str(imported))
        assert done.returncode == 0
        assert f"{0 if turn else spans:,} spans stored".encode() in done.stdout
    compare(answers(imported), wanted)
