"""Traces whose every text is an attack: names, keys, values, versions, messages.

Owns the payloads and the dump that carries them, as OTLP JSON, so that they
come in the way anybody's spans do. What a page must not do with them is
test_injection.py's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tracelens.spans import UNFIT_NAME

MS = 1_000_000
ELSEWHERE = "http://127.0.0.2"  # no request may go there

PAYLOADS = (
    # Markup that runs something.
    "<script>window.owned=1</script>",
    "<img src=x onerror=window.owned=1>",
    "<svg onload=window.owned=1>",
    "<svg><script>window.owned=1</script></svg>",
    '<iframe src="javascript:parent.owned=1"></iframe>',
    '<a href="javascript:window.owned=1">press</a>',
    "<body onload=window.owned=1>",
    "<details open ontoggle=window.owned=1>",
    "<math><mtext><style><img src=x onerror=window.owned=1></style></mtext></math>",
    # Ends of what a careless page would have put around a name.
    "</script><script>window.owned=1</script>",
    "</style><script>window.owned=1</script>",
    "</title></textarea><img src=x onerror=window.owned=1>",
    '" onmouseover="window.owned=1" x="',
    "' onfocus='window.owned=1' autofocus='",
    "` onpointermove=window.owned=1 `",
    f'"><img src={ELSEWHERE}/a.png>',
    "--><img src=x onerror=window.owned=1><!--",
    # Addresses.
    "javascript:window.owned=1",
    "data:text/html,<script>parent.owned=1</script>",
    f"//{ELSEWHERE.removeprefix('http://')}/x",
    # Markdown, and what Streamlit adds to it.
    "[press](javascript:window.owned=1)",
    f"[press]({ELSEWHERE}/link)",
    f"![image]({ELSEWHERE}/image.png)",
    f"<{ELSEWHERE}/auto>",
    "# heading\n- item\n\n**bold** _em_ ~~s~~",
    "```html\n<img src=x onerror=window.owned=1>\n```",
    ":red[red] :material/home: :smile: :blue-background[x]",
    "$\\href{javascript:window.owned=1}{x}$ $$\\input{/etc/passwd}$$",
    # Markup in another writing.
    "&lt;img src=x onerror=window.owned=1&gt;",
    "&#x3c;script&#x3e;window.owned=1&#x3c;/script&#x3e;",
    "%3Cscript%3Ewindow.owned%3D1%3C/script%3E",
    "\\u003cscript\\u003ewindow.owned=1\\u003c/script\\u003e",
    # Styles.
    f"url({ELSEWHERE}/u.png)",
    f"red;background:url({ELSEWHERE}/b.png)",
    f"@import '{ELSEWHERE}/i.css';",
    # Templates and expressions.
    "{{constructor.constructor('window.owned=1')()}}",
    "${window.owned=1}",
    "<%= window.owned=1 %>#{window.owned=1}",
    '{"signal":"warn(window.owned=1)"} datum[\'x\']',
    # Formulas.
    f'=HYPERLINK("{ELSEWHERE}/","press")',
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "＝1+1",  # some spreadsheets read wide signs as the narrow ones
    # What confuses readers and programs.
    "\u202egpj.exe\u202c",
    "a\0b<script>window.owned=1</script>",
    "../../../../etc/passwd",
    "__proto__",
    "constructor",
    "line\u2028window.owned=1\u2029",
    "name\nwindow=5m\nwhere=status=error",
    "<b>" + "x" * 3_000,
)
EVERYTHING = 999  # the trace with a span of each name, and a span with each attribute


def _attributes(pairs: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in pairs.items()]


def _resource(service: str, version: str, spans: list[dict[str, Any]]) -> dict[str, Any]:
    attributes = _attributes({"service.name": service, "service.version": version, "host.name": service})
    return {
        "resource": {"attributes": attributes},
        "scopeSpans": [{"scope": {"name": service, "version": version}, "spans": spans}],
    }


def _span(trace: int, number: int, parent: int | None, text: str, kind: int, times: tuple[int, int]) -> dict[str, Any]:
    return {
        "traceId": f"{trace:032x}",
        "spanId": f"{number:016x}",
        "parentSpanId": "" if parent is None else f"{parent:016x}",
        "traceState": f"ot={text}",
        "name": text,
        "kind": kind,
        "startTimeUnixNano": str(times[0]),
        "endTimeUnixNano": str(times[1]),
        "status": {"code": 2 if kind == 2 and trace % 5 == 0 else 0, "message": text},
        "events": [{"name": text, "timeUnixNano": str(times[0]), "attributes": _attributes({text: text})}],
    }


def _some(at: int) -> dict[str, str]:
    """Return eight payloads as values, others for each service; of the last those that may be columns, as keys."""
    if at == len(PAYLOADS) - 1:
        return {name: name for name in PAYLOADS if not UNFIT_NAME.search(name)}
    return {f"key.{step}": PAYLOADS[(at * 8 + step) % len(PAYLOADS)] for step in range(8)}


def _trace(at: int, turn: int, begin: int) -> list[dict[str, Any]]:
    """Return one trace of a service: it asks another five times, one after the other. Every third is slow."""
    name, other = PAYLOADS[at], PAYLOADS[at ^ 1 if at ^ 1 < len(PAYLOADS) else 0]
    number = at * 100 + turn + 1
    slow = 4 if turn % 3 == 0 else 1
    step = slow * 4 * MS
    root = _span(number, 1, None, name, 2, (begin, begin + 6 * step))
    root["attributes"] = _attributes(
        {"http.request.method": "GET", "http.route": name, **(_some(at) if slow > 1 else {})}
    )
    own, others = [root], []
    for call in range(5):
        first = begin + call * step + MS
        client = _span(number, 10 + call, 1, other, 3, (first, first + step - MS))
        server = _span(number, 20 + call, 10 + call, other, 2, (first + MS // 2, first + step - 2 * MS))
        server["attributes"] = _attributes({"http.request.method": "GET", "http.route": other})
        own.append(client)
        others.append(server)
    version = name if turn % 2 else f"{name}2"
    return [_resource(name, version, own), _resource(other, other, others)]


def _everything(begin: int) -> list[dict[str, Any]]:
    root = _span(EVERYTHING, 1, None, PAYLOADS[0], 2, (begin, begin + 900 * MS))
    root["attributes"] = _attributes(dict(zip(PAYLOADS, PAYLOADS, strict=True)))
    found = [_resource(PAYLOADS[0], PAYLOADS[0], [root])]
    for at, name in enumerate(PAYLOADS):
        first = begin + (at + 1) * 10 * MS
        found.append(_resource(name, name, [_span(EVERYTHING, at + 2, 1, name, 2, (first, first + 9 * MS))]))
    return found


def dump(path: Path, begin: int, *, turns: int = 6) -> Path:
    """Write the traces as OTLP JSON; they are a second apart, from `begin` on."""
    resources = _everything(begin)
    for turn in range(turns):
        for at in range(len(PAYLOADS)):
            resources += _trace(at, turn, begin + (turn * len(PAYLOADS) + at + 1) * 1_000 * MS)
    path.write_text(json.dumps({"resourceSpans": resources}))
    return path
