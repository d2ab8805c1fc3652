"""The project as a whole: locks without addresses, documents that say what is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from tracelens.cli import app
from tracelens.lens import where
from tracelens.spans import SPAN_MARKS

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
README = (ROOT / "README.md").read_text()
VERBS = sorted(get_command(app).commands)  # type: ignore[attr-defined]  # a Group, which get_command's type does not say


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    requirements = re.findall(r"^[a-z].*?==.*(?:\\\n +--hash.*)+", text, re.MULTILINE)
    assert len(requirements) == len(re.findall(r"^[a-z]", text, re.MULTILINE)) > 10


def test_there_are_locks() -> None:
    assert [lock.stem for lock in LOCKS] == ["demo", "run", "test"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_readme_and_has_an_example(verb: str) -> None:
    assert f"`{verb}`" in README or f"tracelens {verb}" in README
    shown = subprocess.run(
        [sys.executable, "-m", "tracelens.cli", verb, "--help"], capture_output=True, text=True, check=True
    )
    assert "Example: tracelens" in shown.stdout


def test_help_imports_nothing_heavy() -> None:
    """`--help` answers at once, so it may not wait for frames, kernels or pages."""
    code = (
        "import sys, tracelens.cli; print(sorted({'polars', 'numba', 'numpy', 'grpc', 'streamlit'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_target_the_readme_names_exists() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"make ([a-z]+)", README + (ROOT / "CONTRIBUTING.md").read_text())
    assert set(named) <= set(targets)


def test_every_status_of_a_filter_is_documented() -> None:
    assert all(status in str(where.__doc__) for status in where.STATUSES)


def test_marks_fit_their_column() -> None:
    """`repairs` is a signed 32-bit integer, a bit a mark."""
    assert len(SPAN_MARKS) < 32


def test_no_module_has_grown_past_a_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for folder in ("tracelens", "collector", "dashboard", "samples")
        for path in (ROOT / folder).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 480
    }
    assert long == {}
