"""The form of the log: text or JSON, a line an event. What is logged (never a secret) is the logger's part.

``extra=`` of a logging call becomes the fields of the line. Whatever a peer has sent ends in such a field, so
nothing in it may end the line or steer a terminal (log injection, CWE-117).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from asyncio import _get_running_loop
from typing import IO, Literal

from smtpx._core import log_fields, log_line, log_time

__all__ = ["JSONFormatter", "RoundHandler", "TextFormatter", "configure", "printable"]


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


class RoundHandler(logging.StreamHandler[IO[str]]):
    """Writes what an event loop logs in one of its rounds at once at its end: a write costs more than a line.

    That is so up to INFO. What is worse, or logged where no loop runs, is written when it is logged, behind
    what was logged before it.
    """

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None  # that is to write them

    def handle(self, record: logging.LogRecord) -> bool:
        """Do as logging's own does, which takes longer where there is no filter."""
        if self.filters or self.lock is None:
            return super().handle(record)
        with self.lock:
            self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line, or have the loop do it."""
        try:
            self._lines.append(self.format(record) + self.terminator)
            loop = _get_running_loop() if record.levelno <= logging.INFO else None
            if loop is None or (self._loop is not None and self._loop is not loop):
                # Another loop that is to write may be busy, or closed by now.
                self.flush()
            elif self._loop is None:
                loop.call_soon(self._end_round, record)
                self._loop = loop
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    def _end_round(self, first: logging.LogRecord) -> None:
        try:
            self.flush()
        except Exception:
            self.handleError(first)

    def flush(self) -> None:
        """Write what is still to be written."""
        self.acquire()
        try:
            if lines := self.forget():
                self._write(lines)
            super().flush()
        finally:
            self.release()

    def _write(self, lines: list[str]) -> None:
        try:
            self.stream.write("".join(lines))
        except UnicodeEncodeError:
            # Nothing is written. What one of them cannot be is not to be the others' loss.
            for line in lines:
                with contextlib.suppress(UnicodeEncodeError):
                    self.stream.write(line)
            super().flush()
            raise

    def close(self) -> None:
        """Write what is still to be written; the stream stays open."""
        with contextlib.suppress(OSError, ValueError):  # as logging.shutdown does
            self.flush()
        super().close()

    def forget(self) -> list[str]:
        """Return what is still to be written, which nobody else will write."""
        # At once: a finalizer or a signal's handler may log, in this thread, at any call that we make.
        lines, self._lines, self._loop = self._lines, [], None
        return lines


def _forked() -> None:
    # What was logged before is the parent's to write: else both would.
    for handler in logging.getLogger().handlers:
        if isinstance(handler, RoundHandler):
            handler.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def configure(form: Literal["text", "json"], level: str, stream: IO[str]) -> None:
    """Log to ``stream``, instead of where an earlier call said; ``level`` as in ``LogConfig``.

    What of the process and of the code no line shows is not looked up from now on, in the whole process.
    """
    logging._srcfile = None  # noqa: SLF001 - the way that logging's documentation names
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined] # typeshed does not know it
    handler = RoundHandler(stream)
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
