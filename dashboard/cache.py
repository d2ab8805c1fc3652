"""The only caches: an opened Lens, and the answers it gave.

Keys are primitive (window, filter, version of the data), never frames.
Answers are shared between sessions and must not be changed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import queries
from tracelens.errors import InputError
from tracelens.lens import Lens, Question, Room, free_memory
from tracelens.stopping import stoppable
from tracelens.taught import Taught

CONFIG = "TRACELENS_CONFIG"  # environment: what `python -m dashboard --config` was given
ANSWERS = 256  # remembered a kind: a few pages, windows and boxes of a few people


@st.cache_resource(show_spinner=False, max_entries=2)
def _lens(source: str) -> Lens:
    config = os.environ.get(CONFIG)
    # Of what is free when it starts, for one answer: more goes by disk, and several may be worked out at once.
    room = Room(memory=free_memory() // 4)
    return Lens.open(source, taught=Taught.read(Path(config) if config else None), room=room)


def lens(source: str) -> Lens:
    """Return the Lens on a source, opened once for all sessions.

    Raises InputError when there is nothing to read, and looks again next time:
    what was no store yet may have become one.
    """
    found = _lens(source)
    if not found.source.live:
        try:
            found.now_range()
        except InputError:
            _lens.clear(source)
            raise
    return found


def ready(source: str) -> None:
    """Open a store before a page asks. Raises TracelensError when that cannot be done; the page will say so."""
    _lens(source).ready()


@st.cache_resource(show_spinner=False, max_entries=ANSWERS)
def _answer(name: str, source: str, version: str, key: tuple[Any, ...], _question: Question) -> Any:
    del version  # only a part of the key
    with stoppable(_look):
        return queries.QUERIES[name](lens(source).still(), _question, *key[3:])


def _look() -> None:
    """End the run of the script where its tab was closed, or asks for something else: the session's state does so."""
    _ = "stop" in st.session_state


def answer(name: str, source: str, version: str, question: Question, *arguments: Any) -> Any:
    """Return what the query of that name answers, from memory when it was asked of the same data before.

    arguments: primitives and tuples of them.
    """
    key = (question.start_nano, question.end_nano, question.where, *arguments)
    return _answer(name, source, version, key, question)
