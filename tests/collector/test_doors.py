"""What senders are told, whatever is wrong, through every door and by both engines."""

from __future__ import annotations

import gzip
import http.client
import secrets
import shutil
import socket
import time
from collections.abc import Iterator

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.ledger import request
from tests.running import Up, eventually, up
from tests.senders import JSON, PROTOBUF, SENDERS, Sender, by_grpc, by_http, post
from tests.wire.opencensus_messages import Request
from tracelens.ports import flag
from tracelens.store import Store

pytestmark = pytest.mark.process

ON = tuple(word for door in ("otlp_http", "zipkin", "opencensus", "api") for word in (flag(door), "127.0.0.1:0"))


@pytest.fixture(scope="module")
def collectors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Up]]:
    folder = tmp_path_factory.mktemp("doors")
    with (
        up(folder / "grpcio", *ON, "--grpc-engine", "grpcio") as grpcio,
        up(folder / "asgi", *ON, "--grpc-engine", "asgi") as asgi,
    ):
        yield {"grpcio": grpcio, "asgi": asgi}


@pytest.fixture(params=[*SENDERS])
def sender(request: pytest.FixtureRequest) -> Sender:
    return SENDERS[request.param]


@pytest.fixture
def collector(collectors: dict[str, Up], sender: Sender) -> Up:
    return collectors[sender.engine]


@pytest.fixture
def address(collector: Up, sender: Sender) -> str:
    return collector.addresses[sender.door]


def stored(collector: Up, ids: list[bytes]) -> int:
    spans = Store.open(collector.data_dir / "store").scan(columns=["span_id"]).collect()
    return int(spans["span_id"].is_in(ids).sum())


def test_good_spans_are_taken_plain_and_compressed(collector: Up, sender: Sender, address: str) -> None:
    plain, ids = request(5)
    compressed, more = request(700)
    assert sender.send(address, sender.encode(plain)).word == "ok"
    told = sender.send_compressed(address, sender.encode(compressed))
    assert (told.word, told.rejected, told.message) == ("ok", 0, "")
    eventually(lambda: stored(collector, ids + more), lambda n: n == 705)


def test_nothing_is_fine(sender: Sender, address: str) -> None:
    assert sender.send(address, sender.encode(b"")).word == "ok"


def test_spans_without_ids_are_rejected_and_counted(collector: Up, sender: Sender, address: str) -> None:
    body, ids = request(4)
    message = ExportTraceServiceRequest.FromString(body)
    spans = message.resource_spans[0].scope_spans[0].spans
    spans[1].trace_id = b"short"
    spans[2].span_id = bytes(8)
    told = sender.send(address, sender.encode(message.SerializeToString()))
    assert (told.word, told.rejected) == ("ok", 2)
    assert "trace_id" in told.message
    eventually(lambda: stored(collector, [ids[0], ids[3]]), lambda n: n == 2)
    assert stored(collector, ids) == 2


def test_a_request_of_rejected_spans_only_is_told_so(sender: Sender, address: str) -> None:
    message = ExportTraceServiceRequest.FromString(request(1)[0])
    message.resource_spans[0].scope_spans[0].spans[0].trace_id = bytes(16)
    told = sender.send(address, sender.encode(message.SerializeToString()))
    assert (told.word, told.rejected) == ("ok", 1)


@pytest.mark.parametrize("rubbish", [b"\xff" * 100, b"not protobuf and not JSON", b"\x0a\x05abc"])
def test_rubbish_is_refused_for_good(sender: Sender, address: str, rubbish: bytes) -> None:
    for send in (sender.send, sender.send_compressed):
        told = send(address, rubbish)
        assert (told.word, told.retry) == ("invalid", frozenset())
        assert told.message


def test_a_request_that_is_cut_off_is_refused_for_good(sender: Sender, address: str) -> None:
    told = sender.send(address, sender.encode(request(3)[0])[:-3])
    assert (told.word, told.retry) == ("invalid", frozenset())
    assert "byte" in told.message


def test_a_request_over_the_limit_is_refused_for_good(sender: Sender, address: str) -> None:
    for send, size in ((sender.send, 66 << 20), (sender.send_compressed, 200 << 20)):
        told = send(address, bytes(size))
        assert told.word == "too large" or (sender.door == "otlp_grpc" and told.word == "later"), told
        assert told.word == "too large"
        assert told.retry == frozenset()


def test_a_log_that_cannot_be_written_refuses_for_now_in_both_forms(
    collector: Up, sender: Sender, address: str
) -> None:
    body, ids = request(2)
    log = collector.data_dir / "wal"
    away = collector.data_dir / "elsewhere"
    eventually(lambda: list(log.glob("*.open")) + list(log.glob("*.wal")), lambda found: not found)
    shutil.move(log, away)
    told = sender.send(address, sender.encode(body))
    shutil.move(away, log)
    assert (told.word, told.retry) == ("later", sender.retry)
    assert sender.send(address, sender.encode(body)).word == "ok"
    eventually(lambda: stored(collector, ids), lambda n: n == 2)


# -- gRPC's own framing


def raw_call(address: str, body: bytes, *headers: tuple[str, str]) -> str:
    """Send bytes as the body of a gRPC call, framed by nobody; return its grpc-status."""
    import zttp

    connection = zttp.Connection(zttp.CLIENT, protocol=zttp.HTTP2)
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as transport:
        connection.initiate_connection()
        path = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        fields = [(b"host", address.encode()), (b"content-type", b"application/grpc"), (b"te", b"trailers")]
        fields += [(name.encode(), value.encode()) for name, value in headers]
        stream = connection.send_request(b"POST", path, b"2", fields)
        stream.send_data(body)
        stream.end_message()
        transport.sendall(connection.data_to_send())
        while True:
            connection.receive_data(transport.recv(65536))
            while (event := connection.next_event()) is not zttp.NEED_DATA:
                found = dict(getattr(event, "headers", ()) or ()) | dict(getattr(event, "trailers", ()) or ())
                if b"grpc-status" in found:
                    return found[b"grpc-status"].decode()
            transport.sendall(connection.data_to_send())


# Fault: body, headers, our answer, grpcio's; None: it waits for the rest until the client gives up.
FRAMING = {
    "no frame": (b"", (), "3", None),
    "a frame that says more than comes": (b"\0\0\0\0\x09abc", (), "3", None),
    "two messages": (b"\0\0\0\0\0\0\0\0\0\0", (), "3", "0"),
    "a flag that is none": (b"\7\0\0\0\0", (), "3", "0"),
    "compressed without a word how": (b"\1\0\0\0\1a", (), "3", "13"),
    "an encoding nobody knows": (b"\1\0\0\0\1a", (("grpc-encoding", "br"),), "12", "13"),
    "no gzip": (b"\1\0\0\0\1a", (("grpc-encoding", "gzip"),), "3", "13"),
    "a gzip cut off": (b"\1\0\0\0\x0a" + gzip.compress(b"x" * 50)[:10], (("grpc-encoding", "gzip"),), "3", "13"),
}


@pytest.mark.parametrize("fault", [*FRAMING])
def test_faults_of_framing(collectors: dict[str, Up], fault: str) -> None:
    """Ours answers what it finds; grpcio's core answers before any handler, here pinned."""
    body, headers, ours, of_grpcio = FRAMING[fault]
    assert raw_call(collectors["asgi"].addresses["otlp_grpc"], body, *headers) == ours
    if of_grpcio is not None:
        assert raw_call(collectors["grpcio"].addresses["otlp_grpc"], body, *headers) == of_grpcio


@pytest.mark.parametrize("engine", ["grpcio", "asgi"])
def test_a_method_nobody_has(collectors: dict[str, Up], engine: str) -> None:
    address = collectors[engine].addresses["otlp_grpc"]
    assert (
        by_grpc(address, b"", method="/opentelemetry.proto.collector.metrics.v1.MetricsService/Export").word
        == "not known"
    )


# -- HTTP's own


@pytest.fixture
def http_address(collectors: dict[str, Up]) -> str:
    return collectors["asgi"].addresses["otlp_http"]


def test_what_http_refuses(http_address: str) -> None:
    body, _ = request(1)
    assert by_http(http_address, body, "text/plain").word == "not known"
    assert by_http(http_address, body, encoding="br").word == "not known"
    assert by_http(http_address, b"no gzip", encoding="gzip").word == "invalid"
    assert by_http(http_address, gzip.compress(body)[:-9], encoding="gzip").word == "invalid"
    assert by_http(http_address, body, path="/v1/metrics").word == "not known"
    assert by_http(http_address, body, "application/json; charset=utf-8").word == "invalid"
    assert by_http(http_address, b"{}", "Application/JSON; charset=utf-8").word == "ok"
    connection = http.client.HTTPConnection(http_address, timeout=10)
    connection.request("GET", "/v1/traces")
    assert connection.getresponse().getheader("allow") == "POST"


def test_chunks_of_a_body_are_one_request(collectors: dict[str, Up], http_address: str) -> None:
    body, ids = request(300)
    connection = http.client.HTTPConnection(http_address, timeout=10)
    pieces = (body[at : at + 1_000] for at in range(0, len(body), 1_000))
    connection.request("POST", "/v1/traces", pieces, {"content-type": PROTOBUF}, encode_chunked=True)
    assert connection.getresponse().status == 200
    eventually(lambda: stored(collectors["asgi"], ids), lambda n: n == 300)


def test_a_connection_takes_many_requests_also_behind_a_refusal(http_address: str) -> None:
    connection = http.client.HTTPConnection(http_address, timeout=10)
    for body, status in ((b"\xff", 400), (request(1)[0], 200), (b"\xff", 400), (b"", 200)):
        connection.request("POST", "/v1/traces", body, {"content-type": PROTOBUF})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status


def test_zipkin_is_taken(collectors: dict[str, Up]) -> None:
    address = collectors["asgi"].addresses["zipkin"]
    span = (
        b'[{"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"a2fb4a1d1a96d312","name":"get /","kind":"SERVER",'
        b'"timestamp":1472470996199000,"duration":207000,"localEndpoint":{"serviceName":"zipkin-web"}}]'
    )
    for path in ("/api/v2/spans", "/api/v1/spans"):
        status, _, data = post(address, path, span, {"content-type": JSON})
        assert (status, data) == (202, b"")
    assert post(address, "/api/v2/spans", b"{", {"content-type": JSON})[0] == 400
    assert post(address, "/api/v2/spans", b"[]", {"content-type": "application/x-thrift"})[0] == 415
    eventually(lambda: stored(collectors["asgi"], [bytes.fromhex("a2fb4a1d1a96d312")]), lambda n: n == 1)


# -- OpenCensus: a stream, without answers


def opencensus_request(spans: int, *, node: str = "") -> tuple[bytes, list[bytes]]:
    message = Request()
    if node:
        message.node.service_info.name = node
    ids = [secrets.token_bytes(8) for _ in range(spans)]
    for span_id in ids:
        span = message.spans.add(trace_id=secrets.token_bytes(16), span_id=span_id)
        span.start_time.seconds = span.end_time.seconds = int(time.time())
    return message.SerializeToString(), ids


@pytest.mark.parametrize("engine", ["grpcio", "asgi"])
def test_opencensus_streams_are_taken_and_what_they_said_once_holds(collectors: dict[str, Up], engine: str) -> None:
    collector = collectors[engine]
    first, ids = opencensus_request(2, node="cart")
    rest = [opencensus_request(3) for _ in range(20)]
    wanted = ids + [span for _, some in rest for span in some]
    with grpc.insecure_channel(collector.addresses["opencensus"]) as channel:
        export = channel.stream_stream("/opencensus.proto.agent.trace.v1.TraceService/Export")
        assert list(export(iter([first, *(body for body, _ in rest)]), timeout=20)) == []
    eventually(lambda: stored(collector, wanted), lambda n: n == len(wanted))
    spans = Store.open(collector.data_dir / "store").scan(columns=["span_id", "service_name"]).collect()
    assert set(spans.filter(spans["span_id"].is_in(wanted))["service_name"]) == {"cart"}


def test_an_opencensus_stream_that_is_none_is_ended(collectors: dict[str, Up]) -> None:
    with grpc.insecure_channel(collectors["grpcio"].addresses["opencensus"]) as channel:
        export = channel.stream_stream("/opencensus.proto.agent.trace.v1.TraceService/Export")
        with pytest.raises(grpc.RpcError) as raised:
            list(export(iter([b"\xff"]), timeout=20))
        assert isinstance(raised.value, grpc.Call)
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
