"""Secrets are taken out before spans are stored, and nothing else is."""

from __future__ import annotations

import base64
import itertools
import time
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import trace
from tracelens._secrets import clean
from tracelens.errors import UsageError
from tracelens.redact import REDACTED, URL_PARAMETERS, Rules, apply
from tracelens.spans import MARK, check

RULES = Rules.default()
IDS = ("trace_id", "span_id", "parent_span_id", "start_time_unix_nano", "end_time_unix_nano", "trace_state")


def with_column(name: str, value: Any) -> pl.DataFrame:
    frame = trace("web |--|")
    return frame.with_columns(pl.Series(name, [value] * len(frame), pl.String))


def kept(frame: pl.DataFrame, rules: Rules = RULES) -> pl.DataFrame:
    """Return a frame after redaction, which must keep rows, columns and types, and change nothing the second time."""
    before = frame.clone()
    found = check(apply(frame, rules))
    assert frame.equals(before)  # what is given stays as it is
    assert found.schema == frame.schema
    assert found.height == frame.height
    assert found.select(IDS).equals(frame.select(IDS))
    assert apply(found, rules).equals(found)
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
    f"t_{TOKEN}",
    f"eyJhbGciOiJkaXIifQ..{SECRET}.{SECRET}.{SECRET}",
    f"token={SECRET}&x=1",  # url.query has no question mark
    f"key={SECRET}",
    f"/pay?password=100%{SECRET}",
    f"/pay?password=a%26{SECRET}",
    f"/pay?password=O'Brien{SECRET}",
    f"/pay?user[password]={SECRET}",
    f"/pay?user%5Bpassword%5D={SECRET}",
    f"/pay?csrfToken={SECRET}",
    f"/pay?to%6Ben={SECRET}",
    f"/pay?access%5Ftoken={SECRET}",
    f"/pay?X%2DAmz%2DSignature={SECRET}",
    f"/login?next=%252Fpay%253Ftoken%253D{SECRET}",
    f"/login?next=https%3A%2F%2Fanna%3A{SECRET}%40shop.example",
    f"/login?next=%2Fpay%3Ftoken%3D100%{SECRET}",
    f"postgres://anna:p/{SECRET}@db/shop",
    f"http://anna:it's{SECRET}@shop.example/",
    f"http://anna:a@b{SECRET}@shop.example/",
    f"BeArEr {SECRET}",
    f"Bearer%20{SECRET}",
    f"authorization: Digest username=anna, response={SECRET}",
    f"Authorization: {SECRET}",
    f"authorization=Digest a {SECRET}",
    f"x-api-key: {SECRET}",
    f"curl -H 'Cookie: a=b; c={SECRET}' http://shop.example/",
    f"host=db password={SECRET} user=anna",
    f"password='two words {SECRET}'",
    f'password="a\\"{SECRET}"',
    f"login\npassword = {SECRET}",
    f"Server=db;Password={SECRET};Database=shop",
    f"SharedAccessKey={SECRET}",
    f'{{"user": "anna", "password" : "{SECRET}"}}',
    f"{{'apiKey': 'x{SECRET}'}}",
    f'{{\\"clientSecret\\":\\"{SECRET}\\"}}',
    f"für Änna: password={SECRET}",
]
STATEMENTS = [
    f"select * from users where name = '{SECRET}'",
    f"select * from users where name = 'O''Brien {SECRET}' and age > 1",
    f'update t set x = "{SECRET}"',
    f"insert into t values (1, $tag${SECRET}$tag$)",
    f"select 1 -- {SECRET}",
    f"select /* {SECRET} */ 1",
    f"select 'unterminated {SECRET}",
    f'select "unterminated {SECRET}',
    f"select * from t where a = 'C:\\' and b = '{SECRET}'",  # where a backslash escapes nothing
    f"select * from t where a = 'it\\'s {SECRET}'",  # where it escapes
    f"select * from t where a = 'x\\\\' and b = '{SECRET}'",
    f"select $a$ x $b$ y $a$, '{SECRET}'",
    f"select $a$ cut off {SECRET}",
    f"select $$ x $$, $$ {SECRET} $$",
    f"select /* a /* b */ {SECRET} */ 1",  # where comments nest
    f"select /* cut off {SECRET}",
    f"select 1 # {SECRET}",
    f"select a #> 'x\n{SECRET}'",  # where # begins no comment
    f"select 5--'x\n{SECRET}'",
    f"select -- it's a comment\n * from t where a = '{SECRET}'",
    f"select `it's` from t where a = '{SECRET}'",
    f"select * from `t` where a = '{SECRET}' and `b` = 1",
    f"select N'{SECRET}', E'{SECRET}', x'{SECRET}'",
    f"select * from t where a = 4{SECRET}",
]
TEXT_PLACES = (
    "name",
    "status_message",
    "attr:http.url",
    "attr:url.query",
    "res:process.command_line",
    "scope:note",
    "service_name",
    "scope_name",
    "scope_version",
)
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
    "apiKey",
    "accessToken",
    "PGPASSWORD",
    "password2",
    "db.password.",
    "headers[authorization]",
    "sessionid",
    "session_token",
    "db.query.parameter.name",
    "db.query.parameter.0",
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
        ("attr:db.statement", "select `a1` from t1 where password = ? and token=$1 and x = :name and y = @p1"),
        ("attr:session.id", "4f1c"),
        ("attr:token_type", "bearer"),
        ("attr:k8s.secret.name", "shop-tls"),
        ("attr:tokenizer", "bpe"),
        ("attr:http.url", "http://shop.example:8080/@anna?email=anna@shop.example"),
        ("attr:http.url", "http://[::1]:8080/a@b"),
        ("attr:http.url", "jdbc:mysql://db1:3306,db2:3306/shop?mail=a@b"),
        ("attr:http.url", "/items?sort_by=key&max_tokens=7&token_type=x&author=anna&design=1&keys=2"),
        ("attr:http.url", "/a%20b?next=%2Fitems%3Fid%3D7%26x%3D1&mail=a%40b"),
        ("attr:traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("trace_state", "vendor=token=abc"),
        ("status_message", "authorization: permission denied"),
        ("status_message", "invalid token: expired"),
        ("status_message", "cache miss key=user:17"),
        ("events", '[{"name": "x",  "attributes":[{"key":"basic","value":{"stringValue":"api key"}}]}]'),
        ("events", '[{"attributes":[{"key":"message.id","value":{"intValue":"1"}}]}]'),
        ("links", '[{"traceId":"ab","spanId":"cd","traceState":"a=token=b"}]'),
        ("overflow", '{"attr:password.length#int":7,"attr:x#double":1.0,"res:big#int":9223372036854775807}'),
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


@pytest.mark.parametrize(
    ("text", "kept_text"),
    [
        ("https://anna:x@shop.example/a", "https://[redacted]@shop.example/a"),
        ("/pay?id=7&token=x;sid=y#top", "/pay?id=7&token=[redacted];sid=[redacted]#top"),
        ("/a?next=%2Fpay%3Ftoken%3Dx%26b%3D1&c=2", "/a?next=%2Fpay%3Ftoken%3D[redacted]%26b%3D1&c=2"),
        ("Bearer abcdef9, then", "Bearer [redacted], then"),
        ('{"password":"x","id":"7"}', '{"password":"[redacted]","id":"7"}'),
        ("select a from `t1` where b in ('x', 7) and c = $1 -- z", "select a from `t1` where b in (?, ?) and c = $1 ?"),
    ],
)
def test_what_surrounds_a_secret_stays(text: str, kept_text: str) -> None:
    place = "attr:db.statement" if text.startswith("select") else "attr:note"
    assert kept(with_column(place, text))[place].to_list() == [kept_text]
    if place == "attr:note":
        overflow = kept(with_column("overflow", dumped({"attr:note": text})))["overflow"].to_list()
        assert overflow == [dumped({"attr:note": kept_text})]


def test_a_secret_is_found_wherever_its_row_is() -> None:
    """A few secrets among many values, in columns that repeat and in those that do not."""
    rows = 5_000
    frame = pl.concat([trace("web |--|")] * rows).with_columns(
        pl.Series("attr:every", [f"/a?id={n}" for n in range(rows - 1)] + [f"/a?token={SECRET}"]),
        pl.Series("attr:few", [f"/a?id={n % 7}" for n in range(rows - 1)] + [f"/a?token={SECRET}"]),
        pl.Series("attr:db.statement", ["select ?"] * (rows - 1) + [f"select '{SECRET}'"]),
        pl.Series("attr:none", [None] * rows, dtype=pl.String),
    )
    found = kept(frame)
    assert SECRET not in written(found)
    assert found["repairs"].to_list() == [0] * (rows - 1) + [MARK["redacted"]]
    assert found.head(rows - 1).equals(frame.head(rows - 1))


def test_time_grows_with_length_only() -> None:
    """A peer chooses the text: what backtracks would take hours for these."""
    length = 1_000_000
    hostile = [
        "eyJ-", "a", "'\\", "basic+aaaaaaaaaaaaaaaa_", "://a:b", "://@", "api-", "token]", "%3a%2f%2f", "x-a-", "/*/",
        "bearer ", "authorization:", "cookie: ", 'token"', "%25", "`", "$a", "?token=x&", "password=\"\\", "#-",
    ]  # fmt: skip
    for piece in hostile:
        text = "?token=x " + piece * (length // len(piece))
        rows = [
            {"attr:note": text, "attr:db.statement": text},
            {"events": dumped([{"attributes": [{"key": piece * 10_000, "value": {"stringValue": text}}]}])},
        ]
        frame = pl.concat([trace("web |--|").with_columns(**row) for row in _literals(rows)], how="diagonal")
        begin = time.process_time()
        apply(frame, RULES)
        assert time.process_time() - begin < 10, piece


def _literals(rows: list[dict[str, str]]) -> list[dict[str, pl.Expr]]:
    return [{name: pl.lit(text) for name, text in row.items()} for row in rows]


def test_what_is_no_json_is_text() -> None:
    found = kept(with_column("events", f"{{no json ?token={SECRET}"))
    assert found["events"].to_list() == [f"{{no json ?token={REDACTED}"]
    deep = "[" * 500 + f'"?token={SECRET}"' + "]" * 500
    assert SECRET not in written(kept(with_column("events", deep)))
    kept(with_column("overflow", "[" * 5_000))


def test_numbers_under_secret_keys_are_gone() -> None:
    frame = trace("web |--|").with_columns(pl.Series("attr:db.password#int", [7]))
    assert kept(frame)["attr:db.password#int"].to_list() == [None]
    flag = trace("web |--|").with_columns(pl.Series("attr:login.password#bool", [True]))
    assert kept(flag)["attr:login.password#bool"].to_list() == [None]
    over = with_column("overflow", '{"attr:pin.password#int":7,"attr:id#int":7}')
    assert kept(over)["overflow"].to_list() == ['{"attr:id#int":7}']
    assert kept(with_column("overflow", '{"attr:db.password#int":7}'))["overflow"].to_list() == [None]


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


def test_long_values_in_json_are_cut_too() -> None:
    long = "ä" * 40_000
    for place, text in json_places(long).items():
        found = kept(with_column(place, text))
        assert found["repairs"].to_list() == [MARK["attribute_limit"]]
        assert found[place][0].count("ä") % RULES.value_length == 0
        assert orjson.loads(found[place][0])
    encoded = [{"attributes": [{"key": "raw", "value": {"bytesValue": base64.b64encode(bytes(40_000)).decode()}}]}]
    raw = orjson.loads(kept(with_column("events", dumped(encoded)))["events"][0])[0]["attributes"][0]["value"]
    assert len(base64.b64decode(raw["bytesValue"])) == RULES.value_length // 4 * 3


def test_limits_hold_without_redaction() -> None:
    rules = Rules.of({"redact": {"enabled": False}, "limits": {"attributes": 1, "value_length": 20}})
    frame = trace("web |--|").with_columns(pl.lit("x" * 30).alias("attr:password"), pl.lit("y").alias("attr:b"))
    found = kept(frame, rules)
    assert found.select("attr:password", "attr:b", "dropped_attributes_count").row(0) == ("x" * 20, None, 1)


def test_sql_can_be_left_alone() -> None:
    frame = with_column("attr:db.statement", "select 'x' where a = 7")
    assert kept(frame, Rules.of({"redact": {"sql": False}})).equals(frame)
    taught = Rules.of({"redact": {"sql_keys": ["Audit.SQL"]}})
    assert kept(with_column("attr:audit.sql", "select 'x'"), taught)["attr:audit.sql"][0] == "select ?"


def test_rules_can_be_taught() -> None:
    rules = Rules.of({"redact": {"keys": ["iban"], "url_parameters": ["voucher"]}, "limits": {"value_length": 20}})
    assert kept(with_column("attr:customer.iban", "DE00"), rules)["attr:customer.iban"][0] == REDACTED
    assert kept(with_column("name", "/pay?voucher=x"), rules)["name"][0] == f"/pay?voucher={REDACTED}"[:20]
    assert SECRET in written(
        kept(with_column("name", f"/pay?token={SECRET}"), Rules.of({"redact": {"enabled": False}}))
    )


def test_the_example_of_the_security_page_is_right() -> None:
    page = (Path(__file__).parents[1] / "docs" / "security.md").read_text()
    example = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])
    rules = Rules.of(example)
    assert set(example["redact"]) | set(example["limits"]) == {field.name for field in fields(Rules)}
    assert (rules.attributes, rules.value_length) == (RULES.attributes, RULES.value_length)
    for key in ("customer.iban", "customer.card_number", "cardNumber"):
        assert kept(with_column(f"attr:{key}", SECRET), rules)[f"attr:{key}"][0] == REDACTED
    for name in ("x-api-key", "accessToken", "PGPASSWORD", "password2", "session.id", "token_type", "input_tokens"):
        assert name in page


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"redact": {"key": []}}, "no 'key'"),
        ({"redact": {"keys": "iban"}}, "list of texts"),
        ({"redact": {"keys": [""]}}, "no name"),
        ({"redact": {"keys": ["schlüssel"]}}, "no name"),
        ({"redact": 5}, "should be a table"),
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


WORDS = (
    "token", "password", "authorization", "cookie", "x-api-key", "key", "Bearer ", "basic ", "digest ", "eyJ", "abcd12",
    "://", "%3D", "%3d", "%26", "%25", "%40", "%3A%2F%2F", "--", "/*", "*/", "$a$", "$1", REDACTED,
)  # fmt: skip
PIECES = st.lists(st.sampled_from([*WORDS, *"@=%&?;#'\"\\: ,[]\n\t\0$`7.ä\u2028"]), max_size=14).map("".join)


@given(st.lists(PIECES, min_size=1, max_size=40))
def test_looking_first_misses_nothing(texts: list[str]) -> None:
    """What the cheap search lets pass, the whole work would leave as it is; in columns and in JSON."""
    whole = clean(pl.Series(texts, dtype=pl.String), RULES.patterns.steps).to_list()
    frame = pl.concat([trace("web |--|")] * len(texts))
    assert kept(frame.with_columns(pl.Series("attr:note", texts)))["attr:note"].to_list() == whole
    overflow = [dumped({"attr:note": text}) for text in texts]
    found = kept(frame.with_columns(pl.Series("overflow", overflow)))["overflow"].to_list()
    assert [orjson.loads(text)["attr:note"] for text in found] == whole


@given(
    st.sampled_from([*TEXT_PLACES, "attr:db.statement", f"attr:{KEYS[0]}"]),
    st.text(max_size=60) | st.sampled_from([*URLS, *STATEMENTS]) | PIECES,
    st.sampled_from(["events", "links", "attr:x#json", "overflow"]),
    JSON_TEXT,
)
def test_whatever_stands_in_a_span_comes_out_of_it(place: str, text: str, json_place: str, json_text: str) -> None:
    if json_place == "overflow" and not json_text.startswith("{"):
        json_text = "{}"
    frame = with_column(place, text).with_columns(pl.Series(json_place, [json_text], pl.String))
    kept(frame)
