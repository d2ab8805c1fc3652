"""The collector's own counters, over processes that live and die, and where they can be read."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent import futures
from datetime import datetime, timedelta
from pathlib import Path

import grpc
import orjson
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from prometheus_client.parser import text_string_to_metric_families

from collector import logs, own_export, telemetry
from tests.ledger import request
from tests.running import Up, eventually, up
from tests.senders import by_grpc, by_http
from tracelens.api import exposition
from tracelens.errors import StoreError
from tracelens.ports import TAKING

COUNT = """
import os, signal, sys
from pathlib import Path
from collector import telemetry
counters = telemetry.start(Path(sys.argv[1]), sys.argv[2])
for _ in range(3):
    counters.accepted("zipkin", "zipkin-json", 5, 100)
counters.state(7, 8, 9.0)
counters.synced(0.002)
print(os.getpid(), "prometheus_client" in sys.modules, flush=True)
sys.stdin.read()
"""


def values(text: str) -> dict[str, float]:
    """Return samples by name and labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name.removeprefix('tracelens_collector_')}{{{labels}}}"] = sample.value
    return found


def count(folder: Path, part: str) -> subprocess.Popen[str]:
    """Return a process that has counted, and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", COUNT, str(folder), part], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"{process.pid} False\n", "a worker does without the library of the readers"
    return process


def end(process: subprocess.Popen[str], how: int = signal.SIGTERM) -> None:
    process.send_signal(how)
    process.communicate()


def test_what_a_killed_process_counted_stays_and_its_gauges_go(tmp_path: Path) -> None:
    telemetry.clean(tmp_path)
    killed, lives = count(tmp_path, "worker 0"), count(tmp_path, "worker 1")
    end(killed, signal.SIGKILL)
    telemetry.bury(tmp_path, killed.pid)
    found = values(exposition.text(tmp_path).decode())
    assert found["accepted_spans_total{door=zipkin,format=zipkin-json}"] == 30
    assert found["wal_sync_seconds_bucket{le=0.002}"] == found["wal_sync_seconds_count{}"] == 2
    assert found["wal_sync_seconds_bucket{le=0.001}"] == 0
    assert found["in_hand_bytes{}"] == 7, "of the one that lives"
    end(lives)
    telemetry.clean(tmp_path)
    assert values(exposition.text(tmp_path).decode()) == {}


def test_a_part_that_is_started_again_goes_on_and_leaves_no_files(tmp_path: Path) -> None:
    for _ in range(4):
        process = count(tmp_path, "worker 0")
        end(process, signal.SIGKILL)
        telemetry.bury(tmp_path, process.pid)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counter_worker-0.db", "histogram_worker-0.db"]
    found = values(exposition.text(tmp_path).decode())
    assert found["accepted_requests_total{door=zipkin,format=zipkin-json}"] == 12


def test_readers_see_whole_values_while_they_are_written(tmp_path: Path) -> None:
    counters = telemetry.start(tmp_path, "worker 0")
    done = threading.Event()

    def write() -> None:
        for n in range(20_000):
            counters.refused(f"door {n % 500}", "disk")
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    before = 0.0
    while not done.is_set():
        found = values(exposition.text(tmp_path).decode())
        total = sum(value for name, value in found.items() if name.startswith("refused"))
        assert total >= before
        before = total
    thread.join()


def test_refusals_are_shown_before_the_first(tmp_path: Path) -> None:
    telemetry.start(tmp_path, "worker 0", ["otlp_http"])
    found = values(exposition.text(tmp_path).decode())
    assert found["refused_requests_total{door=otlp_http,reason=disk}"] == 0
    assert found["failed_commits_total{}"] == 0


def test_services_that_are_told_by_name_are_bounded(tmp_path: Path) -> None:
    counters = telemetry.start(tmp_path)
    for n in range(500):
        counters.clock_far_off(f"service-{n}", 1)
    counters.clock_far_off("\U0001f600" * 10_000, 1)
    counters.clock_far_off("service-7", 1)
    found = values(exposition.text(tmp_path).decode())
    services = {name: value for name, value in found.items() if name.startswith("clock")}
    assert len(services) == telemetry.MAX_SERVICES + 1
    assert services["clock_far_off_spans_total{service=other}"] == 401
    assert services["clock_far_off_spans_total{service=service-7}"] == 2


def test_the_longest_names_fit_into_the_file(tmp_path: Path) -> None:
    counters = telemetry.start(tmp_path, doors=TAKING)
    for n in range(500):
        counters.clock_far_off(f"{n:03}" + "\U0001f600" * 200, 1)
    found = values(exposition.text(tmp_path).decode())
    assert sum(value for name, value in found.items() if name.startswith("clock")) == 500


def test_more_values_than_a_file_holds_are_not_shown_and_cost_nothing_else(tmp_path: Path) -> None:
    counters = telemetry.start(tmp_path)
    for n in range(3_000):
        counters.refused(f"door {n}", "disk")
    counters.set_aside()
    found = values(exposition.text(tmp_path).decode())
    assert 500 < sum(name.startswith("refused") for name in found) < 3_000
    assert found["set_aside_records_total{}"] == 1


def test_files_have_their_place_on_disk_from_the_start(tmp_path: Path) -> None:
    """On a disk that is full, a first write to a page that has none would kill the process."""
    telemetry.start(tmp_path)
    for path in tmp_path.iterdir():
        assert path.stat().st_blocks * 512 >= path.stat().st_size > 0


def test_without_room_for_the_files_spans_are_taken_all_the_same(tmp_path: Path) -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))" + COUNT
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "worker 0"], capture_output=True, text=True, input="", check=True
    )
    assert "cannot be made" in done.stderr
    assert exposition.text(tmp_path) == b""


def test_a_damaged_file_begins_anew(tmp_path: Path) -> None:
    end(count(tmp_path, "worker 0"))
    (path,) = tmp_path.glob("counter_*")
    data = bytearray(path.read_bytes())
    data[8:12] = b"\xff\xff\xff\x7f"
    path.write_bytes(data)
    end(count(tmp_path, "worker 0"))
    found = values(exposition.text(tmp_path).decode())
    assert found["accepted_requests_total{door=zipkin,format=zipkin-json}"] == 3
    assert found["wal_sync_seconds_count{}"] == 2


ON = ("--otlp-http", "127.0.0.1:0", "--api", "127.0.0.1:0")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("telemetry") / "data", *ON) as found:
        yield found


def get(running: Up, path: str) -> tuple[int, str, str]:
    """Return status, content type and body."""
    try:
        with urllib.request.urlopen(f"http://{running.addresses['api']}{path}", timeout=10) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read().decode()


@pytest.mark.process
def test_the_api_port_tells_what_became_of_each_request(running: Up) -> None:
    before = values(get(running, "/metrics")[2])

    def more(name: str) -> float:
        return values(get(running, "/metrics")[2]).get(name, 0) - before.get(name, 0)

    body, _ = request(5)
    by_grpc(running.addresses["otlp_grpc"], body)
    by_grpc(running.addresses["otlp_grpc"], body)  # again, as one that lost its answer
    by_http(running.addresses["otlp_http"], request(3)[0].replace(b"\x0a\x10", b"\x0a\x10", 1))
    by_http(running.addresses["otlp_http"], b"\xff")
    eventually(lambda: more("stored_spans_total{}"), lambda n: n == 8)
    assert more("accepted_spans_total{door=otlp_grpc,format=otlp-proto}") == 10
    assert more("accepted_requests_total{door=otlp_http,format=otlp-proto}") == 1
    assert more("refused_requests_total{door=otlp_http,reason=undecodable}") == 1
    assert more("resent_requests_total{}") == 1
    assert more("wal_sync_seconds_count{}") >= 3
    assert more("lag_seconds_count{}") >= 1


@pytest.mark.process
def test_health_and_what_is_not_there(running: Up) -> None:
    status, kind, body = get(running, "/healthz")
    assert (status, kind, json.loads(body)) == (200, "application/json", {"healthy": True})
    status, _, body = get(running, "/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "parts": {"worker 0": True, "writer": True}})
    assert get(running, "/nothing")[0] == 404
    assert get(running, "/metrics")[1].startswith("text/plain; version=")


@pytest.mark.process
def test_a_part_that_is_dead_is_not_ready(running: Up) -> None:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"writer" in arguments and str(running.data_dir).encode() in arguments:
            os.kill(int(folder.name), signal.SIGKILL)
    eventually(lambda: get(running, "/readyz")[0], lambda status: status == 503)
    eventually(lambda: get(running, "/readyz")[0], lambda status: status == 200)


class Receiver:
    """An OTLP/gRPC collector of metrics."""

    def __init__(self) -> None:
        self.metrics: dict[str, Metric] = {}  # the last of each
        self.calls = 0
        self.down = False
        self._server = grpc.server(futures.ThreadPoolExecutor(1))
        method = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=ExportMetricsServiceRequest.FromString,
            response_serializer=ExportMetricsServiceResponse.SerializeToString,
        )
        service = "opentelemetry.proto.collector.metrics.v1.MetricsService"
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def _export(
        self, message: ExportMetricsServiceRequest, context: grpc.ServicerContext
    ) -> ExportMetricsServiceResponse:
        self.calls += 1
        if self.down:
            context.abort(grpc.StatusCode.UNAVAILABLE, "down")
        for resource in message.resource_metrics:
            for scope in resource.scope_metrics:
                self.metrics.update(
                    (metric.name.removeprefix("tracelens_collector_"), metric) for metric in scope.metrics
                )
        return ExportMetricsServiceResponse()

    def stop(self) -> None:
        self._server.stop(0)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.stop()


def test_what_is_sent_by_otlp_is_what_metrics_shows(tmp_path: Path, receiver: Receiver) -> None:
    counters = telemetry.start(tmp_path)
    counters.accepted("zipkin", "zipkin-json", 5, 100)
    counters.state(7, 8, 9.5)
    for seconds in (0.002, 0.003, 60):
        counters.synced(seconds)
    own_export.start(receiver.address, tmp_path, 600)()  # the end sends, too
    sent = receiver.metrics
    assert sent.keys() == {metric.name.removeprefix("tracelens_collector_") for metric in exposition.metrics(tmp_path)}
    (spans,) = sent["accepted_spans"].sum.data_points
    assert spans.as_double == 5
    assert {one.key: one.value.string_value for one in spans.attributes} == {"door": "zipkin", "format": "zipkin-json"}
    assert 0 < spans.start_time_unix_nano <= spans.time_unix_nano
    assert sent["accepted_spans"].sum.is_monotonic
    assert [point.as_double for point in sent["wal_oldest_seconds"].gauge.data_points] == [9.5]
    (syncs,) = sent["wal_sync_seconds"].histogram.data_points
    assert (syncs.count, syncs.sum) == (3, 60.005)
    assert tuple(syncs.explicit_bounds) == telemetry.SYNC_BUCKETS
    assert list(syncs.bucket_counts) == [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert (sent["wal_sync_seconds"].unit, sent["wal_waiting_bytes"].unit) == ("s", "By")
    assert not syncs.HasField("min")


def test_an_outage_of_the_receiver_is_logged_once(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_export, "TIMEOUT_SECONDS", 0.5)  # shorter than the exporter's first wait between tries
    counters = telemetry.start(tmp_path)
    receiver.down = True
    stop = own_export.start(receiver.address, tmp_path, 0.02)
    eventually(lambda: receiver.calls, lambda calls: calls > 4)
    receiver.down = False
    counters.accepted("zipkin", "zipkin-json", 5, 100)
    eventually(lambda: "accepted_spans" in receiver.metrics, bool)
    stop()
    assert [record.getMessage().replace(receiver.address, "it") for record in caplog.records] == [
        "our own metrics do not reach it",
        "our own metrics reach it",
    ]


@pytest.mark.process
def test_a_collector_sends_its_metrics(tmp_path: Path, receiver: Receiver) -> None:
    with up(tmp_path / "data", "--telemetry", receiver.address) as running:
        by_grpc(running.addresses["otlp_grpc"], request(5)[0])
    assert {"accepted_spans", "stored_spans", "wal_sync_seconds"} <= receiver.metrics.keys(), "sent when it ended"


HOSTILE = "two\nlines \r\x1b[31mred\x00 \udcff \ud83d and \u2028 \x85"


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_hostile_message_is_one_line(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    try:
        logs.configure(form, "writer")
        logging.getLogger("collector.test").warning("name %s", HOSTILE)
    finally:
        root.handlers[:], sys.excepthook = handlers, hook
        root.setLevel(level)
        logging.captureWarnings(False)
    written = capfd.readouterr().err
    assert written.endswith("\n")
    assert written[:-1].isprintable()
    assert len(written.splitlines()) == 1
    if form == "json":
        line = orjson.loads(written)  # which takes no half of a surrogate pair
        assert line["message"] == "name " + HOSTILE.replace("\udcff", "\\udcff").replace("\ud83d", "\\ud83d")
        assert (line["part"], line["level"], line["logger"]) == ("writer", "warning", "collector.test")
        assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)


def test_what_ends_a_process_is_a_line_of_json(tmp_path: Path) -> None:
    code = "from collector import logs; logs.configure('json', 'worker 0'); raise ValueError('a\\nb\\x00')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    line = orjson.loads(done.stderr)
    assert line["level"] == "critical"
    assert line["exception"].endswith("ValueError: a\nb\x00")


def test_what_failed_is_a_sentence_when_it_is_foreseen_and_else_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    for error in (StoreError("s3://spans: busy %s"), ZeroDivisionError("a bug")):
        try:
            raise error from OSError("what lies under it")
        except (StoreError, ZeroDivisionError):
            logs.failed(logging.getLogger("collector.test"), "it takes nothing")
    foreseen, bug = caplog.records
    assert foreseen.getMessage() == "it takes nothing: s3://spans: busy %s"
    assert foreseen.exc_info is None
    assert bug.getMessage() == "it takes nothing"
    assert bug.exc_info is not None
    assert bug.exc_info[0] is ZeroDivisionError


def test_the_operators_page_has_every_metric_and_reason() -> None:
    page = (Path(__file__).parents[2] / "docs" / "collector.md").read_text()
    names = [f"{name}_total" for name in telemetry.COUNTERS] + [*telemetry.GAUGES, *telemetry.HISTOGRAMS]
    assert [name for name in (*names, *telemetry.REASONS) if f"`{name}`" not in page] == []
