"""Boards and saved views: what they say, where they are kept, and what becomes of what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from dashboard import boards
from dashboard.boards import BY, FIRST, MEASURES, Board, Own, View
from tests.dashboard import shop
from tests.dashboard.test_pages import drawn, run, words
from tracelens.errors import InputError, UsageError
from tracelens.lens import Lens
from tracelens.lens.charts import MEASURES as ALL_MEASURES

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
MINUTE = 60_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of its own: boards are kept in it."""
    return shop.store(tmp_path / "store", shop.spans(200, 1_767_571_200 * 10**9, 10 * MINUTE))


def test_every_measure_has_a_name() -> None:
    assert set(MEASURES) == set(ALL_MEASURES)


@given(TEXTS.filter(str.strip), st.lists(st.tuples(TEXTS, st.sampled_from(list(MEASURES)), TEXTS), max_size=4))
def test_what_is_exported_is_imported(title: str, charts: list[tuple[str, str, str]]) -> None:
    made = Board(
        title=title.strip(),
        charts=tuple(
            Own(title=name, measure=measure, where=f"service='{_quoted(word)}'") for name, measure, word in charts
        ),
    )
    assert boards.parse_board(boards.board_text(made)) == made


def _quoted(word: str) -> str:
    return word.replace("'", "'\"'\"'")


@given(TEXTS.filter(str.strip), TEXTS, TEXTS)
def test_a_view_comes_back(title: str, where: str, service: str) -> None:
    made = View(title=title.strip(), page="route", params={"where": where, "service": service})
    assert boards.parse_view(boards.view_text(made)) == made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title = ", "this is no TOML"),
        ("charts = []", "title is no text"),
        ("title = 'x'\ncharts = 3", "no list of tables"),
        ("title = 'x'\nextra = 1", "'extra' is not known here"),
        ("title = 'x'\n[[charts]]\nby = 'service'", "chart 1 has no measure"),
        ("title = 'x'\n[[charts]]\nmeasure = 'p99'\n[[charts]]\nmeasure = 'p98'", "chart 2: 'p98' is no measure"),
        ("title = 'x'\n[[charts]]\nmeasure = 'p99'\ncolour = 'red'", "chart 1: 'colour' is not known"),
        ("title = 'x'\n[[charts]]\nmeasure = 'p99'\nthreshold = '3 apples'", "chart 1: '3 apples' is no duration"),
        ("title = 'x'\n[[charts]]\nmeasure = 'errors'\nthreshold = '250ms'", "chart 1: threshold '250ms'"),
        ("title = 'x'\n[[charts]]\nmeasure = 'calls'\nthreshold = 'many'", "chart 1: threshold 'many'"),
        ("title = 'x'\n[[charts]]\nmeasure = 'p99'\nwhere = 'service'", "chart 1: filter 'service' is no comparison"),
        ("title = 'x'\n[[charts]]\nmeasure = 'p99'\nby = 7", "chart 1: by is no text"),
        ("title = 'x'\n" + "[[charts]]\nmeasure = 'p99'\n" * 25, "24 charts at most"),
        (f"title = '{'x' * 200}'", "1 to 120 letters"),
    ],
)
def test_what_is_wrong_with_a_board_is_said(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        boards.parse_board(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title = 'x'\npage = 'nowhere'", "'nowhere' is no page"),
        ("title = 'x'\npage = 'map'\nparams = 3", "params is no table"),
        ("title = 'x'\npage = 'map'\n[params]\nedge = 3", "params is no table of texts"),
    ],
)
def test_what_is_wrong_with_a_view_is_said(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        boards.parse_view(text)


def test_a_view_leaves_out_what_its_page_does_not_know() -> None:
    view = boards.parse_view("title='x'\npage='map'\n[params]\nedge='a'\nwindow='1h'\nbox='1-2-3-4'")
    assert view.params == {"edge": "a", "window": "1h"}


@pytest.mark.parametrize(
    ("measure", "threshold", "limit"),
    [
        ("p99", "250ms", 250e6), ("path", "1.5s", 1.5e9), ("errors", "1%", 0.01), ("hop.app", "12.5 %", 0.125),
        ("calls", "100", 100.0), ("calls", "0.5/s", 0.5), ("p50", "", None),
    ],
)  # fmt: skip
def test_a_threshold_has_the_measures_unit(measure: str, threshold: str, limit: float | None) -> None:
    assert Own(measure=measure, threshold=threshold).limit == limit


def test_files_are_named_by_titles() -> None:
    assert boards.file_name("Käse & Brot / p99") == "kase-brot-p99"
    assert boards.file_name("../../etc/passwd") == "etc-passwd"
    with pytest.raises(UsageError, match="Latin"):
        boards.file_name("日本")


def test_charts_move_and_go() -> None:
    board = Board(title="x", charts=tuple(Own(measure=measure) for measure in ("p50", "p90", "p99")))
    assert [one.measure for one in board.moved(0, 1).charts] == ["p90", "p50", "p99"]
    assert board.moved(0, -1) == board.moved(2, 1) == board
    assert [one.measure for one in board.without(1).charts] == ["p50", "p99"]
    assert [one.measure for one in board.with_chart(Own(measure="mean"), 1).charts] == ["p50", "mean", "p99"]
    assert board.with_chart(Own(measure="mean"), None).charts[-1].measure == "mean"


# The page.


def charts(app: AppTest) -> dict[str, dict[str, Any]]:
    return {key: one for key, one in drawn(app).items() if key.startswith("chart")}


def said(app: AppTest) -> str:
    return words(drawn(app)["head"]["callout"] or [])


def test_the_first_board_shows_the_mesh(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = run(store, monkeypatch, "board", window="all")
    shown = charts(app)
    assert len(shown) == len(FIRST.charts)
    lens, first = Lens.open(str(store)), shown["chart_0"]
    routes = lens.routes(boards.Question()).rows
    assert {line["name"] for line in first["lines"]} == set(routes["service"])
    assert [line["total"] for line in first["lines"]] == sorted(
        (line["total"] for line in first["lines"]), reverse=True
    )
    assert first["unit"] == "duration"
    assert first["points"] == len(first["lines"][0]["values"])
    assert {line["name"] for line in shown["chart_4"]["lines"]} == {"2.3.0", "2.3.1"}
    assert not list(store.glob("_boards/*"))


def param(app: AppTest, name: str) -> str | None:
    """Return a parameter of the address; None when it is not there."""
    found = app.query_params.get(name)
    return found[0] if isinstance(found, list) else found


def button(app: AppTest, label: str) -> Any:
    return next(one for one in app.button if one.label == label)


def test_a_chart_is_added_changed_and_removed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = run(store, monkeypatch, "board", window="all")
    button(app, "Add a chart").click().run()
    assert param(app, "edit") == "new"
    fields = {
        one.key.rpartition(".")[2]: one for one in (*app.selectbox, *app.text_input) if one.key and "." in one.key
    }
    fields["measure"].set_value("errors")
    fields["threshold"].set_value("250ms").run()
    assert button(app, "Add").disabled
    assert "1%" in "".join(one.value for one in app.caption)
    threshold = next(one for one in app.text_input if one.key == fields["threshold"].key)
    threshold.set_value("0.1%").run()
    preview = charts(app)["chart_preview"]
    assert (preview["unit"], preview["threshold"], preview["limit"]) == ("share", 0.001, "0.1%")
    button(app, "Add").click().run()
    assert not app.exception
    assert param(app, "board") == "mesh"
    assert param(app, "edit") is None
    kept = boards.parse_board((store / "_boards" / "mesh.toml").read_text())
    assert kept.charts == (*FIRST.charts, Own(measure="errors", by="service", threshold="0.1%"))
    added = charts(app)["chart_6"]
    over = {line["name"] for line in added["lines"] if line["over"]}
    assert over == {line["name"] for line in added["lines"] if (line["total"] or 0) > 0.001}
    assert over
    again = run(store, monkeypatch, "board", window="all", board="mesh", edit="7")
    remove = press(again, "chart_6", "remove")
    assert not remove.exception
    assert boards.parse_board((store / "_boards" / "mesh.toml").read_text()).charts == FIRST.charts


def press(app: AppTest, key: str, event: str) -> AppTest:
    """Press a button of a chart, as the component says it."""
    app.session_state[key] = {"act": event}
    return app.run()


def test_two_who_change_a_board_do_not_undo_each_other(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store / "_boards"
    folder.mkdir()
    (folder / "mesh.toml").write_text(boards.board_text(FIRST))
    app = run(store, monkeypatch, "board", window="all", board="mesh", edit="1")
    other = boards.board_text(FIRST.without(2))
    (folder / "mesh.toml").write_text(other)
    threshold = next(one for one in app.text_input if one.key and one.key.endswith(".threshold"))
    threshold.set_value("1s")
    button(app, "Save").click().run()
    assert "changed by somebody else meanwhile" in said(app)
    assert (folder / "mesh.toml").read_text() == other


def test_a_new_board_has_a_name_of_its_own(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = run(store, monkeypatch, "board", window="all")
    name = next(one for one in app.text_input if one.key == "new_board")
    name.set_value("Check <b>out</b>")
    button(app, "New, as this one").click().run()
    assert param(app, "board") == "check-b-out-b"
    assert words(drawn(app)["head"]["title"]) == "Board Check <b>out</b>"
    name = next(one for one in app.text_input if one.key == "new_board")
    name.set_value("check b out b")
    button(app, "New, empty").click().run()
    assert "choose another name" in said(app)


@pytest.mark.parametrize(
    ("text", "told"),
    [(None, "there is no board 'mine' here"), ("title = 3", "the board 'mine' cannot be read: title is no text")],
)
def test_a_board_that_cannot_be_shown_is_said(
    store: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, told: str
) -> None:
    if text is not None:
        (store / "_boards").mkdir()
        (store / "_boards" / "mine.toml").write_text(text)
    app = run(store, monkeypatch, "board", window="all", board="mine")
    assert told in json.dumps([json.loads(one.proto.json) for one in app.get("bidi_component")])


def test_a_chart_whose_filter_finds_nothing_stands_there_empty(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (store / "_boards").mkdir()
    nothing = Board(
        title="x", charts=tuple(Own(measure=name, by="service", where="service=nobody") for name in MEASURES)
    )
    (store / "_boards" / "x.toml").write_text(boards.board_text(nothing))
    shown = charts(run(store, monkeypatch, "board", window="all"))
    assert len(shown) == len(MEASURES)
    assert all(one["lines"] == [] for one in shown.values())


@pytest.mark.parametrize("by", [*BY, "attr.user_agent.original", "res.nothing"])
def test_every_group_of_every_measure_is_drawn_or_refused(
    store: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    made = []
    for measure in MEASURES:
        try:
            made.append(Own(measure=measure, by=by))
        except UsageError:
            assert (measure, by) in {("path", "caller"), ("path", "namespace")}
    (store / "_boards").mkdir()
    (store / "_boards" / "x.toml").write_text(boards.board_text(Board(title="x", charts=tuple(made))))
    shown = charts(run(store, monkeypatch, "board", window="all"))
    assert len(shown) == len(made)


def test_views_are_saved_listed_and_forgotten(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = run(store, monkeypatch, "map", window="all", where="service=db", percentile="p90", live="0")
    title = next(one for one in app.text_input if one.key == "view_title")
    title.set_value("Slow *db*")
    next(one for one in app.button if one.key == "save_view").click().run()
    assert not app.exception
    kept = boards.parse_view((store / "_views" / "slow-db.toml").read_text())
    params = {"window": "all", "where": "service=db", "percentile": "p90"}
    assert kept == View(title="Slow *db*", page="map", params=params)
    other = run(store, monkeypatch, "search", window="all")
    links = [one.proto for one in other.get("page_link")]
    saved = next(one for one in links if "Slow" in one.label)
    assert saved.label == "Slow \\*db\\*"
    next(one for one in other.button if one.key == "forget_slow-db").click().run()
    assert not other.exception
    assert not (store / "_views" / "slow-db.toml").exists()


def test_a_view_takes_the_place_of_its_own_only(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another title with the same file name is refused; what cannot be read stays, and is named."""
    (store / "_views").mkdir()
    (store / "_views" / "slow-db.toml").write_text(boards.view_text(View(title="Slow db", page="map")))
    (store / "_views" / "newer.toml").write_text("title = 3")
    for title, page in (("Slow *db*", "map"), ("Slow db", "findings")):
        app = run(store, monkeypatch, "findings", window="all")
        next(one for one in app.text_input if one.key == "view_title").set_value(title)
        next(one for one in app.button if one.key == "save_view").click().run()
        assert boards.parse_view((store / "_views" / "slow-db.toml").read_text()).page == page
        assert any("newer" in one.value for one in app.caption)


def test_a_dump_says_that_it_keeps_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dump = Path(__file__).parents[2] / "samples" / "dumps" / "shop.otlp.jsonl.gz"
    app = run(dump, monkeypatch, "board")
    assert "A dump keeps no boards" in words(drawn(app)["head"]["sub"])
