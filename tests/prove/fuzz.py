"""Bodies changed at random: none ends a decoder or a collector, and OTLP is read as protobuf's runtime reads it.

Seeds of the randomness are fixed, and what is changed is kept in `corpus`, by
format. A body that once was a defect belongs there, too.
"""

from __future__ import annotations

import http.client
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path

import grpc

from tests.ledger import EXPORT
from tests.prove.outside import processes
from tests.prove.rows import Row
from tests.running import eventually, up
from tests.senders import GRPC_WORDS, HTTP_WORDS, JSON, PROTOBUF
from tests.wire.messages import facts, lenient, nothing, refused
from tests.wire.test_jaeger_kernels import by_hand, by_kernels
from tests.wire.test_otlp import decoded, distinct
from tracelens.errors import DecodeError
from tracelens.ports import flag
from tracelens.store import Store
from tracelens.wire import jaeger, otlp
from tracelens.wire._scan import validate
from tracelens.wire.salvage import salvage
from tracelens.wire.translate import opencensus, otlp_json, zipkin, zipkin_proto

ANCHOR = "design: every input is hostile"
CORPUS = Path(__file__).parent / "corpus"
BATCH = 1_000
FIELD_BY_FIELD = 100  # one of so many is compared whole
TRANSLATE: dict[str, Callable[[bytes], bytes]] = {
    "otlp-json": otlp_json.translate,
    "zipkin-json": zipkin.translate,
    "zipkin-proto": zipkin_proto.translate,
    "opencensus": opencensus.translate,
}
TOKENS = (
    *(b"\0", b"\xff", b"\x80", b"\x0b", b"\x0c", b"\x12\x00", b"\x2a\x00", b"\xff\xff\xff\xff\x0f", b"\xed\xa0\x80"),
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\u0000", b"\\ud800", b"null", b"true", b"-1", b"1e999", b"NaN"),
    *(b"18446744073709551616", b"-9223372036854775809", b'"a":', b"[[", b"]}", b" ", b"\n", b"\xef\xbb\xbf"),
)
WORDS = {"ok", "invalid", "too large", "later", "not known"}


@cache
def corpus(kind: str) -> list[bytes]:
    """Return the bodies that are changed."""
    return [path.read_bytes() for path in sorted((CORPUS / kind).iterdir())]


def changed(bodies: Sequence[bytes], chance: random.Random) -> Iterator[bytes]:
    """Yield bodies with bytes changed, left out, doubled, put in, or cut off, without end."""
    while True:
        raw = bytearray(chance.choice(bodies))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            at = chance.randrange(len(raw) + 1)
            match chance.randrange(7):
                case 0:
                    raw[at : at + 1] = bytes((chance.randrange(256),))
                case 1:
                    del raw[at:]
                case 2:
                    del raw[at : at + chance.choice((1, 2, 8, 40))]
                case 3:
                    raw[at:at] = raw[at : at + chance.choice((1, 4, 30, 200))]
                case 4:
                    other = chance.choice(bodies)
                    begin = chance.randrange(len(other) + 1)
                    raw[at:at] = other[begin : begin + chance.choice((4, 30, 200))]
                case 5:
                    if raw:
                        raw[at % len(raw)] ^= 1 << chance.randrange(8)
                case _:
                    raw[at:at] = chance.choice(TOKENS)
        yield bytes(raw)


# -- decoders


def decoder(_folder: Path, count: int, *, kind: str) -> Row:
    """Give one decoder `count` changed bodies."""
    chance = random.Random(f"{kind} 1")
    source = changed(corpus(kind), chance)
    broken, refusals, spans, done = list[str](), 0, 0, 0
    judge = {"otlp-proto": _otlp, "jaeger-json": _jaeger}.get(kind) or partial(_translated, TRANSLATE[kind])
    while done < count and len(broken) < 10:
        batch = list(islice(source, min(BATCH, count - done)))
        found = judge(batch)
        broken += found[0]
        refusals, spans, done = refusals + found[1], spans + found[2], done + len(batch)
    return Row(
        promise="no body ends a decoder, and none is read wrongly",
        anchor=ANCHOR,
        tried=f"{done:,} changed bodies of {kind}",
        times=done,
        broken=tuple(broken[:5]),
        told=f"{refusals:,} refused, {spans:,} spans read",
    )


def _otlp(batch: list[bytes]) -> tuple[list[str], int, int]:
    """Return (what is wrong, bodies refused, spans read) of OTLP, beside protobuf's runtime."""
    broken, sound, rejected = [], [], 0
    for body in batch:
        verdict = validate(body)
        if (verdict.error_byte >= 0) != refused(body):
            broken.append(f"refused by one only: {body.hex()}")
        elif verdict.error_byte >= 0:
            saved = salvage(body)
            if saved is not None and refused(saved[0]):
                broken.append(f"saved, and is none: {body.hex()}")
        elif verdict[:2] != (counted := _counted(body)):
            broken.append(f"{verdict[:2]} spans and rejected, not {counted}: {body.hex()}")
        else:
            sound.append(body)
            rejected += verdict.rejected
    try:
        result = otlp.decode(sound)
    except Exception as error:
        return [*broken, f"{type(error).__name__}: {error}: {[body.hex() for body in sound]}"], 0, 0
    if sum(result.rejected.values()) != rejected:
        broken.append(f"rejected {result.rejected}, not {rejected}")
    for body in sound[::FIELD_BY_FIELD]:
        wanted, _ = facts(body)
        if distinct(wanted) and decoded(otlp.decode([body]).spans) != wanted:
            broken.append(f"read otherwise: {body.hex()}")
    return broken, len(batch) - len(sound), len(result.spans)


def _counted(body: bytes) -> tuple[int, int]:
    """Return (spans, those without ids) as the runtime reads them."""
    spans = [
        span
        for of_resource in lenient("trace.v1.TracesData").FromString(body).resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]
    whole = sum(
        len(span.trace_id) == 16 and len(span.span_id) == 8 and bool(nothing(span.trace_id) and nothing(span.span_id))
        for span in spans
    )
    return len(spans), len(spans) - whole


def _translated(translate: Callable[[bytes], bytes], batch: list[bytes]) -> tuple[list[str], int, int]:
    """Return the same of a format that becomes OTLP first: what comes out is sound, or DecodeError says why not."""
    broken, sound, refusals, whole = [], [], 0, 0
    for body in batch:
        try:
            body_as_otlp = translate(body)
        except DecodeError:
            refusals += 1
            continue
        except Exception as error:
            broken.append(f"{type(error).__name__}: {error}: {body.hex()}")
            continue
        verdict = validate(body_as_otlp)
        if verdict.error_byte < 0:
            sound.append(body_as_otlp)
            whole += verdict.spans - verdict.rejected
        elif salvage(body_as_otlp) is None:
            broken.append(f"becomes what is no OTLP: {body.hex()}")
    try:
        spans = len(otlp.decode(sound).spans)
    except Exception as error:
        return [*broken, f"{type(error).__name__}: {error}: {[body.hex() for body in sound]}"], refusals, 0
    return broken + [f"{spans} spans, not {whole}"] * (spans != whole), refusals, spans


def _jaeger(batch: list[bytes]) -> tuple[list[str], int, int]:
    """Return the same of Jaeger's documents; kernels and Python say the same of each."""
    broken, refusals, spans = [], 0, 0
    for body in batch:
        try:
            (found, _), wanted = by_kernels([body]), by_hand([body])
            if found != wanted:
                broken.append(f"read otherwise by kernels: {body.hex()}")
            spans += len(jaeger.decode([body]).spans)
        except DecodeError:
            refusals += 1
        except Exception as error:
            broken.append(f"{type(error).__name__}: {error}: {body.hex()}")
    return broken, refusals, spans


# -- over the wire

ON = tuple(word for door in ("otlp_http", "zipkin", "api") for word in (flag(door), "127.0.0.1:0"))
WAYS = (
    ("otlp_http", "/v1/traces", PROTOBUF, "otlp-proto"),
    ("otlp_http", "/v1/traces", JSON, "otlp-json"),
    ("zipkin", "/api/v2/spans", JSON, "zipkin-json"),
    ("zipkin", "/api/v2/spans", PROTOBUF, "zipkin-proto"),
)


def over_the_wire(folder: Path, count: int, *, engine: str = "asgi") -> Row:
    """Send changed bodies through every door; what was accepted is stored, and no part of the collector ends."""
    chance = random.Random("wire 1")
    seen, words, broken = set[bytes](), Counter[str](), list[str]()
    with up(folder / engine, *ON, "--grpc-engine", engine) as running:
        pids = sorted(processes(running.data_dir, "collector"))
        with grpc.insecure_channel(running.addresses["otlp_grpc"]) as channel:
            ways = [_by_http(running.addresses[door], path, kind) for door, path, kind, _ in WAYS]
            kinds = [kind for *_, kind in WAYS]
            ways.append(_by_grpc(channel))
            sources = [changed(corpus(kind), chance) for kind in (*kinds, "otlp-proto")]
            while sum(words.values()) < count:
                for way, source, kind in zip(ways, sources, (*kinds, "otlp-proto"), strict=True):
                    body = next(source)
                    if (taken := _taken(kind, body)) not in seen:  # sent again it would be counted once
                        seen.add(taken)
                        words[word := way(body)] += 1
                        broken += [f"answered {word}: {body.hex()}"] * (word not in WORDS)
        accepted = _accepted(running.addresses["api"])
        store = Store.open(running.data_dir / "store")
        stored = eventually(store.span_count, lambda found: found >= accepted)
        if sorted(processes(running.data_dir, "collector")) != pids:
            broken.append("a part of the collector was replaced")
    return Row(
        promise="no body ends a collector, and what is accepted is stored",
        anchor=ANCHOR,
        tried=f"{sum(words.values()):,} changed bodies through five doors, {engine}",
        times=sum(words.values()),
        lost=max(accepted - stored, 0),
        twice=max(stored - accepted, 0),
        broken=tuple(broken[:5]),
        told=f"answers {dict(words)}; {accepted:,} spans accepted, {stored:,} stored",
    )


def _taken(kind: str, body: bytes) -> bytes:
    """Return what becomes of a body that is taken; of one that is not, the body."""
    try:
        body = TRANSLATE[kind](body) if kind in TRANSLATE else body
    except DecodeError:
        return body
    if validate(body).error_byte < 0:
        return body
    saved = salvage(body)
    return saved[0] if saved else body


def _by_http(address: str, path: str, kind: str) -> Callable[[bytes], str]:
    connection = http.client.HTTPConnection(address, timeout=60)

    def send(body: bytes) -> str:
        connection.request("POST", path, body, {"content-type": kind})
        answer = connection.getresponse()
        answer.read()
        return "ok" if answer.status in (200, 202) else HTTP_WORDS.get(answer.status, str(answer.status))

    return send


def _by_grpc(channel: grpc.Channel) -> Callable[[bytes], str]:
    export = channel.unary_unary(EXPORT)

    def send(body: bytes) -> str:
        try:
            export(body, timeout=60)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]  # it is a call, too
            return GRPC_WORDS.get(code, str(code))
        return "ok"

    return send


def _accepted(address: str) -> int:
    """Return how many spans the collector says it accepted."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    found = [line for line in lines if line.startswith("tracelens_collector_accepted_spans_total{")]
    return int(sum(float(line.rpartition(" ")[2]) for line in found))
