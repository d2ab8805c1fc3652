"""OTLP protobuf decodes to what protobuf's runtime reads, repaired and marked."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, cast

import orjson
import polars as pl
import pytest
from google.protobuf.message import DecodeError as Refused
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.wire.messages import damaged, facts, refused, requests
from tracelens.errors import DecodeError
from tracelens.spans import MARK, MAX_COLUMNS, SPAN_MARKS, SPANS, check, is_attribute, split_column
from tracelens.wire import _columns, _read, _rows, _scan, otlp

TRACE, SPAN_ID = b"sixteen byte ids", b"8 byte i"
PLACES = ("name?", "value?", "service?")  # each holds bad text in turn, at the question mark


def decoded(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return rows as `facts` says them: attributes of columns and overflow together."""
    rows = []
    for row in frame.iter_rows(named=True):
        held = []
        for name in [name for name in row if is_attribute(name)]:
            value = row.pop(name)
            kind = split_column(name)[2]
            if value is not None:
                held.append((name, orjson.loads(value) if kind == "json" else named(value)))
        overflow = orjson.loads(row.pop("overflow") or "{}")
        held += [
            (name, named(number(value) if name.endswith("#double") else value)) for name, value in overflow.items()
        ]
        for name in ("events", "links"):
            row[name] = row[name] and orjson.loads(row[name])
        rows.append({**row, "attributes": sorted(held, key=repr)})
    return rows


def number(value: Any) -> Any:
    """Return a double that JSON has no number for; a string key may look like a double's column."""
    return {"Infinity": math.inf, "-Infinity": -math.inf}.get(value, value) if isinstance(value, str) else value


def named(value: Any) -> Any:
    """Return NaN by name, so that it equals itself."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def request(*spans: Span, resource: dict[str, str] | None = None) -> bytes:
    """Return a request of these spans."""
    body = ExportTraceServiceRequest()
    of_resource = body.resource_spans.add()
    for key, value in (resource or {}).items():
        of_resource.resource.attributes.add(key=key).value.string_value = value
    of_resource.scope_spans.add().spans.extend(spans)
    raw: bytes = body.SerializeToString()
    return raw


def span(**fields: Any) -> Span:
    """Return a span with valid ids and times; attributes: a dict of strings."""
    attributes = fields.pop("attributes", {})
    made = Span(**{"trace_id": TRACE, "span_id": SPAN_ID, "start_time_unix_nano": 1, "end_time_unix_nano": 2, **fields})
    for key, value in attributes.items():
        made.attributes.add(key=key).value.string_value = value
    return made


def marks(frame: pl.DataFrame) -> list[str]:
    """Return the marks of a frame of one span."""
    (bits,) = frame["repairs"]
    return [name for name in SPAN_MARKS if bits & MARK[name]]


def distinct(rows: list[dict[str, Any]]) -> bool:
    """Whether no keys became equal when they were repaired: those cannot both stand in one object."""
    return all(len({name for name, _ in row["attributes"]}) == len(row["attributes"]) for row in rows)


@settings(deadline=None)  # a first call compiles
@given(st.lists(requests(), max_size=3))
def test_decoding_agrees_with_the_runtime(bodies: list[bytes]) -> None:
    wanted, rejected = [], dict[str, int]()
    for body in bodies:
        found, refusals = facts(body)
        wanted += found
        for reason, count in refusals.items():
            rejected[reason] = rejected.get(reason, 0) + count
    assume(distinct(wanted))
    result = otlp.decode(bodies)
    assert decoded(check(result.spans)) == wanted
    assert result.rejected == rejected
    assert list(result.spans.columns)[: len(SPANS)] == list(SPANS)


@settings(deadline=None)  # a first call compiles
@given(damaged())
def test_damage_is_refused_as_the_runtime_refuses_it(body: bytes) -> None:
    if refused(body):
        with pytest.raises(DecodeError) as error:
            otlp.decode([b"", body])
        assert error.value.record == 1
        assert 0 <= error.value.byte <= len(body)
    else:
        found, rejected = facts(body)
        assume(distinct(found))
        result = otlp.decode([body])
        assert decoded(result.spans) == found
        assert result.rejected == rejected


def test_a_span_of_a_sidecar_becomes_one_row() -> None:
    body = request(
        span(
            parent_span_id=b"8 byte p",
            name="GET /cart",
            kind=Span.SPAN_KIND_SERVER,
            attributes={"http.method": "GET", "http.url": "http://shop.example/cart?id=000001"},
        ),
        resource={"service.name": "cart.shop"},
    )
    result = otlp.decode([body], [77])
    assert result.rejected == {}
    (row,) = result.spans.iter_rows(named=True)
    assert row == {
        **dict.fromkeys(SPANS),
        "trace_id": TRACE,
        "span_id": SPAN_ID,
        "parent_span_id": b"8 byte p",
        "follows_from": False,
        "flags": 0,
        "name": "GET /cart",
        "kind": 2,
        "start_time_unix_nano": 1,
        "end_time_unix_nano": 2,
        "status_code": 0,
        "service_name": "cart.shop",
        "dropped_attributes_count": 0,
        "dropped_events_count": 0,
        "dropped_links_count": 0,
        "received_unix_nano": 77,
        "repairs": 0,
        "res:service.name": "cart.shop",
        "attr:http.method": "GET",
        "attr:http.url": "http://shop.example/cart?id=000001",
    }


def test_no_request_and_no_span_are_no_spans() -> None:
    for bodies in ([], [b""], [request()], [b"", request()]):
        result = otlp.decode(bodies)
        assert result.spans.equals(otlp.decode([]).spans)
        assert dict(check(result.spans).schema) == dict(SPANS)
        assert result.rejected == {}


@pytest.mark.parametrize(
    ("fields", "mark", "wanted"),
    [
        ({"start_time_unix_nano": 9, "end_time_unix_nano": 5}, "neg_duration", {"end_time_unix_nano": 9}),
        ({"start_time_unix_nano": 0, "end_time_unix_nano": 0}, "no_time", {"start_time_unix_nano": 0}),
        ({"start_time_unix_nano": 0, "end_time_unix_nano": 5}, "one_time", {"start_time_unix_nano": 5}),
        ({"start_time_unix_nano": 5, "end_time_unix_nano": 0}, "one_time", {"end_time_unix_nano": 5}),
        ({"end_time_unix_nano": 2**64 - 1}, "time_range", {"end_time_unix_nano": 2**63 - 1}),
        ({"kind": 6}, "bad_kind", {"kind": 0}),
        ({"status": Status(code=cast("Any", 7))}, "bad_status", {"status_code": 0}),
        ({"parent_span_id": b"7 bytes"}, "bad_parent", {"parent_span_id": None}),
        ({"parent_span_id": SPAN_ID}, "bad_parent", {"parent_span_id": None}),
    ],
    ids=str,
)
def test_dirt_is_mended_and_marked(fields: dict[str, Any], mark: str, wanted: dict[str, Any]) -> None:
    frame = otlp.decode([request(span(**fields), resource={"service.name": "s"})]).spans
    assert marks(frame) == [mark]
    assert frame.select(*wanted).row(0, named=True) == wanted


@pytest.mark.parametrize("parent", [b"", bytes(8), bytes(16)])
def test_no_parent_and_a_parent_of_zeros_are_a_root(parent: bytes) -> None:
    frame = otlp.decode([request(span(parent_span_id=parent), resource={"service.name": "s"})]).spans
    assert frame["parent_span_id"].to_list() == [None]
    assert marks(frame) == []


@pytest.mark.parametrize("resource", [{}, {"service.name": ""}, {"Service.Name": "s"}])
def test_a_service_without_a_name_is_unknown(resource: dict[str, str]) -> None:
    frame = otlp.decode([request(span(), resource=resource)]).spans
    assert frame["service_name"].to_list() == ["unknown_service"]
    assert marks(frame) == ["no_service"]


def test_spans_without_an_id_are_refused_and_their_neighbours_kept() -> None:
    spans = [
        span(name="first", attributes={"k": "1"}),
        span(trace_id=b"short", attributes={"k": "2", "lost": "x"}),
        span(span_id=bytes(8), name="zero"),
        span(trace_id=bytes(16), span_id=b"", name="both"),
        span(name="last", attributes={"k": "5"}),
    ]
    result = otlp.decode([request(*spans, resource={"service.name": "s"})])
    assert result.rejected == {"trace_id": 2, "span_id": 1}
    assert result.spans["name"].to_list() == ["first", "last"]
    assert result.spans["attr:k"].to_list() == ["1", "5"]
    assert "attr:lost" not in result.spans.columns
    assert result.spans["repairs"].to_list() == [0, 0]


def test_a_body_that_is_no_protobuf_is_named_with_its_byte() -> None:
    with pytest.raises(
        DecodeError, match=r"request 2, byte 0: the message is longer than what holds it\. Is this"
    ) as error:
        otlp.decode([b"", request(span()), b"\x0a\x05"])
    assert (error.value.record, error.value.byte) == (2, 0)


@pytest.mark.parametrize("length", range(20))
def test_text_of_every_length_survives(length: int) -> None:
    """A view holds up to 12 bytes itself and points at longer text."""
    text = "abcdefghijklmnopqrst"[:length]
    frame = otlp.decode([request(span(name=text, attributes={"key": text, "æ": text + "å"}))]).spans
    assert frame.select("name", "attr:key", "attr:æ").row(0) == (text, text, text + "å")


def test_types_of_one_key_are_columns_of_their_own() -> None:
    spans = [span() for _ in range(6)]
    spans[0].attributes.add(key="k").value.string_value = "503"
    spans[1].attributes.add(key="k").value.int_value = -503
    spans[2].attributes.add(key="k").value.double_value = 5.5
    spans[3].attributes.add(key="k").value.bool_value = False
    spans[4].attributes.add(key="k").value.array_value.values.add().int_value = 2**60
    spans[5].attributes.add(key="k")
    frame = otlp.decode([request(*spans)]).spans
    held = frame.select(pl.selectors.starts_with("attr:"))
    assert dict(held.schema) == {
        "attr:k": pl.String,
        "attr:k#int": pl.Int64,
        "attr:k#double": pl.Float64,
        "attr:k#bool": pl.Boolean,
        "attr:k#json": pl.String,
    }
    assert held["attr:k"].to_list() == ["503", *[None] * 5]
    assert held["attr:k#int"].to_list() == [None, -503, *[None] * 4]
    assert held["attr:k#double"].to_list() == [None, None, 5.5, *[None] * 3]
    assert held["attr:k#bool"].to_list() == [None, None, None, False, None, None]
    array = '{"arrayValue":{"values":[{"intValue":"1152921504606846976"}]}}'
    assert held["attr:k#json"].to_list() == [*[None] * 4, array, "{}"]


def test_of_a_key_that_comes_twice_the_last_one_stands() -> None:
    twice = span(attributes={"k": "first"})
    twice.attributes.add(key="k").value.int_value = 2
    frame = otlp.decode([request(twice, resource={"service.name": "s"})]).spans
    assert frame["attr:k#int"].to_list() == [2]
    assert "attr:k" not in frame.columns
    assert marks(frame) == ["duplicate_key"]


def test_text_that_is_not_utf8_is_repaired_and_marked() -> None:
    """Wherever it stands; the runtime would refuse the whole request."""
    name, value, service = PLACES
    at = request(span(name=name, attributes={"k": value}), resource={"service.name": service})
    for text in (word.encode() for word in PLACES):
        body = at.replace(text, text.replace(b"?", b"\xff"))
        with pytest.raises(Refused):
            ExportTraceServiceRequest.FromString(body)
        frame = otlp.decode([body]).spans
        assert "bad_utf8" in marks(frame)
        words = [word.replace("?", "\ufffd" if word.encode() == text else "?") for word in PLACES]
        assert [*frame.select("name", "attr:k", "service_name").row(0)] == words


def test_what_cannot_be_a_column_overflows() -> None:
    keys = ["fit", "with space", "a=b", "", "k#int", "x" * 300]
    spans = [span(attributes=dict.fromkeys(keys, "1")), span(attributes={"Fit": "2"}), span(attributes={"fit": "3"})]
    frame = otlp.decode([request(*spans, resource={"service.name": "s", "of all": "4"})]).spans
    assert [name for name in frame.columns if is_attribute(name)] == ["res:service.name", "attr:fit"]
    assert [orjson.loads(text) for text in frame["overflow"]] == [
        {"res:of all": "4", **{f"attr:{key}": "1" for key in keys if key != "fit"}},
        {"res:of all": "4", "attr:Fit": "2"},  # differs from the more frequent one in case only
        {"res:of all": "4"},
    ]


def test_columns_are_capped_and_the_frequent_ones_win() -> None:
    rare = {f"rare{i:03}": "r" for i in range(MAX_COLUMNS)}
    spans = [span(attributes={"common": "c"}), span(attributes={**rare, "common": "c"})]
    frame = otlp.decode([request(*spans, resource={"service.name": "s"})]).spans
    names = [name for name in frame.columns if is_attribute(name)]
    assert len(names) == MAX_COLUMNS
    assert names[:2] == ["res:service.name", "attr:common"]
    left = orjson.loads(frame["overflow"][1])
    assert {*names, *left} == {"res:service.name", "attr:common", *(f"attr:{key}" for key in rare)}
    assert frame["overflow"][0] is None


def test_the_name_of_the_service_never_overflows() -> None:
    """However rare it is among the spans of a request."""
    keys = {f"k{i:03}": "v" for i in range(MAX_COLUMNS + 5)}
    bodies = [request(span(attributes=keys), span(attributes=keys)), request(span(), resource={"service.name": "rare"})]
    frame = otlp.decode(bodies).spans
    assert frame["service_name"].to_list() == ["unknown_service", "unknown_service", "rare"]


def test_a_request_of_many_keys_costs_what_its_bytes_do() -> None:
    """100,000 keys: neither a matrix of them nor a search through them."""
    many = [span(attributes={f"key{i}": "v"}) for i in range(100_000)]
    begin = time.process_time()
    frame = otlp.decode([request(*many)]).spans
    assert time.process_time() - begin < 20
    assert len([name for name in frame.columns if is_attribute(name)]) == MAX_COLUMNS
    assert frame["overflow"].null_count() == MAX_COLUMNS


def test_a_large_resource_is_not_multiplied() -> None:
    """What thousands of tiny spans would repeat is kept at the first of them."""
    big = "x" * (1 << 20)
    frame = otlp.decode([request(*[span()] * 1000, resource={"service.name": "s", "big": big, "k": "v"})]).spans
    assert frame["res:k"].to_list() == ["v"] * 1000
    assert "res:big" not in frame.columns or frame["res:big"].null_count() == 1000
    assert orjson.loads(frame["overflow"][0]) == {"res:big": big}
    assert frame["overflow"].null_count() == 999


def test_events_and_links_are_kept_whole() -> None:
    full = span()
    event = full.events.add(time_unix_nano=2**60, name="retry")
    event.attributes.add(key="attempt").value.int_value = 2
    full.links.add(trace_id=TRACE, span_id=SPAN_ID, flags=1)
    frame = otlp.decode([request(full, span())]).spans
    attributes = '[{"key":"attempt","value":{"intValue":"2"}}]'
    events = f'[{{"timeUnixNano":"1152921504606846976","name":"retry","attributes":{attributes}}}]'
    assert frame["events"].to_list() == [events, None]
    links = f'[{{"traceId":"{TRACE.hex()}","spanId":"{SPAN_ID.hex()}","flags":1}}]'
    assert frame["links"].to_list() == [links, None]


def test_chunks_follow_one_another() -> None:
    """More bytes than are decoded at once: the same rows, and one set of columns."""
    body = request(*[span(attributes={"k": "v" * 4000, "n": str(i)}) for i in range(2000)])
    bodies = [body] * (2 * otlp.CHUNK // len(body) + 2)
    assert len(list(otlp.chunks([len(body) for body in bodies]))) == 3
    frame = otlp.decode(bodies, range(len(bodies))).spans
    assert frame["attr:n"].to_list() == [str(i) for i in range(2000)] * len(bodies)
    assert frame["received_unix_nano"].to_list() == [i for i in range(len(bodies)) for _ in range(2000)]


def test_a_frame_of_views_behaves_as_any_frame(tmp_path: Path) -> None:
    """Its text lies in the request; filters, groups, files and Arrow do not mind."""
    bodies = [request(*[span(name=f"a name of some length {i}", attributes={"k": str(i % 3)}) for i in range(100)])]
    frame = otlp.decode(bodies).spans
    plain = pl.DataFrame(frame.to_dicts(), schema=frame.schema)
    assert frame.equals(plain)
    assert frame.filter(pl.col("name").str.ends_with("7")).equals(plain.filter(pl.col("name").str.ends_with("7")))
    assert frame.group_by("attr:k").len().sort("attr:k").rows() == [("0", 34), ("1", 33), ("2", 33)]
    frame.write_parquet(tmp_path / "spans.parquet")
    assert pl.read_parquet(tmp_path / "spans.parquet").equals(plain)
    assert pl.concat([frame, plain]).equals(pl.concat([plain, plain]))
    assert pl.DataFrame(frame.to_arrow()).equals(plain)


def test_marks_of_the_kernels_are_those_of_the_table() -> None:
    assert {"duplicate_key": _rows.DUPLICATE_KEY, "bad_utf8": _rows.BAD_UTF8}.items() <= MARK.items()


def test_kernels_are_compiled_once() -> None:
    """One kind of array each; another would compile for seconds in the middle of the work."""
    otlp.warm()
    otlp.decode([request(span(attributes={"a b": "c"})), request(span(name="x" * 99))], [1, 2])
    kernels: list[Any] = [_scan.glance, _scan.scan_all, _read.read, _columns.tally, _columns.spread, _columns.place]
    assert [len(kernel.signatures) for kernel in kernels] == [1] * len(kernels)
