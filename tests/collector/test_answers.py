"""What a sender is told, and what is in the store afterwards."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.ledger import EXPORT, request
from tests.running import Up, eventually, up
from tracelens.store import Store

pytestmark = pytest.mark.process

Send = Callable[..., ExportTraceServiceResponse]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("collector") / "data") as found:
        yield found


@pytest.fixture
def send(running: Up) -> Iterator[Send]:
    with grpc.insecure_channel(
        running.addresses["otlp_grpc"], options=[("grpc.max_send_message_length", 1 << 30)]
    ) as channel:
        export = channel.unary_unary(EXPORT, response_deserializer=ExportTraceServiceResponse.FromString)

        def call(body: bytes, **options: object) -> ExportTraceServiceResponse:
            return export(body, timeout=20, **options)

        yield call


def stored(running: Up, ids: list[bytes]) -> int:
    """Return how many of some spans the store has."""
    spans = Store.open(running.data_dir / "store").scan(columns=["span_id"]).collect()
    return int(spans["span_id"].is_in(ids).sum())


def refusal(call: Callable[[], object]) -> grpc.Call:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    found = raised.value
    assert isinstance(found, grpc.Call)
    return found


def test_a_good_request_is_answered_with_nothing_and_stored(running: Up, send: Send) -> None:
    body, ids = request(5)
    assert not send(body).HasField("partial_success")
    eventually(lambda: stored(running, ids), lambda n: n == 5)


def test_an_empty_request_is_fine(send: Send) -> None:
    assert not send(b"").HasField("partial_success")


def test_gzip_is_understood(running: Up, send: Send) -> None:
    body, ids = request(50)
    send(body, compression=grpc.Compression.Gzip)
    eventually(lambda: stored(running, ids), lambda n: n == 50)


def test_an_undecodable_request_is_refused_for_good_and_its_neighbours_are_stored(running: Up, send: Send) -> None:
    before, ids_before = request(3)
    after, ids_after = request(3)
    send(before)
    refused = refusal(lambda: send(before[:-3]))
    send(after)
    assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "byte" in refused.details()
    eventually(lambda: stored(running, ids_before + ids_after), lambda n: n == 6)


def test_rubbish_is_refused_for_good(send: Send) -> None:
    for rubbish in (b"\xff" * 100, b"not protobuf", gzip.compress(b"x" * 100)):
        assert refusal(lambda rubbish=rubbish: send(rubbish)).code() == grpc.StatusCode.INVALID_ARGUMENT


def test_spans_without_ids_are_rejected_and_counted_and_the_rest_is_stored(running: Up, send: Send) -> None:
    body, ids = request(4)
    message = ExportTraceServiceRequest.FromString(body)
    spans = message.resource_spans[0].scope_spans[0].spans
    spans[1].trace_id = b"short"
    spans[2].span_id = bytes(8)
    answer = send(message.SerializeToString()).partial_success
    assert answer.rejected_spans == 2
    assert "id" in answer.error_message
    eventually(lambda: stored(running, [ids[0], ids[3]]), lambda n: n == 2)
    assert stored(running, ids) == 2


def test_a_broken_span_is_stored_and_marked(running: Up, send: Send) -> None:
    body, ids = request(1)
    message = ExportTraceServiceRequest.FromString(body)
    span = message.resource_spans[0].scope_spans[0].spans[0]
    span.end_time_unix_nano = span.start_time_unix_nano - 1
    send(message.SerializeToString())
    eventually(lambda: stored(running, ids), lambda n: n == 1)
    spans = Store.open(running.data_dir / "store").scan().collect()
    (row,) = spans.filter(spans["span_id"].is_in(ids)).iter_rows(named=True)
    assert row["repairs"] == 1
    assert row["end_time_unix_nano"] == row["start_time_unix_nano"]


def test_a_request_over_the_limit_is_refused_for_good(send: Send) -> None:
    refused = refusal(lambda: send(bytes(66 << 20)))
    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not any(key == "google.rpc.retryinfo-bin" for key, _ in refused.trailing_metadata())


def test_a_compressed_bomb_is_refused(send: Send) -> None:
    refused = refusal(lambda: send(bytes(200 << 20), compression=grpc.Compression.Gzip))
    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_log_that_cannot_be_written_refuses_for_now_in_both_forms(tmp_path: Path) -> None:
    """Envoy reads neither; SDKs read one or the other."""
    with up(tmp_path / "data") as running, grpc.insecure_channel(running.addresses["otlp_grpc"]) as channel:
        export = channel.unary_unary(EXPORT)
        body, ids = request(2)
        log = tmp_path / "data" / "wal"
        shutil.move(log, tmp_path / "elsewhere")
        refused = refusal(lambda: export(body, timeout=20))
        shutil.move(tmp_path / "elsewhere", log)
        export(body, timeout=20)
        eventually(lambda: stored(running, ids), lambda n: n == 2)
    assert refused.code() == grpc.StatusCode.UNAVAILABLE
    trailers = dict(refused.trailing_metadata())
    assert RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay.seconds == 2
    (detail,) = Status.FromString(trailers["grpc-status-details-bin"]).details
    assert detail.Is(RetryInfo.DESCRIPTOR)
