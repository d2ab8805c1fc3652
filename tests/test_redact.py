"""Secrets are taken out before spans are stored, and nothing else is."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import trace
from tracelens.errors import UsageError
from tracelens.redact import REDACTED, URL_PARAMETERS, Rules, apply
from tracelens.spans import MARK, check

RULES = Rules.default()


def with_column(name: str, value: Any) -> pl.DataFrame:
    frame = trace("web |--|")
    return frame.with_columns(pl.Series(name, [value] * len(frame), pl.String))


def kept(frame: pl.DataFrame, rules: Rules = RULES) -> pl.DataFrame:
    """Return a frame after redaction, which must keep rows, columns and types, and change nothing the second time."""
    found = check(apply(frame, rules))
    assert found.schema == frame.schema
    assert found.height == frame.height
    assert apply(found, rules).drop("repairs").equals(found.drop("repairs"))
    return found


def written(frame: pl.DataFrame) -> str:
    return frame.select(pl.all().exclude(pl.Binary)).write_json()


SECRET = "s3cr3tV4lue"
ENCODED = base64.b64encode(b"user:" + SECRET.encode()).decode()
TOKEN = f"eyJhbGciOiJIUzI1NiJ9.{SECRET}.x{SECRET}"
URLS = [
    *(f"https://shop.example/pay?id=7&{name}={SECRET}&x=1" for name in URL_PARAMETERS),
    *(f"/pay?{name.upper()}={SECRET}#top" for name in URL_PARAMETERS),
    f"https://anna:{SECRET}@shop.example/",
    f"postgres://{SECRET}@db:5432/shop",
    f"amqp://u:p%40{SECRET}@mq/",
    f"https://shop.example/#access_token={SECRET}",
    f"/login?next=%2Fpay%3Ftoken%3D{SECRET}%26x%3D1",
    f"/a;sid={SECRET}",
    f"retrying with Bearer {SECRET}",
    f"curl -H 'authorization: bearer {SECRET}'",
    f"Basic {ENCODED}",
    f"got {TOKEN} from them",
]
STATEMENTS = [
    f"select * from users where name = '{SECRET}'",
    f"select * from users where name = 'O''Brien {SECRET}' and age > 1",
    f'update t set x = "{SECRET}"',
    f"insert into t values (1, $tag${SECRET}$tag$)",
    f"select 1 -- {SECRET}",
    f"select /* {SECRET} */ 1",
    f"select 'unterminated {SECRET}",
]
TEXT_PLACES = ("name", "status_message", "attr:http.url", "attr:url.query", "res:process.command_line", "scope:note")
KEYS = (
    "http.request.header.authorization",
    "http.request.header.cookie",
    "http.response.header.set-cookie",
    "http.request.header.x-api-key",
    "db.password",
    "client_secret",
    "auth.access_token",
    "aws.secret.access-key",
    "Proxy-Authorization",
    "github.credentials",
)


def dumped(value: Any) -> str:
    return orjson.dumps(value).decode()


def json_places(text: str) -> dict[str, str]:
    """Return JSON columns that hold a text, and those of keys that name secrets."""
    value = {"stringValue": text}
    nested = {"kvlistValue": {"values": [{"key": "inner", "value": {"arrayValue": {"values": [value]}}}]}}
    event = [{"timeUnixNano": "1", "name": "x", "attributes": [{"key": "exception.message", "value": nested}]}]
    link = [{"traceId": "ab", "spanId": "cd", "attributes": [{"key": "why", "value": value}]}]
    return {
        "events": orjson.dumps(event).decode(),
        "links": orjson.dumps(link).decode(),
        "attr:list#json": orjson.dumps(nested).decode(),
        "overflow": orjson.dumps({"attr:more": text, "attr:list#json": nested}).decode(),
    }


PLANTED = [
    *((place, text) for place, text in itertools.product(TEXT_PLACES, URLS)),
    *((place, text) for url in URLS for place, text in json_places(url).items()),
    *((place, text) for place, text in itertools.product(("attr:db.statement", "attr:db.query.text"), STATEMENTS)),
    *((f"{owner}:{key}", f"anything {SECRET}") for owner, key in itertools.product(("attr", "res", "scope"), KEYS)),
    *(
        (f"attr:{key}#json", orjson.dumps({"arrayValue": {"values": [{"stringValue": SECRET}]}}).decode())
        for key in KEYS
    ),
    *(
        ("overflow", orjson.dumps({f"attr:{key}": SECRET, f"res:{key}#json": {"stringValue": SECRET}}).decode())
        for key in KEYS
    ),
    *(
        ("events", orjson.dumps([{"attributes": [{"key": key, "value": {"stringValue": SECRET}}]}]).decode())
        for key in KEYS
    ),
]


def test_two_hundred_secrets_and_more_are_taken_out() -> None:
    assert len(PLANTED) >= 200
    left = [(place, text) for place, text in PLANTED if SECRET in written(kept(with_column(place, text)))]
    assert left == []


def test_who_is_changed_is_marked() -> None:
    frame = pl.concat([with_column("attr:http.url", "/pay?token=x"), with_column("attr:http.url", "/pay?id=7")])
    assert kept(frame)["repairs"].to_list() == [MARK["redacted"], 0]
    assert kept(frame)["attr:http.url"].to_list() == [f"/pay?token={REDACTED}", "/pay?id=7"]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("attr:http.url", "http://shop.example/api/v1/items/17?id=000042&page=2&monkey=1"),
        ("attr:guid:x-request-id", "6f1c9a52-0000-4000-8000-000000000000"),
        ("attr:user_agent", "Mozilla/5.0 (X11; basic) bearer of news"),
        ("attr:enduser.email", "anna@shop.example"),
        ("attr:session.count", "3"),
        ("attr:token.kind", "refresh"),
        ("attr:gen_ai.usage.input_tokens", "12"),
        ("attr:db.statement", "select name from users where id = ?"),
        ("attr:cookie.count", "3"),
        ("name", "GET /login"),
        ("name", "authorization check"),
        ("events", '[{"timeUnixNano":"1","name":"authorization","attributes":[]}]'),
    ],
)
def test_what_is_no_secret_stays(place: str, text: str) -> None:
    frame = with_column(place, text)
    assert kept(frame).equals(frame)


def test_statements_keep_their_shape() -> None:
    text = "select a, t1.b from t1 where x = 'secret' and y in (1, 2.5, 0xFF) limit 10"
    found = kept(with_column("attr:db.query.text", text))["attr:db.query.text"][0]
    assert found == "select a, t1.b from t1 where x = ? and y in (?, ?, ?) limit ?"


def test_numbers_under_secret_keys_are_gone() -> None:
    frame = trace("web |--|").with_columns(pl.Series("attr:db.password#int", [7]))
    assert kept(frame)["attr:db.password#int"].to_list() == [None]


def test_attributes_beyond_the_limit_are_dropped_and_counted() -> None:
    many = trace("web |--|").with_columns(pl.lit("x").alias(f"attr:k{n:03}") for n in range(140))
    few = trace("web |--|", number=2).with_columns(pl.lit("x").alias("attr:k139"))
    more = '{"attr:one":"x","res:two":"x"}'
    over = trace("web |--|", number=3).with_columns(
        *(pl.lit("x").alias(f"attr:k{n:03}") for n in range(128)), overflow=pl.lit(more)
    )
    found = kept(pl.concat([many, few, over], how="diagonal"))
    assert found["dropped_attributes_count"].to_list() == [12, 0, 1]
    assert found["repairs"].to_list() == [MARK["attribute_limit"], 0, MARK["attribute_limit"]]
    assert found["attr:k127"].to_list() == ["x", None, "x"]
    assert found["attr:k139"].to_list() == [None, "x", None]
    assert found["overflow"].to_list() == [None, None, '{"res:two":"x"}']


def test_long_values_are_cut_at_a_character() -> None:
    found = kept(with_column("attr:body", "ä" * 40_000))
    assert found["attr:body"].to_list() == ["ä" * RULES.value_length]
    assert found["repairs"].to_list() == [MARK["attribute_limit"]]
    array = '{"arrayValue":{"values":[' + ",".join(['{"intValue":"1"}'] * 5_000) + "]}}"
    assert orjson.loads(kept(with_column("attr:body#json", array))["attr:body#json"][0])


def test_rules_can_be_taught() -> None:
    rules = Rules.of({"redact": {"keys": ["iban"], "url_parameters": ["voucher"]}, "limits": {"value_length": 20}})
    assert kept(with_column("attr:customer.iban", "DE00"), rules)["attr:customer.iban"][0] == REDACTED
    assert kept(with_column("name", "/pay?voucher=x"), rules)["name"][0] == f"/pay?voucher={REDACTED}"[:20]
    assert SECRET in written(
        kept(with_column("name", f"/pay?token={SECRET}"), Rules.of({"redact": {"enabled": False}}))
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"redact": {"key": []}}, "no 'key'"),
        ({"redact": {"keys": "iban"}}, "list of texts"),
        ({"redact": {"enabled": 1}}, "bool"),
        ({"limits": {"attributes": "many"}}, "int"),
        ({"limits": {"attributes": 0}}, "1 or more"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_told(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Rules.of(settings)


JSON_TEXT = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=20) | st.sampled_from(URLS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["key", "value", "stringValue", "attributes", *KEYS]), inner, max_size=3)
    ),
    max_leaves=6,
).map(lambda value: orjson.dumps(value).decode())


@given(
    st.sampled_from([*TEXT_PLACES, "attr:db.statement", f"attr:{KEYS[0]}"]),
    st.text(max_size=60) | st.sampled_from(URLS) | st.text("'\"$/-*0:@?&=ey. JaB", max_size=30),
    st.sampled_from(["events", "links", "attr:x#json", "overflow"]),
    JSON_TEXT,
)
def test_whatever_stands_in_a_span_comes_out_of_it(place: str, text: str, json_place: str, json_text: str) -> None:
    if json_place == "overflow" and not json_text.startswith("{"):
        json_text = "{}"
    frame = with_column(place, text).with_columns(pl.Series(json_place, [json_text], pl.String))
    kept(frame)
