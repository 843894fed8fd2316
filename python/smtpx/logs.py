"""The form of the log: text or JSON, a line an event. What is logged (never a secret) is the logger's part.

``extra=`` of a logging call becomes the fields of the line. Whatever a peer has sent ends in such a field, so
nothing in it may end the line or steer a terminal (log injection, CWE-117).
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import IO, Literal

__all__ = ["JSONFormatter", "TextFormatter", "configure", "printable"]

_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def printable(text: str) -> str:
    r"""Write as \x.. and \u.... what would move a cursor, end a line, or turn the reading direction."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _ORDINARY}


def _moment(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO smtpx.session: session closed peer=127.0.0.1 user="a b"``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows it, indented, so that it cannot pass for a line."""
        line = f"{_moment(record)} {record.levelname} {record.name}: {printable(record.getMessage())}"
        fields = [
            f"{name}={_quoted(value)}"
            for name, value in _fields(record).items()
            if name != "event" and value not in (None, "")  # the message says what happened
        ]
        line = " ".join([line, *fields])
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            line = "\n".join([line, *(f"    {printable(part)}" for part in trace)])
        return line


def _quoted(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, tuple):  # a peer's address and port
        value = ":".join(f"[{part}]" if ":" in str(part) else str(part) for part in value)
    text = printable(str(value))
    if text and not set(text) & set(' "='):
        return text
    return '"' + text.replace('"', '\\"') + '"'


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields, and exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # ASCII only: JSON's own escapes keep C1 controls and direction marks from a terminal too.
        return json.dumps(line, default=str)


def configure(form: Literal["text", "json"], level: str, stream: IO[str]) -> None:
    """Log to ``stream``, instead of where an earlier call said; ``level`` as in ``LogConfig``."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
