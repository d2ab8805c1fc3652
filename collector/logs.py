"""Logs: for people, or one JSON object a line.

Owns their shape. What is logged is hostile text as often as not: in both forms
it can neither begin a line of its own nor command a terminal.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from types import TracebackType

from tracelens.errors import TracelensError

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # a traceback has lines
LINE = "%(asctime)s %(part)s %(levelname)s %(name)s: %(message)s"


def configure(form: str, part: str) -> None:
    """Write the logs of this process, named `part`, to stderr; form: text or json."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json(part) if form == "json" else _Text(part))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn.error", "opentelemetry", "grpc", "botocore"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if form == "json":
        logging.captureWarnings(True)
        sys.excepthook = _ended


def failed(log: logging.Logger, what: str) -> None:
    """Log what failed, and the error being handled: one of ours says all in a sentence, others keep their traceback."""
    error = sys.exception()
    if isinstance(error, TracelensError):
        log.error("%s: %s", what, error)
    else:
        log.error("%s", what, exc_info=error)


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log what ends the process: Python would write it as text."""
    logging.getLogger("collector").critical("ended by a bug of ours", exc_info=(kind, error, trace))


class _Text(logging.Formatter):
    def __init__(self, part: str) -> None:
        super().__init__(LINE, defaults={"part": part})

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging calls it so
        return CONTROL.sub(_shown, super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802  # as above
        return CONTROL_BUT_LINES.sub(_shown, super().formatException(ei))  # type: ignore[arg-type]  # narrower there


class _Json(logging.Formatter):
    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "part": self._part,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        # Half of a surrogate pair is no text to a strict reader of JSON, not even escaped.
        whole = {key: text.encode("utf-8", "backslashreplace").decode() for key, text in said.items()}
        return json.dumps(whole)


def _shown(found: re.Match[str]) -> str:
    """Return a character as Python writes it."""
    return found[0].encode("unicode_escape").decode()
