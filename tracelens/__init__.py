"""Why is p99 slow: latency analysis of service-mesh traces."""

from __future__ import annotations

__version__ = "0.1.0"
