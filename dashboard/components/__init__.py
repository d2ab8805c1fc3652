"""The Python side of the components: what they are given, what they give back.

Owns finding and mounting them. Their JavaScript and CSS are files of
`tracelens/assets`, served by Streamlit: inline strings would load as `blob:`
and break under a strict Content-Security-Policy.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import streamlit as st

import tracelens

PACKAGE = Path(tracelens.__file__).parent
MANIFEST = PACKAGE / "assets" / "manifest.toml"
NAMES = ("headline", "tiles", "table", "heatmap", "flame", "map", "waterfall", "findings", "distribution", "chart")
HTML = '<div class="tracelens"></div>'

Heard = Callable[[str, Any], None]  # what is done about an event and its value


def nothing() -> None:
    """Do nothing: a component names its events by their callbacks."""


def mount(
    name: str, data: dict[str, Any], *, key: str, events: tuple[str, ...] = (), heard: Heard | None = None
) -> Any:
    """Draw a component and return what it says since the last run: an attribute for each event, None when silent.

    name: one of NAMES. events: what it may say. heard: is called with what it says before anything is drawn, so that
    what it changes takes one run of the page and not two.
    """
    _declare()
    listeners = {f"on_{event}_change": partial(_hear, key, event, heard) if heard else nothing for event in events}
    return _renderer(name)(key=key, data=data, **listeners)


def _hear(key: str, event: str, heard: Heard) -> None:
    heard(event, st.session_state[key].get(event))


@cache
def _renderer(name: str) -> Callable[..., Any]:
    return st.components.v2.component(f"tracelens.{name}", html=HTML, css="tracelens.css", js=f"{name}.js")


def _declare() -> None:
    """Make the components known to the running Streamlit when its own search has not found them.

    It looks for a manifest of the installed distribution. A source tree that is
    not installed has none, and an editable install has that of the day it was made.
    """
    from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
    from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

    manager = get_bidi_component_manager()
    if all(manager.get_component_asset_root(f"tracelens.{name}") for name in NAMES):
        return
    declared = tomllib.loads(MANIFEST.read_text())
    components = declared["tool"]["streamlit"]["component"]["components"]
    project = declared["project"]
    manifest = ComponentManifest(
        name=project["name"],
        version=project["version"],
        components=[ComponentConfig(name=one["name"], asset_dir=one["asset_dir"]) for one in components],
    )
    manager.register_from_manifest(manifest, PACKAGE)
