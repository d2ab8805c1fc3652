"""Layers of a call, drawn: L0 to L3, retries, aborts, missing spans, clocks.

A label is SERVICE/PART. Parts: `client` and `app` are spans of the app, `out`
and `in` of its proxy, `try` of an attempt of it, going out, `hand` of one going
in; `gate` is a gateway's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import MILLISECOND, frame, span_id, trace, traces
from tracelens.analysis import _hops, hops
from tracelens.analysis.hops import LAYER_COLUMNS, LAYERS, LEVELS, Level
from tracelens.calls import calls
from tracelens.forest import link
from tracelens.spans import CLIENT, INTERNAL, PRODUCER, SERVER

KINDS = {
    "client": CLIENT, "app": SERVER, "out": CLIENT, "in": SERVER, "try": CLIENT, "hand": CLIENT, "gate": SERVER,
    "work": INTERNAL, "send": PRODUCER,
}  # fmt: skip
OF_PROXY = ("out", "in", "try", "hand", "gate")
CLUSTER = "outbound|8080||cat.shop.svc.cluster.local"


def mesh(spans: pl.DataFrame) -> pl.DataFrame:
    """Return drawn spans with what Envoys and SDKs would have written of each part."""
    service, part = (spans["service_name"].str.extract(r"^([^/]*)/?(.*)$", group) for group in (1, 2))
    proxy = part.is_in(OF_PROXY)
    attempt = part.is_in(["try", "hand"])
    inbound = part.is_in(["in", "hand"])
    cluster = pl.when(inbound).then(pl.lit("inbound|8080||")).otherwise(pl.lit(CLUSTER))
    told = {"attr:upstream_cluster": pl.when(proxy).then(cluster)}
    if "attr:upstream_cluster" in spans.columns:
        told["attr:upstream_cluster"] = pl.coalesce("attr:upstream_cluster", told["attr:upstream_cluster"])
    return spans.with_columns(
        service_name=service,
        kind=part.replace_strict(KINDS, default=INTERNAL, return_dtype=pl.Int8),
        scope_name=pl.when(proxy).then(pl.lit("envoy")),
        name=pl.when(attempt).then(pl.lit("router cat egress")).otherwise(pl.lit("get")),
        **{"attr:node_id": pl.when(part == "gate").then(pl.concat_str(pl.lit("router~1~"), service, pl.lit("-0.n~n")))},
        **told,
    )


def requests(spans: pl.DataFrame, most: Level = "L3") -> pl.DataFrame:
    forest = link(mesh(spans))
    return hops.requests(forest, calls(forest), most=most)


def told(row: dict[str, Any]) -> dict[str, float]:
    """Return the layers a row tells, in columns of the drawing."""
    return {
        layer: row[column] / MILLISECOND
        for layer, column in zip(LAYERS, LAYER_COLUMNS, strict=True)
        if row[column] is not None
    }


def one(drawing: str, callee: str = "cat", most: Level = "L3") -> tuple[str, dict[str, float]]:
    """Return level and layers of the one call to a workload."""
    (row,) = requests(trace(drawing), most).filter(service=callee).to_dicts()
    return row["level"], told(row)


def test_l0_what_two_proxies_leave_between_them_is_one_number() -> None:
    found = one("""
        web/out  |-----------|
         cat/in    |------|
          db/in      |--|
    """)
    assert found == ("L0", {"network_queueing": 5, "app": 4, "downstream": 3, "attempts": 0})


def test_l1_an_attempts_span_parts_the_egress_proxy_from_the_network() -> None:
    found = one("""
        web/out   |-----------|
         web/try   |--------|
          cat/in     |-----|
    """)
    assert found == (
        "L1",
        {"egress_proxy": 3, "network_queueing": 3, "app": 6, "downstream": 0, "attempts": 0, "backoff": 0},
    )


def test_l1_an_inbound_attempts_span_parts_the_ingress_proxy_from_the_app() -> None:
    level, layers = one("""
        web/out   |-----------|
         cat/in     |-----|
          cat/hand   |---|
    """)
    assert (level, layers["ingress_proxy"], layers["app"]) == ("L1", 2, 4)


TAGS = "attr:mesh.req_proxy_us=2000 attr:mesh.up_total_us=8000"


def test_l2_phases_stand_for_the_attempt() -> None:
    drawing = f"""
        web/out   |-----------|  {TAGS}
         web/try   |---------|
          cat/in     |-----|
    """
    assert one(drawing) == (
        "L2",
        {"egress_proxy": 4, "network_queueing": 2, "app": 6, "downstream": 0, "attempts": 0, "backoff": 0},
    )
    assert one(drawing, most="L1")[1]["egress_proxy"] == 2


def test_l2_phases_of_verbose_spans_are_read_from_events() -> None:
    events = (
        '[{"timeUnixNano":"2000000","name":"first_upstream_tx_byte_sent"},'
        '{"name":"last_upstream_rx_byte_received","timeUnixNano":"10000000"}]'
    )
    spans = trace("""
        web/out   |-----------|
         cat/in     |-----|
    """).with_columns(events=pl.when(pl.col("service_name") == "web/out").then(pl.lit(events)))
    (row,) = requests(spans).filter(service="cat").to_dicts()
    assert (row["level"], told(row)) == (
        "L2",
        {"egress_proxy": 4, "network_queueing": 2, "app": 6, "downstream": 0, "attempts": 0},
    )


def test_l2_phases_part_the_ingress_proxy_from_the_app() -> None:
    level, layers = one(f"""
        web/out  |---------------|
         cat/in     |---------|    {TAGS}
    """)
    assert (level, layers["ingress_proxy"], layers["app"]) == ("L2", 2, 8)


def test_l3_spans_of_the_apps_part_all() -> None:
    found = one("""
        web/app      |----------------------|
         web/client   |-------------------|
          web/out       |---------------|
           web/try       |------------|
            cat/in         |--------|
             cat/app        |------|
              cat/client      |-|
    """)
    assert found == (
        "L3",
        {
            "client": 4, "egress_proxy": 3, "network_queueing": 4, "ingress_proxy": 2, "app": 5, "downstream": 2,
            "attempts": 0, "backoff": 0,
        },
    )  # fmt: skip


def test_without_proxies_what_client_and_server_leave_is_the_network() -> None:
    found = one("""
        web/app      |-----------|
         web/client   |--------|
          cat/app       |----|
    """)
    assert found == ("L3", {"network_queueing": 4, "app": 5, "downstream": 0, "attempts": 0})


def test_attempts_in_vain_and_the_waits_between_are_apart() -> None:
    drawing = """
        web/out    |----------------------|
         web/try    |---|
          cat/in     |-|
         web/try        .   |--|
          cat/in             ||
         web/try                 |-----|
          cat/in                  |--|
    """.replace(".", " ")
    assert one(drawing) == (
        "L1",
        {"egress_proxy": 4, "network_queueing": 3, "app": 3, "downstream": 0, "attempts": 7, "backoff": 6},
    )
    (row,) = requests(trace(drawing)).filter(service="cat").to_dicts()
    assert row["tries"] == 3


def test_attempts_without_spans_are_seen_at_the_callee() -> None:
    found = one("""
        web/out   |-----------------|
         cat/in    |--|
         cat/in         |---|
         cat/in               |--|
    """)
    assert found == ("L0", {"network_queueing": 8, "app": 3, "downstream": 0, "attempts": 7})


def test_attempts_side_by_side_count_once() -> None:
    """Of hedged attempts the last to start is looked into; the time of the others beside it is not theirs alone."""
    found = one("""
        web/out   |------------|
         web/try   |---------|
          cat/in    |-------|
         web/try      |------|
          cat/in       |--|
    """)
    assert found == (
        "L1",
        {"egress_proxy": 3, "network_queueing": 4, "app": 3, "downstream": 0, "attempts": 3, "backoff": 0},
    )


def test_an_aborted_call_counts_and_stays_out_of_durations() -> None:
    drawing = "web/out  |------|  attr:response_flags={}\n cat/in   |--|"
    spans = traces(drawing.format("DC"), drawing.format("-"), drawing.format("UT"))
    (row,) = hops.hops(requests(spans).lazy()).filter(callee="cat").collect().to_dicts()
    assert (row["calls"], row["censored"], row["timed_out"], row["coverage"]) == (3, 1, 1, 1.0)
    aborted = requests(traces(drawing.format("DC")))
    assert hops.hops(aborted.lazy()).collect()["network_queueing_p50_nano"].to_list() == [None]


def test_a_missing_callee_is_coverage_and_no_network() -> None:
    spans = traces(
        "web/out |------|\n web/try |----|\n  cat/in |--|",
        "web/out |------|\n web/try |----|",
    )
    missing = requests(spans).filter(~pl.col("covered")).to_dicts()[0]
    assert told(missing) == {"egress_proxy": 2, "attempts": 0, "backoff": 0}
    (row,) = hops.hops(requests(spans).lazy()).collect().to_dicts()
    assert (row["callee"], row["level"], row["calls"], row["coverage"]) == ("cat", "L1", 2, 0.5)
    assert row["network_queueing_mean_nano"] == 2 * MILLISECOND


def test_a_callee_nobody_ever_saw_is_named_by_the_cluster() -> None:
    (row,) = requests(trace("web/out |---| attr:upstream_cluster=outbound|80||ghost.shop.svc")).to_dicts()
    assert (row["service"], row["covered"], row["expected"]) == ("ghost", False, True)


def test_where_the_proxy_says_that_nobody_was_reached_no_span_is_missed() -> None:
    spans = trace("""
        web/out  |-----------|  attr:response_flags=URX,UF
         web/try  |-|
         web/try      |--|
    """)
    (row,) = requests(spans).to_dicts()
    assert told(row) == {"egress_proxy": 5, "network_queueing": 3, "attempts": 2, "backoff": 2}
    assert hops.hops(requests(spans).lazy()).collect()["coverage"].to_list() == [None]


def test_two_clocks_are_never_subtracted() -> None:
    """Whether the callee's clock is right, a little ahead, or an hour ahead: the lengths are what they are."""
    drawing = """
        web/out   |-----------|     host=a
         web/try   |--------|       host=a
          cat/in     |-----|        host=b skew={0}
           cat/app    |---|         host=b skew={0}
            db/in      |-|          host=c skew={0}
    """
    right = one(drawing.format(0))
    assert right[1]["network_queueing"] == 3
    for columns in (4, -7, 3_600_000, -3_600_000):
        assert one(drawing.format(columns)) == right


def test_one_clock_cuts_a_callee_that_outlives_its_caller() -> None:
    """After a timeout the callee works on; nobody waits for that."""
    level, layers = one("""
        web/out  |-----|      host=a
         cat/in    |-------|  host=a
    """)
    assert (level, layers) == ("L0", {"network_queueing": 2, "app": 4, "downstream": 0, "attempts": 0})


def test_a_gateway_is_a_callee_and_then_a_caller() -> None:
    spans = trace("""
        edge/gate  |----------|
         edge/try   |------|
          cat/in     |---|
    """)
    rows = {row["service"]: row for row in requests(spans).to_dicts()}
    assert told(rows["edge"]) == {"ingress_proxy": 4, "downstream": 7}
    assert (rows["edge"]["caller"], rows["edge"]["by_gateway"], rows["cat"]["caller"]) == (None, True, "edge")
    assert told(rows["cat"]) == {
        "egress_proxy": 4, "network_queueing": 3, "app": 4, "downstream": 0, "attempts": 0, "backoff": 0,
    }  # fmt: skip


def test_a_client_span_around_two_requests_is_neithers() -> None:
    rows = requests(
        trace("""
        web/client   |--------------|
         web/out      |----|
          cat/in       |--|
         web/out            |-----|
          db/in              |--|
    """)
    )
    assert {row["service"]: told(row)["network_queueing"] for row in rows.to_dicts()} == {"cat": 2, "db": 3}


def test_an_attempt_right_below_the_client_leaves_the_rest_to_it() -> None:
    level, layers = one("""
        web/client   |--------|
         web/try       |---|
          cat/in        |-|
    """)
    assert (level, layers["client"], layers["network_queueing"]) == ("L1", 5, 2)
    assert "egress_proxy" not in layers


def test_internal_spans_between_client_and_server_are_looked_through() -> None:
    level, layers = one("""
        web/client   |--------|
         web/work     |-----|
          web/out      |---|
           cat/in       |-|
    """)
    assert (level, layers["client"], layers["network_queueing"]) == ("L0", 5, 2)


def test_messages_are_not_waited_for() -> None:
    spans = trace("""
        web/app    |------|
         web/send   |-|
          cat/app        |---|  follows_from
    """)
    assert [told(row) for row in requests(spans).to_dicts()] == [
        {"app": 7, "downstream": 0},
        {"app": 4, "downstream": 0},
    ]


# -- what holds for any spans

SETTINGS = settings(max_examples=80, deadline=None)  # the first example compiles
PARTS = ("client", "app", "out", "in", "try", "hand", "gate", "work", "send")


@st.composite
def any_spans(draw: st.DrawFn) -> pl.DataFrame:
    """Return spans of any parts below any others, with times that may be anything."""
    count = draw(st.integers(1, 14))
    rows = []
    for number in range(1, count + 1):
        start = draw(st.integers(0, 40))
        service, part = draw(st.sampled_from("abc")), draw(st.sampled_from(PARTS))
        rows.append(
            {
                "span_id": span_id(number),
                "parent_span_id": span_id(draw(st.integers(1, number - 1))) if number > 1 else None,
                "service_name": f"{service}/{part}",
                "start_time_unix_nano": start,
                "end_time_unix_nano": start + draw(st.integers(0, 30)),
                "follows_from": draw(st.sampled_from([False, False, False, True])),
                "attr:mesh.req_proxy_us#double": draw(st.sampled_from([None, 0.0, 1.0])),
                "attr:mesh.up_total_us#double": draw(st.sampled_from([None, 0.0, 1.0])),
                "attr:response_flags": draw(st.sampled_from(["-", "UF", "DC"])),
                "res:host.name": draw(st.sampled_from("xy")),
            }
        )
    return frame(rows)


@SETTINGS
@given(any_spans(), st.sampled_from(LEVELS))
def test_the_layers_of_a_call_are_its_duration(spans: pl.DataFrame, most: Level) -> None:
    """Exactly, and none is negative; without the callee they are at most that."""
    found = requests(spans, most)
    total = found.select(pl.sum_horizontal(LAYER_COLUMNS)).to_series()
    assert (total <= found["duration_nano"]).all()
    whole = found["covered"] | ~found["expected"]
    assert (total == found["duration_nano"]).filter(whole).all()
    assert all((found[column].drop_nulls() >= 0).all() for column in LAYER_COLUMNS)


@SETTINGS
@given(any_spans())
def test_every_call_is_reached_by_one_request_at_most(spans: pl.DataFrame) -> None:
    forest = link(mesh(spans))
    folded = calls(forest)
    found = hops.requests(forest, folded)
    reached = found.filter("covered")["span"]
    assert reached.is_unique().all()
    assert set(reached) <= set(folded.table["span"])
    assert found["service"].null_count() == 0 or not found.filter("covered")["service"].null_count()


@SETTINGS
@given(any_spans(), st.randoms(use_true_random=False))
def test_the_order_of_spans_does_not_matter(spans: pl.DataFrame, chance: Any) -> None:
    order = list(range(len(spans)))
    chance.shuffle(order)
    assert requests(spans[order]).equals(requests(spans))


@SETTINGS
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12), st.integers(0, 15), st.integers(15, 30)
)
def test_a_union_counts_each_moment_once(pairs: list[tuple[int, int]], low: int, high: int) -> None:
    begins, ends = (np.array([pair[k] for pair in pairs] or [0], np.int64) for k in (0, 1))
    moments = {m for begin, end in pairs for m in range(begin, end)}
    assert _hops.union(begins, ends, len(pairs), low, high) == len(moments & set(range(low, high)))


def test_percentiles_are_by_rank() -> None:
    spans = traces(*(f"web/out |{'-' * n}|\n cat/in |" for n in range(10)))
    (row,) = hops.hops(requests(spans).lazy()).collect().to_dicts()
    assert [row[f"network_queueing_{part}_nano"] / MILLISECOND for part in ("p50", "p90", "p99")] == [5, 9, 9]
    assert (row["p50_nano"], row["mean_nano"]) == (5 * MILLISECOND, 55 * MILLISECOND // 10)


def test_a_request_names_its_spans() -> None:
    """The outermost, and the attempts in the order in which they began; one alone is not named."""
    rows = requests(
        trace("""
        web/client  |-----------------|
         web/out     |---------------|
          web/try            |-----|
           cat/in             |-|
          web/try     |--|
    """)
    )
    assert (rows["top"].to_list(), rows["tries"].to_list()) == ([0], [2])
    assert rows["attempts"].to_list() == [[2, 3]]
    alone = requests(trace("web/out |---|\n web/try |-|\n  cat/in  |"))
    assert (alone["tries"].to_list(), alone["attempts"].to_list()) == ([1], [None])


def test_a_callee_that_was_reached_twice_by_one_request() -> None:
    """Without spans of attempts those of the callee stand for them."""
    rows = requests(trace("web/out |-------|\n cat/in |-|\n cat/in     |-|"))
    assert rows.select("tries", "attempts").rows() == [(2, [1, 2])]


def test_a_gateway_names_the_attempts_of_what_it_sends_only() -> None:
    rows = requests(trace("edge/gate |-------|\n edge/try |--|\n edge/try     |--|\n  cat/in      |"))
    assert rows.select("service", "top", "attempts").rows() == [("edge", 0, None), ("cat", 0, [1, 2])]


def test_a_request_that_says_it_was_sent_before() -> None:
    rows = requests(trace("web/client |--| attr:http.request.resend_count#int=1\n cat/app ||"))
    assert rows["resent"].to_list() == [True]
    assert requests(trace("web/client |--| attr:http.request.resend_count#int=0\n cat/app ||"))["resent"].to_list() == [
        False
    ]
    assert requests(trace("web/client |--|\n cat/app ||"))["resent"].to_list() == [False]


def test_no_spans_are_no_hops() -> None:
    assert hops.hops(requests(frame([])).lazy()).collect().is_empty()
    assert hops.HOPS.names()[:4] == ["caller", "callee", "route", "level"]


def test_the_kernels_are_compiled_once() -> None:
    """Read-only and writable arrays would be two compilations."""
    hops.warm()
    requests(trace("web/out |--|\n cat/in ||"), "L1")
    kernels: Any = (_hops.find_stages, _hops.book)
    assert [len(kernel.signatures) for kernel in kernels] == [1, 1]
