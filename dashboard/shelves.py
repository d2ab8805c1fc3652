"""What the pages keep in the store: boards and saved views.

Owns reading and keeping them, and the memory of what was listed: object
storage is asked over a network, and a page is drawn every few seconds.
"""

from __future__ import annotations

import streamlit as st

from dashboard import boards
from dashboard.boards import FIRST, Board, View
from dashboard.cache import lens
from tracelens.errors import InputError, TracelensError
from tracelens.lens import Shelf

LISTED_SECONDS = 10  # after which a page sees what somebody else has changed


@st.cache_data(show_spinner=False, ttl=LISTED_SECONDS, max_entries=8)
def _texts(source: str, kind: str) -> dict[str, str]:
    """Return all texts of a shelf by name."""
    shelf = lens(source).shelf(kind)
    found = {name: shelf.read(name) for name in shelf.names()}
    return {name: text for name, text in found.items() if text is not None}


class Kept:
    """A shelf of one kind. Changes are seen at once by who makes them."""

    def __init__(self, source: str, kind: str) -> None:
        self.source = source
        self.kind = kind

    @property
    def shelf(self) -> Shelf:
        return lens(self.source).shelf(self.kind)

    @property
    def keeps(self) -> bool:
        """Whether what is kept outlives this process."""
        return lens(self.source).source.live

    @property
    def texts(self) -> dict[str, str]:
        return _texts(self.source, self.kind)

    def names(self) -> list[str]:
        return sorted(self.texts)

    def put(self, name: str, text: str, before: str | None) -> None:
        """Raises StoreError when it cannot be kept, or somebody else was faster."""
        try:
            self.shelf.write(name, text, before=before)
        finally:
            _texts.clear()

    def remove(self, name: str) -> None:
        try:
            self.shelf.remove(name)
        finally:
            _texts.clear()


class Boards(Kept):
    """Boards by the names of their files."""

    def board(self, name: str) -> tuple[Board, str | None]:
        """Return a board and its text; without a name the first one everybody gets, which has none.

        Raises InputError when it is not there, or cannot be read.
        """
        if not name:
            return FIRST, None
        text = self.texts.get(name)
        if text is None:
            raise InputError(f"there is no board {name!r} here. Was it deleted, or is it another store's?")
        try:
            return boards.parse_board(text), text
        except TracelensError as error:
            raise InputError(f"the board {name!r} cannot be read: {error}") from None

    def title(self, name: str) -> str:
        try:
            return self.board(name)[0].title
        except TracelensError:
            return name

    def keep(self, name: str, board: Board, *, before: str | None) -> None:
        self.put(name, boards.board_text(board), before)


class Views(Kept):
    """Saved views by the names of their files."""

    def views(self) -> tuple[dict[str, View], list[str]]:
        """Return those that can be read, by name, and the names of the others: of a newer dashboard, or by hand."""
        found, unread = {}, []
        for name, text in self.texts.items():
            try:
                found[name] = boards.parse_view(text)
            except TracelensError:
                unread.append(name)
        return found, unread

    def save(self, view: View) -> None:
        """Keep a view in the place of one with the same title. Raises StoreError when another's file is so called."""
        name = boards.file_name(view.title)
        same = name in (known := self.views()[0]) and known[name].title == view.title
        self.put(name, boards.view_text(view), self.texts[name] if same else None)


def boards_of(source: str) -> Boards:
    return Boards(source, "boards")


def views_of(source: str) -> Views:
    return Views(source, "views")
