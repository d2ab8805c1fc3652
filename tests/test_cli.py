"""The command line: exit statuses, and the keys that scripts rely on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.running import answer, tracelens
from tests.test_dumps import LINE
from tracelens.errors import UsageError

DUMP = str(Path(__file__).parents[1] / "samples" / "dumps" / "shop.otlp.jsonl.gz")
SOURCE = {
    "kind", "format", "files", "spans", "traces", "complete_traces", "start_unix_nano", "end_unix_nano",
    "open_traces", "repairs", "rejected_spans",
}  # fmt: skip
KEYS = {
    ("routes",): {
        "service", "namespace", "route", "calls", "errors", "error_rate", "mean_nano", "p50_nano", "p90_nano",
        "p99_nano", "max_nano", "p99_low_nano", "p99_high_nano", "censored", "exemplar_trace_id",
    },
    ("critical-path",): {
        "band", "path", "service", "operation", "layer", "traces", "exclusive_nano", "share", "mean_nano", "max_nano",
        "exemplar_trace_id",
    },
    ("critical-path", "--sections"): {
        "trace_id", "span_id", "service", "operation", "layer", "start_unix_nano", "end_unix_nano",
    },
    ("critical-path", "--percentiles"): {
        "path", "service", "operation", "layer", "calls", "traces",
        *(f"{part}_{name}_nano" for part in ("exclusive", "inclusive") for name in ("p50", "p90", "p99", "max")),
    },
    ("hops",): {
        "caller", "callee", "route", "level", "calls", "coverage",
        *(f"{layer}_{part}_nano"
          for layer in ("client", "egress_proxy", "network_queueing", "ingress_proxy", "app", "attempts", "backoff")
          for part in ("mean", "p50", "p90", "p99")),
    },
    ("edges",): {"caller", "callee", "calls", "errors", "p50_nano", "p90_nano", "p99_nano"},
    ("findings",): {
        "kind", "service", "route", "traces", "cost_nano", "path_nano", "p99_nano", "evidence", "exemplar_trace_id",
    },
    ("explain", "--route", "gateway POST /checkout"): {
        "path", "service", "operation", "layer", "typical_nano", "slow_nano", "difference_nano", "share",
        "exemplar_trace_id",
    },
    ("what-if", "--scale", "service=db:0.5", "--scale", "layer=sidecar:0"): {
        "service", "route", "calls",
        *(f"{prefix}p{percent}_nano" for prefix in ("", "projected_") for percent in (50, 90, 99)),
    },
    ("what-if", "--fixes", "0"): {"service", "operation", "layer", "mean_nano", "p50_nano", "p90_nano", "p99_nano"},
    ("edges", "--gateways", "off"): {"caller", "callee", "calls", "errors", "p50_nano", "p90_nano", "p99_nano"},
    ("routes", "--explain-names"): {"service", "route", "rule", "n", "paths", "example"},
    ("traces", "--slowest", "3"): {
        "trace_id", "service", "route", "start_unix_nano", "duration_nano", "spans", "services", "errors", "complete",
    },
}  # fmt: skip


@pytest.mark.parametrize("verb", KEYS, ids=" ".join)
def test_json_has_the_keys_that_are_promised(verb: tuple[str, ...]) -> None:
    document = answer(verb[0], DUMP, *verb[1:])
    assert set(document["source"]) >= SOURCE
    assert document["method"].items() >= {"percentile": "exact", "relative_error": 0.0, "sampled": False}.items()
    assert all(set(row) >= KEYS[verb] for row in document["rows"])
    assert document["rows"]


def test_a_mesh_can_be_taught_names_and_rates(tmp_path: Path) -> None:
    config = tmp_path / "tracelens.toml"
    config.write_text('[routes]\n"/cart/*" = "/cart/{user}"\n[sampling]\nrate = 0.1\n')
    told = answer("routes", DUMP, "--config", str(config))
    plain = {(row["service"], row["route"]): row for row in answer("routes", DUMP)["rows"]}
    taught = {(row["service"], row["route"]): row for row in told["rows"]}
    assert ("frontend", "GET /cart/{user}") in taught
    assert ("frontend", "GET /cart/{user}") not in plain
    key = ("frontend", "POST /checkout")
    assert (taught[key]["n"], taught[key]["calls"]) == (plain[key]["n"], 10 * plain[key]["calls"])
    assert taught[key]["p99_nano"] == plain[key]["p99_nano"]
    assert (told["method"]["sampled"], told["source"]["sampling_rate"]) == (True, 0.1)
    rules = {
        row["route"]: row["rule"] for row in answer("routes", DUMP, "--explain-names", "--config", str(config))["rows"]
    }
    assert rules["GET /cart/{user}"] == "taught"
    text = tracelens("edges", DUMP, "--config", str(config)).stdout.decode()
    assert "sampled 10.0 % (by configured)" in text
    assert "coverage 100.0 %" in text


def test_what_memory_does_not_hold_is_answered_by_disk(tmp_path: Path) -> None:
    """The same answer; what it left on disk serves the next question, and is removed when it was not asked for."""
    whole = answer("critical-path", DUMP, "--band", "0-50,50-100")
    by_disk = answer("critical-path", DUMP, "--band", "0-50,50-100", "--memory", "1B", "--scratch", str(tmp_path))
    assert by_disk == whole
    assert list(tmp_path.iterdir())
    assert answer("explain", DUMP, "--memory", "0.5MiB", "--scratch", str(tmp_path)) == answer("explain", DUMP)


def test_one_trace_is_found_among_the_slowest() -> None:
    (row,) = answer("traces", DUMP, "--slowest", "1")["rows"]
    document = answer("trace", DUMP, row["trace_id"])
    root = document["rows"][0]
    assert (root["service"], root["parent"]) == (row["service"], -1)
    path = sum(section["end_unix_nano"] - section["start_unix_nano"] for section in document["sections"])
    assert path == row["duration_nano"] == root["end_unix_nano"] - root["start_unix_nano"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["routes", DUMP], 0, ""),
        (["routes", DUMP, "--where", "colour=red"], 2, "no key"),
        (["routes", DUMP, "--config", "absent.toml"], 2, "cannot be read"),
        (["routes", DUMP, "--since", "1h", "--start", "2026-01-01"], 2, "one of them"),
        (["routes", DUMP, "--format", "xml"], 2, "xml"),
        (["critical-path", DUMP, "--band", "9-1"], 2, "band"),
        (["critical-path", DUMP, "--route", "GET /nowhere"], 2, "no route"),
        (["critical-path", DUMP, "--tolerance", "lots"], 2, "no duration"),
        (["routes", DUMP, "--memory", "much"], 2, "no size"),
        (["explain", DUMP, "--typical", "0-99.5"], 2, "reaches into the slow band"),
        (["what-if", DUMP, "--scale", "cart:0.5"], 2, "does not say of what"),
        (["what-if", DUMP, "--scale", "service=cart"], 2, "names no amount"),
        (["what-if", DUMP, "--scale", "layer=disk:0.5"], 2, "no layer"),
        (["what-if", DUMP, "--cache", "service=db:1.5"], 2, "from 0 to 1"),
        (["what-if", DUMP, "--scale", "service=db:0", "--fixes", "0.5"], 2, "each fix by itself"),
        (["trace", DUMP, "feed"], 3, "no span of trace"),
        (["routes", "absent.json"], 3, "no such file"),
        (["routes", __file__], 3, "no format of spans"),
        (["import", "absent.json", "--store", "never-made"], 3, "no such file"),
    ],
)
def test_exit_statuses(arguments: list[str], status: int, said: str) -> None:
    done = tracelens(*arguments)
    assert (done.returncode, said in done.stderr.decode()) == (status, True), done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert not Path("never-made").exists()


def test_partly_unreadable_input_is_answered_and_told() -> None:
    mixed = LINE + b"\n{broken}\n"
    done = tracelens("routes", "-", "--format", "json", stdin=mixed)
    assert done.returncode == 4
    assert b"record 2, byte" in done.stderr
    assert orjson.loads(done.stdout)["source"]["losses"]
    assert tracelens("routes", "-", "--strict", stdin=mixed).returncode == 3


def test_a_reader_that_leaves_is_no_error() -> None:
    """`tracelens … | head`: no traceback."""
    command = f"{sys.executable} -m tracelens.cli critical-path {DUMP} --sections --format jsonl | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert b"Traceback" not in done.stderr


def test_wrong_arguments_and_our_own_complaints_share_a_status() -> None:
    assert tracelens("routes").returncode == UsageError.exit_code
