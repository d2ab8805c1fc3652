"""Nothing to show: why, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path

import streamlit as st

from dashboard import page as pages
from dashboard import state
from dashboard.components.headline import headline, run
from dashboard.format import count
from dashboard.page import Page
from dashboard.state import to_datetime
from tracelens.lens import SETTLE_NANO, Method, SourceInfo

USUAL_DOOR = "127.0.0.1:4317"

DELAY = "Envoy sends every 5 s, and a trace counts 15 s after its last span: the first route shows in half a minute."
SDK = """\
export OTEL_EXPORTER_OTLP_ENDPOINT=http://{door}
export OTEL_EXPORTER_OTLP_PROTOCOL=grpc
export OTEL_TRACES_SAMPLER=parentbased_always_on
"""
ENVOY = """\
# http_connection_manager of a listener
tracing:
  provider:
    name: envoy.tracers.opentelemetry
    typed_config:
      "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
      service_name: my-service
      grpc_service:
        envoy_grpc: {{ cluster_name: tracelens }}
# and among the clusters
clusters:
- name: tracelens
  type: STRICT_DNS
  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
      explicit_http_config: {{ http2_protocol_options: {{}} }}
  load_assignment:
    cluster_name: tracelens
    endpoints:
    - lb_endpoints:
      - endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {port} }} }} }}
"""
ISTIO = """\
# istiod: meshConfig
extensionProviders:
- name: tracelens
  opentelemetry: {{ service: {host}, port: {port} }}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{ name: tracelens, namespace: istio-system }}
spec:
  tracing:
  - providers: [{{ name: tracelens }}]
    randomSamplingPercentage: 100
"""


def draw(page: Page, info: SourceInfo, method: Method) -> None:
    """Draw why no call is shown, and the way out."""
    reach = page.lens.now_range()
    head = {"key": "head", "status": pages.status(page, info, method)}
    if reach is None:
        why = [
            run("No span has arrived yet.", strong=True),
            run(" Point a sidecar or an SDK here; this page fills by itself."),
        ]
        headline([run("Waiting for spans", strong=True)], callout=why, **head)  # type: ignore[arg-type]  # two keywords
        _snippets(page)
        return
    if info.open_traces:
        seconds = SETTLE_NANO // 1_000_000_000
        why = [
            run(f"{count(info.open_traces)} traces have arrived and are still open.", strong=True),
            run(f" A trace counts once no span of it came for {seconds} s: until then its latency may still change."),
        ]
        headline([run("Almost there", strong=True)], callout=why, **head)  # type: ignore[arg-type]  # two keywords
        return
    first, last = (f"{to_datetime(nano, page.zone):%Y-%m-%d %H:%M:%S}" for nano in reach)
    filtered = bool(page.state.where)
    what = "No call matches the filter" if filtered else "No call lies in this window"
    why = [run(f"{what}.", strong=True), run(f" The data reaches from {first} to {last}.")]
    headline([run("Nothing to show", strong=True)], callout=why, **head)  # type: ignore[arg-type]  # two keywords
    with st.container(horizontal=True):
        if filtered:
            st.button("Clear the filter", on_click=_drop, args=("where",))
        if page.window != state.ALL:
            st.button("Show all data", on_click=_all)


def _drop(name: str) -> None:
    state.write(**{name: None})


def _all() -> None:
    pages.refresh()
    state.write(window=state.ALL, start=None, end=None)


def _snippets(page: Page) -> None:
    door = otlp_door(page.source)
    host, _, port = door.rpartition(":")
    shown = {"SDK": (SDK, "bash"), "Istio": (ISTIO, "yaml"), "Envoy": (ENVOY, "yaml")}
    for tab, (text, language) in zip(st.tabs(list(shown)), shown.values(), strict=True):
        tab.code(text.format(door=door, host=host, port=port), language=language)
    st.caption(DELAY)


def otlp_door(source: str) -> str:
    """Return where the collector of a data directory takes OTLP over gRPC; the usual address when it does not say."""
    for folder in (Path(source), Path(source).parent):
        file = folder / "addresses.json"
        if file.is_file():
            return str(json.loads(file.read_bytes()).get("otlp_grpc", USUAL_DOOR))
    return USUAL_DOOR
