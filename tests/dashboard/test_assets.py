"""The components' files: complete, and without what would make a name dangerous or leave the machine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from dashboard.components import MANIFEST, NAMES
from dashboard.server import headers

FILES = sorted(path for path in MANIFEST.parent.iterdir() if path.suffix in (".js", ".css"))
# Ways to make markup or code of text.
FORBIDDEN = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser")


def test_the_manifest_names_every_component() -> None:
    declared = tomllib.loads(MANIFEST.read_text())["tool"]["streamlit"]["component"]["components"]
    assert tuple(one["name"] for one in declared) == NAMES
    assert {one["asset_dir"] for one in declared} == {"assets"}
    assert {path.stem for path in FILES} >= {*NAMES, "tracelens"}


def test_the_manifest_has_the_version_of_the_distribution() -> None:
    project = tomllib.loads((MANIFEST.parents[2] / "pyproject.toml").read_text())["project"]
    manifest = tomllib.loads(MANIFEST.read_text())["project"]
    assert manifest == {"name": project["name"], "version": project["version"]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_makes_markup_of_text_or_loads_from_elsewhere(path: Path) -> None:
    text = path.read_text()
    assert [word for word in FORBIDDEN if word in text] == []
    assert set(re.findall(r"https?://[^'\"\s)]+", text)) <= {"http://www.w3.org/2000/svg"}  # a name, never fetched


def test_scripts_written_into_the_page_are_allowed_by_their_hash_alone() -> None:
    """The hash is of `let a = 1`; a script with a source needs none."""
    policy = dict(headers(b'<script>let a = 1</script><script src="x"></script>'))[b"content-security-policy"].decode()
    assert policy.endswith("script-src 'self' 'sha256-LAfYd7pbFUgwfQu8b4q135PeTG2z+/coPEUYCd74eCQ='")
