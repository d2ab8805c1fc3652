"""A page that cannot be drawn: what is wrong, where, and what to do."""

from __future__ import annotations

from dashboard.components.headline import headline, run
from tracelens.errors import TracelensError, UsageError


def draw(error: TracelensError) -> None:
    """Draw the message of an error of the tree; anything else is a bug and keeps its traceback."""
    title = "This cannot be asked" if isinstance(error, UsageError) else "This cannot be read"
    headline([run(title, strong=True)], key="head", callout=[run(str(error))], tone="bad")
