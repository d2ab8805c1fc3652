"""`python -m tracelens.cli`."""

from __future__ import annotations

from tracelens.cli import main

main()
