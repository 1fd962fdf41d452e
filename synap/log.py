"""Logging: one line an event, for people or as JSON for machines.

An event may carry fields: `log.warning("slow", extra={"fields": {"command": "kv.get", "ms": 120}})`. In JSON they stand
beside the message, in text behind it as `command=kv.get ms=120`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any

_BARE = re.compile(r"[^\s\"=]+")


class _JsonFormatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object a record."""
        event: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        more = {name: value for name, value in _fields(record).items() if name not in event}
        return json.dumps(event | more, default=str)


class _TextFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """A line for people; what a client may have sent cannot begin another one."""
        line = super().formatMessage(record)
        return _printable(line + "".join(f" {name}={_text(value)}" for name, value in _fields(record).items()))


def configure(level: str, style: str) -> None:
    """Log to standard error from `level` on; `style` is "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonFormatter() if style == "json" else _TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "fields", {})


def _text(value: Any) -> str:
    """A value in a text line: as it stands where its end is plain, else as JSON."""
    if isinstance(value, str) and value.isprintable() and _BARE.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
