"""``smtpx send``: a message from a file, standard input or its parts, to a server; one line a recipient."""

from __future__ import annotations

import contextlib
import mimetypes
import os
import re
import sys
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING, Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn
from rich.text import Text

from smtpx.compose import Upload, source
from smtpx.errors import (
    ClientError,
    CommandRefused,
    ConfigurationError,
    ConnectionLost,
    LoginRefused,
    MessageRefused,
    ReplyTimeout,
    SMTPError,
)
from smtpx.logs import printable
from smtpx.outcome import Outcome
from smtpx.sync_client import SyncClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpx.compose import Sendable, Source
    from smtpx.options import Settings
    from smtpx.result import Result

__all__ = ["composed", "send", "status_of"]

_LARGE: Final = 1 << 20  # octets from which on a bar shows how far it is
_CONTENT: Final = re.compile(r"<(\d+) octets of content>")

FAILED: Final = 1
PARTLY: Final = 3
UNKNOWN: Final = 4
REFUSED: Final = 69  # EX_UNAVAILABLE of sysexits.h
TEMPORARY: Final = 75  # EX_TEMPFAIL


def composed(
    sender: str, recipients: list[str], subject: str, body: str, attachments: list[Path]
) -> EmailMessage:
    """Return a message of these parts.

    Raises:
        ConfigurationError: an attachment cannot be read, or a part cannot be in a message.

    """
    message = EmailMessage()
    with _faults():
        message["From"] = sender
        message["To"] = ", ".join(recipients)
        message["Subject"] = subject
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].strip("> ") or None)
        message.set_content(body)
        for path in attachments:
            kind, encoding = mimetypes.guess_type(path.name)
            main, _, sub = (kind if kind and not encoding else "application/octet-stream").partition("/")
            message.add_attachment(path.read_bytes(), maintype=main, subtype=sub, filename=path.name)
    return message


def send(
    url: str,
    message: Sendable,
    *,
    mail_from: str | None,
    recipients: list[str] | None,
    verbose: bool,
    settings: Settings,
) -> int:
    """Send, say what became of it for each recipient, and return the exit status.

    Raises:
        ConfigurationError: nothing was sent: an argument, the file or its header is wrong.

    """
    errors = _Errors(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)
    bar = Progress(BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=errors, transient=True)
    task = bar.add_task("", total=0)

    def watch(direction: str, line: str) -> None:
        if content := _CONTENT.fullmatch(line):
            bar.advance(task, int(content[1]))
        if verbose:
            errors.say(Text(f"{direction} {printable(line)}"))

    settings["trace"] = watch
    client = SyncClient(url, **settings)
    with _faults():
        message = source(message)  # a pipe is slow: no server waits for its end
    size = _size(message)
    bar.update(task, total=size)
    bar.disable = size < _LARGE or not errors.is_terminal
    with bar:
        try:
            with client, _faults():
                result = client.send(message, mail_from=mail_from, recipients=recipients)
        except ClientError as error:
            if not isinstance(error, MessageRefused):  # which its result says better
                errors.say(Text.assemble(("error: ", "bold red"), printable(str(error))))
            if error.result is None:
                return _status_without(error)
            result = error.result
    _show(result)
    return status_of(result)


class _Errors(Console):
    """Standard error; where nobody reads it any more, the message goes on its way all the same."""

    def say(self, text: Text) -> None:
        """Print, if that can be."""
        try:
            self.print(text)
        except OSError:
            _give_up(sys.stderr)

    def on_broken_pipe(self) -> None:
        """Say nothing more. By default this ends the program, maybe between the final dot and its reply."""
        self.quiet = True
        _give_up(sys.stderr)


def _give_up(stream: TextIO) -> None:
    """Let what the stream still holds go nowhere: Python's last flush would fail, and its status be ours."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Tell what is wrong with the message in the words of the command line."""
    try:
        yield
    except SMTPError:
        raise
    except OSError as error:
        name = "the message" if error.filename is None else os.fspath(error.filename)
        mend = "name a file that can be read" if error.strerror else "send it again when nobody writes to it"
        raise ConfigurationError(f"{name}: {error.strerror or error}: {mend}") from error
    except UnicodeError as error:
        raise ConfigurationError("an argument is not UTF-8: encode it so") from error
    except ValueError as error:  # of a header that is none, or has no recipient
        words = str(error).replace("mail_from=", "--from").replace("recipients=", "--to")
        raise ConfigurationError(words) from error


def _size(message: Source) -> int:
    """Return about how many octets will be sent."""
    if isinstance(message, Upload):
        return message.size
    if isinstance(message, bytes):
        return len(message)
    return sum(len(str(part.get_payload())) for part in message.walk() if not part.is_multipart())


def _show(result: Result) -> None:
    try:
        for address, each in result.items():
            said = "" if each.response is None else f": {each.response.code} {each.response.message}"
            print(printable(f"{address}: {each.outcome.value}{said}"), flush=True)
    except OSError:
        # The exit status tells it too, and must: who takes this for a failure to send will send twice.
        # What is left in the buffer must not fail once more when Python ends.
        _give_up(sys.stdout)


def _status_without(error: ClientError) -> int:
    """Return the exit status of a session that came to no recipient."""
    if isinstance(error, ConnectionLost | ReplyTimeout):
        return TEMPORARY
    if isinstance(error, CommandRefused) and not isinstance(error, LoginRefused):
        return TEMPORARY if error.code < 500 else REFUSED
    return FAILED


def status_of(result: Result) -> int:
    """Return the exit status: 0 all accepted, 3 some, 4 nobody knows, 69 all refused, 75 not now."""
    outcomes = {each.outcome for each in result.values()}
    if outcomes == {Outcome.ACCEPTED}:
        return 0
    if Outcome.ACCEPTED in outcomes:
        return PARTLY
    if Outcome.UNKNOWN in outcomes:
        return UNKNOWN
    return TEMPORARY if Outcome.TEMPORARY in outcomes else REFUSED
