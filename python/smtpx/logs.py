"""The form of the log: text or JSON, a line an event. What is logged (never a secret) is the logger's part.

``extra=`` of a logging call becomes the fields of the line. Whatever a peer has sent ends in such a field, so
nothing in it may end the line or steer a terminal (log injection, CWE-117).
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import IO, Literal

__all__ = ["JSONFormatter", "TextFormatter", "configure", "printable"]

_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_FIRST = len(vars(logging.makeLogRecord({})))  # what ``extra=`` adds to a record comes behind these
_is_plain = re.compile(r"[A-Za-z0-9_.@:+/-]+").fullmatch


def printable(text: str) -> str:
    r"""Write as \x.. and \u.... what would move a cursor, end a line, or turn the reading direction."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def _fields(record: logging.LogRecord) -> list[tuple[str, object]]:
    return [field for field in islice(vars(record).items(), _FIRST, None) if field[0] not in _ORDINARY]


def _moment(record: logging.LogRecord) -> str:
    second, fraction = divmod(record.created, 1)
    return f"{_second(int(second))}.{int(fraction * 1000):03}Z"


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO smtpx.session: session closed peer=127.0.0.1 user="a b"``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows it, indented, so that it cannot pass for a line."""
        parts = [f"{_moment(record)} {record.levelname} {record.name}: {printable(record.getMessage())}"]
        for name, value in _fields(record):
            if value is not None and value != "" and name != "event":  # the message says what happened
                parts.append(f"{name}={_quoted(value)}")
        line = " ".join(parts)
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            line = "\n".join([line, *(f"    {printable(part)}" for part in trace)])
        return line


def _quoted(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, tuple):  # a peer's address and port
        value = ":".join(f"[{part}]" if ":" in str(part) else str(part) for part in value)
    text = str(value)
    if _is_plain(text):
        return text
    text = printable(text)
    if text and not ({" ", '"', "="} & set(text)):
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
            **dict(_fields(record)),
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
