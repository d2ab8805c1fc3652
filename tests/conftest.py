"""Hypothesis for all tests: no deadline, for the first example of many a test compiles."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("tests", deadline=None)
settings.register_profile("prove", deadline=None, max_examples=2_000)
settings.load_profile("prove" if os.environ.get("TRACELENS_PROVE") else "tests")
