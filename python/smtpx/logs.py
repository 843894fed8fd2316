"""The form of the log: text or JSON, a line an event. What is logged (never a secret) is the logger's part.

``extra=`` of a logging call becomes the fields of the line. Whatever a peer has sent ends in such a field, so
nothing in it may end the line or steer a terminal (log injection, CWE-117).
"""

from __future__ import annotations

import json
import logging
from typing import IO, Literal

from smtpx._core import log_fields, log_line, log_time

__all__ = ["JSONFormatter", "TextFormatter", "configure", "printable"]


def printable(text: str) -> str:
    r"""Write as \x.. and \u.... what would move a cursor, end a line, or turn the reading direction."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO smtpx.session: session closed peer=127.0.0.1 user="a b"``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows it, indented, so that it cannot pass for a line."""
        line = log_line(record.created, record.levelname, record.name, record.getMessage(), record.__dict__)
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            line = "\n".join([line, *(f"    {printable(part)}" for part in trace)])
        return line


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields, and exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": log_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **log_fields(record.__dict__),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # ASCII only: JSON's own escapes keep C1 controls and direction marks from a terminal too.
        return json.dumps(line, default=str)


def configure(form: Literal["text", "json"], level: str, stream: IO[str]) -> None:
    """Log to ``stream``, instead of where an earlier call said; ``level`` as in ``LogConfig``.

    What of the process and of the code no line shows is not looked up from now on, in the whole process.
    """
    logging._srcfile = None  # noqa: SLF001 - the way that logging's documentation names
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
