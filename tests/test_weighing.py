"""How much memory a file is thought to take."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from tests.bench.mesh import shop
from tracelens.errors import InputError
from tracelens.weighing import SPAN_BYTES, TIMES, weight

DUMP = Path(__file__).parents[1] / "samples" / "dumps" / "shop.otlp.jsonl.gz"


@pytest.mark.parametrize("times", [1, 400])  # 60 times its own size, and several hundred times
def test_a_compressed_file_weighs_what_it_holds(tmp_path: Path, times: int) -> None:
    text = gzip.decompress(DUMP.read_bytes())
    text = text[: text.index(b"\n") + 1] * times if times > 1 else text
    plain, packed, zstd = (tmp_path / name for name in ("plain", "gzip", "zstd"))
    plain.write_bytes(text)
    packed.write_bytes(gzip.compress(text))
    zstd.write_bytes(zstandard.compress(text))
    assert weight(plain) == TIMES * len(text)
    for file in (packed, zstd):
        assert 0.7 < weight(file) / weight(plain) < 1.4


def test_a_table_weighs_as_many_spans_as_it_says(tmp_path: Path) -> None:
    spans = shop(20_000)
    spans.write_parquet(tmp_path / "spans")
    assert weight(tmp_path / "spans") == SPAN_BYTES * len(spans)
    assert weight(tmp_path / "spans") > 100 * (tmp_path / "spans").stat().st_size


def test_what_is_damaged_is_left_to_reading(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"PAR1 and nothing else")
    (tmp_path / "gzip").write_bytes(DUMP.read_bytes()[:100])
    assert weight(tmp_path / "table") == 0
    assert weight(tmp_path / "gzip") >= 0
    with pytest.raises(InputError, match="No such file"):
        weight(tmp_path / "absent")


def test_a_changed_file_is_weighed_anew(tmp_path: Path) -> None:
    file = tmp_path / "spans"
    file.write_bytes(b"{}")
    before = weight(file)
    file.write_bytes(b"{}" * 100)
    assert weight(file) == 100 * before
