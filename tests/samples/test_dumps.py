"""The recorded dumps: small, two files of the same spans, with the story that the README tells."""

from __future__ import annotations

import subprocess
from pathlib import Path

import polars as pl
import pytest

from samples import shop
from samples.sidecars import envoy_binary
from tracelens import dumps
from tracelens.spans import concat

SAMPLES = Path(shop.__file__).parent
OTLP, JAEGER = SAMPLES / "dumps" / "shop.otlp.jsonl.gz", SAMPLES / "dumps" / "shop.jaeger.json.gz"


def spans(path: Path) -> pl.DataFrame:
    return concat([batch.spans for batch in dumps.read(path, strict=True)]).sort("trace_id", "span_id")


def test_the_dumps_are_small() -> None:
    assert OTLP.stat().st_size + JAEGER.stat().st_size < 300_000


def test_both_dumps_hold_the_same_spans() -> None:
    """All but flags, for which Jaeger's format has no place."""
    first, second = spans(OTLP), spans(JAEGER)
    assert len(first) > 2_000
    assert sorted(first.columns) == sorted(second.columns)
    order = [name for name in first.columns if name != "flags"]
    assert first.select(order).equals(second.select(order))


def test_nothing_in_the_dumps_had_to_be_repaired() -> None:
    assert spans(OTLP)["repairs"].sum() == 0


def test_a_few_checkouts_wait_for_the_ledger() -> None:
    ledger = spans(OTLP).filter(pl.col("name") == "POST /ledger")
    took = pl.col("end_time_unix_nano") - pl.col("start_time_unix_nano")
    assert 2 <= len(ledger.filter(took > 100_000_000)) <= len(ledger) // 10


def test_some_recommendations_are_tried_again() -> None:
    found = spans(OTLP)
    assert found["attr:retry.count"].drop_nulls().len() > 3
    assert "2" in found["attr:retry.count"]


def test_a_cart_asks_once_per_item() -> None:
    found = spans(OTLP)
    carts = found.filter(pl.col("name") == "GET /carts/{id}").select("trace_id", pl.col("span_id").alias("cart"))
    asked = found.filter((pl.col("kind") == 3) & (pl.col("scope_name") == "samples.shop")).join(
        carts, left_on=["trace_id", "parent_span_id"], right_on=["trace_id", "cart"], validate="m:1"
    )
    assert max(asked.group_by("trace_id").len()["len"].to_list()) >= 8


@pytest.mark.envoy
@pytest.mark.process
def test_envoy_takes_the_configuration_to_copy() -> None:
    command = [str(envoy_binary()), "--mode", "validate", "-c", str(SAMPLES / "config" / "envoy.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
