"""Export of our own metrics by OTLP, to any collector.

Owns the way from the exposition to the exporter of OpenTelemetry's SDK: what
is sent is what `/metrics` shows, histograms whole.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as Sent
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric

from tracelens import __version__
from tracelens.api import exposition

LOG = logging.getLogger(__name__)
EVERY_SECONDS = 15.0
TIMEOUT_SECONDS = 5.0  # of one export, its retries included
LAST_SECONDS = 2.0  # for the last one, when the collector ends
TOTAL = AggregationTemporality.CUMULATIVE
UNITS = {"seconds": "s", "bytes": "By"}  # by the last word of a name

Labels = tuple[tuple[str, str], ...]


def start(endpoint: str, folder: Path, every_seconds: float = EVERY_SECONDS) -> Callable[[], None]:
    """Send the metrics of a folder to HOST:PORT now and then; return what sends them once more and ends that.

    An endpoint that is away is tried again each time; the log is told when it goes and when it is back.
    """
    # It logs each failure, and each of its own retries.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    exporter = OTLPMetricExporter(endpoint=f"http://{endpoint}", insecure=True, timeout=TIMEOUT_SECONDS)
    stop = threading.Event()
    begin = time.time_ns()

    def run() -> None:
        away = False
        while not stop.wait(every_seconds):
            sent = exporter.export(read(folder, begin)) is MetricExportResult.SUCCESS
            if sent == away:
                LOG.warning("our own metrics %s %s", "reach" if sent else "do not reach", endpoint)
            away = not sent
        if not away:
            exporter.export(read(folder, begin))

    thread = threading.Thread(target=run, name="own-export", daemon=True)
    thread.start()

    def end() -> None:
        stop.set()
        thread.join(LAST_SECONDS)
        exporter.shutdown()

    return end


def read(folder: Path, begin: int) -> MetricsData:
    """Return the metrics of a folder as the SDK has them; begin: when they were 0, in Unix nanoseconds."""
    now = time.time_ns()
    sent = [
        Sent(
            metric.name, metric.documentation, UNITS.get(metric.name.rpartition("_")[2], "1"), _data(metric, begin, now)
        )
        for metric in exposition.metrics(folder)
    ]
    scope = ScopeMetrics(InstrumentationScope("tracelens.collector", __version__), sent, "")
    about = Resource.create({"service.name": "tracelens-collector", "service.version": __version__})
    return MetricsData([ResourceMetrics(about, [scope], "")])


def _data(metric: Metric, begin: int, now: int) -> Sum | Gauge | Histogram:
    """Return the points of a metric."""
    if metric.type == "histogram":
        return Histogram(_histogram(metric, begin, now), TOTAL)
    points = [NumberDataPoint(dict(sample.labels), begin, now, sample.value) for sample in metric.samples]
    return Gauge(points) if metric.type == "gauge" else Sum(points, TOTAL, is_monotonic=True)


def _histogram(metric: Metric, begin: int, now: int) -> list[HistogramDataPoint]:
    """Return a point for each set of labels; `le` is none of them, and counts are not summed over it."""
    sums: dict[Labels, float] = {}
    buckets: defaultdict[Labels, list[tuple[float, float]]] = defaultdict(list)
    for sample in metric.samples:
        labels = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le"))
        if "le" in sample.labels:
            buckets[labels].append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    points = []
    for labels, upto in buckets.items():
        bounds, totals = zip(*sorted(upto), strict=True)
        counts = [int(total - before) for total, before in zip(totals, (0, *totals), strict=False)]
        point = HistogramDataPoint(
            dict(labels),
            begin,
            now,
            count=sum(counts),
            sum=sums[labels],
            bucket_counts=counts,
            explicit_bounds=bounds[:-1],
            min=None,  # type: ignore[arg-type]  # not known, and left out on the wire
            max=None,  # type: ignore[arg-type]
        )
        points.append(point)
    return points
