"""Board: charts that people choose, kept in the store for everybody who looks at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from dashboard import boards, shelves, state
from dashboard import page as pages
from dashboard.boards import BY, FIRST, MEASURES, Board, Own
from dashboard.charts import drawing
from dashboard.components.chart import Action, chart
from dashboard.components.headline import headline, run
from dashboard.export import inert, markdown
from dashboard.format import count
from dashboard.page import Page
from dashboard.views import empty
from tracelens.errors import TracelensError, UsageError
from tracelens.lens import Answer

POINTS = 60
NEW = "new"  # in the URL: the chart that is being made
SAID = "board_said"  # in the session: what went wrong with the last change
ACTIONS = (
    Action(event="edit", text="edit", label="change this chart"),
    Action(event="left", text="←", label="move this chart forward"),
    Action(event="right", text="→", label="move this chart back"),
    Action(event="remove", text="remove", label="take this chart off the board"),
)


def draw(page: Page) -> None:
    """Draw the board in the URL, else the first there is, else one that everybody can use."""
    known: Answer = page.ask("routes")
    if known.rows.is_empty():
        empty.draw(page, known.source, known.method)
        return
    shelf = shelves.boards_of(page.source)
    names = shelf.names()
    chosen = page.state.page.get("board") or (names[0] if names else "")
    board, text = shelf.board(chosen)
    link = headline(
        [run("Board", strong=True), run(f" {board.title}")],
        key="head",
        status=pages.status(page, known.source, known.method),
        sub=[run(_sub(board, kept=text is not None, keeps=shelf.keeps))],
        callout=[run(st.session_state[SAID])] if st.session_state.get(SAID) else None,
        tone="bad",
        copy=markdown([run("Board", strong=True), run(f" {board.title}")], [[run(own.name)] for own in board.charts]),
    )
    pages.follow(page, link)
    _controls(shelf, names, chosen, board, text)
    _form(page, shelf, chosen, board, text)
    for first in range(0, len(board.charts), 2):
        # Two by two: on a narrow screen, where one stands below another, they keep their order.
        for at, column in enumerate(st.columns(2, gap="large"), first):
            if at == len(board.charts):
                break
            with column:
                pressed = _chart(page, board.charts[at], at)
            if pressed is not None:
                _press(shelf, chosen, board, text, at, pressed)


def _sub(board: Board, *, kept: bool, keeps: bool) -> str:
    charts = f"{count(len(board.charts))} chart{'s' * (len(board.charts) != 1)}"
    if not keeps:
        return f"{charts}. A dump keeps no boards: this one is there until the dashboard ends, or is exported."
    return f"{charts}, kept in the store." if kept else f"{charts} to begin with: change one, and the board is kept."


def _controls(shelf: shelves.Boards, names: list[str], chosen: str, board: Board, text: str | None) -> None:
    """Draw which board, and what can be done with it."""
    with st.container(key="boards", horizontal=True, vertical_alignment="center", gap="small"):
        listed = names if chosen in names or not chosen else [*names, chosen]
        if listed:
            st.session_state["board"] = chosen
            st.selectbox(
                "board",
                listed,
                format_func=shelf.title,
                key="board",
                label_visibility="collapsed",
                width=260,
                on_change=_chosen,
            )
        st.button("Add a chart", icon=":material/add:", on_click=_edit, args=(NEW,))
        with st.popover("Boards", icon=":material/dashboard_customize:"):
            st.text_input("name of a new board", key="new_board", max_chars=boards.MOST_TITLE)
            first, second = st.columns(2)
            first.button("New, empty", on_click=_make, args=(shelf, None), width="stretch")
            second.button("New, as this one", on_click=_make, args=(shelf, board), width="stretch")
            st.file_uploader(
                "a board as TOML", type="toml", key="uploaded", max_upload_size=1, on_change=_uploaded, args=(shelf,)
            )
            if text is not None:
                st.button("Delete this board", on_click=_delete, args=(shelf, chosen), width="stretch")
        st.download_button(
            "TOML",
            lambda: boards.board_text(board),
            file_name=f"tracelens-{chosen or boards.file_name(board.title)}.toml",
            mime="application/toml",
            key="board_toml",
            on_click="ignore",
            icon=":material/download:",
            type="tertiary",
            help="The board as a file: import it elsewhere, or keep it with your code.",
        )


def _form(page: Page, shelf: shelves.Boards, chosen: str, board: Board, text: str | None) -> None:
    """Draw the fields of the chart that is being made or changed."""
    asked = page.state.page.get("edit")
    at = int(asked) - 1 if asked and asked.isdigit() else None
    if asked is None or (asked != NEW and (at is None or not 0 <= at < len(board.charts))):
        return
    own = Own(measure="p99", by="service") if at is None else board.charts[at]
    # Whose form it is stands in its keys: another chart has other fields.
    prefix = f"{chosen}.{asked}"
    with st.container(border=True, key="chart_form"):
        left, middle, right = st.columns(3)
        measure = left.selectbox(
            "measure",
            list(MEASURES),
            index=list(MEASURES).index(own.measure),
            format_func=MEASURES.__getitem__,
            key=f"{prefix}.measure",
        )
        groups = [*BY, own.by] if own.by not in BY else list(BY)
        by = middle.selectbox(
            "by",
            groups,
            index=groups.index(own.by),
            format_func=lambda name: BY.get(name, name),
            accept_new_options=True,
            key=f"{prefix}.by",
            help="Choose, or write an attribute: attr.http.request.method, res.k8s.pod.name.",
        )
        threshold = right.text_input(
            "threshold",
            own.threshold,
            key=f"{prefix}.threshold",
            placeholder="250ms, 1%, 100",
            help="Drawn as a line; groups above it are told.",
        )
        wide, narrow = st.columns([2, 1])
        where = wide.text_input(
            "filter", own.where, key=f"{prefix}.where", placeholder="service=checkout", help="Beside that of the bar."
        )
        title = narrow.text_input("title", own.title, key=f"{prefix}.title", placeholder="made of the rest")
        made: Own | None = None
        try:
            made = Own(title=title.strip(), measure=measure, by=by, where=where.strip(), threshold=threshold.strip())
        except UsageError as error:
            st.caption(f":red[{inert(str(error))}]")
        with st.container(horizontal=True):
            st.button(
                "Save" if at is not None else "Add",
                type="primary",
                disabled=made is None,
                on_click=_save,
                args=(shelf, chosen, board, text, made, at),
            )
            st.button("Cancel", on_click=_edit, args=(None,))
        if made is not None and made != own:
            st.caption("Preview")
            _chart(page, made, None)


def _chart(page: Page, own: Own, at: int | None) -> str | None:
    """Draw one chart; return what was pressed on it. at: its place; None for one not on the board yet."""
    key = "chart_preview" if at is None else f"chart_{at}"
    try:
        found, looked = page.ask("chart", own.measure, own.by, own.where, POINTS)
    except TracelensError as error:
        headline([run(own.name, strong=True)], key=f"{key}_wrong", callout=[run(str(error))], tone="bad")
        return None
    said = None if looked is None else looked.said(page.zone)
    return chart(drawing(page, own, found, () if at is None else ACTIONS, said), key=key)


def _press(shelf: shelves.Boards, chosen: str, board: Board, text: str | None, at: int, pressed: str) -> None:
    if pressed == "edit":
        _edit(str(at + 1))
    elif pressed == "remove":
        _keep(shelf, chosen, board.without(at), text)
    else:
        _keep(shelf, chosen, board.moved(at, -1 if pressed == "left" else 1), text)
    st.rerun()


def _chosen() -> None:
    _forget()
    state.write(board=st.session_state["board"], edit=None)


def _edit(which: str | None) -> None:
    _forget()
    state.write(edit=which)


def _forget() -> None:
    st.session_state.pop(SAID, None)


def _told(change: Callable[[], None]) -> bool:
    """Make a change; say what went wrong, if it did."""
    _forget()
    try:
        change()
    except TracelensError as error:
        st.session_state[SAID] = str(error)
        return False
    return True


def _keep(shelf: shelves.Boards, chosen: str, board: Board, text: str | None) -> None:
    """Keep a board in the place of what its file said; the first one gets a file."""
    name = chosen or boards.file_name(board.title)
    if _told(lambda: shelf.keep(name, board, before=text)):
        state.write(board=name)


def _save(shelf: shelves.Boards, chosen: str, board: Board, text: str | None, made: Own | None, at: int | None) -> None:
    if made is None:
        return
    if at is None and len(board.charts) >= boards.MOST_CHARTS:
        st.session_state[SAID] = f"A board has {boards.MOST_CHARTS} charts at most."
        return
    _keep(shelf, chosen, board.with_chart(made, at), text)
    if SAID not in st.session_state:
        state.write(edit=None)


def _make(shelf: shelves.Boards, like: Board | None) -> None:
    title = st.session_state["new_board"].strip()

    def make() -> None:
        name = boards.file_name(title)
        shelf.keep(name, replace(like or FIRST, title=title, charts=like.charts if like else ()), before=None)
        state.write(board=name, edit=None if like else NEW)

    if _told(make):
        st.session_state["new_board"] = ""


def _uploaded(shelf: shelves.Boards) -> None:
    given = st.session_state.get("uploaded")
    if given is None:
        return

    def take() -> None:
        try:
            board = boards.parse_board(given.getvalue().decode("utf-8"))
        except UnicodeDecodeError:
            raise UsageError(f"{given.name} is no text in UTF-8.") from None
        name = boards.file_name(board.title)
        shelf.keep(name, board, before=None)
        state.write(board=name, edit=None)

    _told(take)


def _delete(shelf: shelves.Boards, name: str) -> None:
    if _told(lambda: shelf.remove(name)):
        state.write(board=None, edit=None)
