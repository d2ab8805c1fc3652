"""A store on an S3 server of this machine, beside one on its disk: appends, and opening a trace.

The server is moto's, in Python, over loopback: what is told is what the requests cost us and it, not a network.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests import s3
from tests.bench.store import filled, looked_up
from tracelens.store import compact


def measure(spans: int) -> dict[str, float]:
    """Return figures of both."""
    figures: dict[str, float] = {}
    with s3.serving() as server, s3.environment(server), tempfile.TemporaryDirectory() as folder:
        for name, location in (
            ("S3", f"{server.bucket('spans')}/store"),
            ("baseline: disk", str(Path(folder, "store"))),
        ):
            before = server.seen.total()
            store, took, _ = filled(location, spans)
            appends = store.file_count()
            figures[f"{name}: append, spans/s"] = store.span_count() / took
            figures[f"{name}: an append, ms"] = 1_000 * took / appends
            if name == "S3":
                figures["S3: requests an append"] = (server.seen.total() - before) / appends
            figures[f"{name}: open a trace, as appended, ms"] = looked_up(store)
            compact(store, everything=True)
            figures[f"{name}: open a trace, compacted, ms"] = looked_up(store)
    return figures
