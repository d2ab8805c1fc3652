"""Exposition: the collector's counters as one text, whoever counted them.

Owns reading the folder they are kept in; writing it is the collector's.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # which every Prometheus reads


def metrics(folder: Path) -> list[Metric]:
    """Return what all processes counted, those that died included, by name."""
    files = [str(path) for path in folder.glob("*.db") if _size(path) > 0]
    found: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
    return sorted(found, key=lambda metric: metric.name)


def text(folder: Path) -> bytes:
    """Return the same in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Folder(folder))
    return generate_latest(registry)


def _size(path: Path) -> int:
    """Return a file's size: 0 while it is being made, and once it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class _Folder:
    """What a registry asks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        return metrics(self._folder)
